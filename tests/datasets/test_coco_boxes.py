"""Boxes that are no x, y, width, height in pixels: recognised over a file, converted; genuine ones raise no alarm."""
import copy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmvision_mamba.datasets.coco_boxes import FORMATS, ORDERS, contradictions, convert_boxes
from mmvision_mamba.errors import ConfigError

STOPS = ('boxes in another format', 'boxes as fractions')


@st.composite
def files(draw, least=4, most=40, masks=None, crowds=True):
    """A COCO file of genuine boxes: in images of any size, some a pixel over the edge, crowds of any shape."""
    masks = draw(st.booleans()) if masks is None else masks
    images, annotations = [], []
    for i in range(draw(st.integers(1, 6))):
        images.append(dict(id=i, file_name=f'{i}.jpg', width=draw(st.integers(40, 4000)),
                           height=draw(st.integers(40, 4000))))
    for i in range(draw(st.integers(least, most))):
        image = draw(st.sampled_from(images))
        x, y = (draw(st.floats(0, 0.9)) * image[side] for side in ('width', 'height'))
        w, h = (max(3, draw(st.floats(0.02, 1)) * (image[side] - start)) + draw(st.sampled_from((0, 0, 0, 1)))
                for side, start in (('width', x), ('height', y)))
        ann = dict(id=i + 1, image_id=image['id'], category_id=1, bbox=[x, y, w, h], area=w * h, iscrowd=0)
        if masks:
            ann['segmentation'] = [[x, y, x + w, y, x + w, y + h, x, y + h]]
            ann['area'] = draw(st.floats(0.3, 1)) * w * h
        annotations.append(ann)
    if crowds and annotations and draw(st.booleans()):
        annotations.append(dict(annotations[0], iscrowd=1, bbox=[0, 0, 3, 3]))
    return dict(images=images, annotations=annotations, categories=[dict(id=1, name='a')])


def as_format(content, name):
    """The same file with its boxes in another format; areas stay."""
    sizes = {image['id']: (image['width'], image['height']) for image in content['images']}
    content = copy.deepcopy(content)
    for ann in content['annotations']:
        x, y, w, h = ann['bbox']
        box = dict(xywh=[x, y, w, h], xyxy=[x, y, x + w, y + h], cxcywh=[x + w / 2, y + h / 2, w, h],
                   yxyx=[y, x, y + h, x + w])[name.removeprefix('relative_')]
        if name.startswith('relative_'):
            width, height = sizes[ann['image_id']]
            scale = (height, width) if 'yx' in name[9:11] else (width, height)
            box = [value / side for value, side in zip(box, scale * 2)]
        ann['bbox'] = box
    return content


@settings(max_examples=150, deadline=None)
@given(files(least=0))
def test_genuine_files_raise_no_alarm(content):
    assert not [problem for problem in contradictions(content) if problem.kind in STOPS]


@settings(max_examples=60, deadline=None)
@given(files(masks=True))
def test_genuine_boxes_agree_with_their_masks(content):
    assert not list(contradictions(content))


@settings(max_examples=80, deadline=None)
@given(files(least=8, masks=True, crowds=False), st.sampled_from(FORMATS[1:-1]))
def test_with_masks_each_format_is_told(content, name):
    spoiled = as_format(content, name)
    problems = list(contradictions(spoiled))
    # Boxes at the upper left corner are alike as corners and as sizes: too few of the others may be left.
    if problems and problems[0].kind in STOPS:
        format_ = problems[0].fix.rpartition(' ')[2]
        convert_boxes(spoiled, format_)
        assert not [p for p in contradictions(spoiled) if p.kind in STOPS]
    if name.startswith('relative_'):
        assert problems and problems[0].kind == 'boxes as fractions'


@settings(max_examples=60, deadline=None)
@given(files(least=8, most=30, masks=False, crowds=False))
def test_corners_without_masks_are_told_by_their_areas(content):
    content = as_format(content, 'xyxy')
    kinds = {problem.kind for problem in contradictions(content)}
    far = sum(x * (y + 1) > 0.1 * (w - x) * (h - y) for x, y, w, h in (a['bbox'] for a in content['annotations']))
    assert kinds == {'boxes in another format'} or far < 0.9 * len(content['annotations'])


