"""The parts of a model as functions of tensors, which is what can be exported."""
import copy
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..backbones import MambaVision
from ..backbones.mambavision import MambaVisionMixer
from ..errors import ConfigError
from ..ops.operators import dynamic_sizes
from .preprocess import Preprocess
from .uper import speed_up

PARTS = ('backbone', 'segmentor', 'detector')
OUTPUTS = ('map', 'logits')
SEGMENTOR_HEADS = ('UPerHead', 'FCNHead', 'PSPHead', 'ASPPHead', 'DepthwiseSeparableASPPHead', 'SegformerHead',
                   'FPNHead', 'DepthwiseSeparableFCNHead')


@dataclass
class Exportable:
    """A part of a model, ready to be exported.

    Attributes:
        part: one of `PARTS`.
        graph: called with the inputs, in that order; returns a tuple of the outputs.
        inputs, outputs: names.
        free_batch, free_size: whether a format with such axes may leave batch, height and width open.
    """
    part: str
    graph: nn.Module
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    free_batch: bool = True
    free_size: bool = True


def build_exportable(model: nn.Module, part: str, output: str = 'map') -> Exportable:
    """`part` of `model` as a function of normalised images ``(B, 3, H, W)``.

    Args:
        model: a detector, segmentor, or a MambaVision; in eval mode. It is not changed.
        part: 'backbone': feature maps. 'segmentor': see `SegmentorGraph`. 'detector': see `detector.DetectorGraph`.
        output: of a segmentor, 'map' or 'logits'. Default: 'map'.

    Raises:
        ConfigError: a model without that part, or one that can't be exported, with those that can.
    """
    if part == 'detector':
        from .detector import DetectorGraph
        graph = DetectorGraph(model)
        return Exportable(part, graph, ('image', 'image_size'), tuple(graph.output_names), free_size=False)
    if part == 'segmentor':
        graph = SegmentorGraph(model, output)
        return Exportable(part, graph.eval(), ('images',), (output,))
    backbone = getattr(model, 'backbone', model)
    if not isinstance(backbone, MambaVision):
        raise ConfigError(f'--part backbone: {type(backbone).__name__} is not a MambaVision')
    return Exportable(part, BackboneGraph(copy.deepcopy(backbone).fuse()).eval(), ('images',),
                      tuple(f'stage{i + 1}' for i in backbone.out_indices))


class BackboneGraph(nn.Module):
    """Feature maps ``(B, C_i, H_i, W_i)``, those of the backbone's `out_indices`."""

    def __init__(self, backbone: MambaVision):
        super().__init__()
        self.backbone = backbone

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return self.backbone(images)


class SegmentorGraph(nn.Module):
    """mmseg's EncoderDecoder on the whole image: the map of labels ``(B, H, W)`` int64, or logits ``(B, C, H, W)``.

    BatchNorm of the backbone is folded; adaptive pooling becomes matrix products, which every format has for every
    size; UPerHead's last convolution is done on smaller maps (see `uper`). `model` itself stays as it is.

    Raises:
        ConfigError: another kind of segmentor or head, or a sliding window; names those that can be exported.
    """

    def __init__(self, model: nn.Module, output: str = 'map'):
        super().__init__()
        _check_segmentor(model)
        self.output, self.model = output, copy.deepcopy(model).eval()
        if hasattr(self.model.backbone, 'fuse'):
            self.model.backbone.fuse()
        if self.model.with_auxiliary_head:
            self.model.auxiliary_head = None
        replace_adaptive_pools(self.model)
        speed_up(self.model.decode_head)

    def forward(self, images: Tensor) -> tuple[Tensor]:
        return self.result(self.logits(images)),

    def logits(self, images: Tensor) -> Tensor:
        """``(B, C, H, W)``, in the images' size."""
        return self.resize(self.model.decode_head(self.model.extract_feat(images)), images.shape[2:])

    def resize(self, logits: Tensor, size: Sequence[int]) -> Tensor:
        return F.interpolate(logits, size, mode='bilinear', align_corners=self.model.decode_head.align_corners)

    def result(self, logits: Tensor) -> Tensor:
        return logits if self.output == 'logits' else label_map(logits, self.model.decode_head)


