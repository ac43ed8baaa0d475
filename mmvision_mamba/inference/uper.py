"""A cheaper UPerHead: its last convolution, half of a segmentor's work, runs on the maps before they are enlarged.

mmseg resizes all maps to the largest, concatenates and convolves them. Resizing mixes positions and leaves channels
alone, a convolution's tap mixes channels and leaves positions alone: so the taps come first, and their results are
resized and shifted, both by one matrix along each axis. The output is the same but for rounding.
"""
import sys
from collections.abc import Callable, Iterable, Sequence
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
        first, taps = _parts(conv.weight.detach(), channels)
        self.first = nn.Conv2d(channels[0], conv.out_channels, 3, padding=1, bias=conv.bias is not None)
        self.first.weight.data = first.clone()
        if conv.bias is not None:
            self.first.bias.data = conv.bias.detach().clone()
        self.taps = nn.ModuleList(nn.Conv2d(n, 9 * conv.out_channels, 1, bias=False) for n in channels[1:])
        for conv_of_taps, weight in zip(self.taps, taps):
            conv_of_taps.weight.data = weight

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        return _resized_conv(maps, self.first, self.taps)


def _parts(weight: Tensor, channels: Sequence[int]) -> tuple[Tensor, list[Tensor]]:
    """A convolution's weight for the first map, and those of the others' taps, each a 1 × 1 convolution's."""
    first, *others = weight.split(list(channels), 1)
    return first, [other.permute(0, 2, 3, 1).flatten(0, 2)[..., None, None].contiguous() for other in others]


def _resized_conv(maps: Sequence[Tensor], first: Callable, taps: Iterable[Callable]) -> Tensor:
    y, size = first(maps[0]), maps[0].shape[2:]
    for x, convolve in zip(maps[1:], taps):
        height, width = x.shape[2:]
        rows, columns = (places(n, side, x).flatten(1) for n, side in zip(size, (height, width)))
        z = convolve(x).reshape(-1, y.shape[1], 3, 3, height, width)
        z = z.transpose(3, 4).reshape(-1, y.shape[1], 3 * height, 3 * width)
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


def _suits(head: nn.Module) -> bool:
    """Whether this is a plain UPerHead."""
    from mmseg.models.decode_heads import UPerHead
    last = getattr(head, 'fpn_bottleneck', None)
    return (type(head) is UPerHead and not head.align_corners and type(last.conv) is nn.Conv2d
            and last.conv.groups == 1 and last.order == ('conv', 'norm', 'act') and not last.with_explicit_padding)


def speed_up(head: nn.Module) -> None:
    """Replace the last convolution of a plain UPerHead, in place, by a `ResizedConv`; other heads stay as they are."""
    if _suits(head):
        head.resized_conv = ResizedConv(head.fpn_bottleneck.conv, [head.channels] * len(head.in_channels))
        # mmseg 1.2.2 has no seam here: the last convolution is called within this method.
        head._forward_feature = partial(_forward_feature, head)
        head.fpn_bottleneck.conv = nn.Identity()


def speed_up_on_cpus(model: nn.Module) -> None:
    """Have the plain UPerHeads in a model compute so in float32 on a CPU, from their own weights, in training too.

    Parameters and their names stay as they are. Training keeps less for the backward: the small maps, not the enlarged.
    """
    if 'mmseg' in sys.modules:
        for head in filter(_suits, model.modules()):
            head._forward_feature = partial(_plain_feature, head)


def _plain_feature(head: nn.Module, inputs: Sequence[Tensor]) -> Tensor:
    """UPerHead's method of that name."""
    conv, x = head.fpn_bottleneck.conv, inputs[0]
    if x.device.type != 'cpu' or x.dtype != torch.float32 or torch.is_autocast_enabled('cpu') \
            or torch.compiler.is_compiling():
        return type(head)._forward_feature(head, inputs)
    first, taps = _parts(conv.weight, [head.channels] * len(head.in_channels))
    return _last(head, _resized_conv(_maps(head, inputs), partial(F.conv2d, weight=first, bias=conv.bias, padding=1),
                                     [partial(F.conv2d, weight=weight) for weight in taps]))


def _forward_feature(head: nn.Module, inputs: Sequence[Tensor]) -> Tensor:
    """UPerHead's method of that name, with the `ResizedConv` at its end."""
    return _last(head, head.resized_conv(_maps(head, inputs)))


def _maps(head: nn.Module, inputs: Sequence[Tensor]) -> list[Tensor]:
    """The maps that UPerHead's last convolution takes, before they are resized."""
    inputs = head._transform_inputs(inputs)
    maps = [conv(x) for conv, x in zip(head.lateral_convs, inputs)] + [head.psp_forward(inputs)]
    for i in reversed(range(len(maps) - 1)):
        maps[i] = maps[i] + F.interpolate(maps[i + 1], maps[i].shape[2:], mode='bilinear', align_corners=False)
    maps[:-1] = [conv(x) for conv, x in zip(head.fpn_convs, maps)]
    return maps


def _last(head: nn.Module, y: Tensor) -> Tensor:
    """What follows UPerHead's last convolution."""
    last = head.fpn_bottleneck
    return last.activate(last.norm(y) if last.with_norm else y)
