"""OpenVINO's files: what they compute, and what is told of those that can't be used."""
import subprocess
import sys

import numpy as np
import pytest
import torch

from mmvision_mamba import Inferencer
from mmvision_mamba.commands import call
from mmvision_mamba.errors import CheckpointError, ConfigError, MissingExtraError
from mmvision_mamba.export.agreement import Agreement
from mmvision_mamba.export.verify import verification_images
from mmvision_mamba.runtime.loaders import load, load_model
from mmvision_mamba.runtime.standalone import Detections, RuntimeInputError

pytest.importorskip('openvino')

PICTURES = [verification_images(size, 1, seed)[0][..., ::-1].copy() for seed, size in enumerate([(64, 64), (101, 128)])]


@pytest.fixture(scope='module')
def files(model_files, tmp_path_factory):
    """segmentor.xml of any size, detector.xml with weights of 16 bits."""
    folder, found = tmp_path_factory.mktemp('openvino'), {}
    for name, options in (('segmentor', dict(shape=(64, 64), dynamic=True)), ('detector', dict(shape=(128, 128)))):
        given = getattr(model_files, name)
        call('export', config=str(given.config), checkpoint=str(given.checkpoint), format='openvino',
             out=folder / f'{name}.xml', **options)
        found[name] = folder / f'{name}.xml'
    return found


def test_a_segmentors_maps_are_its_checkpoints(files, segmentor):
    assert sorted(path.name for path in files['segmentor'].parent.iterdir()) == [
        'detector.bin', 'detector.xml', 'segmentor.bin', 'segmentor.xml']
    inferencer = Inferencer(files['segmentor'], show_progress=False)
    for wanted, found in zip(segmentor.predict(PICTURES), inferencer.predict(PICTURES)):
        assert torch.allclose(found.seg_logits.data, wanted.seg_logits.data, atol=1e-3)
    assert inferencer.classes == segmentor.classes


def test_a_detector_finds_what_its_checkpoint_does(files, detector):
    """Two-stage: its regions without extent, and its attention of as many heads as tokens, are ONNX's."""
    agreement = Agreement()
    inferencer = Inferencer(files['detector'], show_progress=False)
    for samples in zip(detector.predict(PICTURES), inferencer.predict(PICTURES)):
        agreement.add(*(Detections(*(one.pred_instances[key].numpy() for key in (
            'bboxes', 'scores', 'labels', 'masks'))) for one in samples), 0., 100)
    assert agreement.detections > 20 and agreement.unmatched == 0 and agreement.score < 1e-3
    assert agreement.box_iou > 0.99 and agreement.mask_iou > 0.99


def test_bfloat16_is_asked_for(files, segmentor):
    wanted = segmentor.predict(PICTURES[0]).pop().seg_logits.data
    found, exact = (Inferencer(files['segmentor'], show_progress=False, dtype=dtype).predict(
        PICTURES[0]).pop().seg_logits.data for dtype in ('bf16', 'float32'))
    assert (exact - wanted).abs().max() < 1e-3
    assert (found - wanted).abs().max() / wanted.abs().max() < 0.1
    with pytest.raises(ConfigError, match='computes in what it was exported in'):
        Inferencer(files['segmentor'], dtype='fp16')


def test_weights_of_16_bits_take_half(model_files, files, tmp_path):
    given = model_files.segmentor
    call('export', config=str(given.config), checkpoint=str(given.checkpoint), format='openvino', fp16=True,
         part='backbone', shape=(64, 64), out=tmp_path / 'half.xml')
    call('export', config=str(given.config), checkpoint=str(given.checkpoint), format='openvino', part='backbone',
         shape=(64, 64), out=tmp_path / 'whole.xml')
    half, whole = ((tmp_path / f'{name}.bin').stat().st_size for name in ('half', 'whole'))
    assert 0.45 < half / whole < 0.6
    images = np.random.default_rng(0).standard_normal((1, 3, 64, 64), dtype=np.float32)
    for a, b in zip(load(tmp_path / 'half.xml', 'openvino')(images), load(tmp_path / 'whole.xml', 'openvino')(images)):
        assert a.dtype == np.float32 and 0 < np.abs(a - b).max() < 0.01 * np.abs(b).max()


