"""A cheaper UPerHead: its last convolution, half of a segmentor's work, runs on the maps before they are enlarged.

mmseg resizes all maps to the largest, concatenates and convolves them. Resizing mixes positions and leaves channels
alone, a convolution's tap mixes channels and leaves positions alone: so the taps come first, and their results are
resized and shifted, both by one matrix along each axis. The output is the same but for rounding.
"""
from collections.abc import Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ResizedConv(nn.Module):
    """A 3 × 3 convolution of maps that are bilinearly resized to the first one's size and concatenated.

    Args:
        conv: the convolution of the concatenated maps, with zero padding 1.
        channels: number of channels of each map.
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
    """Weights ``(count, 3, side)`` of the positions of an axis for three taps at each position of the resized axis.

    Args:
        count: length of the axis once resized; taps outside it get zeros, as zero padding does.
        side: length of the axis before.
        like: gives device and type.
    """
    position = torch.arange(count, device=like.device)[:, None] + torch.arange(-1, 2, device=like.device)
    source = torch.minimum(((position + 0.5) * side / count - 0.5).clamp(min=0), torch.as_tensor(side - 1))
    weights = (1 - (source.unsqueeze(-1) - torch.arange(side, device=like.device)).abs()).clamp(min=0)
    return (weights * ((position >= 0) & (position < count)).unsqueeze(-1)).to(like.dtype)


def speed_up(head: nn.Module) -> None:
    """Replace the last convolution of a plain UPerHead, in place, by a `ResizedConv`; other heads stay as they are."""
    from mmseg.models.decode_heads import UPerHead
    last = getattr(head, 'fpn_bottleneck', None)
    if type(head) is not UPerHead or head.align_corners or type(last.conv) is not nn.Conv2d \
            or last.conv.groups > 1 or last.order != ('conv', 'norm', 'act') or last.with_explicit_padding:
        return
    head.resized_conv = ResizedConv(last.conv, [head.channels] * len(head.in_channels))
    # mmseg 1.2.2 has no seam here: the last convolution is called within this method.
    head._forward_feature = partial(_forward_feature, head)
    last.conv = nn.Identity()


def _forward_feature(head: nn.Module, inputs: Sequence[Tensor]) -> Tensor:
    """UPerHead's method of that name, with the `ResizedConv` at its end."""
    inputs = head._transform_inputs(inputs)
    maps = [conv(x) for conv, x in zip(head.lateral_convs, inputs)] + [head.psp_forward(inputs)]
    for i in reversed(range(len(maps) - 1)):
        maps[i] = maps[i] + F.interpolate(maps[i + 1], maps[i].shape[2:], mode='bilinear', align_corners=False)
    maps[:-1] = [conv(x) for conv, x in zip(head.fpn_convs, maps)]
    y, last = head.resized_conv(maps), head.fpn_bottleneck
    return last.activate(last.norm(y) if last.with_norm else y)
