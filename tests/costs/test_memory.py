import pytest
import torch
import torch.nn.functional as F

from mmvision_mamba.costs.memory import kept_for_backward, peak_memory

CPU = torch.device('cpu')


def test_peak_memory_of_known_allocations():
    before = torch.zeros(300, 300)

    def allocate():
        first = torch.zeros(1000, 1000)
        del first
        second = torch.ones(500, 1000)
        return second + 1, before * 2
    assert peak_memory(lambda: torch.zeros(1000, 1000), CPU) == pytest.approx(4e6, abs=1e3)
    assert peak_memory(allocate, CPU) == pytest.approx(2 * 2e6 + 4 * 300 * 300, abs=1e3)
    # Within an operator of several, too.
    assert peak_memory(lambda: F.linear(torch.ones(100, 100), before[:, :100]), CPU) >= 4 * (100 * 100 + 100 * 300)


def test_kept_for_the_backward():
    x, weight = torch.randn(100, 100), torch.randn(100, requires_grad=True)
    assert kept_for_backward(lambda: (x * weight).exp(), [weight]) == 2 * x.nbytes
    assert kept_for_backward(lambda: (x * weight).exp(), [weight, x]) == x.nbytes
