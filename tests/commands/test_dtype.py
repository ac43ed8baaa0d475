"""The option --dtype of the commands that infer and test."""
import json

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip('mmdet')
pytest.importorskip('mmseg')

from mmengine.config import Config
from mmengine.registry import MODELS

from mmvision_mamba import Inferencer
from mmvision_mamba.commands.steps.testing import prepare_dtype

from ..helpers.low_precision import ReLUWithoutBF16, rounded


@pytest.mark.parametrize('activation', ['ReLU', 'ReLUWithoutBF16'])
def test_labels_differ_only_where_rounding_may_change_them(tool, segmentor_files, shapes, tmp_path, activation):
    MODELS.register_module(module=ReLUWithoutBF16, force=True)
    config, (base, checkpoint) = tmp_path / 'config.py', segmentor_files
    config.write_text(f'_base_ = {str(base)!r}\nmodel = dict(decode_head=dict(act_cfg=dict(type={activation!r})))\n')
    image = sorted((shapes / 'val').glob('*.png'))[0]
    for dtype in ('float32', 'bf16'):
        run = tool('infer', config, checkpoint, image, '--out-dir', tmp_path / dtype, '--device', 'cpu', '--dtype',
                   dtype)
        assert run.code == 0
    assert (run.out + run.err).count('ReLUWithoutBF16 is computed in float32') == (activation == 'ReLUWithoutBF16')
    labels, found = (torch.from_numpy(np.array(Image.open(tmp_path / dtype / 'preds' / image.name))).long()
                     for dtype in ('float32', 'bf16'))
    model = Inferencer(config, checkpoint, device='cpu', show_progress=False)
    logits = model.predict(image)[0].seg_logits.data
    assert torch.equal(logits.argmax(0), labels)
    model.model = rounded(model.model)
    # Sums of layers are rounded too, at most as often as what layers give, which alone is done by hand: at most twice.
    most = 2 * (model.predict(image)[0].seg_logits.data - logits).abs().max()
    first, second = logits.topk(2, 0).values
    certain = first - second > 2 * most  # each of two logits may move by that
    assert certain.float().mean() > 0.5 and len(labels.unique()) > 1
    assert torch.equal(found[certain], labels[certain])


def test_a_detector_is_tested_in_what_its_config_says(tool, model_files, shapes, tmp_path, monkeypatch):
    """mmengine's own way fails on a CPU, in mmdet's metric."""
    monkeypatch.setenv('SHAPES_ROOT', str(shapes))
    files = model_files.detector
    run = tool('test', files.config, files.checkpoint, '--work-dir', tmp_path, '--tta', '--cfg-options',
               'test_cfg.fp16=True')
    assert run.code == 0 and 'Model: bf16, all beside it float32' in run.out
    assert {'coco/bbox_mAP', 'coco/segm_mAP'} <= set(json.loads((tmp_path / 'metrics.json').read_text()))


@pytest.mark.parametrize(('fp16', 'asked', 'expected'), [
    (False, None, 'float32'), (True, None, 'bf16'), (True, 'float32', 'float32'), (False, 'bf16', 'bf16')])
def test_the_command_line_goes_before_the_config(monkeypatch, fp16, asked, expected):
    monkeypatch.setattr('mmvision_mamba.commands.steps.testing.get_device', lambda: 'cpu')
    cfg = Config(dict(test_cfg=dict(type='TestLoop', fp16=fp16)))
    assert prepare_dtype(cfg, asked) == expected
    assert 'fp16' not in cfg.test_cfg
    assert prepare_dtype(Config(dict(test_cfg=None)), None) == 'float32'  # the runner says what is wrong with it


@pytest.mark.parametrize(('dtype', 'message'), [
    ('fp16', 'error: dtype fp16 is for GPUs, and several times slower than float32 on a CPU: use bf16 there'),
    ('bfloat16', "argument --dtype: invalid choice: 'bfloat16'")])
@pytest.mark.parametrize('command', ['test', 'infer', 'batch_infer'])
def test_others_are_refused_in_a_line(tool, model_files, shapes, tmp_path, monkeypatch, command, dtype, message):
    monkeypatch.setenv('SHAPES_ROOT', str(shapes))
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    files = model_files.segmentor
    words = dict(test=['--work-dir', 'out'], infer=[shapes / 'val', '--out-dir', 'out'],
                 batch_infer=[shapes / 'val', '--out', 'out'])[command]
    run = tool(command, files.config, files.checkpoint, *words, '--dtype', dtype)
    assert run.code == 2 and message in run.err and 'Traceback' not in run.err
    assert not (tmp_path / 'out').exists()
