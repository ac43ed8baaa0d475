"""COCO files as label tools write them, read: what is mended, what is left, and what is counted."""
import copy
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmvision_mamba.datasets.coco_annotations import coco_problems
from mmvision_mamba.datasets.coco_files import read_coco
from mmvision_mamba.datasets.coco_masks import mask_area, mask_extent
from mmvision_mamba.datasets.coco_repairs import repair
from mmvision_mamba.datasets.panoptic_files import read_panoptic
from mmvision_mamba.datasets.usage import coco_usage
from mmvision_mamba.errors import DataError

from ..helpers.tiny_datasets import coco_content


def each(name, change):
    return lambda c: [change(item) for item in c[name]]


def as_text(key):
    return lambda item: item.update({key: str(item[key])})


MENDED = {  # what is done to a good file: (how, words of the note)
    'category ids in quotes': (each('annotations', as_text('category_id')), 'category ids of another type'),
    'category ids with a point': (each('annotations', lambda a: a.update(category_id=float(a['category_id']))),
                                  'category ids of another type'),
    'categories in quotes': (each('categories', as_text('id')), 'category ids of another type'),
    'image ids in quotes': (each('images', as_text('id')), 'image ids of another type'),
    'references to images in quotes': (each('annotations', as_text('image_id')), 'image ids of another type'),
    'all ids with a point': (lambda c: [c[name][i].update(id=float(c[name][i]['id'])) for name in (
        'images', 'categories', 'annotations') for i in range(3)], 'ids of another type'),
    'annotation ids in words': (each('annotations', lambda a: a.update(id=f'box {a["id"]}')), 'given anew'),
    'annotation ids all 0': (each('annotations', lambda a: a.update(id=0)), '4 annotation ids missing, 0'),
    'no annotation ids': (each('annotations', lambda a: a.pop('id')), '4 annotation ids missing'),
    'no area': (each('annotations', lambda a: a.pop('area')), '4 areas missing or 0, derived from their masks'),
    'area null': (each('annotations', lambda a: a.update(area=None)), '4 areas missing or 0'),
    'area 0': (each('annotations', lambda a: a.update(area=0)), '4 areas missing or 0'),
    'area in quotes, box in quotes': (each('annotations', lambda a: a.update(area='400', bbox=list('22') + ['20'] * 2)),
                                      '4 boxes in quotes'),
    'no iscrowd': (each('annotations', lambda a: a.pop('iscrowd')), '4 annotations without iscrowd'),
    'no box': (each('annotations', lambda a: a.pop('bbox')), '4 boxes missing, derived from their masks'),
    'sizes in quotes': (each('images', as_text('width')), '4 widths and heights in quotes'),
    'back slashes': (each('images', lambda i: i.update(file_name='a\\b\\' + i['file_name'])), '4 file names'),
    'white space': (each('categories', lambda c: c.update(name=f' {c["name"]}\n')), '3 category names'),
    'a heading': (lambda c: (c['categories'].insert(0, dict(id=0, name='shapes', supercategory='none')),
                             each('categories', lambda x: x.update(supercategory='shapes'))(
                                 dict(categories=c['categories'][1:]))), 'no annotations in shapes (id 0)'),
    'a heading of the same name': (lambda c: (
        c['categories'].insert(0, dict(id=9, name='star', supercategory='none')),
        c['categories'][-1].update(supercategory='star')), 'no annotations in star (id 9)'),
    'a heading of labelme': (lambda c: c['categories'].insert(0, dict(id=0, name='_background_', supercategory=None)),
                             'no annotations in _background_ (id 0)'),
    'polygons without a list': (each('annotations', lambda a: a.update(segmentation=a['segmentation'][0])),
                                '4 polygons not in a list'),
    'a heading in another case': (lambda c: (
        c['categories'].insert(0, dict(id=9, name='Star', supercategory='none')),
        c['categories'][-1].update(supercategory='STAR ')), 'no annotations in Star (id 9)'),
}


