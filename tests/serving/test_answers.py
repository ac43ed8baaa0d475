"""Answers hold what the Inferencer predicts, in the forms that `infer` and the exported files' runtime write."""
import base64
import io
import json

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from mmvision_mamba.datasets.label_maps import segment_map
from mmvision_mamba.inference import Inferencer
from mmvision_mamba.inference.results import to_dict
from mmvision_mamba.serving.answers import Answering, Asked


@pytest.fixture(scope='module')
def answering(saved):
    return {name: Answering(dict(model, device='cpu')) for name, model in saved.items()}


def predicted(saved, name, picture):
    model = Inferencer(**saved[name], device='cpu', show_progress=False)
    sample, = model.predict(picture[..., ::-1])
    return model, sample


def told(answer):
    assert answer.media_type == 'application/json', answer.body
    return json.loads(answer.body)


def test_instances_are_those_of_the_inferencer(answering, saved, picture, content):
    model, sample = predicted(saved, 'detector', picture)
    expected = to_dict(sample)
    answer, = answering['detector']([Asked(content, score_thr=0)])
    found = told(answer)
    assert (found['width'], found['height']) == (101, 75) and 0 < found['seconds'] == round(answer.seconds, 4)
    order = np.argsort(-np.array(expected['scores']), kind='stable')
    assert len(found['instances']) == len(order) > 0
    for instance, i in zip(found['instances'], order):
        assert instance['label'] == expected['labels'][i] and instance['name'] == model.classes[instance['label']]
        np.testing.assert_allclose(instance['score'], expected['scores'][i], atol=1e-5)
        np.testing.assert_allclose(instance['box'], expected['bboxes'][i], atol=1e-2)
        mask = coco_mask.decode(coco_mask.frPyObjects(instance['mask'], 75, 101))
        np.testing.assert_array_equal(mask, coco_mask.decode(expected['masks'][i]))


def test_scores_above_the_threshold_are_told_and_masks_can_be_left_out(answering, content):
    everything = told(answering['detector']([Asked(content, score_thr=0)])[0])['instances']
    middle = everything[len(everything) // 2]['score']
    some = told(answering['detector']([Asked(content, score_thr=middle + 1e-5, masks=False)])[0])['instances']
    assert 0 < len(some) < len(everything) and not any('mask' in instance for instance in some)
    assert all(instance['score'] > middle for instance in some)


def test_a_segmentors_map_is_the_one_that_infer_writes(answering, saved, picture, content):
    model, sample = predicted(saved, 'segmentor', picture)
    labels = to_dict(sample)['sem_seg']
    expected = segment_map(labels, len(model.classes), model.palette, model.reduce_zero_label)
    as_json, as_map, without = answering['segmentor']([Asked(content), Asked(content, 'map'),
                                                       Asked(content, masks=False)])
    for png in (base64.b64decode(told(as_json)['map']), as_map.body):
        with Image.open(io.BytesIO(png)) as found:
            assert found.getpalette() == expected.getpalette()
            np.testing.assert_array_equal(np.asarray(found), np.asarray(expected))
    assert 'map' not in told(without) and as_json.batch == 3
    assert {area['label']: area['pixels'] for area in told(without)['areas']} == dict(
        zip(*(values.tolist() for values in np.unique(labels, return_counts=True))))
    assert sum(area['share'] for area in told(without)['areas']) == pytest.approx(1, abs=1e-4)


def test_a_picture_is_the_one_that_is_drawn(answering, saved, picture, content):
    model, sample = predicted(saved, 'detector', picture)
    answer, = answering['detector']([Asked(content, 'picture', score_thr=0.2)])
    with Image.open(io.BytesIO(answer.body)) as found:
        np.testing.assert_array_equal(np.asarray(found), model.draw(picture[..., ::-1], sample, 0.2, 320))


def test_a_classifiers_likeliest_classes_are_told(answering, saved, picture, content):
    model, sample = predicted(saved, 'classifier', picture)
    top = told(answering['classifier']([Asked(content)])[0])['top']
    assert top[0]['label'] == int(sample.pred_label) and top[0]['name'] == model.classes[top[0]['label']]
    assert top[0]['score'] == pytest.approx(float(sample.pred_scores.max()), abs=1e-6)


def test_one_broken_image_of_a_batch_is_told_and_the_others_are_answered(answering, content):
    first, broken, last = answering['detector']([Asked(content), Asked(content[:len(content) // 2]), Asked(content)])
    assert told(first)['instances'] == told(last)['instances']
    assert broken.refused and broken.body.startswith(b'the image: ') and b'/' not in broken.body


def test_a_map_of_a_detector_is_refused(answering, content):
    answer, = answering['detector']([Asked(content, 'map')])
    assert answer.refused and b'json or picture' in answer.body


def test_nobody_is_told_paths(answering, saved):
    about = answering['segmentor'].about()
    assert about['model'] == 'segmentor.pth' and about['task'] == 'segmentation' and len(about['classes']) > 1
    assert '/' not in json.dumps(about)


def test_what_an_exported_file_says_of_an_image_names_no_path(exported_files, content):
    model = Answering(dict(model=str(exported_files['segmentor.onnx']), device='cpu'))
    model.model.model.file.smallest, model.model.model.file.input_size = 4096, (None, None)
    answer, = model([Asked(content)])
    assert answer.refused and b'4096 pixels a side or more' in answer.body and b'/' not in answer.body
    model.model.model.file.session.run = lambda feed: [np.full((1, 4, 64, 64), np.nan, np.float32)]
    model.model.model.file.smallest = 1
    answer, = model([Asked(content)])
    assert answer.refused and answer.body.startswith(b'the image: the model: map are NaN')


def test_panoptic_segments_are_told_beside_their_map(answering, content):
    import torch
    from mmdet.evaluation import INSTANCE_OFFSET
    from mmdet.structures import DetDataSample
    from mmengine.structures import PixelData
    segments = torch.full((1, 4, 6), 3)  # of no class
    segments[0, :2, :3], segments[0, 2:, :5] = 1, 2 + INSTANCE_OFFSET
    model = answering['detector']
    sample = DetDataSample(pred_panoptic_seg=PixelData(sem_seg=segments))
    image = np.zeros((4, 6, 3), np.uint8)
    found = told(model._answer(Asked(content), image, sample, 0.1))
    assert [(segment['label'], segment['name'], segment['area']) for segment in found['segments']] == [
        (1, 'rectangle', 6), (2, 'triangle', 10)]
    with Image.open(io.BytesIO(base64.b64decode(found['map']))) as png:
        ids = np.asarray(png).astype(int) @ [1, 256, 256**2]
    for segment in found['segments']:
        assert (ids == segment['id']).sum() == segment['area']
    assert (ids == 0).sum() == 8
