"""Annotation files whose numbers and counts have no end: read in linear time, or refused in a line or two."""
import json
import random
import time

import pytest

from mmvision_mamba.datasets.coco_annotations import coco_problems
from mmvision_mamba.datasets.coco_dataset import MendedCOCO
from mmvision_mamba.datasets.coco_files import read_coco
from mmvision_mamba.datasets.coco_repairs import repair
from mmvision_mamba.datasets.panoptic_annotations import panoptic_problems
from mmvision_mamba.errors import DataError
from mmvision_mamba.limits import CATEGORIES, OBJECTS, POINTS

from ..helpers.tiny_datasets import coco_content, detection_config

RANDOM = random.Random(0)


def ann(**values):
    return lambda content: content['annotations'][1].update(values)


def image(**values):
    return lambda content: content['images'][1].update(values)


def rle(**values):
    return ann(segmentation=dict(dict(size=[36, 40], counts=[100, 40, 1300]), **values))


def both(*changes):
    return lambda content: [change(content) for change in changes]


def many(count, **values):
    return lambda content: content['annotations'].extend(
        dict(content['annotations'][1], id=100 + i, **values) for i in range(count))


def nested(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value


REFUSED = {
    'a long outline': (both(image(width=8000, height=8000), ann(segmentation=[
        [RANDOM.uniform(0, 8000) for _ in range(20_000)]])), 'MMVISION_MAMBA_MAX_OUTLINE=NUMBER'),
    'more points than are allowed': (ann(segmentation=[[1, 1, 5, 5] * 26_000]), 'MMVISION_MAMBA_MAX_POINTS=NUMBER'),
    'objects on one image': (many(2001), '2002, and 2000 are allowed (MMVISION_MAMBA_MAX_OBJECTS=NUMBER'),
    'masks of one image': (both(image(width=4000, height=3000), many(400)), 'take 4.5 GiB'),
    'categories': (lambda content: content['categories'].extend(
        dict(id=100 + i, name=f'class {i}') for i in range(3000)), 'MMVISION_MAMBA_MAX_CATEGORIES=NUMBER'),
    'runs beyond 64 bits': (rle(counts=[2**64 - 40, 1480]), 'no lengths'),
    'runs beyond 32 bits': (rle(counts=[2**32 - 40, 1480]), 'cover 4294968736 of 1440'),
    'a size in the billions': (rle(size=[10**9, 10**9], counts=[10**18]), 'size is'),
    'an image of a million sides': (both(image(width=10**6, height=10**6), rle(size=[10**6] * 2, counts=[10**12])),
                                    '1000000 × 1000000, and 178956970 pixels are allowed'),
    'compressed runs without end': (rle(counts='o' * 10**6), 'counts is'),
    'compressed runs that overflow': (rle(counts='ooooooooooo7' * 9), 'counts is'),
    'an id beyond 64 bits': (both(image(id=2**64), ann(image_id=2**64)), 'id is 18446744073709551616'),
    'an id of megabytes': (both(image(id='x' * 10**7), ann(image_id='x' * 10**7)), "id is 'xxxxxxx"),
    'an id that is nested': (ann(id=nested(900)), 'id is [[[['),
    'a name of megabytes': (lambda content: content['categories'][1].update(name='x' * 10**7), '10000000 characters'),
    'a name that is nested': (lambda content: content['categories'][1].update(name=nested(900)), "'name': [[["),
    'a file name of megabytes': (image(file_name='x' * 10**7), 'file_name has 10000000 characters'),
    'a URL in place of a file name': (both(lambda content: content['images'][1].pop('file_name'), image(
        coco_url='/' * 10**6)), 'images[1]: no file_name'),
    'a mask that is nested': (ann(segmentation=nested(900)), 'no flat lists'),
    'a crowd flag beyond 64 bits': (ann(iscrowd=2**70), 'iscrowd is'),
    'a coordinate of digits': (ann(segmentation=[[10**4000, 1, 5, 1, 5, 5]]), '<int of 13288 bits>'),
    'a width of digits': (image(width=10**4000), 'width × height is <int of 13288 bits>'),
    'an area of digits': (ann(area=10**4000), 'area is <int of 13288 bits>'),
}


@pytest.mark.parametrize('name', REFUSED)
def test_refused_before_pycocotools_sees_it(name, tmp_path, run, monkeypatch):
    for what, bound in (('OBJECTS', 2000), ('POINTS', 50_000), ('CATEGORIES', 3000)):  # smaller files tell as much
        monkeypatch.setenv(f'MMVISION_MAMBA_MAX_{what}', str(bound))
    change, words = REFUSED[name]
    found = run(detection_config(tmp_path, change))
    assert found.refused and words in found.refused and 'train.json' in found.refused, found.refused
    assert len(found.refused) < 800


@pytest.mark.parametrize('text', ['{"images": [' + '9' * 5000 + ']}', '[' * 200_000, '{"images": ' * 100_000])
def test_files_that_json_cannot_hold(text, tmp_path):
    path = tmp_path / 'train.json'
    path.write_text(text)
    with pytest.raises(DataError, match=r'train\.json: the annotation file (has a number|is nested|is trunc)'):
        read_coco(path)


def test_the_environment_sets_a_bound(monkeypatch):
    content = coco_content()
    many(2000)(content)
    assert not list(coco_problems(content))
    monkeypatch.setenv('MMVISION_MAMBA_MAX_OBJECTS', '2000')
    assert [problem.kind for problem in coco_problems(content)] == ['too many objects']


def test_categories_and_headings_take_linear_time():
    """Each is another's supercategory: all may be headings."""
    def seconds(count):
        content = dict(coco_content(), categories=[
            dict(id=i + 1, name=f'class {i}', supercategory=f'class {i + 1}') for i in range(count)])
        start = time.process_time()
        repair(content)
        assert not [problem for problem in coco_problems(content) if problem.kind == 'category record']
        return time.process_time() - start
    assert seconds(40_000) < 50  # by pairs it takes minutes


def test_real_data_is_far_below():
    """As many categories as LVIS has, an image of thousands of objects, outlines of thousands of points."""
    content = coco_content()
    content['categories'] += [dict(id=10 + i, name=f'class {i}') for i in range(1203)]
    content['images'][1].update(width=800, height=800)
    circle = [400 + 300 * RANDOM.uniform(0.99, 1.01) for _ in range(8000)]
    many(5000)(content)
    assert (OBJECTS.default, POINTS.default, CATEGORIES.default) == (50_000, 1_000_000, 100_000)
    ann(segmentation=[circle])(content)
    assert [problem.kind for problem in coco_problems(content, True, ('bbox', 'segm'))] == []


def test_a_mask_is_checked_where_it_becomes_run_lengths(tmp_path):
    """Whoever reads the file without the checks before a run."""
    content = coco_content()
    content['annotations'][0]['segmentation'] = dict(size=[36, 40], counts=[100])
    content['annotations'][1]['segmentation'] = [[1, 1, 1e9, 5, 5, 5]]
    path = tmp_path / 'train.json'
    path.write_text(json.dumps(content))
    coco = MendedCOCO(str(path))
    for number, words in ((1, 'counts cover 100 of 1440'), (2, 'a mask cannot be decoded')):
        with pytest.raises(DataError, match=words):
            coco.annToRLE(coco.anns[number])
    assert coco.annToMask(coco.anns[3]).sum() == 400


def test_segments_of_a_panoptic_image(monkeypatch):
    monkeypatch.setenv('MMVISION_MAMBA_MAX_OBJECTS', '2000')
    segments = [dict(id=i + 1, category_id=1, bbox=[0, 0, 2, 2], area=4, iscrowd=0) for i in range(2001)]
    content = dict(images=[dict(id=1, file_name='a.jpg', width=400, height=300)],
                   categories=[dict(id=1, name='thing', isthing=1)],
                   annotations=[dict(image_id=1, file_name='a.png', segments_info=segments)])
    assert [problem.kind for problem in panoptic_problems(content)] == ['too many objects']
    content['annotations'][0]['segments_info'] = segments[:1000]
    assert list(panoptic_problems(content)) == []
