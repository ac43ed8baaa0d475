"""Operators of mmcv that have no form in PyTorch here, by who uses them.

None is used by the configs of mmdet 3.3 and mmseg 1.2.
"""
from collections.abc import Callable
from typing import Any

from ..errors import MissingOperatorError
from . import COMPILED_MMCV

_USERS = {  # beginnings of operators' names, by what uses them
    'rotated boxes, as in mmrotate': (
        'active_rotated_filter', 'box_iou_quadri', 'box_iou_rotated', 'convex_', 'diff_iou_rotated',
        'min_area_polygons', 'nms_quadri', 'nms_rotated', 'points_in_polygons', 'riroi_align', 'roi_align_rotated',
        'rotated_feature_align'),
    'point clouds, as in mmdet3d': (
        'assign_score_withk', 'ball_query', 'chamfer_distance', 'dynamic_', 'fused_indice_conv', 'furthest_point',
        'gather_points', 'get_indice_pairs', 'group_points', 'hard_voxelize', 'indice_', 'iou3d', 'knn',
        'points_in_boxes', 'roiaware_pool3d', 'roipoint_pool3d', 'stack_', 'three_'),
    'text spotting, as in mmocr': ('bezier_align', 'contour_expand', 'pixel_group'),
    'generated images, as in mmagic': ('bias_act', 'filtered_lrelu', 'fused_bias_leakyrelu', 'upfirdn2d'),
    'videos, as in mmaction2': ('tin_shift',),
    'precise RoI pooling, as in trackers': ('prroi_pool',),
    "lanes, as in CLRNet of onedl's mmdet": ('line_nms',),
}


def missing(name: str) -> Callable[..., Any]:
    """An operator that raises MissingOperatorError when it is called."""
    users = ''.join(f' ({users})' for users, beginnings in _USERS.items() if name.startswith(beginnings))

    def operator(*args: Any, **kwargs: Any) -> Any:
        raise MissingOperatorError(f"mmcv's operator {name}{users} has no form in PyTorch here.\n"
                                   f'It needs compiled mmcv: {COMPILED_MMCV}')
    operator.__name__ = operator.__qualname__ = name
    return operator
