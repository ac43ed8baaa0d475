"""Training in mixed precision: 200 iterations on Shapes stay finite and end where float32 does."""
import statistics
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip('mmseg')

from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DATASETS, MODELS, DefaultScope

from mmvision_mamba.commands.steps.prepare import prepare_device
from mmvision_mamba.datasets import make_shapes

from ..helpers.detectors import cascade, labelled
from ..helpers.mmcv_operators import operators_from

CONFIGS = Path(__file__).parents[2] / 'configs'
SEGMENTOR, DETECTOR = 'upernet_mambavision_t_shapes', 'cascade_mask_rcnn_mambavision_t_shapes'
ITERATIONS, BATCH, TAIL = 200, 4, 50


@pytest.fixture(scope='module')
def shapes(tmp_path_factory):
    root = tmp_path_factory.mktemp('data') / 'shapes'
    make_shapes(root, train=64, val=1, size=(64, 64))
    return root


def losses(name, root, seed, amp, device, dtype=None):
    """The total loss of each iteration; only initialisation and drawing depend on the seed, not the order of images."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('SHAPES_ROOT', str(root))
        cfg = Config.fromfile(CONFIGS / f'{name}.py')
    if device == 'cpu':  # a network that takes minutes, with all kinds of blocks
        cfg.model.backbone.arch = dict(dim=32, in_dim=16, depths=(1, 1, 2, 2), num_heads=(1, 1, 4, 8))
        cfg.model.decode_head.in_channels = [32, 64, 128, 256]
        cfg.model.auxiliary_head.in_channels = 128
    if 'size' in cfg.model.data_preprocessor:
        cfg.model.data_preprocessor.size = (64, 64)
    for step in cfg.train_pipeline:
        if step.type == 'Resize':
            step.scale = (64, 64)
    prepare_device(cfg, amp)
    if amp and dtype:
        cfg.optim_wrapper.dtype = dtype
    torch.manual_seed(seed)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        dataset = DATASETS.build(dict(cfg.train_dataloader.dataset, pipeline=cfg.train_pipeline))
        model = MODELS.build(cfg.model).to(device).train()
        wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
        order = torch.randint(len(dataset), (ITERATIONS, BATCH), generator=torch.Generator().manual_seed(0))
        found = []
        for indices in order.tolist():
            batch = [dataset[i] for i in indices]
            log = model.train_step({key: [item[key] for item in batch] for key in batch[0]}, wrapper)
            found.append(float(log['loss']))
    assert all(torch.isfinite(p).all() for p in model.parameters())
    return found


def compare(name, root, device, capsys, dtype=None):
    tails = {}
    for amp, seeds in ((False, (0, 1, 2)), (True, (0, 1))):
        runs = [losses(name, root, seed, amp, device, dtype) for seed in seeds]
        assert all(abs(loss) < float('inf') for run in runs for loss in run)
        assert all(statistics.mean(run[-TAIL:]) < statistics.mean(run[:10]) for run in runs)
        tails[amp] = [statistics.mean(run[-TAIL:]) for run in runs]
    with capsys.disabled():
        print(f'\n{name} on {device}, mean loss of the last {TAIL} of {ITERATIONS} iterations: float32 {tails[False]}, '
              f'mixed {tails[True]}')
    # Noise: how far apart runs in float32 end that differ in their seed alone.
    noise = max(tails[False]) - min(tails[False])
    for loss, other in zip(tails[True], tails[False]):
        assert abs(loss - other) < max(noise, 0.05 * other)


@pytest.mark.parametrize('masks', [False, True], ids=['Faster R-CNN', 'Mask R-CNN'])
def test_two_stage_detectors_train_in_bfloat16_on_a_cpu(masks):
    from mmvision_mamba.mmcv_ops import extension
    cfg = cascade(stages=1, masks=masks)
    cfg.optim_wrapper = dict(type='AmpOptimWrapper', optimizer=dict(type='AdamW', lr=2e-3))
    prepare_device(cfg, amp=True)
    sample, = labelled((96, 128))
    image = torch.from_numpy(200 * np.concatenate([sample.gt_instances.masks.masks, np.zeros((1, 96, 128), np.uint8)]))
    with DefaultScope.overwrite_default_scope('mmdet'), operators_from(extension):
        model = MODELS.build(cfg.model).train()
        wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
        found = [model.train_step(dict(inputs=[image] * 2, data_samples=[sample] * 2), wrapper)['loss'].item()
                 for _ in range(20)]
    assert cfg.optim_wrapper.type == 'CPUAmpOptimWrapper' and np.isfinite(found).all()
    assert statistics.mean(found[-3:]) < 0.7 * statistics.mean(found[:3])


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_bfloat16_on_a_cpu(shapes, capsys):
    compare(SEGMENTOR, shapes, 'cpu', capsys)


@pytest.mark.gpu
@pytest.mark.parametrize('name', [SEGMENTOR, DETECTOR])
def test_float16_on_a_gpu(name, shapes, capsys):
    compare(name, shapes, 'cuda', capsys)


@pytest.mark.gpu
def test_bfloat16_on_a_gpu(shapes, capsys):
    compare(SEGMENTOR, shapes, 'cuda', capsys, 'bfloat16')


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_the_scan_is_in_float32(dtype):
    """A long sequence with slow decay: in 8 or 11 bits its state would stop growing."""
    from mmvision_mamba.ops import selective_scan
    length, channels, state = 3000, 2, 2
    u, delta = torch.ones(1, length, channels), torch.full((1, length, channels), 1e-3)
    A, B, C = -torch.ones(channels, state) * 1e-2, torch.ones(1, length, state), torch.ones(1, length, state)
    exact = selective_scan(*(v.to(dtype).double() for v in (u, delta)), A.double(), B.double(), C.double(),
                           backend='reference')
    with torch.autocast('cpu', torch.bfloat16):
        found = selective_scan(*(v.to(dtype) for v in (u, delta)), A, B.to(dtype), C.to(dtype), backend='auto')
    assert exact[0, -1].min() > 5
    assert (found.double() - exact).abs().max() < 1.1 * torch.finfo(dtype).eps / 2 * exact.max()
