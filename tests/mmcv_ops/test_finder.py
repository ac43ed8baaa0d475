"""Which operators mmcv gets: compiled ones where they can be loaded, else this package's. Each in a new process."""
import importlib.util
import sys
import warnings
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

from ..helpers.new_process import call

pytestmark = pytest.mark.skipif(importlib.util.find_spec('mmcv') is None, reason='mmcv is not installed')


@pytest.fixture
def pure(tmp_path):
    """The folder of an mmcv without compiled operators: the installed one's files but for `_ext`."""
    installed = Path(importlib.util.find_spec('mmcv').submodule_search_locations[0])
    folder = tmp_path / 'packages' / 'mmcv'
    folder.mkdir(parents=True)
    for path in installed.iterdir():
        if path.stem.split('.')[0] not in ('_ext', '__pycache__'):
            (folder / path.name).symlink_to(path)
    return folder


def sources(folder: str, code: str = 'import mmcv._ext') -> dict:
    """What is known before and after `mmcv._ext` is imported from `folder`, and the warnings on the way."""
    sys.path.insert(0, folder)
    from mmvision_mamba import mmcv_ops
    assert 'mmcv' not in sys.modules
    before = mmcv_ops.source()
    assert 'mmcv' not in sys.modules
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        exec(code, {})
        import mmcv.ops  # noqa: F401  whose names must all be there
    return dict(before=tuple(before), after=tuple(mmcv_ops.source()), in_use=mmcv_ops.in_use(),
                nms=sys.modules['mmcv._ext'].nms.__module__,
                warnings=[str(warning.message) for warning in caught if 'mmvision_mamba' in str(warning.message)])


def test_mmcv_without_operators_gets_these(pure):
    found = call(sources, str(pure.parent))
    assert found['before'] == found['after'] == ('pytorch', 'mmcv has no compiled operators')
    assert found['in_use'] and found['nms'] == 'mmvision_mamba.mmcv_ops.boxes' and not found['warnings']


def test_compiled_operators_that_cannot_be_loaded_give_one_warning(pure):
    compiled = pure / f'_ext{EXTENSION_SUFFIXES[0]}'
    compiled.write_bytes(b'\x7fELF of another machine')
    found = call(sources, str(pure.parent))
    assert found['before'] == ('compiled', str(compiled))
    assert found['after'] == ('pytorch', f"{compiled} can't be loaded") and found['in_use']
    assert found['nms'] == 'mmvision_mamba.mmcv_ops.boxes'
    warning, = found['warnings']
    assert warning.startswith(f"{compiled} can't be loaded (") and "pip install 'mmcv-lite>=2.1,<2.2'" in warning
    assert 'make env MMCV=compiled' in warning


def test_compiled_operators_of_another_python_give_one_warning(pure):
    compiled = pure / '_ext.cpython-37m-x86_64-linux-gnu.so'
    compiled.write_bytes(b'')
    found = call(sources, str(pure.parent))
    assert found['before'] == found['after'] == ('pytorch', f'{compiled} is not for this Python')
    warning, = found['warnings']
    assert warning.startswith(f'{compiled} is not for this Python: ')


def test_a_file_in_mmcv_may_ask_for_these_operators(pure):
    file = pure / '_ext.py'
    file.write_text('import sys\nfrom mmvision_mamba import mmcv_ops\nmmcv_ops.fill(sys.modules[__name__])\n')
    found = call(sources, str(pure.parent))
    assert found['before'] == found['after'] == ('pytorch', f'{file} asks for them')
    assert found['in_use'] and not found['warnings']


@pytest.mark.skipif(not sys.platform.startswith('linux'), reason='names a file of Linux')
def test_compiled_operators_are_used():
    from mmvision_mamba import mmcv_ops
    if mmcv_ops.source().kind != 'compiled':
        pytest.skip('no compiled mmcv is installed here')
    found = call(sources, '')
    assert found['before'] == found['after'] and found['before'][0] == 'compiled'
    assert found['nms'] == 'mmcv._ext' and not found['in_use'] and not found['warnings']


@pytest.mark.parametrize('module', ['None', 'types.ModuleType("mmcv")'])
def test_without_mmcv_there_is_none(module):
    assert call(source_where_mmcv_is, module) == ('none', 'mmcv is not installed')


def source_where_mmcv_is(module: str) -> tuple:
    import types
    sys.modules['mmcv'] = eval(module, dict(types=types))
    from mmvision_mamba import mmcv_ops
    return tuple(mmcv_ops.source())


QUESTIONS = """  # what people ask of a module
import copy, doctest, importlib, importlib.resources, importlib.util, inspect, pickle

assert importlib.util.find_spec('mmcv._ext').name == 'mmcv._ext'
import mmcv._ext as module
assert importlib.util.find_spec('mmcv._ext').name == 'mmcv._ext' and 'mmcv._ext' in repr(module)
assert 'nms' in dir(module) and not hasattr(module, '__wrapped__') and not hasattr(module, '_private')
assert pickle.loads(pickle.dumps(module.nms)) is module.nms and copy.copy(module.__spec__).name == 'mmcv._ext'
assert inspect.getmodule(module.nms).__name__ == 'mmvision_mamba.mmcv_ops.boxes'
assert inspect.getmembers(module) and doctest.testmod(module).failed == 0
assert importlib.resources.files('mmcv').joinpath('version.py').is_file()

from mmcv.utils import collect_env, ext_loader
environment = collect_env()
assert 'mmvision_mamba' in environment['MMCV Compiler'] and environment['MMCV CUDA Compiler'] == 'not available'
ext_loader.load_ext('_ext', ['nms', 'box_iou_rotated', 'line_nms_forward'])
import sys
if sys.version_info < (3, 14):  # mmcv 2.1 asks pkgutil.find_loader, which is gone then
    assert ext_loader.check_ops_exist()

importlib.reload(module)
from mmvision_mamba import mmcv_ops
importlib.reload(mmcv_ops)
"""


def test_the_module_answers_as_others_do(pure):
    assert call(sources, str(pure.parent), QUESTIONS)['in_use']
