"""What is learned from folders of all kinds."""
import json

import pytest

pytest.importorskip('mmdet')
pytest.importorskip('mmseg')

from mmvision_mamba.errors import ConfigError, DataError
from mmvision_mamba.preflight.folder_data import look_at

from ..helpers import formats
from ..helpers.custom_folders import coco, image_mask


@pytest.mark.parametrize('name', formats.FORMATS)
def test_outlines(name, tmp_path):
    data = look_at(str(formats.WRITERS[name](tmp_path)), {})
    assert (data.what, data.images, data.side, data.unsplit) == ('outlines', 4, 64, None)
    assert look_at(str(tmp_path), {}, 'detect').what == 'boxes'
    assert look_at(str(tmp_path), {}, 'semantic').what == 'maps'


def test_boxes(tmp_path):
    root = formats.yolo(tmp_path / 'yolo', boxes=True)
    assert look_at(str(root), {}).what == 'boxes'
    with pytest.raises(ConfigError, match=r'--task instances: .* for boxes and outlines.\nIt has .*--task det'):
        look_at(str(root), {}, 'instances')
    # Outlines that are the boxes once more are no reason for masks.
    root = coco(tmp_path / 'coco', {'train.json': 'a', 'val.json': 'b'}, masks='polygon')
    assert look_at(str(root), {}).what == 'boxes'


@pytest.mark.parametrize('kind', ['grey', 'colours', 'pairs'])
def test_masks(kind, tmp_path):
    data = look_at(str(formats.masks(tmp_path, kind)), {})
    assert (data.what, data.images, data.side, data.unsplit) == ('maps', 4, 64, None)
    with pytest.raises(ConfigError, match=r'--task detect: .* has no annotations for boxes'):
        look_at(str(tmp_path), {}, 'detect')


def test_both_kinds(tmp_path):
    root = str(formats.masks(formats.yolo(tmp_path)))
    with pytest.raises(ConfigError, match=r'both masks of classes and annotations of objects(.|\n)*--task semantic'):
        look_at(root, {})
    for task, what in ('detect', 'boxes'), ('instances', 'outlines'), ('semantic', 'maps'):
        assert look_at(root, {}, task).what == what
    assert look_at(root, {'format': 'yolo'}).what == 'outlines'
    assert look_at(root, {'format': 'image_mask'}).what == 'maps'


def test_two_formats(tmp_path):
    root = str(formats.yolo(formats.coco(tmp_path)))
    with pytest.raises(DataError, match=r'several formats(.|\n)*custom_data.format=coco'):
        look_at(root, {})
    assert 'data.yaml#yolo-train' in look_at(root, {'format': 'yolo'}).note


def test_nothing(tmp_path):
    with pytest.raises(DataError, match=r'no folders of images and masks there, nor outlines'):
        look_at(str(tmp_path), {})
    with pytest.raises(ConfigError, match=r"there is no 'detekt' \(did you mean 'detect'"):
        look_at(str(tmp_path), {}, 'detekt')
    root = coco(tmp_path / 'a', {'train.json': 'a', 'val.json': 'a'})
    content = json.loads((root / 'train.json').read_text())
    (root / 'train.json').write_text(json.dumps(dict(content, annotations=[])))
    with pytest.raises(DataError, match='there are no objects to learn'):
        look_at(str(root), {})


def test_without_validation(tmp_path):
    for root, names in ((coco(tmp_path / 'a', {'all.json': 'images'}, count=3), 3),
                        (image_mask(tmp_path / 'b', {'images': 'masks'}), 4),
                        (image_mask(tmp_path / 'c', {'images/train': 'masks/train'}), 4)):
        data = look_at(str(root), {})
        assert len(data.unsplit.names) == data.images == names
