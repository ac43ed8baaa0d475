"""Pictures of what models see. Needs mmengine and Matplotlib; import it where a picture is drawn."""
from ..installation import needing

with needing(__name__, 'openmmlab'):
    from .backbone_maps import BackboneMaps, overlay
    from .comparison import draw_comparison, predict

__all__ = ['BackboneMaps', 'draw_comparison', 'overlay', 'predict']
