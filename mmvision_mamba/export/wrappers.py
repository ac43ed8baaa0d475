"""Wrappers around a graph: symbolic sizes, float16, preprocessing inside."""
from contextlib import nullcontext

from torch import Tensor, nn

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

    It is what `network` and `finish` do one after the other, which a server may run apart.

    Args:
        preprocess: prepares the image.
        graph: a `BackboneGraph` or `SegmentorGraph`.

    Attributes:
        network_takes_sizes: whether `network` takes sizes beside images.
        finish_takes: which size `finish` takes, 'size' or 'resized', those of `Preprocess`; None: the network's outputs
            are the result.
    """
    network_takes_sizes = False

    def __init__(self, preprocess: Preprocess, graph: nn.Module):
        super().__init__()
        self.preprocess, self.graph = preprocess, graph
        self.finish_takes = 'size' if isinstance(graph, SegmentorGraph) else None

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        images, size, _ = self.preprocess(image)
        found = self.network(images)
        return found if self.finish_takes is None else self.finish(image, size, *found)

    def network(self, images: Tensor) -> tuple[Tensor, ...]:
        """The features of prepared images ``(B, C, H, W)``, or a segmentor's own logits, as small as its head makes
        them."""
        images = images.to(next(self.graph.parameters()).dtype)
        return self.graph(images) if self.finish_takes is None else (self.graph.small(images),)

    def finish(self, image: Tensor, size: Tensor, logits: Tensor) -> tuple[Tensor, ...]:
        """The map or the logits of an image ``(h, w, C)``, which has `size` ``(1, 2)`` in the prepared one."""
        logits = self.graph.resize(logits, self.preprocess.shape)[:, :, :size[0, 0], :size[0, 1]]
        return self.graph.result(self.graph.resize(logits, image.shape[:2]))[0],

