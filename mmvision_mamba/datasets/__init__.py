"""Data sets made here; those of the OpenMMLab toolboxes (COCO, ADE20K, …) are used as they are."""
from .shapes import CLASSES, Scene, draw_object, draw_scene, make_shapes

__all__ = ['CLASSES', 'Scene', 'draw_object', 'draw_scene', 'make_shapes']
