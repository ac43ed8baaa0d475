"""mmdet's data set and loading of panoptic files, in their place."""
import json

import numpy as np
import pytest

pytest.importorskip('mmdet')

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from mmdet.registry import DATASETS
from mmengine.registry import DefaultScope
from PIL import Image

from mmvision_mamba.datasets.panoptic_files import id_colours, number_segments, segment_ids
from mmvision_mamba.errors import DataError

from ..helpers.panoptic_data import CATEGORIES, METAINFO, annotation_file, change_panoptic, make_panoptic, segments_of


@pytest.fixture(autouse=True)
def _scope():
    with DefaultScope.overwrite_default_scope('mmdet'):
        yield


@pytest.fixture
def root(tmp_path):
    return make_panoptic(tmp_path / 'coco', train=3, val=0)


def build(root, **settings):
    pipeline = [dict(type='LoadImageFromFile'), dict(type='LoadPanopticAnnotations'), dict(type='PackDetInputs')]
    return DATASETS.build(dict(dict(
        type='CocoPanopticDataset', data_root=str(root), ann_file='annotations/panoptic_train2017.json',
        data_prefix=dict(img='train2017', seg='annotations/panoptic_train2017'), metainfo=METAINFO,
        pipeline=pipeline), **settings))


def test_samples(root):
    for i, item in enumerate(build(root)):
        sample, label_of = item['data_samples'], {category['id']: i for i, category in enumerate(CATEGORIES)}
        height, width = item['inputs'].shape[1:]
        ids, infos = segments_of(height, width, i)
        things = [info for info in infos if info['category_id'] < 100 and not info['iscrowd']]
        assert sample.gt_instances.labels.tolist() == [label_of[info['category_id']] for info in things]
        masks = sample.gt_instances.masks.to_ndarray()
        assert np.array_equal(masks, [ids == info['id'] for info in things])
        expected = np.full(ids.shape, 255)
        for info in infos:
            expected[ids == info['id']] = label_of[info['category_id']]
        assert np.array_equal(sample.gt_sem_seg.sem_seg[0], expected) and 255 in expected


def test_names_of_the_pngs_are_those_of_the_file(root):
    def rename(content):
        for i, (image, record) in enumerate(zip(content['images'], content['annotations'], strict=True)):
            (root / 'train2017' / image['file_name']).rename(root / f'train2017/{i}.jpeg')
            (root / 'annotations/panoptic_train2017' / record['file_name']).rename(
                root / f'annotations/panoptic_train2017/{i}_ids.png')
            image['file_name'], record['file_name'] = f'{i}.jpeg', f'{i}_ids.png'
    before = [item['data_samples'].gt_sem_seg.sem_seg for item in build(root)]
    change_panoptic(root, rename, 'train')
    after = [item['data_samples'].gt_sem_seg.sem_seg for item in build(root)]
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))


def test_labels_follow_the_names(root):
    before = [item['data_samples'].gt_instances.labels.tolist() for item in build(root)]
    change_panoptic(root, lambda content: content['categories'].reverse(), 'train')
    assert [item['data_samples'].gt_instances.labels.tolist() for item in build(root)] == before


def test_what_exporters_leave_out(root):
    def change(content):
        del content['annotations'][0]  # of an image without annotations
        for record in content['annotations']:
            for segment in record['segments_info']:
                del segment['area'], segment['iscrowd']
        content['categories'] = [c for c in content['categories'] if c['name'] != 'road']
    change_panoptic(root, change, 'train')
    dataset = build(root)
    assert [dataset.get_data_info(i)['img_id'] for i in range(len(dataset))] == [1001, 1002]
    sample = dataset[1]['data_samples']
    assert 1 in sample.gt_instances.labels and 2 not in sample.gt_sem_seg.sem_seg
    assert len(build(root, test_mode=True)) == 3
    assert 'gt_sem_seg' not in build(root, test_mode=True)[0]['data_samples']


def test_a_file_without_annotations(root):
    """As of test-dev: images alone, and no folder of PNGs."""
    change_panoptic(root, lambda content: content.pop('annotations'), 'train')
    dataset = build(root, test_mode=True, data_prefix=dict(img='train2017'))
    assert len(dataset) == 3 and 'gt_sem_seg' not in dataset[0]['data_samples']


def test_files_that_can_not_be_used(root):
    dataset = build(root)
    folder = root / 'annotations/panoptic_train2017'
    Image.fromarray(np.zeros((67, 90, 3), np.uint8)).save(folder / '000000001000.png')
    with pytest.raises(DataError, match=r'1000\.png: the panoptic PNG is 90 × 67 pixels, its image 91 × 67'):
        dataset[0]
    Image.fromarray(np.full((67, 91, 3), 7, np.uint8)).save(folder / '000000001000.png')
    with pytest.raises(DataError, match=r'1000\.png: has none of the 4 segments that the annotation file has for it'):
        dataset[0]
    (folder / '000000001001.png').write_bytes(b'')
    with pytest.raises(DataError, match=r'1001\.png: .*empty'):
        dataset[1]
    (folder / '000000001002.png').unlink()
    (folder / '000000001002.png').mkdir()
    with pytest.raises(DataError, match=r'1002\.png: the panoptic PNG can not be read \(Is a directory\)'):
        dataset[2]
    (folder / '000000001002.png').rmdir()
    with pytest.raises(DataError, match=r'1002\.png: the panoptic PNG is missing'):
        dataset[2]
    path = annotation_file(root, 'train')
    path.write_text((root / 'annotations/instances_train2017.json').read_text())
    with pytest.raises(DataError, match='no panoptic annotation file') as error:
        build(root)
    assert len(str(error.value).splitlines()) == 2 and str(path) in str(error.value)


def test_a_byte_order_mark(root):
    path = annotation_file(root, 'train')
    path.write_text(path.read_text(), encoding='utf-8-sig')
    assert len(build(root)) == 3


@given(arrays.arrays(np.int32, (3, 5), elements=st.integers(0, 256 ** 3 - 1)))
def test_ids_survive_their_colours(ids):
    assert np.array_equal(segment_ids(id_colours(ids)), ids)


@given(arrays.arrays(np.int64, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.sampled_from(
    [0, 1, 2, 3, 4, 7, 1000, 2000, 5001, 7003])))
def test_numbered_segments(segments):
    """Labels 0 to 3 of four classes, 2 ignored: each segment keeps its pixels, and has an id from 1 on."""
    ids, infos = number_segments(segments, 4, ignored=2)
    void = np.isin(segments % 1000, (2, 4, 7))
    assert np.array_equal(ids == 0, void)
    assert [info['id'] for info in infos] == list(range(1, len(np.unique(segments[~void])) + 1))
    for info in infos:
        mask = ids == info['id']
        value, = np.unique(segments[mask])
        assert value % 1000 == info['label'] and np.array_equal(mask, segments == value)
        x, y, width, height = info['bbox']
        assert info['area'] == mask.sum() == mask[y:y + height, x:x + width].sum()
        assert mask[y].any() and mask[:, x].any() and mask[y + height - 1].any() and mask[:, x + width - 1].any()
    json.dumps(infos)
