import os

# Tests run several at a time: one thread each, and none that spins while it waits. The tools they start inherit it.
os.environ.setdefault('OMP_NUM_THREADS', '1')
os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')

import hypothesis
import pytest
import torch

if not torch.cuda.is_available():
    os.environ.setdefault('TRITON_INTERPRET', '1')  # before the kernels are imported: they run on CPU tensors then


class _TorchRandom:
    """Torch's generator, for hypothesis to set before each example: one that failed fails when it is run again."""
    seed = staticmethod(torch.manual_seed)
    getstate = staticmethod(torch.get_rng_state)
    setstate = staticmethod(torch.set_rng_state)


_torch_random = _TorchRandom()  # hypothesis keeps no reference
hypothesis.register_random(_torch_random)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)
