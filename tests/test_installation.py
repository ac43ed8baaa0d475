"""What failing imports say: each cause in a line or two, with the command that mends it."""
import sys

import pytest

from mmvision_mamba.errors import MissingExtraError, UserError
from mmvision_mamba.installation import InstallationError, explain, explaining, needing, problem, torchvision_command

from .helpers.fake_site import distribution, mmcv_lite, python

MMCV_PROBLEM = 'from mmvision_mamba.installation import mmcv_problem; print(mmcv_problem())'
LITE = "pip install 'mmcv-lite>=2.1,<2.2'"


def test_a_sound_mmcv_is_no_problem(tmp_path):
    assert python(tmp_path, MMCV_PROBLEM) == 'None'
    mmcv_lite(tmp_path)
    assert python(tmp_path, MMCV_PROBLEM) == 'None'


def test_two_distributions_of_mmcv(tmp_path):
    mmcv_lite(tmp_path)
    distribution(tmp_path, 'mmcv', '2.2.0')
    said = python(tmp_path, MMCV_PROBLEM).splitlines()
    assert said[0].startswith('mmcv 2.2.0 and mmcv-lite 2.1.0 are both installed')
    assert said[1:] == [f'pip uninstall -y mmcv mmcv-lite && {LITE}']


def test_a_folder_that_is_left(tmp_path):
    (tmp_path / 'mmcv').mkdir()
    (tmp_path / 'mmcv/_ext.cpython-311-x86_64-linux-gnu.so').write_bytes(b'')
    said = python(tmp_path, MMCV_PROBLEM).splitlines()
    assert said[0].startswith(f'{tmp_path / "mmcv"} has no __init__.py') and said[1].endswith(LITE) and len(said) == 2


def test_metadata_that_is_left(tmp_path):
    distribution(tmp_path, 'mmcv', '2.1.0')
    assert python(tmp_path, MMCV_PROBLEM).splitlines() == [
        'mmcv 2.1.0 is installed without its files.', 'pip install --force-reinstall --no-deps mmcv==2.1.0']


def test_files_of_another_version(tmp_path):
    folder = mmcv_lite(tmp_path)
    (folder / 'version.py').write_text("__version__ = '2.2.0'\n")
    assert 'holds files of 2.2.0' in python(tmp_path, MMCV_PROBLEM)


@pytest.mark.parametrize('name', ['mmcv', 'mmengine'])
def test_a_package_that_is_not_installed_names_the_extra(name, tmp_path):
    assert python(
        tmp_path, f'''
        from mmvision_mamba.installation import problem
        try:
            import {name}.missing
        except ImportError as error:
            found = problem(error, 'this command')
            print(type(found).__name__, found)
    ''') == ("MissingExtraError this command needs packages that are not installed: pip install -e '.[openmmlab]' "
            'in the checkout')


REQUIREMENTS = ['torch<2.15,>=2.4', 'torchvision<0.30,>=0.19', 'mmdet<3.4,>=3.3; extra == "openmmlab"',
                'onedl-mmdetection<3.6,>=3.5.1; extra == "onedl"']


@pytest.mark.parametrize(('module', 'others', 'command'), [
    ('torch', {}, "pip install 'torch<2.15,>=2.4'"), ('timm', {}, "pip install 'timm'"),
    ('torchvision', {}, "pip install 'torchvision<0.30,>=0.19'"),
    ('torchvision', dict(torch='2.14.1'), "pip install --force-reinstall --no-deps 'torchvision==0.29.*'"),
    ('mmdet', dict(mmengine='0.10.7'), "pip install 'mmdet<3.4,>=3.3'"),
    ('mmdet', {'onedl-mmengine': '0.10.12'}, "pip install 'onedl-mmdetection<3.6,>=3.5.1'")])
