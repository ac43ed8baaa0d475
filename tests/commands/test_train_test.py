"""The main job through the real tools: train, resume, test, for a detector and a segmentor; in several processes."""
import json
import os
import pickle
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from mmvision_mamba import installation, mmcv_ops
from mmvision_mamba.datasets import make_shapes

from ..helpers import ROOT

METRICS = dict(detector=('coco/bbox_mAP', 'coco/segm_mAP'), segmentor=('mIoU', 'mAcc', 'aAcc'))


@pytest.fixture
def trained(tool, configs, shapes, tmp_path):
    def train(kind, *options):
        result = tool('train', getattr(configs, kind), '--work-dir', tmp_path / 'wd', '--cfg-options',
                      f'data_root={shapes}', *options)
        assert result.code == 0, result.err[-3000:]
        return result
    return train


@pytest.mark.parametrize('kind', ['detector', 'segmentor'])
def test_train_resume_test(kind, trained, tool, configs, shapes, tmp_path):
    result = trained(kind)
    wd = tmp_path / 'wd'
    assert 'Device: cpu (no GPU found)' in result.out
    assert (wd / 'last_checkpoint').read_text().endswith('iter_4.pth')
    assert list(wd.glob('*/vis_data/events.out.tfevents.*')), 'TensorBoard'
    best = list(wd.glob('best_*.pth'))
    assert len(best) == 1 and METRICS[kind][0].replace('/', '_') in best[0].name
    # Resume goes on where training stopped: two more iterations, the same optimiser state.
    before = torch.load(wd / 'iter_4.pth', weights_only=False)
    result = tool('train', configs.__dict__[kind], '--work-dir', wd, '--resume', '--cfg-options', f'data_root={shapes}',
                  'train_cfg.max_iters=6')
    assert result.code == 0, result.err[-3000:]
    assert 'iter_4.pth' in result.out + result.err
    assert "train_cfg.max_iters: 4 in the checkpoint, 6 in the config; the config's is" in result.out + result.err
    assert (result.out + result.err).count('in the checkpoint, ') == 1, 'nothing else was changed'
    after = torch.load(wd / 'iter_6.pth', weights_only=False)
    key = next(iter(before['optimizer']['state']))
    assert before['optimizer']['state'][key]['step'] == 4 and after['optimizer']['state'][key]['step'] == 6

    out = tmp_path / ('predictions.pkl' if kind == 'detector' else 'predictions')
    result = tool('test', configs.__dict__[kind], wd / 'iter_6.pth', '--work-dir', tmp_path / 'test', '--out', out,
                  '--show-dir', tmp_path / 'pictures', '--cfg-options', f'data_root={shapes}')
    assert result.code == 0, result.err[-3000:]
    metrics = json.loads((tmp_path / 'test' / 'metrics.json').read_text())
    assert all(0 <= metrics[name] <= 100 for name in METRICS[kind])
    assert len([p for p in (tmp_path / 'pictures').rglob('*') if p.suffix in ('.png', '.jpg')]) >= 3
    if kind == 'detector':
        assert len(pickle.loads(out.read_bytes())) == 3
    else:
        assert {np.asarray(Image.open(p)).shape for p in out.glob('*.png')} == {(64, 64)}
        assert len(list(out.glob('*.png'))) == 3

    result = tool('test', configs.__dict__[kind], wd / 'iter_6.pth', '--work-dir', tmp_path / 'tta', '--tta',
                  '--cfg-options', f'data_root={shapes}')
    assert result.code == 0, result.err[-3000:]
    assert set(METRICS[kind]) <= set(json.loads((tmp_path / 'tta' / 'metrics.json').read_text()))


def test_amp_on_a_cpu(trained, configs, tool, tmp_path, shapes):
    """A config's own AMP trains in float32 and says so; a test says nothing of training."""
    result = trained('segmentor', 'optim_wrapper.type=AmpOptimWrapper', 'optim_wrapper.loss_scale=dynamic')
    assert 'training in float32' in result.out
    configs.segmentor.write_text(configs.segmentor.read_text() + "\noptim_wrapper = dict(type='AmpOptimWrapper')\n")
    result = trained('segmentor', 'train_cfg.val_interval=4')
    assert 'training in float32' in result.out
    result = tool('test', configs.segmentor, tmp_path / 'wd/iter_4.pth', '--work-dir', tmp_path / 'test',
                  '--cfg-options', f'data_root={shapes}')
    assert result.code == 0 and 'Device: cpu' in result.out and 'training in' not in result.out, result.err[-3000:]


def test_amp_option_on_a_cpu(tool, configs, shapes, tmp_path):
    arguments = ('--work-dir', tmp_path / 'wd', '--amp', '--cfg-options', f'data_root={shapes}')
    result = tool('train', configs.segmentor, *arguments)
    assert result.code == 0, result.err[-3000:]
    assert 'bfloat16 autocast' in result.out
    assert 'CPUAmpOptimWrapper' in (tmp_path / 'wd' / 'segmentor.py').read_text()
    result = tool('train', configs.detector, '--work-dir', tmp_path / 'wd2', *arguments[2:])
    if mmcv_ops.in_use():
        assert result.code == 0, result.err[-3000:]
    else:  # compiled RoIAlign has no bfloat16 kernel for CPUs: a clear refusal, nothing left behind
        assert result.code == 2 and len(result.errors) == 1 and 'BFloat16' in result.errors[0], result.err[-3000:]
        assert installation.with_mmcv_lite() in result.err and not (tmp_path / 'wd2').exists()


