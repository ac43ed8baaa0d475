"""A worker of torchrun: validates a tiny model, and prints the loss of validation."""
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mmengine.registry import MODELS

from tests.helpers.tiny_training import TinyModel, runner


@MODELS.register_module()
class SameModel(TinyModel):
    """With the same weights in all processes."""

    def __init__(self):
        torch.manual_seed(0)
        super().__init__()


if __name__ == '__main__':
    run = runner(sys.argv[1], launcher='pytorch', hooks=[dict(type='ValLossHook')], checkpoint=dict(save_best=None),
                 model=dict(type='SameModel'), env_cfg=dict(dist_cfg=dict(backend='gloo')))
    print(f'\nits loss: {run.val()["val/loss"]}', flush=True)  # the other process may be in the middle of a line
    torch.distributed.destroy_process_group()