def test_a_single_package_that_is_missing_is_named_alone(module, others, command, monkeypatch):
    monkeypatch.setattr('importlib.metadata.requires', lambda name: REQUIREMENTS)
    monkeypatch.setattr('mmvision_mamba.installation.mmcv_problem', lambda: None)
    monkeypatch.setattr('mmvision_mamba.installation.installed', lambda name: name != module)
    monkeypatch.setattr('mmvision_mamba.installation.distributions', lambda name: {
        found: version for found, version in others.items() if found.endswith(name)})
    error = ModuleNotFoundError(f'No module named {module!r}', name=module)
    assert str(problem(error, 'this command')).splitlines() == [
        f'{module} is not installed, which this command needs.', command]
    assert str(problem(error)).startswith(f'{module} is not installed, which mmvision_mamba needs.')


def lacking(module: str, importer: str) -> ImportError:
    """What importing `module` raises in code of `importer` where it is not installed."""
    return raised_by(importer, f'ModuleNotFoundError("No module named {module!r}", name={module!r})')


@pytest.mark.parametrize(('module', 'importer', 'stack', 'says'), [
    ('cv2', 'mmvision_mamba.datasets.shapes', False, "'.[openmmlab]'"),
    ('ftfy', 'mmseg.utils', True, 'ftfy is not installed, which mmseg needs.\npip install ftfy'),
    ('cv2', 'mmcv.image', True, 'cv2 is not installed, which mmcv needs.\npip install opencv-python'),
    ('onnxruntime', 'mmvision_mamba.export.calibration', True, "'.[export]'"),
    ('cv2', 'my_transforms', False, None), ('pandas', 'my_tables', True, None)])
def test_what_comes_along_with_an_extra_is_told_too(module, importer, stack, says, monkeypatch):
    monkeypatch.setattr('importlib.metadata.requires', lambda name: [])
    monkeypatch.setattr('mmvision_mamba.installation.mmcv_problem', lambda: None)
    monkeypatch.setattr('mmvision_mamba.installation.installed', lambda name: stack and name != module)
    found = problem(lacking(module, importer))
    assert found is None if says is None else says in str(found)


def test_mmengine_names_the_package_of_a_base_in_words(monkeypatch):
    monkeypatch.setattr('mmvision_mamba.installation.mmcv_problem', lambda: None)
    monkeypatch.setattr('mmvision_mamba.installation.installed', lambda module: module in ('mmengine', 'mmcv'))
    for name, module in (('mmdet', 'mmdet'), ('mmsegmentation', 'mmseg')):
        error = ModuleNotFoundError(f'{name} is not installed, please install {name} manually')
        assert str(problem(error, 'my.py')).startswith(f'{module} is not installed, which my.py needs.\npip install')


# What libraries raise --------------------------------------------------------------------------------------------

def raised_by(module: str, error: str) -> Exception:
    """An error, raised by code of `module`."""
    try:
        exec(f'raise {error}', {'__name__': module})
    except Exception as raised:
        return raised


RAISED = {  # the module that raises, what it raises: what is said of it, the command
    'version of mmcv': ('mmdet', 'AssertionError("MMCV==2.2.0 is used but incompatible. Please install '
                        'mmcv>=2.0.0rc4, <2.2.0.")', 'mmcv 2.2.0 is installed, which mmdet does not take', LITE),
    'version of mmengine': ('mmseg', 'AssertionError("MMEngine==1.0.1 is used but incompatible. Please install '
                            'mmengine>=0.5.0, <1.0.0.")', 'mmengine 1.0.1 is installed, which mmseg does not take',
                            "pip install 'mmengine>=0.10.7,<0.11'"),
    'torchvision': ('torch', 'RuntimeError("operator torchvision::nms does not exist")', 'is not made for torch',
                    'torchvision'),
    'torchvision once more': ('torchvision', 'AttributeError("partially initialized module \'torchvision\' has no '
                              'attribute \'extension\' (most likely due to a circular import)")',
                              'is not made for torch', 'torchvision'),
    'compiled for another torch': ('mmcv', 'ImportError("undefined symbol: _ZN3c106detail", path='
                                   '"/s/mmcv/_ext.cpython-311-x86_64-linux-gnu.so")', 'is compiled for another torch',
                                   LITE),
    'compiled for another CUDA': ('mmcv', 'ImportError("libcudart.so.11.0: cannot open shared object file", path='
                                  '"/s/mmcv/_ext.cpython-311-x86_64-linux-gnu.so")', 'libcudart.so.11.0', LITE),
    'a part is gone': ('mmcv', 'ModuleNotFoundError("No module named \'mmcv.transforms\'", name="mmcv.transforms")',
                       'is installed in parts: mmcv.transforms is missing', '--force-reinstall --no-deps mmcv'),
    'no operators': ('mmcv', 'ModuleNotFoundError("No module named \'mmcv._ext\'", name="mmcv._ext")',
                     'mmcv-lite has no operators', 'mmvision-mamba setup-mmcv'),
}


