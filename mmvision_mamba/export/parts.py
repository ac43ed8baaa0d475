"""The parts of a model that can be exported, as functions of tensors."""
from dataclasses import dataclass

from torch import Tensor, nn

from ..backbones import MambaVision
from ..errors import ConfigError
from .graph_modules import graph_copy, halve
from .segmentor import segmentor_graph


@dataclass
class Exportable:
    """A part of a model, ready to be exported.

    Attributes:
        part: one of `export.PARTS`.
        graph: called with the inputs, in that order; returns a tuple of the outputs.
        inputs, outputs: names of the inputs and outputs.
    """
    part: str
    graph: nn.Module
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def build_exportable(model: nn.Module, part: str, output: str = 'map') -> Exportable:
    """`part` of `model` as a function of normalised images ``(B, 3, H, W)``.

    Args:
        model: a detector, segmentor, or a MambaVision; in eval mode. It is not changed.
        part: 'backbone': feature maps. 'segmentor': see `segmentor.segmentor_graph`. 'detector': see
            `detector.detector_graph`.
        output: of a segmentor, 'map' or 'logits'. Default: 'map'.

    Raises:
        ConfigError: a model without that part, or one that can't be exported; names those that can.
    """
    if part == 'detector':
        from .detector import detector_graph
        graph = detector_graph(model)
        return Exportable(part, graph, graph.inputs, graph.output_names)
    if part == 'segmentor':
        graph = segmentor_graph(model, output)
        return Exportable(part, graph.eval(), ('images',), graph.output_names)
    backbone = getattr(model, 'backbone', model)
    if not isinstance(backbone, MambaVision):
        raise ConfigError(f'--part backbone: {type(backbone).__name__} is not a MambaVision')
    return Exportable(part, BackboneGraph(backbone), ('images',), tuple(
        f'stage{i + 1}' for i in backbone.out_indices))


class BackboneGraph(nn.Module):
    """Feature maps ``(B, C_i, H_i, W_i)`` of the backbone's `out_indices`, from a copy with BatchNorm folded."""

    def __init__(self, backbone: MambaVision):
        super().__init__()
        self.backbone = graph_copy(backbone)

    def halve(self) -> nn.Module:
        """Convert it to float16, but for the scan's parameters; returns self."""
        return halve(self)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return self.backbone(images)
