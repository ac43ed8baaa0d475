"""Exported files as their users run them, from image files to results, against mmseg's and mmdet's own inference."""
import json

import numpy as np
import onnx
import pytest
import torch
from mmengine.registry import MODELS
from PIL import Image

from mmvision_mamba import Inferencer
from mmvision_mamba.export import FORMATS
from mmvision_mamba.export.agreement import Agreement
from mmvision_mamba.export.verify import verification_images
from mmvision_mamba.preflight.read import read_config
from mmvision_mamba.runtime.loaders import load_model
from mmvision_mamba.runtime.standalone import Detections, RuntimeInputError, main

from ..helpers.small_configs import DETECTOR, SEGMENTOR

SIZES = (101, 341), (341, 275), (64, 64), (53, 200), (47, 33)
LOAD, PACK = "dict(type='LoadImageFromFile')", "dict(type='PackSegInputs')"


def pipeline(*steps, load=LOAD):
    return f'\ntest_dataloader = dict(dataset=dict(pipeline=[{", ".join([load, *steps, PACK])}]))\n'


RESIZE = "dict(type='Resize', scale=(301, 97), keep_ratio=True)"
# Kinds of preparation: each must give in the runtime what it gives in mmseg.
PIPELINES = dict(
    resized=pipeline(RESIZE), as_it_is=pipeline(),
    multiples=pipeline(RESIZE) + 'model = dict(data_preprocessor=dict(test_cfg=dict(size_divisor=32)))',
    padded=pipeline(RESIZE, "dict(type='Pad', size=(310, 200), pad_val=dict(img=(10, 114, 200), seg=255))")
    + 'model = dict(data_preprocessor=dict(bgr_to_rgb=False))')


@pytest.fixture
def pictures(tmp_path):
    """PNG files of odd sizes, and a JPEG."""
    paths = []
    for seed, (height, width) in enumerate(SIZES):
        paths.append(tmp_path / f'{height} x {width}{".jpg" if seed == 1 else ".png"}')
        Image.fromarray(verification_images((height, width), 1, seed)[0]).save(paths[-1])
    return paths


@pytest.fixture
def small(tmp_path):
    """small(base, extra): the config and checkpoint of a small model, its config followed by `extra`."""
    def make(base, extra=''):
        (tmp_path / 'base.py').write_text(base)
        path = tmp_path / 'small.py'
        path.write_text("_base_ = './base.py'\n" + extra)
        torch.manual_seed(0)
        model = MODELS.build(read_config(path).model)
        if hasattr(model, 'decode_head'):
            torch.nn.init.normal_(model.decode_head.conv_seg.weight)
        torch.save(dict(state_dict=model.state_dict(), meta={}), tmp_path / 'small.pth')
        return path, tmp_path / 'small.pth'
    return make


def in_mmseg(files, path):
    return Inferencer(*map(str, files), device='cpu', show_progress=False).predict(str(path)).pop() \
        .pred_sem_seg.data[0].numpy()


@pytest.mark.parametrize(('name', 'options'), [
    ('resized', ()), pytest.param('as_it_is', ('--output', 'logits'), marks=pytest.mark.slow),
    ('multiples', ('--format', 'torchscript')), pytest.param('padded', (), marks=pytest.mark.slow)])
def test_a_segmentor_of_any_size_is_mmsegs(name, options, small, tool, pictures, tmp_path):
    files, out = small(SEGMENTOR, PIPELINES[name]), tmp_path / ('m.pt' if 'torchscript' in options else 'm.onnx')
    run = tool('export', *files, '--shape', 96, 128, '--dynamic', *options, '--verify', '--out', out)
    assert run.code == 0, run.err
    assert sum('file, ' in line and '100.0000%' in line for line in run.out.splitlines()) == 3
    assert 'smaller than the images' not in run.out
    model = load_model(out)
    for path in pictures:
        wanted = in_mmseg(files, path)
        assert wanted.shape == model(path).shape and len(np.unique(wanted)) > 1
        assert (wanted == model(path)).mean() > 0.9999, path
    Image.fromarray(np.zeros((600, 20, 3), np.uint8)).save(tmp_path / 'narrow.png')
    if name == 'resized':
        with pytest.raises(RuntimeInputError, match='32 pixels a side or more'):
            model(tmp_path / 'narrow.png')


@pytest.mark.parametrize('format', ['onnx', 'openvino'])
def test_segformers_head_is_mmsegs(format, small, tool, pictures, tmp_path):
    """Of any size, in OpenVINO as well."""
    pytest.importorskip(dict(onnx='onnxruntime').get(format, format))
    files, out = small(SEGMENTOR, PIPELINES['resized'] + """
model = dict(auxiliary_head=None, decode_head=dict(
    _delete_=True, type='SegformerHead', in_channels=[16, 32, 64, 128], in_index=[0, 1, 2, 3], channels=16,
    num_classes=4, norm_cfg=dict(type='BN'), align_corners=False,
    loss_decode=dict(type='CrossEntropyLoss')))
"""), tmp_path / f'm{FORMATS[format]}'
    run = tool('export', *files, '--shape', 96, 128, '--dynamic', '--format', format, '--out', out)
    assert run.code == 0, run.err
    model = load_model(out)
    for path in pictures:
        wanted = in_mmseg(files, path)
        assert len(np.unique(wanted)) > 1 and (wanted == model(path)).mean() > 0.9999, path


