"""mmdet's inferencer as it is used here. Imported on demand, since mmdet may be missing."""
from mmdet.apis import DetInferencer
from mmdet.visualization import DetLocalVisualizer

from .toolbox_base import ToolboxBase
from .visualizers import ScalingVisualizer


class ScalingDetVisualizer(ScalingVisualizer, DetLocalVisualizer):
    """mmdet's visualiser, drawing as `ScalingVisualizer` does."""


class DetToolbox(ToolboxBase, DetInferencer):
    """Detector, test pipeline and visualiser of an mmdet config."""