def squares(count=12, size=(100, 80), box=lambda i: [5 + 40 * (i % 2), 6, 40, 50], **keys):
    return dict(images=[dict(id=i, file_name=f'{i}.jpg', width=size[0], height=size[1]) for i in range(count)],
                annotations=[dict(id=i + 1, image_id=i, category_id=1, bbox=box(i), area=100, **keys)
                             for i in range(count)], categories=[dict(id=1, name='a')])


def test_corners_without_masks_and_areas_stick_out():
    content = as_format(squares(), 'xyxy')
    for ann in content['annotations']:
        ann.pop('area')
    problem, = contradictions(content)
    assert problem.kind == 'boxes in another format' and 'x1, y1, x2, y2' in problem.detail
    assert 'stick far out' in problem.detail and problem.fix.endswith('--boxes xyxy')


@pytest.mark.parametrize('name', [f'relative_{order}' for order in ORDERS if order != 'yxyx'])
def test_fractions_without_masks(name):
    content = as_format(squares(box=lambda i: [55, 20 + i, 40, 40]), name)
    problem, = contradictions(content)
    assert problem.kind == 'boxes as fractions' and problem.fix.endswith(f'--boxes {name}')


def test_another_scale():
    with_masks = squares(segmentation=[[5, 6, 45, 6, 45, 56, 5, 56]], box=lambda i: [2, 2.4, 16, 20])
    problem, = contradictions(with_masks)
    assert problem.kind == 'boxes unlike masks'
    assert '12 of 12 boxes overlap their own mask by less than half' in problem.detail and 'times 2.5' in problem.detail
    large, = contradictions(squares(box=lambda i: [150 * (i % 2), 100 * (i % 3 == 0), 90, 110]))
    assert large.kind == 'boxes of another scale' and 'times as large' in large.detail
    # Objects on the left alone: the heights tell nothing.
    wide, = contradictions(squares(box=lambda i: [20 + 100 * (i % 2), 10, 60, 40]))
    assert wide.kind == 'boxes of another scale' and '1.8 times as large' in wide.detail
    small, = contradictions(squares(count=30, box=lambda i: [i, i / 2, 10, 12]))
    assert small.kind == 'boxes of another scale' and 'upper left' in small.detail


def test_a_few_unlike_their_masks_are_no_contradiction():
    content = squares(count=40, segmentation=[[5, 6, 45, 6, 45, 56, 5, 56]], box=lambda i: [5, 6, 40, 50 if i else 5])
    assert not list(contradictions(content))


def test_amodal_boxes_that_stick_out_are_genuine():
    assert not list(contradictions(squares(box=lambda i: [-20 + 70 * (i % 2), -5, 60, 100])))


@settings(max_examples=60, deadline=None)
@given(files(), st.sampled_from(FORMATS[:-1]))
def test_conversion_undoes_the_format(content, name):
    spoiled = as_format(content, name)
    note = convert_boxes(spoiled, name)
    assert (note is None) == (name == 'xywh')
    for ann, true in zip(spoiled['annotations'], content['annotations']):
        assert ann['bbox'] == pytest.approx(true['bbox'], abs=0.01)


def test_other_conversions():
    content = squares(segmentation=[[5, 6, 45, 6, 45, 56, 5, 56]], box=lambda i: [2, 2, 8, 8])
    assert convert_boxes(copy.deepcopy(content), 'masks') == '12 boxes taken from masks'
    convert_boxes(content, 2.5)
    assert content['annotations'][0]['bbox'] == [5, 5, 20, 20]
    for wrong in ('xyxx', 0, -1, True, None):
        with pytest.raises(ConfigError, match='must be one of xywh, xyxy'):
            convert_boxes(content, wrong)


def test_width_and_height_of_the_images_exchanged():
    problem, = contradictions(squares(size=(60, 100), box=lambda i: [5 + 40 * (i % 2), 6, 40, 50]))
    assert problem.kind == 'boxes of another scale' and 'width and height of the images exchanged' in problem.detail
    assert 'exchange width and height' in problem.fix and 'FACTOR' not in problem.fix
