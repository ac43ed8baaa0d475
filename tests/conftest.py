import os

# Tests run several at a time: one thread each, and none that spins while it waits. The tools they start inherit it.
os.environ.setdefault('OMP_NUM_THREADS', '1')
os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')

import pytest
import torch

if not torch.cuda.is_available():
    os.environ.setdefault('TRITON_INTERPRET', '1')  # before the kernels are imported: they run on CPU tensors then


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)
