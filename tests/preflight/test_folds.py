"""Folds: written by split-dataset, found by the configs."""
import json

import pytest

pytest.importorskip('mmdet')
pytest.importorskip('mmseg')

from mmvision_mamba.errors import ConfigError, DataError
from mmvision_mamba.preflight.read import read_config

from ..helpers import formats
from ..helpers.custom_folders import coco, image_mask

BOXES, SEGMENTOR = (f'{name}_mambavision_t_custom' for name in ('faster_rcnn', 'upernet'))


def read(config, root, **options):
    return read_config(config, dict(data_root=str(root), **options))


@pytest.mark.parametrize(('config', 'write', 'suffix'), [
    (BOXES, lambda root: coco(root, {'all.json': 'images'}, count=5), 'json'), (BOXES, formats.labelme, 'json'),
    (SEGMENTOR, lambda root: image_mask(root, {'images': 'masks'}, count=5), 'txt'), (SEGMENTOR, formats.masks, 'txt')])
def test_each_fold_is_found(config, write, suffix, tool, tmp_path):
    root = write(tmp_path / 'my data')
    result = tool('split_dataset', root, '--folds', 2)
    assert result.code == 0, result.err
    commands = [line for line in result.out.splitlines() if line.startswith('  mmvision-mamba train ')]
    assert [line.rpartition(' ')[2] for line in commands] == ['custom_data.fold=0', 'custom_data.fold=1']
    assert f"'{root}'" in commands[0]
    with pytest.raises(DataError, match=r'2 folds lie there, and none is chosen.\nChoose one, custom_data.fold=0'):
        read(config, root)
    held = []
    for fold in range(2):
        cfg = read(config, root, **{'custom_data.fold': fold})
        for split in ('train', 'val'):
            assert cfg[f'{split}_dataloader'].dataset.ann_file == f'splits/fold-{fold}/{split}.{suffix}'
        text = (root / f'splits/fold-{fold}/val.{suffix}').read_text()
        held.append({image['file_name'] for image in json.loads(text)['images']} if suffix == 'json' else
                    {*text.splitlines()})
    assert not held[0] & held[1] and abs(len(held[0]) - len(held[1])) <= 1
    with pytest.raises(DataError, match='there is no fold 2; there are 0, 1'):
        read(config, root, **{'custom_data.fold': 2})


def test_wrong_choices(tmp_path):
    root = coco(tmp_path, {'train.json': 'a', 'val.json': 'b'})
    with pytest.raises(DataError, match=r'there is no fold 0.\nTo write some: .* split-dataset .* --folds 5'):
        read(BOXES, root, **{'custom_data.fold': 0})
    for value in ('a', True, 1.5):
        with pytest.raises(ConfigError, match='expected the number of a fold'):
            read(BOXES, root, **{'custom_data.fold': value})
    with pytest.raises(ConfigError, match=r'custom_data.fold and custom_data.val are both set'):
        read(BOXES, root, **{'custom_data.fold': 0, 'custom_data.val': 'val.json'})
