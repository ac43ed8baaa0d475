"""Data of one's own for configs of published data."""
import pytest

from mmvision_mamba.errors import ConfigError, DataError
from mmvision_mamba.preflight.own_data import config_for
from mmvision_mamba.preflight.read import read_config

from ..helpers import custom_folders


@pytest.mark.parametrize(('name', 'kind'), [
    ('cascade_mask_rcnn_mambavision_t_coco', 'coco'), ('dino_mambavision_t_coco', 'coco'),
    ('upernet_mambavision_t_ade20k', 'masks'), ('upernet_mambavision_t_cityscapes', 'masks')])
def test_a_published_config_takes_a_folder(tmp_path, name, kind):
    if kind == 'coco':
        root = custom_folders.coco(tmp_path / 'own', {'train.json': 'train', 'val.json': 'val'})
    else:
        root = custom_folders.image_mask(tmp_path / 'own', {'images/train': 'masks/train', 'images/val': 'masks/val'})
    base = f'mmvision_mamba::{name}.py'
    text = config_for(base, read_config(name, find_data=False), root)
    (tmp_path / 'mine.py').write_text(text)
    cfg = read_config(tmp_path / 'mine.py')
    assert len(cfg.train_dataloader.dataset.metainfo.classes) == (2 if kind == 'coco' else 3)
    assert cfg.train_dataloader.dataset.data_root == str(root) and 'custom_data' not in cfg
    assert 'reduce_zero_label' not in str(cfg.train_dataloader)
    assert cfg.auto_scale_lr.enable
    if cfg.param_scheduler[0].type == 'LinearLR' and 'max_epochs' in cfg.train_cfg:  # the warm-up lasts an epoch
        assert cfg.param_scheduler[0].by_epoch and cfg.param_scheduler[0].end == 1


def test_a_config_for_ones_own_data_needs_another_root_alone(tmp_path):
    cfg = read_config('faster_rcnn_mambavision_t_custom', find_data=False)
    assert config_for('mmvision_mamba::faster_rcnn_mambavision_t_custom.py', cfg, tmp_path) is None


def test_data_sets_of_other_kinds_are_refused(tmp_path):
    cfg = read_config('faster_rcnn_mambavision_t_voc0712', find_data=False)
    with pytest.raises(ConfigError, match=r'^data: .*\nTake faster_rcnn_mambavision_t_custom'):
        config_for('mmvision_mamba::faster_rcnn_mambavision_t_voc0712.py', cfg, tmp_path)


def test_a_missing_folder_is_named():
    with pytest.raises(DataError, match=r'^nowhere: no such folder in '):
        config_for('x', read_config('dino_mambavision_t_coco', find_data=False), 'nowhere')
