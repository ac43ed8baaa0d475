"""Pictures of what models see. Needs mmengine and Matplotlib; import it where a picture is drawn."""
from .backbone_maps import BackboneMaps, overlay
from .comparison import draw_comparison, predict

__all__ = ['BackboneMaps', 'draw_comparison', 'overlay', 'predict']
