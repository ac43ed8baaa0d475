"""12 bits in files of 16 are named with their range: in checks, before a training, and where an image is read."""
import io
import json

import cv2
import numpy as np
import pytest
from PIL import Image

pytest.importorskip('mmdet')

from mmvision_mamba.datasets.image_files import darkness, range_of_16_bits
from mmvision_mamba.inference import images
from mmvision_mamba.preflight import bit_depth
from mmvision_mamba.preflight.check_data import check_datasets
from mmvision_mamba.preflight.datasets import value_at
from mmvision_mamba.preflight.report import check_config

from ..helpers.tiny_datasets import coco_dataset, picture


def stored(values, suffix):
    encoded, content = cv2.imencode(suffix, values)
    assert encoded
    return content.tobytes()


def sixteen_bits(bits, shape=(36, 40)):
    values = np.random.default_rng(0).integers(3, 2**bits, shape).astype(np.uint16)
    values.flat[0] = 2**bits - 1
    return values


@pytest.mark.parametrize('suffix', ['.tif', '.png', '.jp2'])
@pytest.mark.parametrize('shape', [(36, 40), (36, 40, 3)])
@pytest.mark.parametrize('bits', [8, 10, 12, 14, 16])
def test_the_range_is_measured(suffix, shape, bits):
    values = sixteen_bits(bits, shape)
    low, high = range_of_16_bits(stored(values, suffix))
    assert (low, high) == (values.min(), values.max()) or suffix == '.jp2'  # which may lose some
    problem = darkness(low, high)
    assert (problem is None) == (bits == 16)
    assert bits == 16 or suffix == '.jp2' or f'{low} to {high} of 65535, {bits} bits' in problem


def test_other_images_have_no_range():
    for kind in ('JPEG', 'PNG', 'BMP', 'GIF', 'TIFF', 'WEBP'):
        assert range_of_16_bits(picture(kind)) is None
    assert range_of_16_bits(b'nothing') is None and range_of_16_bits(b'') is None
    assert darkness(0, 0) is None


@pytest.mark.parametrize(('bits', 'color_type', 'warned'), [
    (12, 'color', True), (10, 'grayscale', True), (16, 'color', False), (12, 'unchanged', False)])
def test_checks_and_the_start_of_a_training(bits, color_type, warned, tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(bit_depth, 'warn_once', said.append)
    cfg = coco_dataset(tmp_path)
    for split in ('train', 'val'):
        path = tmp_path / f'mine/annotations/{split}.json'
        path.write_text(path.read_text().replace('.jpg', '.tif'))
        for i in range(4):
            (tmp_path / f'mine/{split}/{i}.tif').write_bytes(stored(sixteen_bits(bits), '.tif'))
        cfg[f'{split}_dataloader'].dataset.pipeline[0].color_type = color_type
    check_datasets(cfg, ('train', 'val'))
    text = '\n'.join(said)
    assert text.count('nearly black') == (2 if warned else 0)
    assert not warned or '4 of 4 images looked at have 16 bits; the values are ' in text
    assert not warned or f' to {2**bits - 1} of 65535' in text
    reports = check_config(cfg, ('train',))
    assert [p.kind for p in reports[0].problems] == ['nearly black'] * warned


def test_inference_warns_once(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(images, 'print_log', lambda text, **_: said.append(text))
    monkeypatch.setattr(images, '_warned', [])
    for i in range(2):
        (tmp_path / f'{i}.png').write_bytes(stored(sixteen_bits(12), '.png'))
        assert images.read_image(tmp_path / f'{i}.png').max() == 15
    text = '\n'.join(said)
    assert text.count('nearly black') == 1 and '0.png: the values are' in text and '0 to 15 of 255' in text


@pytest.mark.parametrize(('values', 'fine'), [
    (np.zeros((36, 40), np.float32), False), (np.zeros((36, 40), np.int32), False),
    (np.zeros((36, 40), np.uint8), True)])
def test_checks_decode_as_the_pipeline_does(values, fine, tmp_path):
    """Pillow reads all of these; 8 bits cannot hold them."""
    cfg = coco_dataset(tmp_path)
    content = io.BytesIO()
    Image.fromarray(values).save(content, 'TIFF')
    (tmp_path / 'mine/train/1.jpg').write_bytes(content.getvalue())
    report, = check_config(cfg, ('train',))
    assert [p.kind for p in report.problems] == ([] if fine else ['image file'])
    assert fine or 'and those of 8 or 16 bits are read' in report.problems[0].detail
    from mmvision_mamba.preflight.bad_images import leave_out_bad_images
    bad = leave_out_bad_images(cfg, ('train',))
    assert [path.rpartition('/')[2] for path, _ in bad] == ([] if fine else ['1.jpg'])
    assert fine == (value_at(cfg, 'train_dataloader.dataset.left_out') is None)


def test_categories_that_are_no_classes_are_said(tmp_path):
    cfg = coco_dataset(tmp_path)
    path = tmp_path / 'mine/annotations/train.json'
    content = json.loads(path.read_text())
    content['categories'] += [dict(id=100 + i, name=f'stuff {i}') for i in range(53)]
    path.write_text(json.dumps(content))
    report, = check_config(cfg, ('train',))
    assert "53 categories outside the config's classes are ignored: stuff 0, stuff 1" in '\n'.join(report.lines())
