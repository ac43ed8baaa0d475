"""The analysis of detectors: its numbers against pycocotools', mdet's matrix, and counting."""
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip('mmdet')

from mmvision_mamba.evaluation.confusion import average_precisions, detection_confusion

from ..helpers.evaluations import CLASSES, Objects, detections, evaluated, recorder


@pytest.mark.parametrize('masks', [False, True])
def test_ap_and_matrix_are_those_of_the_command_confusion(masks):
    dataset, samples = detections(masks=masks)
    analysis = evaluated('detection', masks=masks).content['analysis']
    predictions = [dict(sample, pred_instances={key: value for key, value in sample['pred_instances'].items()
                                                if key != 'masks'}) for sample in samples]
    if not masks:
        reference = average_precisions(dataset, predictions)['box AP']
        assert [one['ap'] for one in analysis['classes']] == pytest.approx(reference, abs=1e-5)
        matrix = detection_confusion(dataset, predictions, analysis['overall']['best']['score_thr'])
        assert analysis['confusion'] == matrix.tolist()
    assert analysis['measured_on'] == ('masks' if masks else 'boxes')


def test_numbers_of_images_and_objects_are_counted():
    dataset, _ = detections()
    analysis = evaluated('detection').content['analysis']
    labels = [[one['bbox_label'] for one in info['instances']] for info in dataset.infos]
    for i, one in enumerate(analysis['classes']):
        assert one['objects'] == sum(part.count(i) for part in labels)
        assert one['images'] == sum(i in part for part in labels) and one['name'] == CLASSES[i]
    assert sum(size['objects'] for size in analysis['sizes'].values()) == analysis['objects'] == sum(map(len, labels))


def test_precision_recall_and_f1_are_metrics():
    metrics = evaluated('detection').metrics
    assert set(metrics) == {f'threshold/{name}' for name in ('score_thr', 'precision', 'recall', 'f1')}
    precision, recall, f1 = (metrics[f'threshold/{name}'] for name in ('precision', 'recall', 'f1'))
    assert f1 == pytest.approx(2 * precision * recall / (precision + recall), abs=1e-4)


def test_worst_and_best_images_are_told_apart():
    pictures = evaluated('detection', images=20).content['pictures']
    roles = [one['role'] for one in pictures]
    assert [roles.count(role) for role in ('worst', 'best', 'random')] == [6, 6, 6]
    assert len({one['name'] for one in pictures}) == 18
    assert ' 0 missed, 0 wrong' in pictures[roles.index('best')]['note'] and '0 found' in pictures[0]['note']


def test_images_of_several_data_sets_with_the_same_ids_are_told_by_their_paths():
    dataset, samples = detections(images=6)
    for info, sample in zip(dataset.infos, samples):
        info['img_id'] = sample['img_id'] = info['img_id'] % 3
    record = recorder(dataset)
    record.process({}, samples)
    record.evaluate(len(samples))
    assert record.content['analysis']['objects'] == sum(len(info['instances']) for info in dataset.infos)


def test_a_model_that_finds_nothing_has_an_analysis_and_no_metric():
    dataset, samples = detections(images=3)
    for sample in samples:
        sample['pred_instances'] = {key: value[:0] for key, value in sample['pred_instances'].items()}
    record = recorder(dataset)
    record.process({}, samples)
    assert record.evaluate(3) == {}
    assert record.content['analysis']['overall']['best'] is None and record.content['analysis']['overall']['ap'] == 0


def test_images_without_objects_and_detections():
    dataset, samples = detections(images=2)
    dataset.infos[0]['instances'] = []
    samples[0]['pred_instances'] = {key: value[:0] for key, value in samples[0]['pred_instances'].items()}
    record = recorder(Objects(dataset.infos))
    record.process({}, samples)
    record.evaluate(2)
    assert record.content['analysis']['images'] == 2 and np.isfinite(record.content['analysis']['overall']['ap'])


def test_with_lvis_metric_a_class_that_was_not_searched_for_is_no_error():
    """Of the second class nothing is known but where it is annotated: nowhere is it taken for another's error."""
    dataset, samples = detections()
    api = SimpleNamespace(get_cat_ids=lambda: [4, 8, 9], imgs={
        info['img_id']: dict(neg_category_ids=[4, 9], not_exhaustive_category_ids=[8]) for info in dataset.infos},
        img_ann_map={info['img_id']: [dict(category_id=[4, 8, 9][one['bbox_label']]) for one in info['instances']]
                     for info in dataset.infos})
    plain, federated = (recorder(dataset, metrics=metrics) for metrics in ((), (SimpleNamespace(_lvis_api=api),)))
    for record in (plain, federated):
        record.process({}, samples)
        record.evaluate(len(samples))
    before, after = (record.content['analysis'] for record in (plain, federated))
    assert before['classes'][1]['errors']['class']['count'] > 0 == after['classes'][1]['errors']['class']['count']
    taken_for = [sum(row[1] for row in one['confusion']) - one['confusion'][1][1] for one in (before, after)]
    assert taken_for[0] > 0 == taken_for[1]
    assert after['classes'][1]['best']['precision'] == 1 > before['classes'][1]['best']['precision']
    assert after['classes'][1]['ap'] > before['classes'][1]['ap'] and after['classes'][0] == before['classes'][0]
