"""Broken COCO files: each either trains, validates and is evaluated, or is refused in a line or two."""
import math

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from mmvision_mamba.datasets.coco_annotations import coco_problems
from mmvision_mamba.datasets.coco_masks import rle_problem
from mmvision_mamba.datasets.problems import KINDS

from ..helpers.tiny_datasets import coco_content, detection_config

SQUARE = [[2, 2, 22, 2, 22, 22, 2, 22]]


def ann(**values):
    return lambda c: c['annotations'][1].update(values)


def ann_without(key):
    return lambda c: c['annotations'][1].pop(key)


def rle(**values):
    return ann(segmentation=dict(dict(size=[36, 40], counts=[100, 40, 1300]), **values))


def item(name, value, index=1):
    return lambda c: c[name].__setitem__(index, value)


REFUSED = {  # what is done to the file: (how, words of the message)
    **{f'annotation without {key}': (ann_without(key), f'no {key}')
       for key in ('id', 'image_id', 'category_id', 'bbox', 'area', 'iscrowd')},
    **{f'image without {key}': (lambda c, key=key: c['images'][1].pop(key), 'images without a usable id')
       for key in ('id', 'file_name', 'width', 'height')},
    'annotation is null': (item('annotations', None), 'is NoneType'),
    'annotation is a list': (item('annotations', [1, 2]), 'is list'),
    'image is a string': (item('images', '1.jpg'), 'images[1]: is str'),
    'category is null': (item('categories', None), 'categories'),
    'box with NaN': (ann(bbox=[2, 2, math.nan, 20]), 'not four finite numbers'),
    'box with infinity': (ann(bbox=[2, 2, math.inf, 20]), 'not four finite numbers'),
    'box of three': (ann(bbox=[2, 2, 20]), 'not four finite numbers'),
    'box of strings': (ann(bbox=['2', '2', '20', '20']), 'not four finite numbers'),
    'box of lists': (ann(bbox=[[2], [2], [20], [20]]), 'not four finite numbers'),
    'box is null': (ann(bbox=None), 'not four finite numbers'),
    'box with a huge integer': (ann(bbox=[10**400, 2, 20, 20]), 'not four finite numbers'),
    'area is NaN': (ann(area=math.nan), 'area is nan'),
    'area is a string': (ann(area='400'), "area is '400'"),
    'category id is a list': (ann(category_id=[1]), 'category_id is [1]'),
    'image id is an object': (ann(image_id={}), 'image_id is {}'),
    'annotation id is a string': (ann(id='two'), "id is 'two'"),
    'crowd flag is a string': (ann(iscrowd='no'), "iscrowd is 'no'"),
    'crowd flag is null': (ann(iscrowd=None), 'iscrowd is None'),
    'duplicate annotation ids': (ann(id=1), 'annotations with the id of another'),
    'image ids of two types': (lambda c: c['images'][1].update(id='b'), "id is 'b', the first is 10"),
    'category ids of two types': (lambda c: c['categories'][1].update(id='b'), "id is 'b', the first is 1"),
    'duplicate image ids': (lambda c: c['images'][1].update(id=10), 'images with the id of another'),
    'duplicate category ids': (lambda c: c['categories'][1].update(id=1), 'categories without an id and name'),
    'duplicate category names': (lambda c: c['categories'].append(dict(id=9, name='star')), 'a second time'),
    'image of no width': (lambda c: c['images'][1].update(width=0), 'width × height is 0 × 36'),
    'image of negative height': (lambda c: c['images'][1].update(height=-36), '40 × -36'),
    'image of a width in words': (lambda c: c['images'][1].update(width='40'), "'40' × 36"),
    'image of absurd width': (lambda c: c['images'][1].update(width=10**9), 'width × height'),
    'image of another size': (lambda c: c['images'][1].update(width=80, height=72), 'annotations are for 80 × 72'),
    'no mask': (ann_without('segmentation'), 'objects without a mask'),
    'mask is empty': (ann(segmentation=[]), 'objects without a mask'),
    'mask is null': (ann(segmentation=None), 'objects without a mask'),
    'mask is a number': (ann(segmentation=7), 'no flat lists of finite coordinates'),
    'polygon of two points': (ann(segmentation=[[2, 2, 22, 22]]), 'fewer than three points'),
    'polygon of no point': (ann(segmentation=[[]]), 'fewer than three points'),
    'polygon of seven numbers': (ann(segmentation=[[2, 2, 22, 2, 22, 22, 2]]), 'fewer than three points'),
    'polygon with NaN': (ann(segmentation=[[2, 2, math.nan, 2, 22, 22]]), 'finite coordinates'),
    'polygon with null': (ann(segmentation=[[2, 2, None, 2, 22, 22]]), 'finite coordinates'),
    'polygon of pairs': (ann(segmentation=[[[2, 2], [22, 2], [22, 22]]]), 'finite coordinates'),
    'polygon far away': (ann(segmentation=[[0, 0, 1e8, 0, 1e8, 1e8]]), 'finite coordinates'),
    'run lengths of another size': (rle(size=[72, 80]), 'size is [72, 80]'),
    'run lengths turned': (rle(size=[40, 36]), 'size is [40, 36]'),
    'run lengths too short': (rle(counts=[100, 40]), 'cover 140 of 1440'),
    'run lengths too long': (rle(counts=[100, 40, 10**9]), 'of 1440'),
    'run lengths negative': (rle(counts=[1500, -60]), 'no lengths'),
    'run lengths broken off': (rle(counts='oo'), "counts is 'oo'"),
    'run lengths no code': (rle(counts='garbage ~~'), "counts is 'garbage ~~'"),
    'run lengths in Chinese': (rle(counts='长度'), 'counts is'),
    'run lengths missing': (rle(counts=None), 'counts is None'),
    'run lengths a number': (rle(counts=5), 'counts is 5'),
}

