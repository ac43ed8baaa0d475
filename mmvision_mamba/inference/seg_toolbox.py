"""mmseg's inferencer as it is used here. Imported on demand, since mmseg may be missing."""
from mmseg.apis import MMSegInferencer
from mmseg.visualization import SegLocalVisualizer

from .toolbox_base import ToolboxBase
from .visualizers import ScalingVisualizer


class ScalingSegVisualizer(ScalingVisualizer, SegLocalVisualizer):
    """mmseg's visualiser, drawing as `ScalingVisualizer` does."""


class SegToolbox(ToolboxBase, MMSegInferencer):
    """Segmentor, test pipeline and visualiser of an mmseg config."""
