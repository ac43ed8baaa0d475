"""Kinds of errors: cases by hand, and the numbers that the paper's own tool, tidecv 1.0.1, gave for random images."""
import numpy as np
import pytest

pytest.importorskip('pycocotools')

from mmvision_mamba.evaluation.detection_matches import ImageDetections
from mmvision_mamba.evaluation.error_kinds import KINDS, find_errors

from ..helpers.random_detections import as_detections, random_images

# Costs in points of AP50 of KINDS, in their order. Scores are all different: tidecv doesn't keep equal ones in order.
# (It rounds the recalls that it reads precision at, and may differ by a hundredth where a recall is one of these.)
TIDECV = {0: [12.988232, 3.177838, 0.0, 1.848933, 1.318788, 19.63036],
          2: [3.735285, 7.546818, 0.081902, 2.289897, 7.311762, 16.474638],
          3: [8.282598, 5.395704, 0.366987, 1.574293, 3.658314, 19.860269],
          5: [8.485622, 4.116758, 0.0, 4.766193, 0.851104, 34.250762]}


@pytest.mark.parametrize('seed', TIDECV)
def test_costs_are_those_of_the_papers_tool(seed):
    images = [(boxes, labels, np.random.default_rng(9 * seed + i).random(len(scores)), *truth)
              for i, (boxes, labels, scores, *truth) in enumerate(random_images(seed, crowds=False))]
    costs = find_errors(as_detections(images), 4).mean_costs()
    np.testing.assert_allclose([100 * costs[kind] for kind in KINDS], TIDECV[seed], atol=1e-5)


def image(labels, scores, true_labels, overlaps, crowd=None):
    n, m = len(labels), len(true_labels)
    return ImageDetections(np.array(labels, int), np.array(scores, float), np.full(n, 100.), np.array(true_labels),
                           np.full(m, 100.), np.zeros(m, bool) if crowd is None else np.array(crowd),
                           np.array(overlaps, float).reshape(n, m))


@pytest.mark.parametrize('labels, overlaps, kinds', [
    ([0], [[0.9]], ['right']),
    ([1], [[0.9]], ['class']),
    ([0], [[0.3]], ['location']),
    ([1], [[0.3]], ['both']),
    ([0], [[0.05]], ['background']),
    ([0, 0], [[0.9], [0.8]], ['right', 'duplicate']),
])
def test_the_kind_of_an_error(labels, overlaps, kinds):
    errors = find_errors([image(labels, [0.9, 0.8][:len(labels)], [0], overlaps)], 2)
    assert errors.kinds[0].tolist() == kinds
    assert errors.missed[0].tolist() == [kinds[0] in ('both', 'background')], 'the others mean the object'


def test_one_of_two_that_mean_an_object_is_mended():
    errors = find_errors([image([1, 1], [0.9, 0.8], [0], [[0.9], [0.8]])], 2)
    assert errors.costs['class'][0] == 1 and np.isnan(errors.costs['class'][1]) and errors.mean_costs()['class'] == 1


def test_crowds_are_neither_missed_nor_wrong():
    errors = find_errors([image([0], [0.9], [0], [[0.9]], [True])], 1)
    assert errors.kinds[0].tolist() == ['left out'] and not errors.missed[0].any()


def test_without_missed_objects_a_class_that_is_never_found_is_perfect():
    errors = find_errors([image([], [], [0], [])], 1)
    assert errors.costs['missed'].tolist() == [1] and errors.counts['missed'].tolist() == [1]
    assert find_errors([], 3).mean_costs()['missed'] == 0
