"""mmseg's inferencer as it is used here. Imported on demand, since mmseg may be missing."""
from mmseg.apis import MMSegInferencer

from .toolbox_base import ToolboxBase


class SegToolbox(ToolboxBase, MMSegInferencer):
    """Segmentor, test pipeline and visualiser of an mmseg config."""
