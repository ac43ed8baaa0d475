"""Data sets of our own, checked loading and annotation checks. COCO, ADE20K, … come from the OpenMMLab toolboxes."""
from typing import TYPE_CHECKING

from ..lazy import attach

if TYPE_CHECKING:
    from .shapes import Scene, draw_object, draw_scene, make_shapes

# Of Shapes. They stand here so that the command's help needn't import the drawing code.
CLASSES = ('ellipse', 'rectangle', 'triangle')
"""The kinds of shapes. COCO category ids and semantic ids are 1 + the position here; semantic id 0 is background."""
KINDS = ('scenes', 'objects')
"""The kinds of Shapes data sets: several shapes a picture, or one."""

__all__ = ['CLASSES', 'KINDS', 'Scene', 'draw_object', 'draw_scene', 'make_shapes']
__getattr__, __dir__ = attach(__name__, dict.fromkeys(('Scene', 'draw_object', 'draw_scene', 'make_shapes'), 'shapes'))
