"""Pictures of what models see. Needs mmengine and Matplotlib; import it where a picture is drawn."""
from .comparison import draw_comparison, predict

__all__ = ['draw_comparison', 'predict']