@pytest.mark.parametrize('options', [
    ('--shape', 64, 96), ('--shape', 64, 96, '--format', 'openvino'),
    pytest.param(('--shape', 96, 128, '--dynamic'), marks=pytest.mark.slow),
    pytest.param(('--shape', 96, 128, '--dynamic', '--format', 'openvino'), marks=pytest.mark.slow)])
def test_a_sliding_window_is_mmsegs(options, small, tool, pictures, tmp_path):
    if 'openvino' in options:
        pytest.importorskip('openvino')
    files = small(SEGMENTOR, PIPELINES['resized'] + """
model = dict(test_cfg=dict(mode='slide', crop_size=(64, 96), stride=(41, 53)))
""")
    out = tmp_path / ('m.xml' if 'openvino' in options else 'm.onnx')
    run = tool('export', *files, *options, '--verify', '--out', out)
    assert run.code == 0, run.err
    model = load_model(out)
    for path in pictures if '--dynamic' in options else pictures[:1]:  # smaller than a window: padded, as is checked
        wanted = in_mmseg(files, path)
        assert len(np.unique(wanted)) > 1 and (wanted == model(path)).mean() > 0.9999, path


def test_a_smaller_shape_is_said_in_numbers(small, tool, pictures, tmp_path):
    files = small(SEGMENTOR, PIPELINES['resized'])
    run = tool('export', *files, '--shape', 64, 96, '--out', tmp_path / 'm.onnx', '--images', pictures[0])
    assert run.code == 0, run.err
    assert '--shape 64 96 is smaller than the images that the config tests on: one of 101 × 341' in run.out
    assert 'is 89 × 301 there and 28 × 96 in this file' in run.out and '% of the pixels get the same label' in run.out
    assert '--shape 89 301 holds these images whole; --dynamic takes images as the config makes them' in run.out
    run = tool('export', *files, '--shape', 89, 301, '--out', tmp_path / 'm.onnx', '--images', pictures[0])
    assert run.code == 0 and 'smaller than' not in run.out and 'fills images up' not in run.out
    assert (load_model(tmp_path / 'm.onnx')(pictures[0]) == in_mmseg(files, pictures[0])).mean() > 0.9999


def test_a_larger_shape_is_said_in_numbers(small, tool, pictures, tmp_path):
    files = small(SEGMENTOR, PIPELINES['resized'])
    run = tool('export', *files, '--shape', 192, 320, '--out', tmp_path / 'm.onnx', '--images', pictures[0])
    assert run.code == 0, run.err
    same = (load_model(tmp_path / 'm.onnx')(pictures[0]) == in_mmseg(files, pictures[0])).mean()
    assert same < 0.999 and '--shape 192 320 fills images up with padding' in run.out
    assert f'is 89 × 301 in the config\'s tests; in 1 photo {same:.1%} of the pixels get the same label' in run.out
    assert '\n--dynamic takes images as the config makes them' in run.out


def test_a_detector_whose_shape_fits_is_mmdets(small, tool, tmp_path):
    """Odd sizes, that mmdet pads to the exported shape; and one that is smaller than what the config tests on."""
    files = small(DETECTOR)
    paths = []
    for seed, (height, width) in enumerate([(101, 128), (117, 109), (500, 411)]):
        paths.append(tmp_path / f'{seed}.png')
        Image.fromarray(verification_images((height, width), 1, seed)[0]).save(paths[-1])
    run = tool('export', *files, '--shape', 128, 128, '--verify', '--out', tmp_path / 'm.onnx')
    assert run.code == 0, run.err
    assert 'smaller than' not in run.out
    model, agreement = load_model(tmp_path / 'm.onnx'), Agreement()
    inferencer = Inferencer(*map(str, files), device='cpu', show_progress=False)
    for path in paths:
        found = inferencer.predict(str(path)).pop().pred_instances
        wanted = Detections(*(found[key].numpy() for key in ('bboxes', 'scores', 'labels', 'masks')))
        agreement.add(wanted, model(path), 0., 100)
    assert agreement.detections > 20 and agreement.unmatched == 0 and agreement.score < 1e-3
    assert agreement.box_iou > 0.99 and agreement.mask_iou > 0.99
    run = tool('export', *files, '--shape', 64, 96, '--out', tmp_path / 'm.onnx', '--images', paths[2])
    assert run.code == 0, run.err
    assert 'one of 500 × 411 pixels (height × width) is 128 × 105 there and 64 × 53 in this file' in run.out
    assert 'instances score 0.3 or more there' in run.out and '--shape 128 128 holds these images whole' in run.out


