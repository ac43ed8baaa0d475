"""Gradient checkpointing of one block."""
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch.nn as nn
from torch import Tensor
from torch.utils.checkpoint import checkpoint


def checkpoint_block(block: nn.Module, x: Tensor, *args: Tensor) -> Tensor:
    """`block(x, *args)`, its activations recomputed in the backward.

    The recomputation, a second forward of the same batch, leaves BatchNorm's running statistics alone: they too stay
    what they would be without checkpointing.
    """
    return checkpoint(block, x, *args, use_reentrant=False, context_fn=lambda: (nullcontext(), _keep_statistics(block)))


@contextmanager
def _keep_statistics(block: nn.Module) -> Iterator[None]:
    norms = [m for m in block.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.track_running_stats]
    saved = [(m.momentum, m.num_batches_tracked.clone()) for m in norms]  # type: ignore[union-attr]
    for m in norms:
        m.momentum = 0.
    try:
        yield
    finally:
        for m, (momentum, batches) in zip(norms, saved):
            m.momentum = momentum
            m.num_batches_tracked.copy_(batches)  # type: ignore[union-attr]