def test_options(tool, configs, shapes, tmp_path):
    config = configs.segmentor
    config.write_text(config.read_text() + "\nauto_scale_lr = dict(enable=False, base_batch_size=1)\n"
                      "model['backbone']['init_cfg'] = dict(_delete_=True, type='Pretrained', "
                      "checkpoint='/nowhere/weights.pth')\n")
    result = tool('train', config, '--work-dir', tmp_path / 'wd', '--no-pretrained', '--auto-scale-lr', '--vis',
                  'local', '--cfg-options', f'data_root={shapes}', 'train_cfg.max_iters=1',
                  'optim_wrapper.optimizer.lr=0.001')
    assert result.code == 0, result.err[-3000:]
    log = next((tmp_path / 'wd').glob('*/*.log')).read_text()
    assert 'Scaling the original LR by 2.0' in log  # two images a batch
    text = (tmp_path / 'wd' / 'segmentor.py').read_text()
    assert not list((tmp_path / 'wd').glob('*/vis_data/events*')) and list((tmp_path / 'wd').glob('*/*/scalars.json'))
    assert 'data/shapes' not in text and '/nowhere' not in text and str(shapes) in text


@pytest.mark.parametrize('executable', [True, False])
def test_tools_run_from_anywhere(shell, configs, shapes, executable):
    """As a script of its own and as python's argument; --help needs no data."""
    environment = {**os.environ, 'PATH': f'{os.path.dirname(sys.executable)}:{os.environ["PATH"]}'}
    for name in ('train', 'test'):
        command = [ROOT / 'tools' / f'{name}.py'] if executable else [sys.executable, ROOT / 'tools' / f'{name}.py']
        result = shell(*command, '--help', env=environment)
        assert result.returncode == 0 and '--cfg-options' in result.stdout, result.stderr


def test_two_processes_on_a_cpu(shell, configs, shapes, port, tmp_path):
    """torchrun over gloo: SyncBN reverted, gradients averaged, one checkpoint; then a distributed test."""
    config = configs.segmentor
    config.write_text(config.read_text() + "\nnorm_cfg = dict(type='SyncBN', requires_grad=True)\n"
                      "model['decode_head']['norm_cfg'] = norm_cfg\nmodel['auxiliary_head']['norm_cfg'] = norm_cfg\n")
    environment = {**os.environ, 'PORT': str(port), 'OMP_NUM_THREADS': '1',
                   'PATH': f'{os.path.dirname(sys.executable)}:{os.environ["PATH"]}'}
    options = ('--cfg-options', f'data_root={shapes}', 'train_cfg.max_iters=2')
    result = shell(ROOT / 'tools' / 'dist_train.sh', config, 2, '--work-dir', tmp_path / 'wd', *options,
                   env=environment)
    assert result.returncode == 0, result.stderr[-3000:]
    assert (tmp_path / 'wd' / 'iter_2.pth').exists()
    log = next((tmp_path / 'wd').glob('*/*.log')).read_text()
    assert 'Distributed training: True' in log and 'GPU number: 2' in log
    result = shell(ROOT / 'tools' / 'dist_test.sh', config, tmp_path / 'wd' / 'iter_2.pth', 2, '--work-dir',
                   tmp_path / 'wd', *options[:2], env=environment)
    assert result.returncode == 0, result.stderr[-3000:]
    assert 'mIoU' in json.loads((tmp_path / 'wd' / 'metrics.json').read_text())


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize('kind', ['detector', 'segmentor'])
def test_three_processes_report_what_one_does(kind, tool, shell, configs, port, tmp_path):
    """Seven images, which three processes don't share evenly, and two, which leave one with nothing of its own."""
    make_shapes(tmp_path / 'seven', train=4, val=7, seed=0, size=(64, 64))
    make_shapes(tmp_path / 'two', train=4, val=2, seed=1, size=(64, 64))
    config = getattr(configs, kind)
    result = tool('train', config, '--work-dir', tmp_path / 'wd', '--cfg-options', f'data_root={tmp_path}/seven')
    assert result.code == 0, result.err[-3000:]
    checkpoint = tmp_path / 'wd/iter_4.pth'
    environment = {**os.environ, 'PORT': str(port), 'OMP_NUM_THREADS': '1',
                   'PATH': f'{os.path.dirname(sys.executable)}:{os.environ["PATH"]}'}
    for name, options in (('seven', []), ('seven', ['test_dataloader.sampler.round_up=False']), ('two', [])):
        options = ['--cfg-options', f'data_root={tmp_path / name}', 'test_dataloader.batch_size=1', *options]
        result = tool('test', config, checkpoint, '--work-dir', tmp_path / 'one', *options)
        assert result.code == 0, result.err[-3000:]
        done = shell(ROOT / 'tools/dist_test.sh', config, checkpoint, 3, '--work-dir', tmp_path / 'three', *options,
                     env=environment)
        assert done.returncode == 0, done.stderr[-3000:]
        one, three = (json.loads((tmp_path / part / 'metrics.json').read_text()) for part in ('one', 'three'))
        one, three = ({k: v for k, v in metrics.items() if 'time' not in k} for metrics in (one, three))
        assert one == three and len(one) >= 3