@pytest.mark.parametrize('name', MENDED)
def test_mended(name):
    change, words = MENDED[name]
    content = coco_content()
    for category in content['categories']:
        category['supercategory'] = 'none'
    good = copy.deepcopy(content)
    change(content)
    notes = repair(content)
    assert words in '; '.join(notes)
    for image, whole in zip(content['images'], good['images']):
        whole['file_name'] = image['file_name']
    for category in content['categories']:
        category['supercategory'] = 'none'
    if 'back' in name:
        assert content['images'][1]['file_name'] == 'a/b/1.jpg'
    assert content == good and not list(coco_problems(content, True, ('bbox', 'segm'), boxes='xywh'))
    assert repair(content) == []  # nothing twice


def test_what_would_be_a_guess_stays():
    """Ids that no number tells, a heading with objects, a class that is nobody's heading, text ids on both sides."""
    content = coco_content()
    for category, supercategory in zip(content['categories'], ('none', 'circle', 'circle')):
        category['supercategory'] = supercategory
    content['categories'].append(dict(id=4, name='person', supercategory='person'))
    content['annotations'][0]['category_id'] = 'circle'
    content['annotations'][1]['bbox'] = None
    content['annotations'][1]['segmentation'] = None
    for image in content['images']:
        image['id'] = f'00{image["id"]}'
    for ann in content['annotations']:
        ann['image_id'] = f'00{ann["image_id"]}'
    before = copy.deepcopy(content)
    assert repair(content) == [] and content == before


def test_ids_that_would_become_equal_stay():
    content = coco_content()
    content['images'][0]['id'], content['images'][1]['id'] = '7', '07'
    assert not any('image id' in note for note in repair(content))


@pytest.mark.parametrize('encoding', ['utf-8', 'utf-8-sig', 'utf-16', 'utf-32'])
def test_byte_order_marks(encoding, tmp_path):
    path = tmp_path / 'a.json'
    path.write_text(json.dumps(coco_content(names=('猫', 'b', 'c')), ensure_ascii=False), encoding=encoding)
    content, notes = read_coco(path)
    assert content['categories'][0]['name'] == '猫' and bool(notes) == (encoding != 'utf-8')


@pytest.mark.parametrize(('content', 'words'), [
    (b'{"images": [], "annotations": []}', 'has no categories'), (b'[]', 'has no images and no categories'),
    (b'{"images": [', 'is truncated'), ('{"a": "é"}'.encode('latin-1'), 'UTF-8'), (b'', 'is empty')])
def test_what_can_not_be_read_is_named(content, words, tmp_path):
    (tmp_path / 'a.json').write_bytes(content)
    with pytest.raises(DataError, match=words):
        read_coco(tmp_path / 'a.json')


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 30), st.data())
def test_areas_and_extents_are_those_of_pycocotools(height, width, data):
    import numpy as np
    from pycocotools import mask as coco_mask
    mask = np.array(data.draw(st.lists(st.integers(0, 1), min_size=height * width, max_size=height * width)),
                    np.uint8).reshape(height, width, order='F')
    encoded = coco_mask.encode(np.asfortranarray(mask))
    counts = [int(n) for n in np.diff(np.flatnonzero(np.diff(np.r_[2, mask.ravel('F'), 2])))]
    counts = ([0] if mask[0, 0] else []) + counts
    for code in (encoded['counts'].decode(), counts):
        rle = dict(size=[height, width], counts=code)
        assert (mask_area(rle) or 0) == mask.sum()
        assert not mask.any() or mask_extent(rle) == tuple(coco_mask.toBbox(encoded))


def test_areas_of_polygons():
    assert mask_area([[0, 0, 10, 0, 10, 4, 0, 4], [20, 20, 30, 20, 20, 30]]) == 40 + 50
    assert mask_extent([[0, 1, 10, 0, 10, 4, 0, 4], [20, 20, 30, 20, 20, 30]]) == (0, 0, 30, 30)
    for broken in (None, [], [[]], 'x', [[1, 'a', 2]], [['a'] * 6], dict(counts=5), dict(counts='~~', size=None),
                   [[float('nan')] * 6]):
        assert mask_area(broken) is None and mask_extent(broken) is None


# Counts -------------------------------------------------------------------------------------------------------------

