"""Maps of classes as objects, and back: the same classes of the same pixels."""
from collections import Counter

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from mmvision_mamba.datasets import formats
from mmvision_mamba.datasets.coco_files import read_coco
from mmvision_mamba.datasets.formats.writing import Split, write
from mmvision_mamba.datasets.map_drawing import draw, drawn_order
from mmvision_mamba.datasets.mapped_objects import content_of_maps

CLASSES = ('background', 'road', 'sky', 'tree')
NAMES = dict(coco='train/_annotations.coco.json', yolo='data.yaml#yolo-train', voc='#voc-train')
MAPS = st.tuples(st.integers(1, 9), st.integers(1, 9)).flatmap(
    lambda shape: arrays(np.uint8, shape, elements=st.sampled_from([0, 1, 3, 255])))
BLOCKS = arrays(np.uint8, (3, 4), elements=st.integers(0, 3)).map(lambda blocks: blocks.repeat(3, 0).repeat(4, 1))


def content(labels, background=0):
    lost, (height, width) = Counter(), labels.shape
    images = [dict(id=0, file_name='a.png', width=width, height=height)]
    return content_of_maps(images, CLASSES, background, lambda _: labels, lost), lost


def drawn(content, shape):
    return draw(drawn_order((CLASSES.index(content['categories'][[c['id'] for c in content['categories']].index(
        a['category_id'])]['name']), a) for a in content['annotations']), *shape)


@given(labels=MAPS)
@settings(deadline=None)
def test_objects_are_drawn_as_the_map_was(labels):
    found, lost = content(labels)
    np.testing.assert_array_equal(drawn(found, labels.shape), np.where(labels == 255, 0, labels))
    assert lost.total() == (labels == 255).sum()
    areas = sum(cv2.connectedComponents((labels == label).astype(np.uint8))[0] - 1 for label in (1, 3))
    assert len(found['annotations']) == areas


@pytest.mark.parametrize('target', NAMES)
@given(labels=BLOCKS)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_not_said_to_be_lost_comes_back(target, labels, tmp_path_factory):
    folder = tmp_path_factory.mktemp('maps')
    Image.fromarray(labels).save(folder / 'a.png')
    found, lost = content(labels)
    write(target, {'train': Split(found, str(folder), lost)}, folder / 'out')
    again = read_coco(f'{folder}/out/{NAMES[target]}')[0] if target == 'coco' else \
        formats.read(f'{folder}/out/{NAMES[target]}')
    if not lost.total():
        np.testing.assert_array_equal(drawn(again, labels.shape), labels)
    assert not lost.total() or target != 'coco'


def test_all_classes_are_objects_where_none_is_the_background():
    labels = np.array([[0, 0, 1], [0, 255, 3]], np.uint8)
    found, lost = content(labels, background=None)
    assert [(a['category_id'], a['area']) for a in found['annotations']] == [(0, 3), (1, 1), (3, 1)]
    assert len(found['categories']) == 4 and lost.total() == 1
