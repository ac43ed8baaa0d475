"""A worker of torchrun: compares the gradients of N processes with 4 / N images each with those of one with all 4.

Prints the largest difference, relative to the largest gradient, for BatchNorm with running statistics, and with those
of the batch.
"""
import copy
import json
import sys
from pathlib import Path

import torch
from mmengine.dist import get_rank, get_world_size
from mmengine.model import BaseModel, MMDistributedDataParallel
from mmengine.optim import OptimWrapper
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mmvision_mamba import MambaVision


class Model(BaseModel):
    def __init__(self):
        super().__init__()
        self.backbone = MambaVision(dict(dim=16, in_dim=8, depths=(1, 1, 2, 2), num_heads=(1, 1, 2, 4)),
                                    window_size=(4, 2), drop_path_rate=0.)
        self.head = nn.ModuleList(nn.Conv2d(16 * 2 ** i, 3, 1) for i in range(4))

    def forward(self, inputs, mode='loss'):
        return dict(loss=sum(head(x).square().mean() for head, x in zip(self.head, self.backbone(inputs))))


class NoStep(OptimWrapper):
    """Leaves the gradients for all to see."""

    def step(self, **kwargs):
        self.steps = getattr(self, 'steps', 0) + 1

    def zero_grad(self, **kwargs):
        self.cleared = True


def gradients(model, images):
    wrapper = NoStep(torch.optim.SGD(model.parameters(), lr=1.))
    model.train_step(dict(inputs=images), wrapper)
    module = getattr(model, 'module', model)
    return {name: p.grad.clone() for name, p in module.named_parameters() if p.grad is not None}


if __name__ == '__main__':
    torch.set_num_threads(1)
    torch.distributed.init_process_group('gloo')
    torch.manual_seed(0)
    images = torch.randn(4, 3, 64, 96)
    model = Model()
    share = 4 // get_world_size()
    result = {}
    for name, training in (('running statistics', False), ('statistics of the batch', True)):
        alone, parts = copy.deepcopy(model).train(training), copy.deepcopy(model).train(training)
        whole = gradients(alone, images)
        split = gradients(MMDistributedDataParallel(parts, broadcast_buffers=False),
                          images[get_rank() * share:][:share])
        assert whole.keys() == split.keys()
        scale = max(g.abs().max() for g in whole.values())
        result[name] = (max((whole[k] - split[k]).abs().max() for k in whole) / scale).item()
    if get_rank() == 0:
        print(json.dumps(result))
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()