def label_map(logits: Tensor, head: nn.Module) -> Tensor:
    """``(B, C, H, W)`` -> ``(B, H, W)`` int64, as mmseg's `postprocess_result` has it; where C is 1, by a threshold."""
    if logits.shape[1] > 1:
        return logits.argmax(1)
    return (logits[:, 0].sigmoid() > head.threshold).to(torch.int64)


def _check_segmentor(model: nn.Module) -> None:
    from mmseg.models.decode_heads.decode_head import BaseDecodeHead
    from mmseg.models.segmentors import EncoderDecoder
    name, head = type(model).__name__, getattr(model, 'decode_head', None)
    if not isinstance(model, EncoderDecoder) or type(model).encode_decode is not EncoderDecoder.encode_decode:
        raise ConfigError(f"--part segmentor: {name} can not be exported; mmseg's EncoderDecoder can, with a head such "
                          f'as {", ".join(SEGMENTOR_HEADS)}')
    same = isinstance(head, BaseDecodeHead) and all(
        getattr(type(head), method) is getattr(BaseDecodeHead, method) for method in ('predict', 'predict_by_feat'))
    if not same:
        raise ConfigError(f'--part segmentor: head {type(head).__name__} can not be exported; heads that give a map '
                          f'of logits can: {", ".join(SEGMENTOR_HEADS)}')
    if model.test_cfg.get('mode', 'whole') != 'whole':
        raise ConfigError(f"--part segmentor: test_cfg.mode {model.test_cfg['mode']!r} can not be exported: a window "
                          "that slides is the caller's loop. Use --cfg-options model.test_cfg.mode=whole, with the "
                          'window as --shape')


class MatrixPool(nn.Module):
    """nn.AdaptiveAvgPool2d as two matrix products: the same bins, of any size, in plain operators."""

    def __init__(self, output_size):
        super().__init__()
        self.output_size = output_size if isinstance(output_size, tuple) else (output_size, output_size)

    def forward(self, x: Tensor) -> Tensor:
        rows, columns = (None if n is None else bins(n, side, x) for n, side in zip(self.output_size, x.shape[2:]))
        x = x if columns is None else x @ columns.t()
        return x if rows is None else rows @ x


def bins(count: int, side: int, like: Tensor) -> Tensor:
    """``(count, side)``: row i is the mean over positions floor(i · side / count) to ceil((i + 1) · side / count)."""
    i, at = torch.arange(count, device=like.device)[:, None], torch.arange(side, device=like.device)
    inside = (at >= i * side // count) & (at < ((i + 1) * side + count - 1) // count)
    inside = inside.to(like.dtype)
    return inside / inside.sum(1, keepdim=True)


def replace_adaptive_pools(model: nn.Module) -> None:
    for module in list(model.modules()):
        for name, child in module.named_children():
            if type(child) is nn.AdaptiveAvgPool2d:
                setattr(module, name, MatrixPool(child.output_size))


class Images(nn.Module):
    """A graph that takes an image as it is: RGB ``(h, w, 3)`` uint8, of any size.

    A segmentor then gives the map ``(h, w)`` or the logits ``(C, h, w)`` of the image itself; a backbone gives the
    features of the resized and padded one.

    Args:
        preprocess: what the image gets.
        graph: a `BackboneGraph` or `SegmentorGraph`.
    """

    def __init__(self, preprocess: Preprocess, graph: nn.Module):
        super().__init__()
        self.preprocess, self.graph = preprocess, graph

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        images, size = self.preprocess(image)
        images = images.to(next(self.graph.parameters()).dtype)
        if not isinstance(self.graph, SegmentorGraph):
            return self.graph(images)
        logits = self.graph.logits(images)[:, :, :size[0, 0], :size[0, 1]]
        return self.graph.result(self.graph.resize(logits, image.shape[:2]))[0],


class Dynamic(nn.Module):
    """A graph traced so that the image's size stays open."""

    def __init__(self, graph: nn.Module, free_size: bool):
        super().__init__()
        self.graph, self.free_size = graph, free_size

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        with dynamic_sizes() if self.free_size else nullcontext():
            return self.graph(*inputs)


def halve(module: nn.Module) -> nn.Module:
    """`module`, in place, in float16, but for the scan's own parameters, which it reads in float32."""
    own = [(p, p.data) for part in module.modules() if isinstance(part, MambaVisionMixer) for p in (part.A_log, part.D)]
    module.half()
    for parameter, data in own:
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
