"""What `mmcv._ext` offers: every name; those that have no form in PyTorch say so when they are called."""
import ast
import importlib.util
import inspect
import re
from fnmatch import fnmatch
from pathlib import Path

import pytest

from mmvision_mamba.errors import MissingOperatorError
from mmvision_mamba.mmcv_ops import extension

from ..helpers import ROOT

NOT_USED_BY_MMDET = {  # operators without a form here -> what their error names
    'nms_rotated': 'mmrotate', 'box_iou_rotated': 'mmrotate', 'roi_align_rotated_forward': 'mmrotate',
    'hard_voxelize_forward': 'mmdet3d', 'iou3d_nms3d_forward': 'mmdet3d', 'pixel_group': 'mmocr',
    'upfirdn2d': 'mmagic', 'tin_shift_forward': 'mmaction2', 'an_operator_of_tomorrow': 'no form in PyTorch here'}


def folder_of(package: str) -> Path:
    return Path(importlib.util.find_spec(package).submodule_search_locations[0])


def calls_of_methods(path: Path) -> list[ast.Call]:
    return [node for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)]


def calls_of_operators(path: Path) -> list[ast.Call]:
    """The calls `ext_module.NAME(…)` in a file of mmcv's."""
    return [call for call in calls_of_methods(path)
            if isinstance(call.func.value, ast.Name) and call.func.value.id == 'ext_module']


def names_that_mmcv_loads() -> set[str]:
    """The names in the calls of `load_ext` in the installed mmcv's source."""
    calls = [call for path in folder_of('mmcv').joinpath('ops').glob('*.py') for call in calls_of_methods(path)
             if call.func.attr == 'load_ext']
    return {name.value for call in calls for name in call.args[1].elts}


def has_a_form(name: str) -> bool:
    return inspect.isfunction(vars(extension).get(name))


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


def test_operators_take_the_arguments_that_mmcv_passes():
    pytest.importorskip('mmcv')
    checked = set()
    for path in folder_of('mmcv').joinpath('ops').glob('*.py'):
        for call in calls_of_operators(path):
            if has_a_form(call.func.attr) and not any(isinstance(argument, ast.Starred) for argument in call.args):
                inspect.signature(getattr(extension, call.func.attr)).bind(
                    *call.args, **{keyword.arg: keyword.value for keyword in call.keywords})
                checked.add(call.func.attr)
    assert len(checked) > 30


def test_all_that_mmdet_and_mmseg_use_has_a_form():
    """Names that their sources import from mmcv.ops, and types that their configs name, lead to files of mmcv's."""
    for package in ('mmcv', 'mmdet', 'mmseg'):
        pytest.importorskip(package)
    files = {}  # class, function or registered name -> file in mmcv.ops
    for path in folder_of('mmcv').joinpath('ops').glob('*.py'):
        text = path.read_text()
        names = re.findall(r'^(?:class|def) (\w+)|^(\w+) = \w+\.apply|register_module\((?:name=)?\'(\w+)', text, re.M)
        if path.stem != '__init__':
            files |= {name: path for match in names for name in match if name}
    used = set()
    for package in ('mmdet', 'mmseg'):
        for path in folder_of(package).rglob('*.py'):
            text = path.read_text()
            for names in re.findall(r'from mmcv\.ops(?:\.\w+)? import \(?([\w, \n]+)', text):
                used |= {files[name] for name in re.findall(r'\w+', names) if name in files}
            if '.mim' in path.parts:
                used |= {files[name] for name in re.findall(r'type=\'(\w+)\'', text) if name in files}
    called = {call.func.attr for path in used for call in calls_of_operators(path)}
    # In these files mmcv has the operators of oriented boxes too; onedl's mmdet, a later one, also finds lanes.
    missing = {name for name in called if not has_a_form(name)} - {'nms_rotated', 'nms_quadri', 'line_nms_forward'}
    assert len(used) > 12 and {'carafe_forward', 'psamask_forward', 'nms_match', 'sync_bn_forward_mean'} < called
    assert not missing


def test_the_page_lists_each_operator_and_its_file():
    rows = re.findall(r'^\| `(\w+\*?)` \| `(\w+)\.py` \|', (ROOT / 'docs/mmcv.md').read_text(), re.M)
    operators = {name: value.__module__ for name, value in vars(extension).items()
                 if has_a_form(name) and value.__module__.rpartition('.')[2] not in ('extension', 'missing')}
    for name, module in operators.items():
        listed = [file for pattern, file in rows if fnmatch(name, pattern)]
        assert listed == [module.rpartition('.')[2]], name
    for pattern, _ in rows:
        assert any(fnmatch(name, pattern) for name in operators), pattern