COMPRESSED = coco_mask.encode(np.asfortranarray(np.eye(36, 40, dtype=np.uint8)))['counts'].decode()
WORKS = {  # how, objects left in all four images
    'negative width': (ann(bbox=[22, 2, -20, 20]), 3),
    'negative area': (ann(area=-400), 3),
    'zero area': (ann(area=0), 3),
    'box of no width': (ann(bbox=[2, 2, 0, 20]), 3),
    'box thinner than a pixel': (ann(bbox=[2, 2, 0.4, 20]), 3),
    'box outside of the image': (ann(bbox=[100, 100, 20, 20]), 3),
    'box left of the image': (ann(bbox=[-50, 2, 20, 20]), 3),
    'box larger than the image': (ann(bbox=[-100, -100, 1000, 1000]), 4),
    'unknown category': (ann(category_id=77), 3),
    'unknown image': (ann(image_id=77), 3),
    'category id in words': (ann(category_id='star'), 3),
    'annotation id 0': (ann(id=0), 4),
    'crowd with polygon': (ann(iscrowd=1), 4),
    'crowd with run lengths': (lambda c: (rle()(c), ann(iscrowd=1)(c)), 4),
    'compressed run lengths': (rle(counts=COMPRESSED), 4),
    'to be ignored': (ann(ignore=1), 3),
    'two polygons': (ann(segmentation=SQUARE * 2), 4),
    'polygon out of the image': (ann(segmentation=[[-50, -50, 90, -50, 90, 90]]), 4),
    'image without objects': (lambda c: c['annotations'].pop(1), 3),
    'no objects at all': (lambda c: c['annotations'].clear(), 0),
    'further keys': (ann(score=0.5, attributes=dict(occluded=True)), 4),
    'file name with spaces, unknown licence': (lambda c: c['images'][1].update(license=99, flickr_url=None), 4),
    'category more': (lambda c: c['categories'].append(dict(id=9, name='cube')), 4),
    'file listed twice': (lambda c: c['images'].append(dict(c['images'][0], id=99)), 4),
}


@pytest.mark.parametrize('name', REFUSED)
def test_refused(name, tmp_path, run):
    change, words = REFUSED[name]
    found = run(detection_config(tmp_path, change))
    assert found.refused and words in found.refused, found
    assert '.json' in found.refused or '.jpg' in found.refused


@pytest.mark.parametrize('name', WORKS)
def test_works(name, tmp_path, run):
    change, objects = WORKS[name]
    found = run(detection_config(tmp_path, change), evaluation=True)
    assert found.refused is None
    assert sum(len(s['data_samples'].gt_instances) + len(s['data_samples'].ignored_instances)
               for s in found.samples) == objects


@pytest.mark.parametrize('text', ['', '{', '[]', 'null', '3', '{}', '{"images": 3}', '\ufeff{}', '{"images": [NaN',
                                  '{"images": [], "annotations": [], "categories": []}'])
def test_files_that_are_no_coco(text, tmp_path, run):
    cfg = detection_config(tmp_path)
    with open(f'{cfg.data_root}/annotations/train.json', 'w') as file:
        file.write(text)
    assert 'train.json' in run(cfg).refused


def test_run_lengths_agree_with_pycocotools():
    """Any mask's encoding is good and covers the image; cut or lengthened it is found broken."""
    random = np.random.default_rng(0)
    for _ in range(200):
        height, width = (int(n) for n in random.integers(1, 60, 2))
        mask = (random.random((height, width)) < random.choice([0, .01, .5, 1])).astype(np.uint8)
        code = coco_mask.encode(np.asfortranarray(mask))['counts'].decode()
        assert rle_problem(dict(size=[height, width], counts=code), width, height) is None
        for other in (code[:-1], code + '1', code + 'P'):
            found = rle_problem(dict(size=[height, width], counts=other), width, height)
            assert found or np.array_equal(
                coco_mask.decode(dict(size=[height, width], counts=other)), mask), (code, other)


def test_a_good_file_has_no_problems():
    assert list(coco_problems(coco_content(), True, ('bbox', 'segm'))) == []


def test_kinds_are_complete():
    """Every broken file's problem is a kind that has a level, words and a fix."""
    for name, (change, _) in {**REFUSED, **WORKS}.items():
        content = coco_content()
        change(content)
        for problem in coco_problems(content, True, ('bbox', 'segm')):
            kind = KINDS[problem.kind]
            assert kind.level in ('error', 'warning') and kind.what and kind.fix and problem.where, name
