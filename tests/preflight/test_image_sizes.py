"""Images of another size than their annotation file says are named when a training starts."""
import pytest
from PIL import Image

from mmvision_mamba.preflight import image_sizes
from mmvision_mamba.preflight.check_data import check_datasets

from ..helpers.tiny_datasets import change_json, coco_dataset, picture, write

pytest.importorskip('mmdet')


@pytest.mark.parametrize(('size', 'wrong'), [((40, 36), False), ((36, 40), True), ((80, 72), True), ((40, 37), True)])
def test_images_made_smaller_after_they_were_annotated(size, wrong, tmp_path, monkeypatch):
    found = []
    monkeypatch.setattr(image_sizes, 'warn_once', found.append)
    cfg = coco_dataset(tmp_path)
    for i in range(3):
        write(tmp_path / f'mine/train/{i}.jpg', picture('JPEG', size))
    change_json(cfg, 'train', lambda c: c['annotations'].pop(1))  # where nothing is annotated the size is no matter
    check_datasets(cfg, ('train', 'val'))
    assert len(found) == wrong
    assert not wrong or f'train.json: 2 of 3 images looked at have another size than it says, the first: 0.jpg is ' \
        f'{size[0]} × {size[1]}, not 40 × 36' in found[0]


def test_a_picture_that_its_header_turns_may_be_annotated_either_way(tmp_path, monkeypatch):
    found = []
    monkeypatch.setattr(image_sizes, 'warn_once', found.append)
    cfg = coco_dataset(tmp_path)
    exif = Image.Exif()
    exif[0x0112] = 6
    for i, size in enumerate([(40, 36), (36, 40)]):
        Image.new('RGB', size).save(tmp_path / f'mine/train/{i}.jpg', exif=exif)
    check_datasets(cfg, ('train', 'val'))
    assert not found