def test_files_that_can_not_be_used_are_told(files, tmp_path):
    graph, weights = (files['segmentor'].with_suffix(suffix).read_bytes() for suffix in ('.xml', '.bin'))
    for xml, binary, message in ((graph[:2000], weights, 'can not be loaded'), (graph, None, 'can not be loaded'),
                                 (graph, weights[:1000], 'can not be loaded'),
                                 (b'<annotation></annotation>', weights, 'it is no graph of OpenVINO'),
                                 (graph.replace(b'<task value=', b'<other value='), weights, "no 'task'"),
                                 (graph.replace(b'&quot;segmentation&quot;', b'&quot;art&quot;'), weights,
                                  'task in its')):
        (tmp_path / 'm.xml').write_bytes(xml)
        (tmp_path / 'm.bin').unlink(missing_ok=True)
        if binary is not None:
            (tmp_path / 'm.bin').write_bytes(binary)
        with pytest.raises(CheckpointError, match=message) as caught:
            Inferencer(tmp_path / 'm.xml')
        assert len(str(caught.value).splitlines()) <= 2 and 'Exception from' not in str(caught.value)


def test_weights_of_another_export_are_told(files, tmp_path):
    """As where an export was killed between its two files, two ran at once, or one file was copied alone."""
    graph, weights = (bytearray(files['segmentor'].with_suffix(suffix).read_bytes()) for suffix in ('.xml', '.bin'))
    weights[1000] ^= 1
    (tmp_path / 'm.xml').write_bytes(graph)
    (tmp_path / 'm.bin').write_bytes(weights)
    with pytest.raises(CheckpointError, match=r'm\.bin does not hold the weights of') as caught:
        Inferencer(tmp_path / 'm.xml')
    assert len(str(caught.value).splitlines()) == 2
    weights[1000] ^= 1
    (tmp_path / 'm.bin').write_bytes(weights)
    Inferencer(tmp_path / 'm.xml', show_progress=False).predict(PICTURES[0])


@pytest.mark.parametrize('place', [b'<mmvision_mamba>', b'<layers>'])
def test_a_graph_of_elements_without_end_does_not_end_the_process(place, files, tmp_path):
    graph = files['segmentor'].read_bytes()
    (tmp_path / 'm.xml').write_bytes(graph.replace(place, place + b'<a>' * 10**5 + b'</a>' * 10**5))
    (tmp_path / 'm.bin').write_bytes(files['segmentor'].with_suffix('.bin').read_bytes())
    script = f'from mmvision_mamba.runtime.loaders import load_model; load_model({str(tmp_path / "m.xml")!r})'
    run = subprocess.run([sys.executable, '-c', script], capture_output=True, text=True, check=False)
    assert run.returncode == 1 and 'nested more than' in run.stderr


@pytest.mark.parametrize('graph', [None, '<annotation></annotation>'])
def test_another_files_weights_are_not_replaced(graph, model_files, tmp_path):
    (tmp_path / 'model.bin').write_text('mine')
    if graph:
        (tmp_path / 'model.xml').write_text(graph)
    given = model_files.segmentor
    with pytest.raises(ConfigError, match='where another file lies'):
        call('export', config=str(given.config), checkpoint=str(given.checkpoint), format='openvino',
             out=tmp_path / 'model.xml')
    assert (tmp_path / 'model.bin').read_text() == 'mine'


def test_a_full_disk_is_told_with_the_name_of_the_file(tool, model_files, tmp_path, monkeypatch):
    import openvino

    def full(*args, **kwargs):
        raise RuntimeError('basic_ios::clear: iostream error')
    monkeypatch.setattr(openvino, 'save_model', full)
    given = model_files.segmentor
    run = tool('export', given.config, given.checkpoint, '--format', 'openvino', '--shape', 64, 64,
               '--out', tmp_path / 'out' / 'm.xml')
    assert run.code == 2 and len(run.errors) == 1 and 'm.xml: it can not be written' in run.err
    assert not list((tmp_path / 'out').iterdir())


def test_precision_is_for_such_files_alone(exported_files):
    with pytest.raises(RuntimeInputError, match='bf16 is for files of OpenVINO'):
        load_model(exported_files['segmentor.onnx'], precision='bf16')


def test_without_openvino_the_extra_is_named(files, monkeypatch):
    monkeypatch.setitem(sys.modules, 'openvino', None)
    with pytest.raises(MissingExtraError, match='openvino'):
        load_model(files['segmentor'])