@pytest.mark.parametrize('case', RAISED)
def test_what_libraries_raise(case, monkeypatch):
    monkeypatch.setattr('mmvision_mamba.installation.mmcv_problem', lambda: None)
    module, code, text, command = RAISED[case]
    found = problem(raised_by(module, code))
    assert isinstance(found, InstallationError)
    said = str(found)
    assert text in said and command in said.splitlines()[-1] and len(said.splitlines()) <= 2


@pytest.mark.parametrize('error', [
    ValueError('mmcv'), AssertionError('shapes differ'), RuntimeError('operator mine::nms does not exist'),
    ModuleNotFoundError("No module named 'mine'", name='mine'),
    ModuleNotFoundError("No module named 'mmdet.modles'", name='mmdet.modles'), ImportError('cannot import name mine'),
    AttributeError("module 'numpy' has no attribute 'float'"), KeyError('torchvision')])
def test_other_errors_are_left_alone(error):
    assert problem(error) is None
    assert explain(error).startswith(type(error).__name__)


def test_a_long_message_is_told_whole():
    text = f'{"very " * 50}long'
    assert explain(ValueError(f'{text}\nand more')) == f'ValueError: {text}'


def test_the_cause_behind_an_import_error_is_found_and_behind_other_errors_is_not():
    cause = RuntimeError('operator torchvision::nms does not exist')
    for error, found in ((ImportError('failed to import mine'), True), (ValueError('wrong'), False)):
        try:
            try:
                raise cause
            except RuntimeError:
                raise error  # noqa: B904
        except Exception as raised:
            assert (problem(raised) is not None) == found


def test_a_toolbox_that_is_not_installed_is_told_apart_from_a_broken_one(monkeypatch):
    monkeypatch.setattr('mmvision_mamba.installation.installed', lambda module: module != 'mmdet')
    with pytest.raises(MissingExtraError, match='mmdet is not installed, which mine'), needing('mine', 'openmmlab'):
        raise ModuleNotFoundError("No module named 'mmdet'", name='mmdet')


def test_errors_where_packages_are_needed():
    def raising(error):
        with needing('mine', 'ray'):
            raise error

    with pytest.raises(MissingExtraError, match=r"^mine needs .*'?ray'?"):
        raising(ModuleNotFoundError('x', name='x'))
    with pytest.raises(InstallationError, match='made for torch'):
        raising(RuntimeError('operator torchvision::nms does not exist'))
    with pytest.raises(InstallationError, match="mine can't be used: ImportError: bad\nmmvision-mamba doctor"):
        raising(ImportError('bad'))
    with pytest.raises(ZeroDivisionError):
        raising(ZeroDivisionError())
    with pytest.raises(UserError, match='told already'):
        raising(UserError('told already'))
    with pytest.raises(AssertionError, match='not of an installation'), explaining():
        raise AssertionError('not of an installation')


@pytest.mark.parametrize(('torch', 'expected'), [
    ('2.4.1', "'torchvision==0.19.*'"), ('2.14.1', "'torchvision==0.29.*'"),
    ('2.11.0+cpu', "'torchvision==0.26.*' --index-url https://download.pytorch.org/whl/cpu"),
    ('2.11.0+git1234', "'torchvision==0.26.*'"), ('3.0', 'torch torchvision')])
def test_torchvision_follows_torch(torch, expected):
    assert torchvision_command(torch).endswith(expected)


def test_the_formula_holds_for_what_is_installed():
    torchvision = pytest.importorskip('torchvision')
    major, minor, _ = torchvision.__version__.split('.', 2)
    assert f'torchvision=={major}.{minor}.*' in torchvision_command(sys.modules['torch'].__version__)
