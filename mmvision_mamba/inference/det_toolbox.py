"""mmdet's inferencer as it is used here. Imported on demand, since mmdet may be missing."""
from mmdet.apis import DetInferencer

from .toolbox_base import ToolboxBase


class DetToolbox(ToolboxBase, DetInferencer):
    """Detector, test pipeline and visualiser of an mmdet config."""
