"""LVIS's rule on what counts as wrong, against pycocotools with that rule added, and the package lvis where it is."""
import contextlib
import io
import json
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip('pycocotools')

from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mmvision_mamba.evaluation.detection_matches import ImageDetections, gather
from mmvision_mamba.evaluation.error_kinds import LEFT_OUT, RIGHT, find_errors
from mmvision_mamba.evaluation.federated import rule_of
from mmvision_mamba.evaluation.score_thresholds import Counts

from ..helpers.random_detections import as_detections, random_images

CLASSES = 5
IDS = [3, 7, 20, 21, 40]  # of categories: no labels, and in order


def annotations_of(seed):
    """Images, and LVIS's file of them: some classes are searched for in each, some of these not exhaustively."""
    images, rng = random_images(seed, images=14, classes=CLASSES, crowds=False), np.random.default_rng(seed)
    records, annotations = [], []
    for i, (*_, truth, true_labels, _) in enumerate(images):
        there = sorted({IDS[label] for label in true_labels})
        free = [one for one in IDS if one not in there]
        records.append(dict(
            id=i + 1, width=300, height=300, coco_url=f'http://x/val2017/{i}.jpg',
            neg_category_ids=[one for one in free if rng.random() < 0.4],
            not_exhaustive_category_ids=[one for one in there if rng.random() < 0.3]))
        annotations += [dict(id=len(annotations) + j + 1, image_id=i + 1, category_id=IDS[label], bbox=box.tolist(),
                             area=float(box[2] * box[3]), iscrowd=0, segmentation=[[0, 0, 9, 0, 9, 9]])
                        for j, (box, label) in enumerate(zip(truth, true_labels))]
    content = dict(info={}, images=records, annotations=annotations, categories=[
        dict(id=one, name=str(one), frequency='rcf'[i % 3]) for i, one in enumerate(IDS)])
    return images, content


def api_of(content):
    """As the package lvis holds a file."""
    by_image = {}
    for one in content['annotations']:
        by_image.setdefault(one['image_id'], []).append(one)
    return SimpleNamespace(imgs={one['id']: one for one in content['images']}, img_ann_map=by_image,
                           get_cat_ids=lambda: [one['id'] for one in content['categories']])


def judged(images, content):
    rule = rule_of([SimpleNamespace(), SimpleNamespace(_lvis_api=api_of(content))], CLASSES)
    found = as_detections(images)
    for i, image in enumerate(found):
        image.unjudged = rule(i + 1)[image.labels]
    return found


def results_of(images):
    return [dict(image_id=i + 1, category_id=IDS[label], bbox=box.tolist(), score=float(score))
            for i, (boxes, labels, scores, *_) in enumerate(images) for box, label, score in zip(boxes, labels, scores)]


def precisions_of(values):
    return np.where(values < 0, np.nan, values).mean(axis=1)


def coco_with_the_rule(images, content) -> np.ndarray:
    """AP `(10, classes)`: detections that are not to be judged are taken out of pycocotools' matches."""
    records = {one['id']: one for one in content['images']}
    there = {(one['image_id'], one['category_id']) for one in content['annotations']}
    coco = COCO()
    coco.dataset = content
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes([one for one in results_of(images) if (
            one['image_id'], one['category_id']) in there or one['category_id'] in records[one['image_id']][
                'neg_category_ids']]), 'bbox')
        evaluation.evaluate()
        for one in evaluation.evalImgs:
            if one and one['category_id'] in records[one['image_id']]['not_exhaustive_category_ids']:
                one['dtIgnore'] |= one['dtMatches'] == 0
        evaluation.accumulate()
    return precisions_of(evaluation.eval['precision'][:, :, :, 0, -1])


@pytest.mark.parametrize('seed', range(6))
def test_average_precision_is_that_of_lvis_rule(seed):
    images, content = annotations_of(seed)
    values = gather(judged(images, content), CLASSES).average_precisions()
    np.testing.assert_allclose(values, coco_with_the_rule(images, content), atol=1e-12)
    plain = gather(as_detections(images), CLASSES).average_precisions()
    assert np.nanmax(values) > 0.2 and np.nanmax(values - plain) > 0.01, 'the rule makes a difference'


@pytest.mark.parametrize('seed', range(3))
def test_average_precision_is_that_of_the_package_lvis(seed, tmp_path, monkeypatch):
    lvis = pytest.importorskip('lvis')
    monkeypatch.setattr(np, 'float', float, raising=False)
    images, content = annotations_of(seed)
    (tmp_path / 'lvis.json').write_text(json.dumps(content))
    truth = lvis.LVIS(str(tmp_path / 'lvis.json'))
    evaluation = lvis.LVISEval(truth, lvis.LVISResults(truth, results_of(images)), 'bbox')
    evaluation.evaluate()
    evaluation.accumulate()
    rule, found = rule_of([SimpleNamespace(_lvis_api=truth)], CLASSES), as_detections(images)
    for i, image in enumerate(found):
        image.unjudged = rule(i + 1)[image.labels]
    np.testing.assert_allclose(gather(found, CLASSES).average_precisions(),
                               precisions_of(evaluation.eval['precision'][:, :, :, 0]), atol=1e-12)


def test_no_other_metric_has_the_rule():
    assert rule_of([SimpleNamespace(_coco_api=1), SimpleNamespace(_lvis_api=None)], CLASSES) is None
    _, content = annotations_of(0)
    metric = SimpleNamespace(_lvis_api=api_of(content))
    assert rule_of([metric], CLASSES + 1) is None and rule_of([metric], CLASSES)(99) is None


def test_what_is_not_judged_is_no_error_and_lowers_no_precision():
    """An object of class 0; class 1 was not searched for, of class 0 not all is annotated."""
    box = np.array([[0, 0, 10, 10.]])
    overlaps = np.array([[1.], [0.9], [0.], [0.]])
    image = ImageDetections(np.array([0, 1, 0, 2]), np.array([0.9, 0.8, 0.7, 0.6]), np.full(4, 100.), np.array([0]),
                            box[:, 2] * box[:, 3], np.array([False]), overlaps)
    assert find_errors([image], 3).kinds[0].tolist() == [RIGHT, 'class', 'background', 'background']
    image.unjudged = np.array([True, True, True, False])
    errors = find_errors([image], 3)
    assert errors.kinds[0].tolist() == [RIGHT, LEFT_OUT, LEFT_OUT, 'background'] and not errors.missed[0].any()
    assert errors.costs['class'][0] == errors.costs['background'][0] == 0
    found = Counts.of(gather([image], 3))
    assert found.scores.tolist() == [0.9, 0.6] and found.hits.tolist() == [1, 1]