def test_label_map_files_are_those_of_infer(small, tool, pictures, tmp_path):
    """Of a data set whose masks count from 1, as ADE20K's. Files of earlier versions don't say so: labels."""
    files = small(SEGMENTOR, PIPELINES['resized'] + 'test_dataloader["dataset"]["reduce_zero_label"] = True')
    run = tool('export', *files, '--shape', 96, 128, '--dynamic', '--out', tmp_path / 'm.onnx')
    assert run.code == 0, run.err
    run = tool('infer', *files, *pictures, '--device', 'cpu', '--no-save-vis', '--out-dir', 'inferred')
    assert run.code == 0 and 'its label + 1' in run.out, run.out + run.err
    assert main([str(tmp_path / 'm.onnx'), *map(str, pictures), '--out-dir', 'exported']) == 0
    for path in pictures:
        wanted, found = (Image.open(tmp_path / name) for name in (
            f'inferred/preds/{path.stem}.png', f'exported/{path.stem}_map.png'))
        assert (wanted.mode, wanted.getpalette()) == (found.mode, found.getpalette())
        wanted, found = np.asarray(wanted), np.asarray(found)
        assert wanted.min() > 0 and len(np.unique(wanted)) > 1
        assert (wanted == found).mean() > 0.9999, path
    without = onnx.load(tmp_path / 'm.onnx')
    kept = [entry for entry in without.metadata_props if entry.key != 'reduce_zero_label']
    del without.metadata_props[:]
    without.metadata_props.extend(kept)
    onnx.save(without, tmp_path / 'earlier.onnx')
    assert main([str(tmp_path / 'earlier.onnx'), str(path), '--out-dir', 'earlier']) == 0
    assert (np.asarray(Image.open(tmp_path / f'earlier/{path.stem}_map.png')) == found - 1).all()


CHANNELS = """
model = dict(data_preprocessor=dict(mean={mean}, std={std}, bgr_to_rgb=False),
             backbone=dict(arch=dict(in_channels={count})))
"""


def of_channels(count):
    mean, std = [10. * (i + 1) for i in range(count)], [50. + i for i in range(count)]
    return CHANNELS.format(mean=mean, std=std, count=count) + pipeline(RESIZE)


@pytest.mark.parametrize(('count', 'options'), [
    pytest.param(1, (), marks=pytest.mark.slow), (4, ('--format', 'torchscript')), (6, ())])
def test_other_numbers_of_channels(count, options, small, tool, tmp_path):
    from mmvision_mamba.export.pipeline import pipeline_settings
    from mmvision_mamba.export.reference import Reference
    files, out = small(SEGMENTOR, of_channels(count)), tmp_path / ('m.pt' if options else 'm.onnx')
    run = tool('export', *files, '--shape', 96, 128, '--dynamic', *options, '--verify', '--out', out)
    assert run.code == 0, run.err
    cfg = read_config(files[0])
    in_pytorch = MODELS.build(cfg.model).eval()
    in_pytorch.load_state_dict(torch.load(files[1])['state_dict'])
    reference = Reference(in_pytorch, 'segmentor', cfg, pipeline_settings(cfg, count), None, count)
    image = np.random.default_rng(0).integers(0, 4000, (77, 141, count), dtype=np.uint16)
    np.save(tmp_path / 'bands.npy', image)
    model = load_model(out)
    assert model.channels == count
    assert (model(tmp_path / 'bands.npy') == reference(tmp_path / 'bands.npy')).mean() > 0.999
    with pytest.raises(RuntimeInputError, match=f'the model takes .H, W, {count}., uint8, uint16 or float'):
        model(np.zeros((64, 64, count + 1), np.uint8))
    if out.suffix == '.onnx':
        meta = {entry.key: json.loads(entry.value) for entry in onnx.load(out).metadata_props}
        assert len(meta['mean']) == count and meta['inputs']['images']['shape'] == [None, count, None, None]


@pytest.mark.parametrize(('extra', 'message'), [
    ('model = dict(backbone=dict(arch=dict(in_channels=4)))', 'mean has 3 values, and model.backbone takes 4 bands'),
    (of_channels(4).replace('[10.0, 20.0, 30.0, 40.0]', '[10.0, 20.0]'), 'mean has 2 values')])
def test_a_mean_of_another_number_of_channels(extra, message, small, segmentor_files, tool, tmp_path):
    (tmp_path / 'other.py').write_text(f"_base_ = '{segmentor_files[0]}'\n{extra}")
    run = tool('export', tmp_path / 'other.py', segmentor_files[1], '--shape', 64, 64)
    assert run.code == 2 and message in run.errors[0] and 'Traceback' not in run.err
    assert len(run.err.strip().splitlines()) <= 2
