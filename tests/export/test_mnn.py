"""MNN's files: what they compute, and what is told of those that can't be used."""
import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from mmvision_mamba import Inferencer
from mmvision_mamba.commands import call
from mmvision_mamba.errors import CheckpointError, ConfigError, ExportError, MissingExtraError
from mmvision_mamba.export import formats, mnn_file, scores
from mmvision_mamba.export.agreement import Agreement
from mmvision_mamba.export.mnn_file import describe
from mmvision_mamba.export.parts import Exportable
from mmvision_mamba.export.verify import verification_images
from mmvision_mamba.runtime.loaders import files_of, load, load_model
from mmvision_mamba.runtime.mnn_files import about_mnn, biz_code
from mmvision_mamba.runtime.standalone import Detections, Model, RuntimeInputError

PICTURES = [verification_images(size, 1, seed)[0][..., ::-1].copy() for seed, size in enumerate([(64, 64), (101, 128)])]


@pytest.fixture(scope='module')
def export(model_files, tmp_path_factory):
    """export(name, part=…, …) makes the .mnn file of one of the small models; returns its path."""
    pytest.importorskip('MNN', reason="pip install '.[mnn]'")
    folder = tmp_path_factory.mktemp('mnn')

    def made(name, file=None, **options):
        files, path = getattr(model_files, name), folder / f'{file or name}.mnn'
        call('export', config=str(files.config), checkpoint=str(files.checkpoint), format='mnn', out=path,
             **dict(dict(shape=(64, 64)), **options))
        return path
    return made


@pytest.fixture(scope='module')
def segmentor_file(export):
    """Of any number of images of any size."""
    return export('segmentor', dynamic=True)


def flatbuffer(text):
    """The smallest that has a root table whose first field is a text."""
    table = struct.pack('<IHHHxxiI', 12, 6, 8, 4, 8, 4)
    return table + struct.pack('<I', len(text)) + text + bytes(4 - len(text) % 4)


def signed(path, **metadata):
    """Such a file, with metadata."""
    path.write_bytes(flatbuffer(b'nothing'))
    describe(path, metadata)
    return path


# What files compute ---------------------------------------------------------------------------------------------------

def test_a_segmentors_maps_are_its_checkpoints(segmentor_file, segmentor):
    assert files_of(segmentor_file) == [segmentor_file]
    inferencer = Inferencer(segmentor_file, show_progress=False)
    for wanted, found in zip(segmentor.predict(PICTURES), inferencer.predict(PICTURES)):
        assert torch.allclose(found.seg_logits.data, wanted.seg_logits.data, atol=1e-3)
    assert inferencer.classes == segmentor.classes


def test_a_detector_finds_what_its_checkpoint_does(export, detector):
    """Two-stage: with NMS, and RoIAlign of regions without extent."""
    agreement, path = Agreement(), export('detector', shape=(128, 128))
    inferencer = Inferencer(path, show_progress=False)
    for samples in zip(detector.predict(PICTURES), inferencer.predict(PICTURES)):
        agreement.add(*(Detections(*(one.pred_instances[key].numpy() for key in (
            'bboxes', 'scores', 'labels', 'masks'))) for one in samples), 0., 100)
    assert agreement.detections > 20 and agreement.unmatched == 0 and agreement.score < 1e-3
    assert agreement.box_iou > 0.99 and agreement.mask_iou > 0.99


def test_features_are_exact_to_the_arithmetic(export, segmentor):
    path = export('segmentor', 'backbone', part='backbone')
    images = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        wanted = segmentor.model.backbone(images)
    for a, b in zip(load(path, 'mnn')(images.numpy()), wanted, strict=True):
        assert np.abs(a - b.numpy()).max() < 1e-5 * b.abs().max()


def test_convolutions_of_large_maps_are_exact_to_the_arithmetic(tmp_path):
    """MNN's own choice for them, Winograd's algorithm, is off by 2e-4."""
    pytest.importorskip('MNN', reason="pip install '.[mnn]'")
    torch.manual_seed(0)
    graph = nn.Sequential(nn.Conv2d(32, 80, 3, padding=1), nn.Conv2d(80, 80, 3, padding=1)).eval()
    images = torch.randn(1, 32, 128, 160)
    formats.write(Exportable('backbone', graph, ('images',), ('out',)), tmp_path / 'm.mnn', 'mnn', [images])
    with torch.no_grad():
        wanted = graph(images).numpy()
    assert np.abs(load(tmp_path / 'm.mnn', 'mnn')(images.numpy())[0] - wanted).max() < 1e-5 * np.abs(wanted).max()


def test_weights_of_16_bits_take_half(export, model_files):
    half, whole = (export('segmentor', f'fp16 {fp16}', part='backbone', fp16=fp16) for fp16 in (True, False))
    weights = sum(value.nbytes for key, value in torch.load(model_files.segmentor.checkpoint)['state_dict'].items()
                  if key.startswith('backbone'))
    assert whole.stat().st_size - half.stat().st_size > 0.4 * weights  # the graph itself is as large
    images = np.random.default_rng(0).standard_normal((1, 3, 64, 64), dtype=np.float32)
    for a, b in zip(load(half, 'mnn')(images), load(whole, 'mnn')(images), strict=True):
        assert a.dtype == np.float32 and 0 < np.abs(a - b).max() < 0.01 * np.abs(b).max()


