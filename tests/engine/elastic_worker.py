"""A worker of torchrun: elastic_worker.py WORK_DIR KILLS.

At the n-th start KILLS[n] = [process, moment, iteration] says which one kills itself, and when. It starts as
tools/train.py does, without being told to resume.
"""
import json
import os
import signal
import sys
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.dist import get_rank
from mmengine.hooks import Hook

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mmvision_mamba.commands.errors import user_errors
from mmvision_mamba.commands.steps.prepare import make_deterministic
from mmvision_mamba.commands.steps.restart import use_resume
from mmvision_mamba.engine.runner import MambaVisionRunner
from tests.helpers.tiny_training import config, weights


class Die(Hook):
    def __init__(self, rank, moment, iteration):
        self.rank, self.moment, self.iteration = rank, moment, iteration

    def _die(self, runner, moment):
        if moment == self.moment and get_rank() == self.rank and runner.iter >= self.iteration:
            os.kill(os.getpid(), signal.SIGKILL)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self._die(runner, 'iteration')

    def before_save_checkpoint(self, runner, checkpoint):
        self._die(runner, 'save')

    def after_val_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self._die(runner, 'validation')


if __name__ == '__main__':
    torch.set_num_threads(1)
    work_dir, kills = sys.argv[1], json.loads(sys.argv[2])
    with user_errors():
        cfg = Config(config(work_dir, by_epoch=True, launcher='pytorch', hooks=[dict(type='EMAHook')],
                            train_dataloader=dict(batch_size=2, num_workers=0, dataset=dict(type='NoisyPoints'),
                                                  sampler=dict(type='DefaultSampler', shuffle=True))))
        make_deterministic(cfg)  # as three or more processes are only then
        use_resume(cfg, None)
        run = MambaVisionRunner.from_cfg(cfg)
        start = int(os.environ['TORCHELASTIC_RESTART_COUNT'])
        if start < len(kills):
            run.register_hook(Die(*kills[start]))
        run.train()
        if get_rank() == 0:
            torch.save(dict(weights=weights(run.model.module), starts=start + 1), f'{work_dir}/weights')
