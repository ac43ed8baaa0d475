"""The pre-flight check, as a user runs it: good data, everything broken at once, wrong usage."""
import json
import math

import numpy as np
import pytest
from PIL import Image

from ..helpers.image_bytes import turned
from ..helpers.tiny_datasets import ade_dataset, change_json, coco_dataset, picture, write

pytest.importorskip('mmdet')
pytest.importorskip('mmseg')


@pytest.fixture
def check(tool, tmp_path):
    def run(cfg, *options):
        cfg.dump(tmp_path / 'config.py')
        result = tool('check_dataset', tmp_path / 'config.py', '--workers', 0, '--json', tmp_path / 'report.json',
                      *options)
        result.report = json.loads((tmp_path / 'report.json').read_text())
        result.problems = {(p['kind'], p['where']) for d in result.report['datasets'] for p in d['problems']}
        return result
    return run


def test_good_coco(check, tmp_path):
    result = check(coco_dataset(tmp_path), '--split', 'train,val,test')
    assert result.code == 0 and '0 errors, 0 warnings' in result.out
    train, val = result.report['datasets']  # test is val again
    assert train['where'] == 'train_dataloader.dataset' and train['images'] == train['objects'] == 4
    assert train['classes'] == dict(circle=2, square=1, star=1)
    assert train['box_sides'] == {'min': 20, '5%': 20, 'median': 20, '95%': 20, 'max': 20}
    assert val['path'].endswith('val.json')


def test_everything_at_once(check, tmp_path):
    cfg = coco_dataset(tmp_path)
    root = tmp_path / 'mine'

    def spoil(content):
        a, b, c, d = content['annotations']
        a.update(bbox=[2, 2, math.nan, 20])
        b.update(category_id=99)
        c.update(id=4)
        del d['area']
        content['images'][3].update(width=50)
        content['annotations'].append(dict(a, id=7, image_id=10, bbox=[90, 2, 20, 20]))

    change_json(cfg, 'train', spoil)
    write(root / 'train/0.jpg', picture('JPEG')[:-200])
    (root / 'train/1.jpg').unlink()
    write(root / 'train/2.jpg', b'')
    result = check(cfg, '--show', 1)
    assert result.code == 1
    assert {(kind, where.removeprefix(str(root))) for kind, where in result.problems} == {
        ('box not finite', 'annotation 1 (0.jpg)'), ('unknown category', 'annotation 2 (1.jpg)'),
        ('annotation record', 'annotation 4 (3.jpg)'), ('duplicate annotation id', 'annotation 4 (3.jpg)'),
        ('box outside', 'annotation 7 (0.jpg)'), ('image file', '/train/0.jpg'), ('image file', '/train/1.jpg'),
        ('image file', '/train/2.jpg'), ('image size', '/train/3.jpg')}
    assert 'error: 3 images that cannot be used\n' in result.out and '… and 2 more' in result.out
    assert '40 × 36 pixels, annotated as 50 × 36' in result.out and '→ ' in result.out
    assert '7 errors, 2 warnings' in result.out


def test_segmentation(check, tmp_path):
    cfg = ade_dataset(tmp_path)
    cfg.model = dict(decode_head=dict(num_classes=4))
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        loader.dataset.update(type='BaseSegDataset', img_suffix='.jpg',
                              metainfo=dict(classes=('a', 'b', 'c', 'd'), palette=[[0, 0, 0]] * 4))
    result = check(cfg)
    assert result.code == 0, result.out
    assert result.report['datasets'][0]['classes'] == dict(a=0, b=1440, c=1440, d=1440)
    maps = tmp_path / 'ade/ADEChallengeData2016/annotations/training'
    Image.fromarray(np.full((36, 40), 7, np.uint8)).save(maps / '0.png')
    Image.fromarray(np.full((20, 40), 1, np.uint8)).save(maps / '1.png')
    (maps / '2.png').unlink()
    result = check(cfg, '--split', 'train')
    assert result.code == 1 and '3 errors' in result.out
    for words in ('has the labels 7, and the model has the classes 0 to 3', 'is 40 × 20 pixels, its image 40 × 36',
                  'the file is missing'):
        assert words in result.out
    result = check(cfg, '--split', 'train', '--annotations-only')
    assert result.code == 0


def test_sizes_are_those_of_the_pipelines_decoder(check, tmp_path):
    cfg = coco_dataset(tmp_path)
    for i, options in enumerate((dict(xmp=b'<a tiff:Orientation="6"/>'), dict(exif=turned(head=b'II\0*')),
                                 dict(exif=turned()))):
        Image.new('RGB', (36, 40)).save(tmp_path / f'mine/train/{i}.jpg', **options)
    result = check(cfg, '--split', 'train')
    assert result.code == 1
    assert {(kind, where[-5:]) for kind, where in result.problems} == {('image size', '0.jpg'), ('image size', '1.jpg')}
    assert '36 × 40 pixels, annotated as 40 × 36' in result.out
    cfg.train_dataloader.dataset.pipeline[0].imdecode_backend = 'pillow'
    assert check(cfg, '--split', 'train').code == 0