def test_the_library_says_nothing_of_its_own(segmentor_file):
    """MNN greets on the standard output, where results are."""
    code = f"from mmvision_mamba.runtime.loaders import load_model; load_model({str(segmentor_file)!r}); print('done')"
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert done.stdout == 'done\n'


def test_a_file_may_be_copied_anywhere_and_lies_alone(segmentor_file, tmp_path):
    copy = tmp_path / 'other name.mnn'
    copy.write_bytes(segmentor_file.read_bytes())
    assert about_mnn(copy) == about_mnn(segmentor_file)
    assert json.loads(about_mnn(copy)['classes']) == ['background', 'ellipse', 'rectangle', 'triangle']
    assert np.array_equal(load_model(copy)(PICTURES[1]), load_model(segmentor_file)(PICTURES[1]))


def test_mnn_itself_reads_the_metadata(segmentor_file):
    import MNN.nn
    text = MNN.nn.load_module_from_file(str(segmentor_file), [], []).get_info()['bizCode']
    assert json.loads(text)['mmvision_mamba'] == about_mnn(segmentor_file)


# int8 -----------------------------------------------------------------------------------------------------------------

def test_weights_in_int8_are_kept_where_little_is_lost(export, shapes, monkeypatch, capsys):
    monkeypatch.setenv('SHAPES_ROOT', str(shapes))
    monkeypatch.setattr(scores, 'mean_iou', lambda *given: 50.)
    path = export('segmentor', 'int8', int8='weights', int8_images=(2, 3))
    about = json.loads(about_mnn(path)['int8'])
    assert about['kind'] == 'weights' and about['int8'] == dict(mIoU=50.) and about['layers'] > 20
    assert json.loads(about_mnn(path)['precision']) == 'int8' and 'layers in int8' in capsys.readouterr().out
    assert load_model(path)(PICTURES[0]).shape == (64, 64)
    assert path.stat().st_size < export('segmentor', 'float').stat().st_size


def test_weights_in_int8_that_lose_too_much_are_not_kept(export, shapes, monkeypatch):
    monkeypatch.setenv('SHAPES_ROOT', str(shapes))
    found = iter([50., 40.])
    monkeypatch.setattr(scores, 'mean_iou', lambda *given: next(found))
    with pytest.raises(ExportError, match=r'mIoU lost, of 50\.00'):
        export('segmentor', 'lossy', int8='weights', int8_images=(2, 3))


@pytest.mark.parametrize(('format', 'kind', 'message'), [
    ('mnn', 'static', 'is not for --format mnn: use --int8 weights'),
    ('onnx', 'weights', 'is not for --format onnx: use --int8 static or dynamic'),
    ('openvino', 'dynamic', 'is not for --format openvino: use --int8 static')])
def test_each_format_has_its_kinds_of_int8(model_files, format, kind, message):
    files = model_files.segmentor
    with pytest.raises(ConfigError, match=message):
        call('export', config=str(files.config), checkpoint=str(files.checkpoint), format=format, int8=kind)


# Files that can't be used ---------------------------------------------------------------------------------------------

