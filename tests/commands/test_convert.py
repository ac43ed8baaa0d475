"""Data sets from format to format: what comes back is what was there."""
import json
import os

import pytest

from mmvision_mamba.datasets import formats
from mmvision_mamba.datasets.coco_files import read_coco

from ..helpers import bands
from ..helpers import formats as written
from ..helpers.custom_folders import coco

SOURCES = dict(coco='{}/_annotations.coco.json', yolo='data.yaml#yolo-{}', voc='#voc-{}')


def objects(path):
    content, _ = read_coco(path)
    names = {category['id']: category['name'] for category in content['categories']}
    found = [(names[a['category_id']], a['bbox'], [[*polygon] for polygon in a['segmentation']])
             for a in content['annotations']]
    return found, len(content['images'])


@pytest.mark.parametrize('name', written.FORMATS)
@pytest.mark.parametrize('target', SOURCES)
def test_all_ways(name, target, tool, tmp_path):
    written.WRITERS[name](tmp_path / 'in')
    expected = objects(written.coco(tmp_path / 'expected') / 'train/annotations.json')
    result = tool('convert', tmp_path / 'in', tmp_path / 'out', '--to', target, *(['--link'] if name == 'voc' else []))
    assert result.code == 0, result.err
    assert 'train: 4 images, 6 objects; val: 2 images, 2 objects' in result.out and 'lost: nothing' in result.out
    assert objects(tmp_path / 'out' / SOURCES[target].format('train')) == expected
    pictures = list((tmp_path / 'out').rglob('*.png'))
    assert len(pictures) == 6 and all(path.is_symlink() == (name == 'voc') for path in pictures)


def test_masks(tool, tmp_path):
    import numpy as np
    from PIL import Image
    written.yolo(tmp_path / 'in')
    result = tool('convert', tmp_path / 'in', tmp_path / 'out', '--to', 'masks')
    assert result.code == 0 and 'lost: 8 objects, of which a mask tells no two of one class apart' in result.out
    assert (tmp_path / 'out/classes.txt').read_text().split() == ['background', *written.NAMES]
    mask = np.asarray(Image.open(tmp_path / 'out/masks/train/train 0.png'))
    np.testing.assert_array_equal(mask, written.label_map(written.objects('train', 0)))


@pytest.mark.parametrize('target', ['coco', 'yolo', 'voc', 'masks'])
@pytest.mark.parametrize('kind', ['grey', 'colours', 'pairs', 'beside'])
def test_from_masks(kind, target, tool, tmp_path):
    """Each connected area becomes an object, and the pixels come back as they were."""
    import numpy as np
    from PIL import Image
    pytest.importorskip('mmseg')
    make = written.masks_beside if kind == 'beside' else written.masks
    make(tmp_path / 'in', 'end' if kind == 'beside' else kind)
    result = tool('convert', tmp_path / 'in', tmp_path / 'out', '--to', target)
    assert result.code == 0 and 'lost: nothing' in result.out, result.err + result.out
    assert ('train: 4 images, 6 objects; val: 2 images, 2 objects' in result.out) == (target != 'masks')
    last = tmp_path / 'out'
    if target != 'masks':
        last = tmp_path / 'back'
        assert tool('convert', tmp_path / 'out', last, '--to', 'masks').code == 0
    assert (last / 'classes.txt').read_text().split() == ['background', *written.NAMES]
    for split, count in written.SPLITS.items():
        for n in range(count):
            mask = np.asarray(Image.open(last / f'masks/{split}/{split} {n}.png'))
            np.testing.assert_array_equal(mask, written.label_map(written.objects(split, n)))


def test_masks_without_names_and_labels(tool, tmp_path):
    import numpy as np
    from PIL import Image
    pytest.importorskip('mmseg')
    root = written.masks(tmp_path / 'in')
    (root / 'classes.txt').unlink()
    path = root / 'masks/train/train 3.png'
    labels = np.zeros((written.HEIGHT, written.WIDTH), np.uint8)
    labels[0, :5] = 255
    Image.fromarray(labels).save(path)
    result = tool('convert', root, tmp_path / 'coco', '--to', 'coco')
    assert result.code == 0 and 'class_0 is taken for what no object covers' in result.out, result.err
    assert 'lost: 5 pixels without a label, which are of no object' in result.out
    result = tool('convert', root, tmp_path / 'masks', '--to', 'masks')
    assert result.code == 0 and 'lost: nothing' in result.out, result.err
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / 'masks/masks/train/train 3.png')), labels)
    Image.fromarray(labels[1:]).save(path)
    result = tool('convert', root, tmp_path / 'none', '--to', 'coco')
    assert result.code == 2 and 'train 3.png' in result.err and 'Traceback' not in result.err, result.err


