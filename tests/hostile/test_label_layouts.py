"""Hostile folders of labels and masks: refused by name, in little time and memory."""
import numpy as np
import pytest
from PIL import Image

from mmvision_mamba.datasets import formats
from mmvision_mamba.datasets.class_names import class_colours, class_names
from mmvision_mamba.datasets.coco_annotations import check_files, coco_problems
from mmvision_mamba.datasets.mask_names import apart
from mmvision_mamba.errors import DataError

from ..helpers import formats as written


def refused(name):
    with pytest.raises(DataError) as error:
        check_files(formats.read(name))
    lines = str(error.value).splitlines()
    assert len(lines) <= 2 and max(map(len, lines)) < 700 and '\x1b' not in str(error.value)
    return str(error.value)


def png(path, array):
    Image.fromarray(array).save(path)


NOISE = np.random.default_rng(0).integers(1, 60_000, (written.HEIGHT, written.WIDTH), np.uint16)
CLASSES, OBJECTS = 'SegmentationClass/train 0.png', 'SegmentationObject/train 0.png'
MASKS = {  # what is done to the masks of an image, and what is said
    'cut off': (lambda root: (root / OBJECTS).write_bytes((root / OBJECTS).read_bytes()[:90]), OBJECTS),
    'no image': (lambda root: (root / OBJECTS).write_text('hello'), OBJECTS),
    'empty': (lambda root: (root / CLASSES).write_bytes(b''), CLASSES),
    'of another size': (lambda root: png(root / OBJECTS, np.zeros((8, 8), np.uint8)), 'it has 8 × 8 pixels'),
    'classes of another size': (lambda root: png(root / CLASSES, np.zeros((8, 8), np.uint8)), CLASSES),
    'colours of no names': (lambda root: png(root / CLASSES, np.zeros((64, 80, 3), np.uint8)), 'no labelmap.txt'),
    'missing': (lambda root: (root / CLASSES).unlink(), 'there is no SegmentationClass/train 0.png'),
    'objects without a class': (lambda root: png(root / CLASSES, np.zeros((64, 80), np.uint8)), 'has no class for its'),
    'more objects than are allowed': (lambda root: png(root / OBJECTS, NOISE), 'MMVISION_MAMBA_MAX_OBJECTS'),
    'float': (lambda root: Image.fromarray(NOISE.astype(np.float32)).save(root / OBJECTS, 'tiff'), OBJECTS)}


@pytest.mark.parametrize('name', MASKS)
def test_masks_of_objects(name, tmp_path, monkeypatch):
    monkeypatch.setenv('MMVISION_MAMBA_MAX_OBJECTS', '1000')
    written.voc_instances(tmp_path)
    spoil, words = MASKS[name]
    spoil(tmp_path)
    assert words in refused(f'{tmp_path}/#voc_instances-train')


def test_masks_larger_than_is_allowed(tmp_path, monkeypatch):
    written.voc_instances(tmp_path)
    png(tmp_path / OBJECTS, np.zeros((700, 800), np.uint8))
    monkeypatch.setenv('OPENCV_IO_MAX_IMAGE_PIXELS', '500000')
    assert OBJECTS in refused(f'{tmp_path}/#voc_instances-train')


def test_classes_beyond_the_names(tmp_path):
    written.voc_instances(tmp_path)
    mask = np.asarray(Image.open(tmp_path / CLASSES)).copy()
    mask[(mask > 0) & (mask < 255)] = 9
    png(tmp_path / CLASSES, mask)
    kinds = {problem.kind for problem in coco_problems(formats.read(f'{tmp_path}/#voc_instances-train'))}
    assert kinds == {'unknown category'}


def test_lists_of_classes_that_differ(tmp_path):
    written.yolo_beside(tmp_path)
    (tmp_path / 'val/classes.txt').write_text('dog\ncat\neel\n')
    assert 'val/classes.txt name other classes' in refused(f'{tmp_path}/#yolo-train')
    (tmp_path / 'classes.txt').write_text('dog\ncat\neel\n')  # nearer
    assert formats.read(f'{tmp_path}/#yolo-train')['categories'][0]['name'] == 'dog'
    (tmp_path / 'classes.txt').write_text('a' * (2**20 + 1))
    assert 'classes.txt: cannot be read' in refused(f'{tmp_path}/#yolo-train')


DARKNET = {'binary': b'\xff\x00\xfe', 'no names': b'train = train.txt', 'names that are not there':
           b'names = none.names\ntrain = train.txt\n', 'no list': b'names = obj.names\ntrain = none.txt\n',
           'a device': b'names = /dev/zero\ntrain = train.txt\n', 'itself': b'names = obj.names\ntrain = obj.data\n'}


@pytest.mark.parametrize('text', DARKNET)
def test_darknet(text, tmp_path):
    written.darknet(tmp_path)
    (tmp_path / 'obj.data').write_bytes(DARKNET[text])
    refused(f'{tmp_path}/obj.data#yolo-train')


def test_labels_of_large_numbers(tmp_path, monkeypatch):
    written.yolo_classes(tmp_path)
    (tmp_path / 'classes.txt').unlink()
    label = tmp_path / 'labels/train/train 0.txt'
    label.write_text(''.join(f'{i}{"0" * 6} 0.5 0.5 0.1 0.1\n' for i in range(1, 30)))
    assert len(formats.read(f'{tmp_path}/#yolo-train')['categories']) < 40
    monkeypatch.setenv('MMVISION_MAMBA_MAX_CATEGORIES', '20')
    assert 'and 20 are allowed' in refused(f'{tmp_path}/#yolo-train')


@pytest.mark.timeout(60)
def test_each_folder_is_listed_a_few_times_whatever_lies_in_it(tmp_path, monkeypatch):
    import os
    written.yolo_classes(tmp_path)
    for i in range(300):
        (tmp_path / f'images/train/{i}.png').write_bytes(b'')
        (tmp_path / f'labels/train/{i}.txt').write_bytes(b'')
    listed = []
    real = os.scandir
    monkeypatch.setattr(os, 'scandir', lambda path='.': listed.append(path) or real(path))
    assert formats.find(str(tmp_path), 'yolo').keys() == {'train', 'val'}
    formats.read(f'{tmp_path}/#yolo-train')
    assert len(listed) < 60


@pytest.mark.timeout(60)
def test_names_of_many_ends():
    files = [f'{"_" * 200}{i}.png' for i in range(500)] + [f'{i}{"_mask" * 45}.png' for i in range(500)]
    assert apart(files) == (files, [])


def test_tables_of_classes(tmp_path):
    table = tmp_path / '_classes.csv'
    for line in ('x, cat', '999, cat', '1', '-1, cat', f'{"9" * 5000}, cat'):
        table.write_text(f'Pixel Value, Class\n{line}\n')
        with pytest.raises(DataError, match='expected the number of a class') as error:
            class_names(str(tmp_path))
        assert len(str(error.value)) < 400
    (tmp_path / 'labelmap.txt').write_text(''.join(f'c{i}:{i % 256},{i // 256},0::\n' for i in range(300)))
    with pytest.raises(DataError, match='more than 255 colours'):
        class_colours(str(tmp_path))
