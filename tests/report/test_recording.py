"""Recording: it never fails a run, pictures are bounded, small images enlarged."""
import base64
import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from mmengine.evaluator import Evaluator

from mmvision_mamba.report.kept import EVALUATIONS
from mmvision_mamba.report.recording import PICTURE_BYTES, RecordingHook, kept_at, reduced

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


def test_several_processes_have_one_analysis_of_all_images_or_none(port, shell):
    done = shell(sys.executable, '-m', 'torch.distributed.run', '--nproc-per-node', 2, '--master-port', port,
                 Path(__file__).with_name('recording_worker.py'))
    assert done.returncode == 0, done.stderr[-3000:]
    assert "[None, 7] ['no analysis for the report: another process" in done.stdout


class Runner(SimpleNamespace):
    """As far as the hook looks at it."""

    def __init__(self, work_dir, evaluator, dataset, iteration=0):
        self.warnings = []
        super().__init__(
            work_dir=str(work_dir), cfg=dict(val_dataloader=dict(dataset=dict(type='Objects', pipeline=[]))),
            iter=iteration, epoch=0, message_hub=SimpleNamespace(runtime_info={}),
            logger=SimpleNamespace(warning=self.warnings.append),
            val_loop=SimpleNamespace(evaluator=evaluator, dataloader=SimpleNamespace(dataset=dataset)))


def test_an_evaluator_that_evaluates_in_its_own_way_is_left_alone(tmp_path):
    class PartByPart(Evaluator):
        def evaluate(self, size):
            return {}

    dataset, _ = detections(images=2)
    run, hook = Runner(tmp_path, PartByPart([]), dataset), RecordingHook()
    hook.before_val(run)
    assert run.val_loop.evaluator.metrics == [] and 'PartByPart evaluates in its own way' in run.warnings[0]
    hook.after_val_epoch(run)
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize('iteration', [0, 5])
def test_a_training_that_begins_anew_removes_the_report_of_an_earlier_one(iteration, tmp_path):
    files = [kept_at(tmp_path, name) for name in (*EVALUATIONS, 'run')] + [
        tmp_path / 'report' / name for name in ('report.json', 'index.html')]
    files[0].parent.mkdir()
    for file in files:
        file.write_text('{}')
    run, hook = Runner(tmp_path, Evaluator([]), Objects(), iteration), RecordingHook()
    hook.before_train(run)
    assert all(file.exists() for file in files), 'until an iteration is done'
    hook.after_train_iter(run, 0)
    assert [file.exists() for file in files] == [iteration > 0] * 5


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
