"""Configs and checkpoints of earlier versions name modules that have moved since, and are read all the same."""
import importlib
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import DATASETS, HOOKS, METRICS, MODELS
from PIL import Image

from mmvision_mamba import moved

EARLIER = Path(__file__).parent / 'data' / 'earlier'


@pytest.fixture
def run_folder(tmp_path, monkeypatch):
    """The folder in which the run was started: its data, and in work/ its config and checkpoint."""
    monkeypatch.chdir(tmp_path)
    for split in ('train', 'val'):
        for kind in ('images', 'masks'):
            folder = tmp_path / 'data/mine' / kind / split
            folder.mkdir(parents=True)
            for i in range(4):
                labels = np.full((64, 72), i % 3, np.uint8)
                pixels = labels if kind == 'masks' else labels[..., None].repeat(3, 2) * 80
                Image.fromarray(pixels).save(folder / f'{i}.png')
            shutil.copy(folder / '0.png', folder / 'broken.png')
        (tmp_path / 'data/mine/images' / split / 'broken.png').write_bytes(b'no image')
    (tmp_path / 'work').mkdir()
    for name in ('segmentor.py', 'iter_2.pth'):
        shutil.copy(EARLIER / name, tmp_path / 'work')
    return tmp_path


def test_an_earlier_run_goes_on(run_folder, tool):
    """Its dumped config names `engine.bad_images` and `datasets.image_mask`, its backbone is the published code's."""
    done = tool('train', 'work/segmentor.py', '--work-dir', 'work', '--resume', 'work/iter_2.pth', '--cfg-options',
                'train_cfg.max_iters=4')
    assert done.code == 0, done.err
    assert (run_folder / 'work/iter_4.pth').exists()
    tested = tool('test', 'work/segmentor.py', 'work/iter_2.pth', '--work-dir', 'tested', '--skip-bad-images')
    assert tested.code == 0, tested.err
    assert 'mIoU' in (run_folder / 'tested/metrics.json').read_text()


def test_types_of_an_earlier_config():
    pytest.importorskip('mmdet')
    metric = Config.fromfile(EARLIER / 'lvis.py').val_evaluator.type
    assert metric == 'mmvision_mamba.datasets.lvis_metric.LVISMetric'
    from mmvision_mamba.evaluation.lvis_metric import LVISMetric
    from mmvision_mamba.preflight import bad_images
    assert METRICS.get(metric) is LVISMetric
    assert DATASETS.get('mmvision_mamba.engine.bad_images.dataset_without_images') is bad_images.dataset_without_images
    assert HOOKS.get('mmvision_mamba.engine.bad_images.EvaluateLoadedImages') is bad_images.EvaluateLoadedImages
    assert MODELS.get('MM_mamba_vision').__name__ == 'MM_mamba_vision'


@pytest.mark.parametrize('old', moved.MOVED)
def test_former_modules_are_todays(old):
    new = importlib.import_module(f'mmvision_mamba.{moved.MOVED[old]}')
    assert importlib.import_module(f'mmvision_mamba.{old}') is new
    assert new.__name__ == new.__spec__.name == f'mmvision_mamba.{moved.MOVED[old]}'


def test_a_former_module_can_be_the_first_import():
    code = ('import mmvision_mamba.engine.bad_images as old\n'
            'import mmvision_mamba.preflight.bad_images as new\nassert old is new')
    assert subprocess.run([sys.executable, '-c', code]).returncode == 0


def test_modules_that_never_were_stay_unknown():
    with pytest.raises(ModuleNotFoundError, match=r"'mmvision_mamba\.engine\.nothing'"):
        importlib.import_module('mmvision_mamba.engine.nothing')
