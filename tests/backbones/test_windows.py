"""Windows: what is cut where, by comparison with indexing by hand, and what is a view."""
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmvision_mamba.backbones.windows import Windows


@settings(max_examples=60, deadline=None)
@given(batch=st.integers(1, 3), height=st.integers(1, 23), width=st.integers(1, 23),
       size=st.one_of(st.none(), st.integers(1, 9)), padding=st.sampled_from(['fit', 'zeros']),
       memory_format=st.sampled_from([torch.channels_last, torch.contiguous_format]))
def test_partition_and_merge(batch, height, width, size, padding, memory_format):
    x = torch.arange(1., batch * 2 * height * width + 1).view(batch, 2, height, width).to(memory_format=memory_format)
    plan = Windows.plan(height, width, size, padding)
    real = plan.real(batch, x.device)
    windows = plan.partition(x, real)
    expected = x.new_zeros(batch, plan.rows, plan.columns, plan.window_height, plan.window_width, 2)
    mask = torch.zeros(expected.shape[:-1], dtype=torch.bool)
    for i in range(height):
        for j in range(width):
            at = (slice(None), i // plan.window_height, j // plan.window_width, i % plan.window_height,
                  j % plan.window_width)
            expected[at], mask[at] = x[:, :, i, j], True
    assert torch.equal(windows, expected.reshape(windows.shape))
    assert (real is None) == bool(mask.all())
    if real is not None:
        assert torch.equal(plan.mask(real, batch), mask.reshape(windows.shape[:2]))
    merged = plan.merge(windows, real)
    assert torch.equal(merged, x)
    if memory_format == torch.channels_last:
        assert merged.is_contiguous(memory_format=memory_format)


@pytest.mark.parametrize('size', [None, 12])
def test_one_window_of_channels_last_memory_is_a_view(size):
    x = torch.randn(2, 6, 12, 10).to(memory_format=torch.channels_last)
    plan = Windows.plan(12, 10, size, 'fit')
    windows = plan.partition(x, plan.real(2, x.device))
    assert windows.shape == (2, 120, 6) and windows.is_contiguous() and windows.data_ptr() == x.data_ptr()
    assert plan.merge(windows, None).data_ptr() == x.data_ptr()


@pytest.mark.parametrize(('size', 'padding', 'plan'), [
    (14, 'fit', (4, 6, 13, 14)), (7, 'fit', (8, 12, 7, 7)), (112, 'fit', (1, 1, 50, 84)), (None, 'fit', (1, 1, 50, 84)),
    (112, 'zeros', (1, 1, 112, 112)), (14, 'zeros', (4, 6, 14, 14))])
def test_plan(size, padding, plan):
    windows = Windows.plan(50, 84, size, padding)
    assert (windows.rows, windows.columns, windows.window_height, windows.window_width) == plan
