"""UPerHead with less to compute: its last convolution, half of a segmentor's work, on the maps as small as they are.

mmseg resizes all maps to the largest, joins them and convolves. Resizing mixes places and leaves channels alone, a
convolution's tap mixes channels and leaves places alone: so the taps come first, and what they give is resized and
moved, both by one matrix along each axis. The result is the same but for rounding.
"""
from collections.abc import Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ResizedConv(nn.Module):
    """A 3 × 3 convolution of maps that are resized to the first one's size, bilinearly, and joined.

    Args:
        conv: the convolution, of the joined maps, with zero padding 1.
        channels: of each map.
    """

    def __init__(self, conv: nn.Conv2d, channels: Sequence[int]):
        super().__init__()
        weights = conv.weight.detach().split(list(channels), 1)
        self.first = nn.Conv2d(channels[0], conv.out_channels, 3, padding=1, bias=conv.bias is not None)
        self.first.weight.data = weights[0].clone()
        if conv.bias is not None:
            self.first.bias.data = conv.bias.detach().clone()
        self.taps = nn.ModuleList(nn.Conv2d(n, 9 * conv.out_channels, 1, bias=False) for n in channels[1:])
        for taps, weight in zip(self.taps, weights[1:]):
            taps.weight.data = weight.permute(0, 2, 3, 1).flatten(0, 2)[..., None, None].contiguous()

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        y, size = self.first(maps[0]), maps[0].shape[2:]
        for x, taps in zip(maps[1:], self.taps):
            height, width = x.shape[2:]
            rows, columns = (places(n, side, x).flatten(1) for n, side in zip(size, (height, width)))
            z = taps(x).reshape(-1, self.first.out_channels, 3, 3, height, width)
            z = z.transpose(3, 4).reshape(-1, self.first.out_channels, 3 * height, 3 * width)
            y = y + rows @ (z @ columns.t())
        return y


def places(count: int, side: int, like: Tensor) -> Tensor:
    """``(count, 3, side)``: how much of each of `side` places the three taps at each of `count` places see, once `side`
    are resized to `count`; nothing outside."""
    at = torch.arange(count, device=like.device)[:, None] + torch.arange(-1, 2, device=like.device)
    low = torch.minimum(((at + 0.5) * side / count - 0.5).clamp(min=0), torch.as_tensor(side - 1))
    seen = (1 - (low.unsqueeze(-1) - torch.arange(side, device=like.device)).abs()).clamp(min=0)
    return (seen * ((at >= 0) & (at < count)).unsqueeze(-1)).to(like.dtype)


def speed_up(head: nn.Module) -> None:
    """Have `head`, in place, compute its last convolution so; only if it is an UPerHead as mmseg's own."""
    from mmseg.models.decode_heads import UPerHead
    last = getattr(head, 'fpn_bottleneck', None)
    if type(head) is not UPerHead or head.align_corners or type(last.conv) is not nn.Conv2d \
            or last.conv.groups > 1 or last.order != ('conv', 'norm', 'act') or last.with_explicit_padding:
        return
    head.resized_conv = ResizedConv(last.conv, [head.channels] * len(head.in_channels))
    head._forward_feature = partial(_forward_feature, head)
    last.conv = nn.Identity()


def _forward_feature(head: nn.Module, inputs: Sequence[Tensor]) -> Tensor:
    inputs = head._transform_inputs(inputs)
    maps = [conv(x) for conv, x in zip(head.lateral_convs, inputs)] + [head.psp_forward(inputs)]
    for i in reversed(range(len(maps) - 1)):
        maps[i] = maps[i] + F.interpolate(maps[i + 1], maps[i].shape[2:], mode='bilinear', align_corners=False)
    maps[:-1] = [conv(x) for conv, x in zip(head.fpn_convs, maps)]
    y, last = head.resized_conv(maps), head.fpn_bottleneck
    return last.activate(last.norm(y) if last.with_norm else y)
