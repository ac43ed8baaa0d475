"""What `mmcv._ext` offers: every name; those that have no form in PyTorch say so when they are called."""
import ast
import importlib.util
from pathlib import Path

import pytest

from mmvision_mamba.errors import MissingOperatorError
from mmvision_mamba.mmcv_ops import extension

NOT_USED_BY_MMDET = {  # operators without a form here -> what their error names
    'nms_rotated': 'mmrotate', 'box_iou_rotated': 'mmrotate', 'roi_align_rotated_forward': 'mmrotate',
    'hard_voxelize_forward': 'mmdet3d', 'iou3d_nms3d_forward': 'mmdet3d', 'pixel_group': 'mmocr',
    'upfirdn2d': 'mmagic', 'tin_shift_forward': 'mmaction2', 'an_operator_of_tomorrow': 'no form in PyTorch here'}


def names_that_mmcv_loads() -> set[str]:
    """The names in the calls of `load_ext` in the installed mmcv's source."""
    folder = Path(importlib.util.find_spec('mmcv').submodule_search_locations[0], 'ops')
    calls = [node for path in folder.glob('*.py') for node in ast.walk(ast.parse(path.read_text()))
             if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == 'load_ext']
    return {name.value for call in calls for name in call.args[1].elts}


def test_every_name_that_mmcv_loads_is_there():
    pytest.importorskip('mmcv')
    names = names_that_mmcv_loads()
    assert len(names) > 100 and all(callable(getattr(extension, name)) for name in names)
    assert not hasattr(extension, '__path__')


@pytest.mark.parametrize(('name', 'users'), NOT_USED_BY_MMDET.items())
def test_an_operator_without_a_form_names_itself_its_users_and_the_way_out(name, users):
    operator = getattr(extension, name)
    with pytest.raises(MissingOperatorError, match=rf"(?s)^mmcv's operator {name} .*{users}.*make env MMCV=compiled"):
        operator(1, offset=0)
    assert operator.__name__ == name