def test_what_no_size_shows(check, tmp_path):
    """Pictures turned by 180°, and palettes that differ from file to file."""
    cfg = ade_dataset(tmp_path)
    folder = tmp_path / 'ade/ADEChallengeData2016'
    Image.open(folder / 'images/training/0.jpg').save(folder / 'images/training/0.jpg', exif=turned(3))
    Image.open(folder / 'images/training/1.jpg').save(folder / 'images/training/1.jpg', exif=turned(1))
    for i, colours in enumerate(([0, 0, 0, 9, 9, 9, 255, 0, 0], [0, 0, 0, 9, 9, 9, 0, 255, 0, 7, 7, 7], [5, 5, 5] * 4)):
        mask = Image.fromarray(np.full((36, 40), min(i + 1, 2), np.uint8), 'P')
        mask.putpalette(colours)
        mask.save(folder / f'annotations/training/{i}.png')
    result = check(cfg, '--split', 'train')
    assert result.code == 1 and '0 errors, 2 warnings' in result.out
    assert {(kind, where[-5:]) for kind, where in result.problems} == {('turned image', '0.jpg'), ('palettes', '2.png')}
    assert '2 is (5, 5, 5) in it, and (0, 255, 0) in' in result.out
    cfg.train_dataloader.dataset.pipeline[0].color_type = 'color_ignore_orientation'
    assert {kind for kind, _ in check(cfg, '--split', 'train').problems} == {'palettes'}


def test_masks_of_a_pixels_height(check, tmp_path):
    cfg = ade_dataset(tmp_path)
    folder = tmp_path / 'ade/ADEChallengeData2016'
    write(folder / 'images/training/0.jpg', picture('JPEG', (40, 1)))
    Image.new('L', (40, 1), 1).save(folder / 'annotations/training/0.png')
    assert check(cfg, '--split', 'train').code == 0
    Image.new('L', (1, 50), 1).save(folder / 'annotations/training/0.png')
    result = check(cfg, '--split', 'train')
    assert 'the segmentation map is a pixel high or wide, 50 pixels, its image 40 × 1' in result.out


def test_missing_data_is_a_problem_not_a_crash(check, tmp_path):
    cfg = coco_dataset(tmp_path)
    (tmp_path / 'mine/annotations/train.json').write_text('{"images": [')
    (tmp_path / 'mine/annotations/val.json').unlink()
    result = check(cfg)
    assert result.code == 1 and '2 errors' in result.out
    assert 'the annotation file is truncated' in result.out and 'no such file or folder' in result.out


def test_other_classes(check, tmp_path):
    cfg = coco_dataset(tmp_path)
    change_json(cfg, 'train', lambda content: content['categories'][1].update(name='cube'))
    result = check(cfg, '--split', 'train')
    assert result.code == 1 and "1 of the config's 3 classes are not among its categories: square" in result.out


def test_voc(check, tmp_path):
    """Any other data set, as its own class reads it."""
    root = tmp_path / 'VOC2007'
    write(root / 'JPEGImages/1.jpg', picture('JPEG'))
    write(root / 'ImageSets/Main/train.txt', '1\n')
    write(root / 'Annotations/1.xml', '<annotation><size><width>40</width><height>36</height></size><object><name>cat'
          '</name><difficult>0</difficult><bndbox><xmin>3</xmin><ymin>3</ymin><xmax>12</xmax><ymax>12</ymax></bndbox>'
          '</object></annotation>')
    cfg = coco_dataset(tmp_path)
    cfg.train_dataloader.dataset = dict(type='VOCDataset', data_root=f'{root}/', ann_file='ImageSets/Main/train.txt',
                                        data_prefix=dict(sub_data_root=''), pipeline=[])
    result = check(cfg, '--split', 'train')
    assert result.code == 0, result.out
    assert result.report['datasets'][0]['objects'] == 1 and result.report['datasets'][0]['classes']['cat'] == 1
    write(root / 'Annotations/1.xml', '<annotation>')
    result = check(cfg, '--split', 'train')
    assert result.code == 1 and '1.xml' in result.out and 'Traceback' not in result.out


def test_a_folder_with_a_space(check, tmp_path):
    cfg = coco_dataset(tmp_path)
    (tmp_path / 'mine').rename(tmp_path / 'all mine')
    result = check(cfg, '--cfg-options', f'data_root={tmp_path}/all mine')
    assert result.code == 0 and '0 errors, 0 warnings' in result.out


@pytest.mark.parametrize(('options', 'message'), [
    (('nowhere.py',), 'config file not found: nowhere.py'),
    (('{config}', '--split', 'training'), '--split takes train, val, test'),
    (('{config}', '--workers', '-1'), 'take numbers from 0 up'),
    (('{config}', '--workers', str(2**62)), 'MMVISION_MAMBA_MAX_WORKERS=NUMBER in the environment allows more'),
    (('{config}', '--split', 'test'), 'no data set of mmengine in test')])
def test_wrong_usage(options, message, tool, tmp_path):
    cfg = coco_dataset(tmp_path)
    cfg.test_dataloader = None
    cfg.dump(tmp_path / 'config.py')
    result = tool('check_dataset', *[o.format(config=tmp_path / 'config.py') for o in options])
    assert result.code == 2 and message in result.err
