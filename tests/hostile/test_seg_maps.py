"""Broken segmentation maps: refused in a line that names the file and what is wrong."""
import io

import numpy as np
import pytest
from PIL import Image

from mmvision_mamba.datasets.image_files import label_map_problem

from ..helpers.tiny_datasets import segmentation_config


def encoded(array, file_format='PNG', mode=None) -> bytes:
    out = io.BytesIO()
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(out, file_format)
    return out.getvalue()


LABELS = (np.arange(36 * 40) % 4).astype(np.uint8).reshape(36, 40)


def palette() -> bytes:
    image = Image.fromarray(LABELS, 'P')
    image.putpalette([5, 5, 5, 200, 0, 0, 0, 200, 0, 0, 0, 200])
    image.save(out := io.BytesIO(), 'PNG')
    return out.getvalue()


REFUSED = {
    'smaller than the image': (encoded(LABELS[:18, :20]), 'is 20 × 18 pixels, its image 40 × 36'),
    'turned': (encoded(np.ascontiguousarray(LABELS.T)), 'is 36 × 40 pixels'),
    'one pixel': (encoded(LABELS[:1, :1]), 'is 1 × 1 pixels, its image 40 × 36'),
    'label out of range': (encoded(LABELS + 1), 'has the labels 4, and the model has the classes 0 to 3'),
    'label 254': (encoded(np.full((36, 40), 254, np.uint8)), 'has the labels 254'),
    'label 256 in 16 bits': (encoded(LABELS.astype(np.uint16) * 256), 'has the label 768; mmseg keeps 8 bits'),
    'colours': (encoded(np.stack([LABELS] * 3, -1)), 'not one label a pixel'),
    'alpha': (encoded(np.stack([LABELS] * 4, -1)), 'not one label a pixel'),
    'black and white': (encoded(np.where(LABELS > 1, 255, 0).astype(np.uint8), mode='LA'), 'not one label a pixel'),
    'labels to 3 in a header': (b'P5\n40 36\n3\n' + LABELS.tobytes(), 'its labels are multiplied when they are read'),
    'empty': (b'', 'the file is empty'),
    'cut': (encoded(LABELS)[:-40], 'truncated'),
    'text': (b'labels', 'not an image'),
}
WORKS = {
    'grey': encoded(LABELS),
    'palette': palette(),
    'not counted': encoded(np.where(LABELS == 3, 255, LABELS).astype(np.uint8)),
    'nothing counted': encoded(np.full((36, 40), 255, np.uint8)),
    '16 bits': encoded(LABELS.astype(np.uint16)),
    'bmp': encoded(LABELS, 'BMP'),
    'tiff': encoded(LABELS, 'TIFF'),
    'pgm': encoded(LABELS, 'PPM'),
    '1 bit': encoded((LABELS > 1).astype(np.uint8) * 255, mode='1'),
}


def put(tmp_path, content):
    for split in ('training', 'validation'):
        (tmp_path / f'ade/ADEChallengeData2016/annotations/{split}/1.png').write_bytes(content)


@pytest.mark.parametrize('name', REFUSED)
def test_refused(name, tmp_path, run):
    cfg = segmentation_config(tmp_path)
    content, words = REFUSED[name]
    put(tmp_path, content)
    message = run(cfg).refused
    assert message and words in message and '1.png' in message, message


@pytest.mark.parametrize('name', WORKS)
def test_works(name, tmp_path, run):
    cfg = segmentation_config(tmp_path)
    put(tmp_path, WORKS[name])
    found = run(cfg)
    assert found.refused is None
    labels = set(found.samples[1]['data_samples'].gt_sem_seg.data.unique().tolist())
    assert labels <= {0, 1, 2, 3, 255} and labels


def test_no_map_at_all(tmp_path, run):
    cfg = segmentation_config(tmp_path)
    (tmp_path / 'ade/ADEChallengeData2016/annotations/training/1.png').unlink()
    assert '1 of 3 masks are missing' in run(cfg).refused


def test_label_0_that_means_no_class(tmp_path, run):
    cfg = segmentation_config(tmp_path, reduce_zero_label=True)
    for key in ('train_dataloader', 'val_dataloader'):
        cfg[key].dataset.reduce_zero_label = True
    put(tmp_path, encoded(LABELS + 1))
    assert run(cfg).refused is None


def test_labels_of_a_binary_head():
    from mmvision_mamba.datasets.loading import known_labels
    assert known_labels(dict(model=dict(decode_head=dict(num_classes=1)))) == range(2)
    assert known_labels(dict(model=dict(decode_head=[dict(num_classes=9), dict(num_classes=5)]))) == range(5)
    assert known_labels(dict(model=dict(type='CascadeRCNN'))) is None
    assert label_map_problem(LABELS, (36, 40), None) is None
    assert label_map_problem(np.zeros(7, np.uint8), (7, 1)) is not None
