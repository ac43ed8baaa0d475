"""Recording: it never fails a run, pictures are bounded, small images enlarged."""
import base64

import cv2
import numpy as np
import pytest

from mmvision_mamba.report.recording import PICTURE_BYTES, reduced

from ..helpers.evaluations import Objects, classifications, detections, evaluated, recorder


def test_what_goes_wrong_is_a_warning_in_one_line():
    dataset, samples = detections(images=3)
    samples[1]['pred_instances']['labels'] += 100  # of classes that the data set lacks
    said = []
    record = recorder(dataset, said.append)
    record.process({}, samples)
    assert record.evaluate(3) == {} and record.content is None
    assert len(said) == 1 and '\n' not in said[0] and said[0].startswith('no analysis for the report: ')


def test_what_can_not_be_taken_is_said_once_and_the_next_evaluation_is_tried():
    dataset, samples = detections(images=3)
    said = []
    record = recorder(dataset, said.append)
    broken = [dict(sample, pred_instances=dict(sample['pred_instances'], bboxes='?')) for sample in samples]
    record.process({}, broken)
    assert record.evaluate(3) == {} and len(said) == 1
    record.process({}, samples)
    assert record.evaluate(3) and record.content is not None


@pytest.mark.parametrize('sample', [{}, dict(pred_panoptic_seg={}, pred_instances=dict(scores=[])), dict(right=True)])
def test_other_predictions_have_no_analysis(sample):
    record = recorder(Objects())
    record.process({}, [sample])
    assert record.evaluate(1) == {} and record.content is None


def test_an_image_that_can_not_be_read_has_no_picture():
    dataset, samples, labels = classifications(images=4)
    for sample in samples:
        sample['img_path'] = '/missing.png'
    record = recorder(dataset)
    record.process(dict(gt_label=np.array(labels)), samples)
    record.evaluate(4)
    assert all(one['truth'] is None and one['problem'] for one in record.content['pictures'])


def test_tiles_of_a_picture_are_told_apart_and_shown():
    dataset, samples = detections(images=4)
    for i, (info, sample) in enumerate(zip(dataset.infos, samples)):
        place = (48 * (i % 2), 48 * (i // 2))
        info.update(img_id=0, img_path='/data/a.png', tile=(*place, 48, 48))
        sample.update(img_id=0, img_path='/data/a.png', tile_offset=place, ori_shape=(48, 48))
    record = recorder(dataset)
    record.process({}, samples)
    record.evaluate(4)
    assert record.content['analysis']['objects'] == sum(len(info['instances']) for info in dataset.infos)
    picture = cv2.imdecode(np.frombuffer(base64.b64decode(record.content['pictures'][0]['truth']), np.uint8), 1)
    assert picture.shape == (288, 288, 3), 'six times as large as a tile'


def test_pictures_are_bounded():
    for one in evaluated('detection').content['pictures']:
        for key in ('truth', 'prediction'):
            data = base64.b64decode(one[key])
            assert len(data) <= PICTURE_BYTES
            assert cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR).shape == (288, 288, 3)


@pytest.mark.parametrize('shape, expected', [((10, 20), (160, 320)), ((640, 1280), (160, 320)), ((5000, 1), (320, 1)),
                                             ((200, 300), (200, 300)), ((1, 1), (320, 320))])
def test_images_are_reduced_or_enlarged(shape, expected):
    assert reduced(np.zeros((*shape, 3), np.uint8)).shape == (*expected, 3)