def test_what_is_lost_is_said(tool, tmp_path):
    import numpy as np
    from pycocotools import mask
    root = coco(tmp_path / 'in', {'train/a.json': 'train', 'val/a.json': 'val'}, masks='rle')
    path = root / 'train/a.json'
    content = json.loads(path.read_text())
    content['annotations'][0]['iscrowd'] = 1
    content['annotations'][1]['segmentation'] = [[35, 8, 59, 8, 59, 38], [35, 8, 40, 30, 35, 38]]
    ring = np.zeros((64, 80), np.uint8, order='F')
    ring[10:30, 10:30], ring[15:20, 15:20] = 1, 0
    encoded = mask.encode(ring)
    content['annotations'][2].update(segmentation=dict(encoded, counts=encoded['counts'].decode()))
    path.write_text(json.dumps(content))
    said = tool('convert', root, tmp_path / 'yolo', '--to', 'yolo').out
    assert '1 crowds, which are left out' in said and '1 objects of several outlines, joined to one' in said
    assert '1 masks of pixels, written as the outlines' in said
    found = formats.read(f'{tmp_path}/yolo/data.yaml#yolo-train')['annotations']
    assert len(found) == 7 and found[0]['bbox'] == [35, 8, 24, 30]
    assert 'which are read as outlines' not in said
    del content['annotations'][3]['segmentation']
    path.write_text(json.dumps(content))
    said = tool('convert', root, tmp_path / 'boxes', '--to', 'yolo').out
    assert '1 boxes without an outline, which are read as outlines beside others' in said
    found = formats.read(f'{tmp_path}/boxes/data.yaml#yolo-train')
    assert '1 boxes among polygons' in found.notes[0]
    assert '2 masks of several parts or of pixels' in tool('convert', root, tmp_path / 'voc', '--to', 'voc').out


@pytest.mark.parametrize(('write', 'images'), [(bands.objects, 'train'), (bands.fields, 'images/train')])
def test_images_of_bands_are_copied_as_they_are(write, images, tool, tmp_path):
    write(tmp_path / 'in')
    result = tool('convert', tmp_path / 'in', tmp_path / 'out', '--to', 'coco')
    assert result.code == 0, result.err
    files = sorted((tmp_path / 'in' / images).glob('*.tif'))
    assert [file.read_bytes() for file in files] == [
        next((tmp_path / 'out/train').rglob(file.name)).read_bytes() for file in files]
    files[0].write_bytes(files[0].read_bytes()[:-900])
    result = tool('convert', tmp_path / 'in', tmp_path / 'again', '--to', 'coco')
    assert result.code == 2 and files[0].name in result.err and not (tmp_path / 'again').exists(), result.err


@pytest.mark.parametrize(('arguments', 'words'), [
    (['in', 'full'], "'full' exists: name a new folder"), (['in', 'in/new'], 'lies in the data'),
    (['none', 'new'], 'none: no such folder'), (['full', 'new'], 'nor another format'),
    (['in', 'new', '--format', 'voc'], 'not what custom_data.format=voc stands for'), (['broken', 'new'], 'line 2')])
def test_nothing_is_overwritten(arguments, words, tool, tmp_path):
    written.yolo(tmp_path / 'in')
    written.yolo(tmp_path / 'broken')
    (tmp_path / 'broken/val/labels/val 0.txt').write_text('\n0 nan 0 1 1\n')
    (tmp_path / 'full').mkdir()
    (tmp_path / 'full/notes.txt').write_text('mine')
    result = tool('convert', *arguments, '--to', 'coco')
    assert result.code == 2 and words in result.err, result.err
    assert not (tmp_path / 'new').exists() and [*(tmp_path / 'full').iterdir()] == [tmp_path / 'full/notes.txt']