USED = {  # how: (objects used, words of the line)
    'crowds': (each('annotations', lambda a: a.update(iscrowd=1)), 0, 'not used: 4 crowds'),
    'outside': (each('annotations', lambda a: a.update(bbox=[90, 90, 20, 20])), 0, '4 outside their image'),
    'fractions': (each('annotations', lambda a: a.update(bbox=[.1, .1, .4, .4])), 0, '4 under a pixel'),
    'unknown categories': (each('annotations', lambda a: a.update(category_id=7)), 0, '4 of unknown categories'),
    'unknown images': (each('annotations', lambda a: a.update(image_id=7)), 0, '4 of unknown images'),
    'small images': (lambda c: c['images'][0].update(width=20), 3, '1 image under min_size=32'),
    'an empty image': (lambda c: c['annotations'].pop(), 3, '1 image without objects'),
    'no annotations': (lambda c: c.update(annotations=None), 0, '4 images without objects'),
}


@pytest.mark.parametrize('name', USED)
def test_used_as_by_mmdet(name, tmp_path):
    pytest.importorskip('mmdet')
    from mmdet.datasets import CocoDataset
    change, used, words = USED[name]
    content = coco_content()
    change(content)
    cfg = dict(filter_empty_gt=True, min_size=32)
    usage = coco_usage(content, ('circle', 'square', 'star'), cfg)
    assert usage.used_objects == used and words in usage.line(), usage.line()
    if content['annotations']:
        (tmp_path / 'a.json').write_text(json.dumps(content))
        built = CocoDataset(ann_file=str(tmp_path / 'a.json'), metainfo=dict(classes=('circle', 'square', 'star')),
                            filter_cfg=cfg, pipeline=[], data_prefix=dict(img=''), serialize_data=False)
        infos = [built.get_data_info(i) for i in range(len(built))] if len(built) else []
        assert usage.used_images == len(infos)
        assert used == sum(not i['ignore_flag'] for info in infos for i in info['instances'])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 4), st.booleans(), st.floats(-60, 60), st.floats(0, 50)),
                max_size=12), st.sampled_from([None, 2, -1]), st.integers(0, 60))
def test_any_file_is_counted_as_mmdet_does(annotations, indices, min_size):
    pytest.importorskip('mmdet')
    from mmdet.datasets import CocoDataset
    from mmdet.datasets.api_wrappers import COCO
    content = coco_content()
    content['images'][1].update(width=50, height=50)
    content['annotations'] = [dict(id=i + 1, image_id=10 + image, category_id=category, iscrowd=int(crowd), area=size,
                                   bbox=[x, 2, size, 20]) for i, (image, category, crowd, x, size) in
                              enumerate(annotations)]

    class Parsed(COCO):
        def __init__(self, _):
            super().__init__()
            self.dataset = content
            self.createIndex()
            self.img_ann_map, self.cat_img_map = self.imgToAnns, self.catToImgs

    class Dataset(CocoDataset):
        COCOAPI = Parsed

    settings_ = dict(filter_cfg=dict(filter_empty_gt=True, min_size=min_size), indices=indices)
    try:
        built = Dataset(ann_file=__file__, metainfo=dict(classes=('circle', 'square')), pipeline=[],
                        data_prefix=dict(img=''), serialize_data=False, **settings_)
    except (AssertionError, IndexError):  # indices beyond its end
        return
    usage = coco_usage(content, ('circle', 'square'), **settings_)
    assert usage.used_images == len(built.data_list)
    assert usage.used_objects == sum(
        not i['ignore_flag'] for info in built.data_list for i in info['instances'])


@pytest.mark.parametrize(('change', 'words'), [
    (lambda c: c.update(annotations=5), 'no annotations'), (lambda c: c.update(annotations={}), 'no annotations'),
    (lambda c: c.update(images=None, annotations=[]), 'no images'),
    (lambda c: c.update(categories=5, annotations=[]), 'no categories')])
@pytest.mark.parametrize('read', [read_coco, read_panoptic])
def test_what_is_no_list_is_said(change, words, read, tmp_path):
    content = coco_content()
    change(content)
    (tmp_path / 'a.json').write_text(json.dumps(content))
    with pytest.raises(DataError, match=f'a.json: a .* annotation file has the lists .*; this one has {words}'):
        read(tmp_path / 'a.json')
