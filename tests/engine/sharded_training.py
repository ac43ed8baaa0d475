"""Run by test_sharding.py in two processes, as sharded_training.py FOLDER RANK: the same training four ways."""
import shutil
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.dist import get_rank
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, MODELS
from torch import nn
from torch.utils.data import Dataset

from mmvision_mamba.engine import MambaVisionRunner
from tests.helpers.fresh_start import forget_earlier_runs

ARCH = dict(dim=16, in_dim=8, depths=(1, 1, 2, 2), num_heads=(1, 1, 2, 4), window_size=(8, 4))


@DATASETS.register_module()
class Noise(Dataset):
    def __len__(self):
        return 16

    def __getitem__(self, i):
        return dict(inputs=torch.randn(3, 40, 56, generator=torch.Generator().manual_seed(i)), label=i % 3)


@MODELS.register_module()
class Classifier(BaseModel):
    def __init__(self, **backbone):
        super().__init__()
        self.backbone = MODELS.build(
            dict(type='MambaVision', arch=ARCH, drop_path_rate=0., out_indices=(3,), **backbone))
        self.head = nn.Linear(128, 3)

    def forward(self, inputs, label, mode='loss'):
        logits = self.head(self.backbone(torch.stack(inputs))[0].mean((2, 3)))
        return dict(loss=F.cross_entropy(logits, torch.as_tensor(label))) if mode == 'loss' else logits


def train(work_dir, wrapper, start=None, **backbone):
    forget_earlier_runs()
    Path(work_dir).mkdir(parents=True, exist_ok=True)
    if start is not None and get_rank() == 0:
        shutil.copy(start, work_dir)
    cfg = dict(
        model=dict(type='Classifier', **backbone), work_dir=str(work_dir), launcher='pytorch',
        train_dataloader=dict(batch_size=2, num_workers=0, dataset=dict(type='Noise'),
                              sampler=dict(type='DefaultSampler', shuffle=True)),
        train_cfg=dict(type='IterBasedTrainLoop', max_iters=4),
        # A large eps: where gradients are rounding errors, as before a BatchNorm, Adam would make steps of them.
        optim_wrapper=dict(optimizer=dict(type='AdamW', lr=1e-2, eps=1e-2), clip_grad=dict(max_norm=0.5)),
        default_hooks=dict(checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=2),
                           logger=dict(type='LoggerHook', interval=1)),
        custom_hooks=[dict(type='DivergenceHook')],  # as tools/train.py adds it
        randomness=dict(seed=0), default_scope='mmengine', log_level='WARNING')
    if wrapper:
        cfg['model_wrapper_cfg'] = dict(wrapper)
    if start is not None:
        cfg.update(resume=True, load_from=str(Path(work_dir) / Path(start).name))
    runner = MambaVisionRunner.from_cfg(Config(cfg))
    runner.train()
    return runner


def main(folder, rank):
    whole, sharded = None, dict(type='FullyShard')
    # Through a file: no port that another test could have taken.
    torch.distributed.init_process_group('gloo', init_method=f'file://{folder}/store', rank=rank, world_size=2)
    train(folder / 'whole', whole)
    runner = train(folder / 'sharded', sharded)
    local = sum(p.to_local().numel() for p in runner.model.parameters())
    (folder / f'parameters_{get_rank()}').write_text(f'{local} {sum(p.numel() for p in runner.model.parameters())}')
    torch.distributed.barrier()
    train(folder / 'whole_then_sharded', sharded, folder / 'whole' / 'iter_2.pth')
    train(folder / 'sharded_then_whole', whole, folder / 'sharded' / 'iter_2.pth')
    train(folder / 'checkpointing', dict(sharded, reshard_after_forward=False), with_cp=True)
    torch.distributed.destroy_process_group()


if __name__ == '__main__':
    main(Path(sys.argv[1]), int(sys.argv[2]))