@pytest.mark.skipif(os.name != 'posix', reason='links, FIFOs')
@pytest.mark.parametrize('link', [[], ['--link']], ids=['copies', 'links'])
@pytest.mark.parametrize('kind', ['secret', 'absolute', 'link', 'fifo', 'zero', 'annotations', 'image of that name'])
def test_file_names_that_lead_elsewhere(kind, link, tool, tmp_path):
    """Nothing but images is copied or linked to, and nothing is written through a link."""
    root = written.coco(tmp_path / 'in')
    path = root / 'train/annotations.json'
    image = root / 'train/train 0.png'
    (tmp_path / 'secret').write_text('secret')
    content = json.loads(path.read_text())
    name = dict(secret='../../secret', absolute=str(tmp_path / 'secret'), annotations='annotations.json').get(kind)
    if kind in ('link', 'fifo', 'zero'):
        image.unlink()
        dict(link=lambda: image.symlink_to(tmp_path / 'secret'), fifo=lambda: os.mkfifo(image),
             zero=lambda: image.symlink_to('/dev/zero'))[kind]()
    elif kind == 'image of that name':
        name = '_annotations.coco.json'
        (tmp_path / 'mine.png').write_bytes(image.read_bytes())
        (root / 'train' / name).symlink_to(tmp_path / 'mine.png')
    if name:
        content['images'][0]['file_name'] = name
        path.write_text(json.dumps(content))
    before = {file: file.read_bytes() for file in (*root.rglob('*.json'), tmp_path / 'secret') if file.is_file()}
    result = tool('convert', root, tmp_path / 'out', '--to', 'coco', *link)
    assert result.code == 2 and len(result.err.strip().splitlines()) <= 2, result.err
    assert not (tmp_path / 'out').exists() and not list(tmp_path.glob('.out*'))
    assert {file: file.read_bytes() for file in before} == before


def test_background_is_what_no_object_covers(tool, tmp_path):
    import numpy as np
    from PIL import Image
    root = written.coco(tmp_path / 'in')
    for path in root.rglob('*.json'):
        path.write_text(path.read_text().replace(f'"{written.NAMES[-1]}"', '"background"'))
    assert tool('convert', root, tmp_path / 'out', '--to', 'masks').code == 0
    assert (tmp_path / 'out/classes.txt').read_text().split() == ['background', *written.NAMES[:-1]]
    mask = np.asarray(Image.open(tmp_path / 'out/masks/train/train 0.png'))
    expected = written.label_map(written.objects('train', 0))
    np.testing.assert_array_equal(mask, np.where(expected == len(written.NAMES), 0, expected))


def test_an_empty_folder_is_filled(tool, tmp_path):
    written.yolo(tmp_path / 'in')
    (tmp_path / 'out').mkdir()
    assert tool('convert', tmp_path / 'in', tmp_path / 'out', '--to', 'voc').code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ['in', 'out']
    assert {'Annotations', 'ImageSets', 'JPEGImages'} == {path.name for path in (tmp_path / 'out').iterdir()}


def test_objects_that_are_left_out_are_counted(tool, tmp_path):
    root = written.coco(tmp_path / 'in')
    path = root / 'train/annotations.json'
    content = json.loads(path.read_text())
    content['annotations'][0]['category_id'] = 99
    path.write_text(json.dumps(content))
    for target in SOURCES:
        result = tool('convert', root, tmp_path / target, '--to', target)
        if result.code == 0:
            assert 'train: 4 images, 5 objects' in result.out
            assert 'lost: 1 objects of classes that are not there' in result.out
            assert len(objects(tmp_path / target / SOURCES[target].format('train'))[0]) == 5
        else:
            assert '99' in result.err or 'categor' in result.err, result.err


@pytest.mark.parametrize('target', ['coco', 'yolo', 'voc', 'masks'])
def test_annotations_for_an_image_of_another_size(target, tool, tmp_path):
    root = written.coco(tmp_path / 'in')
    path = root / 'train/annotations.json'
    content = json.loads(path.read_text())
    image = content['images'][0]
    image['width'], image['height'] = image['height'], image['width'] + 1
    path.write_text(json.dumps(content))
    result = tool('convert', root, tmp_path / 'out', '--to', target)
    assert result.code == 2 and 'pixels, upright, and its annotations are for' in result.err, result.err
    assert not (tmp_path / 'out').exists()


def test_more_masks_than_memory_has_room_for(tool, tmp_path, monkeypatch):
    root = coco(tmp_path / 'in', {'train/a.json': 'train', 'val/a.json': 'val'}, masks='rle')
    monkeypatch.setenv('MMVISION_MAMBA_MAX_MASK_PIXELS', '1000')
    result = tool('convert', root, tmp_path / 'out', '--to', 'yolo')
    assert result.code == 2 and 'MMVISION_MAMBA_MAX_MASK_PIXELS' in result.err, result.err
