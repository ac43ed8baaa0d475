"""Wrappers around a graph: symbolic sizes, float16, preprocessing inside."""
from contextlib import nullcontext

from torch import Tensor, nn

from ..backbones.mixers import Mixer
from ..ops.operators import dynamic_sizes
from .preprocess import Preprocess
from .segmentor import SegmentorGraph


class Dynamic(nn.Module):
    """A graph that keeps the image's size symbolic when it is traced."""

    def __init__(self, graph: nn.Module, free_size: bool):
        super().__init__()
        self.graph, self.free_size = graph, free_size

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        with dynamic_sizes() if self.free_size else nullcontext():
            return self.graph(*inputs)


def halve(module: nn.Module) -> nn.Module:
    """Convert `module` to float16, in place, but for the scan's parameters, which it reads in float32; returns it."""
    kept = [(p, p.data) for part in module.modules() if isinstance(part, Mixer) for p in (part.A_log, part.D)]
    module.half()
    for parameter, data in kept:
        parameter.data = data
    return module


class Half(nn.Module):
    """A graph that computes in float16, with float32 outside."""

    def __init__(self, graph: nn.Module):
        super().__init__()
        self.graph = graph

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        outputs = self.graph(images.half() if images.is_floating_point() else images)
        return tuple(out.float() if out.is_floating_point() else out for out in outputs)


class Images(nn.Module):
    """A graph that takes the image itself, RGB ``(h, w, 3)`` uint8 of any size.

    A segmentor then returns the map ``(h, w)`` or the logits ``(C, h, w)`` in the image's size; a backbone returns the
    features of the resized and padded image.

    Args:
        preprocess: prepares the image.
        graph: a `BackboneGraph` or `SegmentorGraph`.
    """

    def __init__(self, preprocess: Preprocess, graph: nn.Module):
        super().__init__()
        self.preprocess, self.graph = preprocess, graph

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        images, size, _ = self.preprocess(image)
        images = images.to(next(self.graph.parameters()).dtype)
        if not isinstance(self.graph, SegmentorGraph):
            return self.graph(images)
        logits = self.graph.logits(images)[:, :, :size[0, 0], :size[0, 1]]
        return self.graph.result(self.graph.resize(logits, image.shape[:2]))[0],

