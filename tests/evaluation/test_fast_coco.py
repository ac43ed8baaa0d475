"""COCO's evaluation by faster-coco-eval gives pycocotools' numbers, bit for bit, whatever the results are."""
import copy
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

pytest.importorskip('faster_coco_eval')
from mmvision_mamba.evaluation.fast_coco import FastCOCOeval

SIDES = (20, 300, 2000)
WIDTHS = (0., 1., 5., 10., 32., 96., 1e5)


def encoded(box, side) -> dict:
    x, y, width, height = box
    bitmap = np.zeros((side, side), np.uint8, order='F')
    bitmap[int(y):int(min(y + height, side)), int(x):int(min(x + width, side))] = 1
    rle = coco_mask.encode(bitmap)
    return dict(size=rle['size'], counts=rle['counts'].decode())


def data_and_results(rng: random.Random, kind: str, images: int, objects: int, found: int) -> tuple[dict, list[dict]]:
    """Annotations and results with ties, crowds, ignored objects, empty images and classes, areas that don't fit."""
    side = rng.choice(SIDES)
    pictures = [dict(id=7 * i + rng.randint(0, 3), width=side, height=side) for i in range(images)]
    classes = [dict(id=3 * i + 1, name=str(i)) for i in range(rng.randint(1, 3))]

    def box():
        if rng.random() < 0.5:
            return [rng.choice((0., 5., 10.)), rng.choice((0., 5., 10.)), rng.choice(WIDTHS), rng.choice(WIDTHS)]
        return [rng.uniform(0, side / 2) for _ in range(4)]
    annotations = []
    for picture in pictures:
        for _ in range(rng.randint(0, objects)):
            place = box()
            x, y, width, height = place
            right, bottom = min(x + width, side), min(y + height, side)
            crowd = int(rng.random() < 0.25)
            annotations.append(dict(
                id=len(annotations) + 1, image_id=picture['id'], category_id=rng.choice(classes)['id'], bbox=place,
                area=rng.choice([width * height, 1024., 9216., 1e10, 0., width * height / 2]), iscrowd=crowd,
                segmentation=encoded(place, side) if kind == 'segm' and (crowd or rng.random() < 0.5) else
                [[x, y, right, y, right, bottom, x, bottom]],
                **(dict(ignore=rng.choice([0, 1])) if rng.random() < 0.2 else {})))
    results = []
    for picture in pictures:
        here = [item for item in annotations if item['image_id'] == picture['id']]
        for _ in range(rng.randint(0, found)):
            place = list(rng.choice(here)['bbox']) if here and rng.random() < 0.6 else box()
            if rng.random() < 0.4:
                place = [side_ + rng.uniform(0, 2) for side_ in place]
            results.append(dict(
                image_id=picture['id'], category_id=rng.choice(classes)['id'],
                score=rng.choice([0.5, 0.5, 0.9, 0., 1., rng.random()]),
                **(dict(bbox=place) if kind == 'bbox' else dict(segmentation=encoded(place, side)))))
    rng.shuffle(results)
    return dict(images=pictures, annotations=annotations, categories=classes, info={}, licenses=[]), results


def evaluated(cls, truth, results, kind, **params) -> COCOeval:
    data = COCO()
    data.dataset = copy.deepcopy(truth)
    data.createIndex()
    evaluation = cls(data, data.loadRes(copy.deepcopy(results)), kind)
    for name, value in params.items():
        setattr(evaluation.params, name, copy.deepcopy(value))
    evaluation.evaluate()
    evaluation.accumulate()
    return evaluation


def check(truth, results, kind, **params) -> None:
    slow, fast = (evaluated(cls, truth, results, kind, **params) for cls in (COCOeval, FastCOCOeval))
    for name in ('precision', 'recall', 'scores'):
        assert slow.eval[name].dtype == fast.eval[name].dtype
        np.testing.assert_array_equal(slow.eval[name], fast.eval[name])
    assert slow.eval['counts'] == fast.eval['counts']
    if len(slow.params.maxDets) == 3 and 100 in slow.params.maxDets and slow.params.iouThrs.size == 10:
        slow.summarize()
        fast.summarize()
        assert slow.stats.tolist() == fast.stats.tolist()


@settings(max_examples=150, deadline=None)
@given(st.randoms(use_true_random=False), st.sampled_from(['bbox', 'segm']), st.sampled_from([1, 1, 0]),
       st.sampled_from([[1, 10, 100], [1, 2, 3], [100, 300, 1000], [5]]),
       st.sampled_from([np.linspace(0.5, 0.95, 10), np.array([0.5]), np.array([0.1, 0.5, 0.9999, 1.])]))
def test_the_numbers_are_the_same(rng, kind, use_categories, most, thresholds):
    truth, results = data_and_results(rng, kind, rng.randint(1, 4), 6, 12)
    if results:  # pycocotools can't load none
        check(truth, results, kind, useCats=use_categories, maxDets=most, iouThrs=thresholds)


@pytest.mark.parametrize('seed', range(4))
def test_so_they_are_with_more_objects_than_recalls_are_looked_at(seed):
    """Of one to a thousand objects the first detections alone are right."""
    rng = random.Random(seed)
    objects = rng.choice([99, 150, 512, 1000])
    boxes = [[10. * i, 0., 8., 8.] for i in range(objects)]
    truth = dict(
        images=[dict(id=1, width=10 * objects, height=10)], categories=[dict(id=1, name='a'), dict(id=2, name='b')],
        annotations=[dict(id=i + 1, image_id=1, category_id=1 + (i % 7 == 0), bbox=box, area=64., iscrowd=0)
                     for i, box in enumerate(boxes)], info={}, licenses=[])
    for right in range(4):
        results = [dict(image_id=1, category_id=category, score=1 - i / 50, bbox=(
            [box for j, box in enumerate(boxes) if 1 + (j % 7 == 0) == category][i] if i < right else [0., 0., 1., 1.]))
            for category in (1, 2) for i in range(6)]
        check(truth, results, 'bbox')


def test_chosen_images_and_classes_count_alone():
    truth, results = data_and_results(random.Random(5), 'bbox', 4, 6, 12)
    images = [image['id'] for image in truth['images']][1:3]
    check(truth, results, 'bbox', imgIds=images, catIds=[truth['categories'][0]['id']])


def test_key_points_are_left_to_pycocotools():
    truth = dict(images=[dict(id=1, width=9, height=9)], categories=[dict(id=1, name='a')], info={}, licenses=[],
                 annotations=[dict(id=1, image_id=1, category_id=1, bbox=[0, 0, 5, 5], area=25., iscrowd=0,
                                   keypoints=[1, 1, 2] * 17, num_keypoints=17)])
    results = [dict(image_id=1, category_id=1, score=0.5, keypoints=[1, 1, 2] * 17)]
    check(truth, results, 'keypoints')


def test_mmdets_metric_uses_it():
    from mmdet.evaluation.metrics import coco_metric
    assert coco_metric.COCOeval is FastCOCOeval
