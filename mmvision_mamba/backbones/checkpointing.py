"""Gradient checkpointing of one block."""
from contextlib import contextmanager, nullcontext

import torch.nn as nn
from torch import Tensor
from torch.utils.checkpoint import checkpoint


def checkpoint_block(block: nn.Module, x: Tensor, *args):
    """`block(x, *args)`, its activations recomputed in the backward. The recomputation, a second forward of the same
    batch, leaves BatchNorm's running statistics alone, so that they too are what they would be without it."""
    return checkpoint(block, x, *args, use_reentrant=False, context_fn=lambda: (nullcontext(), _still(block)))


@contextmanager
def _still(block: nn.Module):
    norms = [m for m in block.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.track_running_stats]
    saved = [(m.momentum, m.num_batches_tracked.clone()) for m in norms]
    for m in norms:
        m.momentum = 0.
    try:
        yield
    finally:
        for m, (momentum, batches) in zip(norms, saved):
            m.momentum = momentum
            m.num_batches_tracked.copy_(batches)
