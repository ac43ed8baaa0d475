"""Configs by name: which there are, what is preferred, what an unknown name says, and names as `_base_`."""
import subprocess
import sys

import pytest

from mmvision_mamba.checkout import CONFIGS
from mmvision_mamba.configs import config_names, config_of_run, find_config, packaged_config
from mmvision_mamba.errors import ConfigError

from .helpers import ROOT

NAME = 'faster_rcnn_mambavision_t_custom'


def test_every_experiment_has_a_name():
    names = config_names()
    assert len(names) == len(set(names)) == len([*CONFIGS.glob('*.py'), *CONFIGS.glob('ablations/*.py')])
    assert NAME in names and 'ablations/baseline' in names and not [name for name in names if '_base_' in name]


@pytest.mark.parametrize('name', [NAME, f'{NAME}.py', f'configs/{NAME}.py', f'mmvision_mamba::{NAME}.py'])
def test_a_name_is_found_from_anywhere(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_config(name) == packaged_config(name) == ROOT / f'configs/{NAME}.py'


@pytest.mark.parametrize('name', [NAME, f'{NAME}.py'])
def test_a_file_in_the_current_folder_is_preferred(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / f'{NAME}.py').touch()
    assert find_config(name).resolve() == tmp_path / f'{NAME}.py'
    assert packaged_config(name) == CONFIGS / f'{NAME}.py'  # what a `_base_` means


def test_an_unknown_name_names_the_nearest():
    with pytest.raises(ConfigError, match=f'not found: faster_rcnn_mambavision_custom .did you mean {NAME!r}.*--list'):
        find_config('faster_rcnn_mambavision_custom')
    with pytest.raises(ConfigError, match=r'config file not found: nowhere\.py;'):
        find_config('nowhere.py')


def test_a_folder_is_no_config():
    with pytest.raises(ConfigError, match='config file not found'):
        find_config('ablations')


@pytest.mark.parametrize('order', ['import mmvision_mamba, mmengine', 'import mmengine, mmvision_mamba'])
def test_names_are_bases_of_other_configs(order, tmp_path):
    pytest.importorskip('mmdet')
    (tmp_path / 'mine.py').write_text(
        "_base_ = 'mmvision_mamba::faster_rcnn_mambavision_t_coco.py'\n"
        'train_dataloader = dict(batch_size=3)\nneck = _base_.model.neck\n')
    program = f'''
{order}
from mmengine.config import Config
cfg = Config.fromfile('mine.py')
print(cfg.train_dataloader.batch_size, cfg.model.backbone.type, dict(cfg.neck) == dict(cfg.model.neck))
'''
    done = subprocess.run([sys.executable, '-c', program], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.split() == ['3', 'MambaVision', 'True'], done.stderr  # parts take no scope of their own


def test_an_unknown_base_is_one_line(tmp_path):
    pytest.importorskip('mmengine')
    from mmvision_mamba.preflight.read import read_config
    (tmp_path / 'mine.py').write_text("_base_ = 'mmvision_mamba::faster_rcnn_mambavision_t.py'\n")
    with pytest.raises(ConfigError, match='did you mean') as caught:
        read_config(tmp_path / 'mine.py')
    assert '\n' not in str(caught.value)


def test_the_config_of_a_run_lies_beside_its_checkpoints(tmp_path):
    with pytest.raises(ConfigError, match=r'checkpoint not found: .*epoch_1\.pth$'):
        config_of_run(tmp_path / 'epoch_1.pth')
    (tmp_path / 'epoch_1.pth').touch()
    with pytest.raises(ConfigError, match=r'epoch_1\.pth is a checkpoint: name its config .*there is none'):
        config_of_run(tmp_path / 'epoch_1.pth')
    (tmp_path / 'a.py').touch()
    assert config_of_run(tmp_path / 'epoch_1.pth') == tmp_path / 'a.py'
    (tmp_path / 'b.py').touch()
    with pytest.raises(ConfigError, match=r'there is a\.py, b\.py'):
        config_of_run(tmp_path / 'epoch_1.pth')


def test_a_checkpoint_in_place_of_a_config_is_named_as_one():
    pytest.importorskip('mmengine')
    from mmvision_mamba.preflight.read import read_config
    with pytest.raises(ConfigError, match=r'epoch_1\.pth is a checkpoint: a config is expected'):
        read_config('epoch_1.pth')
