"""The Inferencer on exported files: what it gives with the checkpoint that they were made of."""
import copy
import pickle

import numpy as np
import pytest
import torch

from mmvision_mamba import Inferencer
from mmvision_mamba.errors import CheckpointError, ConfigError, DataError
from mmvision_mamba.export.agreement import Agreement
from mmvision_mamba.export.verify import verification_images
from mmvision_mamba.runtime.standalone import Detections

SIZES = (64, 64), (101, 128), (117, 90)


@pytest.fixture(scope='module')
def pictures():
    """BGR images of several sizes."""
    return [verification_images(size, 1, seed)[0][..., ::-1].copy() for seed, size in enumerate(SIZES)]


@pytest.fixture(scope='module')
def of_file(exported_files):
    """of_file(name): the Inferencer of an exported file."""
    return lambda name, *more, **options: Inferencer(*more, exported_files[name], show_progress=False, **options)


def detections(sample):
    found = sample.pred_instances
    return Detections(*(found[key].numpy() for key in ('bboxes', 'scores', 'labels', 'masks')))


def test_a_detector_finds_what_its_checkpoint_does(of_file, detector, pictures):
    inferencer, agreement = of_file('detector.onnx'), Agreement()
    for wanted, found in zip(detector.predict(pictures), inferencer.predict(pictures)):
        agreement.add(detections(wanted), detections(found), 0., 100)
        assert type(found) is type(wanted) and found.ori_shape == wanted.ori_shape
        assert {key: value.dtype for key, value in found.pred_instances.items()} == {
            key: value.dtype for key, value in wanted.pred_instances.items()}
    assert agreement.detections > 20 and agreement.unmatched == 0 and agreement.score < 1e-3
    assert agreement.box_iou > 0.99 and agreement.mask_iou > 0.99
    assert (inferencer.classes, inferencer.palette, inferencer.scope) == (
        detector.classes, detector.palette, detector.scope)


@pytest.mark.parametrize('name', ['segmentor.onnx', 'segmentor.pt', 'segmentor.pt2'])
def test_a_segmentors_maps_are_its_checkpoints(name, of_file, segmentor, pictures):
    inferencer = of_file(name)
    pictures = pictures[:1] if name == 'segmentor.pt2' else pictures  # of one size, which others are padded to
    for wanted, found in zip(segmentor.predict(pictures), inferencer.predict(pictures, batch_size=2)):
        assert type(found) is type(wanted)
        assert found.pred_sem_seg.data.shape == wanted.pred_sem_seg.data.shape
        assert (found.pred_sem_seg.data == wanted.pred_sem_seg.data).float().mean() > 0.999
        assert torch.allclose(found.seg_logits.data, wanted.seg_logits.data, atol=1e-3)
    assert (inferencer.classes, inferencer.palette) == (segmentor.classes, segmentor.palette)


def test_a_config_beside_the_file_gives_its_data(of_file, model_files, detector):
    inferencer = of_file('detector.onnx', model_files.detector.config)
    assert inferencer.ids.categories == detector.ids.categories
    assert inferencer.cfg.test_dataloader.dataset.type == detector.cfg.test_dataloader.dataset.type
    with pytest.raises(ConfigError, match='is a detector, and the config is of mmseg'):
        of_file('detector.onnx', model_files.segmentor.config)


def test_its_options_are_those_of_a_checkpoint(of_file, detector, pictures):
    kept = of_file('detector.onnx', classes=['ellipse']).predict(pictures[0]).pop().pred_instances
    assert len(kept) and (kept.labels == 0).all()
    assert detector.preprocess(pictures[1])[1] == pytest.approx(of_file('detector.onnx').preprocess(pictures[1])[1])


def test_what_a_file_can_not_do_is_refused(of_file, model_files, exported_files):
    with pytest.raises(ConfigError, match='computes in what it was exported in'):
        of_file('segmentor.onnx', dtype='bf16')
    with pytest.raises(ConfigError, match='runs on the CPU here'):
        of_file('segmentor.onnx', device='cuda:0')
    with pytest.raises(ConfigError, match=r'model.test_cfg.mode: .* stays as it was exported'):
        of_file('segmentor.onnx', model_files.segmentor.config, cfg_options={'model.test_cfg.mode': 'slide'})
    for weights in (model_files.segmentor.checkpoint, 'published'):
        with pytest.raises(ConfigError, match='which has weights of its own: leave out'):
            Inferencer(exported_files['segmentor.onnx'], weights)
    with pytest.raises(ConfigError, match='Export it again'):
        of_file('segmentor.onnx', cfg_options={'test_dataloader.batch_size': 2})


def test_it_is_copied_and_pickled(of_file, pictures):
    inferencer = of_file('segmentor.onnx')
    wanted = inferencer.predict(pictures[0]).pop().seg_logits.data
    for other in (copy.deepcopy(inferencer), pickle.loads(pickle.dumps(inferencer))):
        assert torch.equal(other.predict(pictures[0]).pop().seg_logits.data, wanted)


def test_an_image_that_the_file_does_not_take_fails_alone(of_file, pictures):
    result = of_file('segmentor.onnx')([pictures[0], np.zeros((600, 20, 3), np.uint8)])
    assert len(result['predictions']) == 1
    (_, reason), = result['failures']
    assert '32 pixels a side or more' in reason


def test_pictures_are_drawn(of_file, detector, pictures):
    inferencer = of_file('detector.onnx')
    sample = inferencer.predict(pictures[0]).pop()
    assert (inferencer.draw(pictures[0], sample) == detector.draw(pictures[0], sample)).all()


@pytest.mark.parametrize(('content', 'message'), [
    (b'', 'can not be loaded'), (b'\x08\x07\x12\x04hi', 'can not be loaded'), (None, 'No such file')])
def test_a_broken_file_is_told(content, message, tmp_path):
    for name in ('m.onnx', 'm.pt2'):
        path = tmp_path / name
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(CheckpointError, match=message):
            Inferencer(path)


@pytest.mark.parametrize('shape', [(1, 3, 0, 24), (1, 3, 16, 0), (1, 0, 16, 24), (1, 3, 16, 24, 1), (3, 16, 24)])
def test_logits_that_can_not_be_enlarged_are_told(shape, of_file, pictures):
    inferencer = of_file('segmentor.onnx')
    file = inferencer.model.file
    outputs, run = file.session.outputs, file.session.run
    try:
        file.session.outputs, file.session.run = ['logits'], lambda feed: [np.zeros(shape, np.float32)]
        with pytest.raises(DataError, match='does not give what its metadata says'):
            inferencer.predict(pictures[0])
    finally:
        file.session.outputs, file.session.run = outputs, run


def test_a_detector_without_names_of_its_classes_is_refused(exported_files, monkeypatch):
    from mmvision_mamba.inference import exported
    monkeypatch.setattr(exported, 'load_model', lambda path, **options: type(
        'file', (), dict(task='detection', classes=[], channels=3, bands=None)))
    with pytest.raises(CheckpointError, match='names no classes'):
        exported._load(exported_files['detector.onnx'], None, 1)