def test_files_that_can_not_be_used_are_told(segmentor_file, tmp_path):
    whole, path = segmentor_file.read_bytes(), tmp_path / 'm.mnn'
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    for content, message in ((whole[:len(whole) // 2], 'cut off'), (whole[:-1], 'cut off|damaged'),
                             (whole + b'more', 'damaged'), (bytes(flipped), 'damaged'), (b'', 'no file of MNN'),
                             (b'no graph ' * 100, 'no file of MNN'), (bytes(1000), 'no file of MNN'),
                             (flatbuffer(b'mine'), "no 'task' in its metadata")):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=message) as caught:
            Inferencer(path)
        assert len(str(caught.value).splitlines()) <= 2


def test_metadata_that_do_not_fit_are_told(segmentor_file, tmp_path):
    path = tmp_path / 'm.mnn'
    for key, value, message in (('task', '"art"', 'task in its metadata'), ('inputs', '[1]', 'inputs in its metadata'),
                                ('outputs', 'not JSON', 'outputs in its metadata'), ('mean', '[1, 2]', 'mean in')):
        path.write_bytes(segmentor_file.read_bytes())
        describe(path, {key: value})
        with pytest.raises(CheckpointError, match=message) as caught:
            Inferencer(path)
        assert len(str(caught.value).splitlines()) <= 2


def test_what_mnn_does_not_take_is_told(tmp_path):
    """Signed as ours, but no graph: MNN itself refuses it."""
    pytest.importorskip('MNN', reason="pip install '.[mnn]'")
    with pytest.raises(RuntimeInputError, match='MNN does not take it'):
        load_model(signed(tmp_path / 'm.mnn', task='"segmentation"'))


def test_an_image_that_the_graph_does_not_take_is_told(export, tmp_path):
    path = tmp_path / 'm.mnn'
    path.write_bytes(export('segmentor', 'fixed').read_bytes())
    describe(path, dict(inputs=json.dumps(dict(images=dict(type='float32', shape=[1, 3, 32, 96])))))
    with pytest.raises(RuntimeInputError, match='can not be run on this image'):
        Model(path, session=load_model(path).session)(PICTURES[0])


def test_a_file_larger_than_any_of_mnns_is_not_read(tmp_path):
    with open(tmp_path / 'm.mnn', 'wb') as file:
        file.truncate(2**40)  # sparse
    with pytest.raises(RuntimeInputError, match='at most 2 GB'):
        load_model(tmp_path / 'm.mnn')


@given(st.binary(max_size=200))
def test_any_bytes_are_no_file_or_have_a_text_within_them(content):
    try:
        found = biz_code(content)
    except struct.error:
        return
    assert found is None or 0 <= found.start <= found.start + found.length <= len(content)


@given(st.dictionaries(st.text(max_size=5), st.text(max_size=50)), st.dictionaries(st.text(max_size=5), st.text()))
def test_metadata_are_read_as_they_were_written(tmp_path_factory, values, more):
    path = signed(tmp_path_factory.mktemp('about') / 'm.mnn', **values)
    describe(path, more)
    assert about_mnn(path) == {**values, **more}


def test_an_operator_that_mnn_lacks_is_named(tmp_path):
    pytest.importorskip('MNN', reason="pip install '.[mnn]'")

    class Odd(nn.Module):
        def forward(self, x):
            return torch.where(torch.isnan(x), x, x * 2),
    what = Exportable('backbone', Odd(), ('images',), ('out',))
    with pytest.raises(ConfigError, match='MNN has no IsNaN'):
        formats.write(what, tmp_path / 'm.mnn', 'mnn', [torch.ones(1, 3, 32, 32)])
    assert not os.listdir(tmp_path)


def test_files_do_not_mix_when_two_are_made_in_one_folder(tmp_path, monkeypatch):
    """MNN's converter keeps large weights in a file of a fixed name, in its working folder."""
    pytest.importorskip('MNN', reason="pip install '.[mnn]'")
    monkeypatch.chdir(tmp_path)
    (tmp_path / '.__convert_external_data.bin').symlink_to(os.devnull)  # where the other one takes all away
    torch.manual_seed(0)

    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.wide, self.last = nn.Linear(32, 512), nn.Linear(512, 256)

        def forward(self, x):
            return self.last(self.wide(x).tanh()),
    graph, images = Tokens(), torch.randn(1, 3, 32, 32)
    formats.write(Exportable('backbone', graph, ('images',), ('out',)), Path('m.mnn'), 'mnn', [images])
    with torch.no_grad():
        wanted, = graph(images)
    assert np.allclose(load(tmp_path / 'm.mnn', 'mnn')(images.numpy())[0], wanted, atol=1e-4)
    assert sorted(os.listdir(tmp_path)) == ['.__convert_external_data.bin', 'm.mnn']


@pytest.mark.parametrize('share', [0, 0.1, 0.9])
def test_a_file_that_the_converter_cut_off_is_told(share, tmp_path, monkeypatch):
    """On a full disk it ends as if nothing had been."""
    pytest.importorskip('MNN', reason="pip install '.[mnn]'")
    path, convert = tmp_path / 'm.mnn', subprocess.run

    def cut(*arguments, **options):
        done = convert(*arguments, **options)
        os.truncate(path, int(share * path.stat().st_size))
        return done
    monkeypatch.setattr(subprocess, 'run', cut)
    what = Exportable('backbone', torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3)), ('images',), ('out',))
    with pytest.raises(ExportError, match='cut off, as where the disk is full'):
        formats.write(what, path, 'mnn', [torch.ones(1, 3, 32, 32)])


def test_weights_of_more_than_one_file_are_refused(tmp_path):
    pytest.importorskip('MNN', reason="pip install '.[mnn]'")

    def write(path):
        path.write_bytes(b'')
        path.with_name(f'{path.name}.data').write_bytes(b'')
    with pytest.raises(ConfigError, match='2 GB'):
        mnn_file.write_mnn(tmp_path / 'm.mnn', write, {})


def test_without_mnn_the_extra_is_named(tmp_path, model_files, monkeypatch):
    monkeypatch.setitem(sys.modules, 'MNN', None)
    with pytest.raises(MissingExtraError, match=r'\bmnn\b'):
        load_model(signed(tmp_path / 'm.mnn', task='"segmentation"'))
    files = model_files.segmentor
    with pytest.raises(MissingExtraError, match=r'\bmnn\b'):
        call('export', config=str(files.config), checkpoint=str(files.checkpoint), format='mnn')
