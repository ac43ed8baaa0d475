"""The file in mmcv-lite: written, known again, taken out; nothing of others is touched."""
import os
import subprocess
import sys
from importlib.machinery import EXTENSION_SUFFIXES

import pytest

from ..helpers import ROOT
from ..helpers.fake_site import distribution, mmcv_lite, python

PUT = '''
from mmvision_mamba.errors import UserError
from mmvision_mamba.mmcv_ops.permanent import put_in
try:
    print(put_in()[1])
except UserError as error:
    print(error)
'''
TAKE_OUT = 'from mmvision_mamba.mmcv_ops.permanent import take_out; print(take_out())'


def test_in_and_out_again(tmp_path):
    folder = mmcv_lite(tmp_path)
    record, = tmp_path.glob('*/RECORD')
    before = record.read_bytes()
    assert python(tmp_path, TAKE_OUT) == 'None'
    assert python(tmp_path, PUT) == 'True'
    assert python(tmp_path, PUT) == 'False'
    assert record.read_bytes().startswith(before) and b'\r\nmmcv/_ext.py,sha256=' in record.read_bytes()
    assert python(tmp_path, TAKE_OUT) == str(folder / '_ext.py')
    assert record.read_bytes() == before and sorted(os.listdir(folder)) == ['__init__.py', 'version.py']


def test_an_older_file_is_renewed(tmp_path):
    folder = mmcv_lite(tmp_path)
    python(tmp_path, PUT)
    written = (folder / '_ext.py').read_text()
    (folder / '_ext.py').write_text(written.splitlines()[0] + '\n')
    assert python(tmp_path, PUT) == 'True'
    assert (folder / '_ext.py').read_text() == written


def test_without_a_record_the_file_is_written_all_the_same(tmp_path):
    folder = mmcv_lite(tmp_path)
    for record in tmp_path.glob('*/RECORD'):
        record.unlink()
    assert python(tmp_path, PUT) == 'True' and (folder / '_ext.py').is_file()


def test_a_file_of_others_stays(tmp_path):
    folder = mmcv_lite(tmp_path)
    (folder / '_ext.py').write_text('nms = 1\n')
    said = python(tmp_path, PUT)
    assert 'is there already, and is not of mmvision_mamba' in said and len(said.splitlines()) == 2
    assert python(tmp_path, TAKE_OUT) == 'None'
    assert (folder / '_ext.py').read_text() == 'nms = 1\n'


def test_compiled_operators_need_no_file(tmp_path):
    folder = mmcv_lite(tmp_path)
    (folder / f'_ext{EXTENSION_SUFFIXES[0]}').write_bytes(b'')
    assert 'has compiled operators' in python(tmp_path, PUT) and not (folder / '_ext.py').exists()


def test_refused_where_mmcv_is_missing_or_broken(tmp_path):
    assert 'pip install' in python(tmp_path, PUT)
    mmcv_lite(tmp_path)
    distribution(tmp_path, 'mmcv', '2.1.0')
    assert 'are both installed' in python(tmp_path, PUT) and not (tmp_path / 'mmcv/_ext.py').exists()


@pytest.mark.skipif(not hasattr(os, 'geteuid') or os.geteuid() == 0, reason='root writes everywhere')
def test_a_folder_that_can_not_be_written_to(tmp_path):
    folder = mmcv_lite(tmp_path)
    folder.chmod(0o555)
    try:
        assert 'can not be written' in python(tmp_path, PUT)
    finally:
        folder.chmod(0o755)


def test_a_failing_write_is_told(tmp_path):
    folder = mmcv_lite(tmp_path)
    said = python(tmp_path, 'import os\ndef fail(*_): raise PermissionError(13, "Permission denied")\n'
                            f'os.replace = fail\n{PUT}')
    assert said.startswith(f'{folder / "_ext.py"} can not be written (Permission denied)')
    assert sorted(file.name for file in folder.glob('*ext*')) == []


def test_without_mmvision_mamba_the_file_says_whose_it_is(tmp_path):
    folder = mmcv_lite(tmp_path)
    python(tmp_path, PUT)
    done = subprocess.run([sys.executable, '-I', '-S', '-c', f'import sys; sys.path[:0] = [{str(tmp_path)!r}]\n'
                           'import mmcv._ext'], capture_output=True, text=True)
    assert 'mmvision_mamba, which gave them to it, is no longer installed' in done.stderr
    assert str(folder / '_ext.py') in done.stderr.splitlines()[-1] and 'ImportError' in done.stderr


# In use: each import below is the first of a process, whose mmcv-lite has the file ------------------------------------

FIRST = ['from mmdet.apis import DetInferencer', 'import mmdet.models', 'from mmseg.apis import init_model',
         'import mmcv.ops', 'import mmcv._ext']
USE = '''
import sys
import mmcv
mmcv.__path__.insert(0, sys.argv[1])  # mmcv holds the file; the installed one may hold another
exec(sys.argv[2])
assert 'mmvision_mamba' in sys.modules
import mmdet.registry, torch
from mmcv.ops import nms
from mmengine.registry import HOOKS, MODELS
small = dict(dim=8, in_dim=8, depths=(1, 1, 1, 1), num_heads=(1, 1, 2, 4))
assert type(mmdet.registry.MODELS.build(dict(type='MambaVision', arch=small))) is MODELS.get('MambaVision')
assert HOOKS.get('DivergenceHook') and mmdet.registry.MODELS.get('InstanceSegTTAModel')
boxes = torch.tensor([[0, 0, 10, 10.], [0, 0, 9, 10]])
assert nms(boxes, torch.tensor([.5, .6]), .5)[1].tolist() == [1]
from mmvision_mamba.mmcv_ops import in_use, source
assert in_use() and source().kind == 'pytorch'
print(source().why)
'''


@pytest.mark.parametrize('first', FIRST)
def test_stock_tools_find_operators_and_backbone(first, tmp_path):
    pytest.importorskip('mmdet')
    pytest.importorskip('mmseg')
    from mmvision_mamba.installation import compiled_operators
    if compiled_operators() is not None:
        pytest.skip('mmcv has compiled operators')
    folder, alone = mmcv_lite(tmp_path), tmp_path / 'the file alone'  # the rest of mmcv is the installed one
    python(tmp_path, PUT)
    alone.mkdir()
    (folder / '_ext.py').rename(alone / '_ext.py')
    done = subprocess.run([sys.executable, '-c', USE, str(alone), first], capture_output=True, text=True,
                          timeout=300, env=os.environ | {'PYTHONPATH': str(ROOT)})
    assert done.returncode == 0, done.stderr
    assert str(alone / '_ext.py') in done.stdout
