"""Shares of time by kind of operator."""
import pytest
import torch

from mmvision_mamba.benchmark.operators import longest, shares
from mmvision_mamba.benchmark.setting import Setting
from mmvision_mamba.ops import attention, onednn


@pytest.mark.parametrize('blocks', [False, pytest.param(True, marks=pytest.mark.skipif(
    onednn.linear_operator() is None, reason="oneDNN's operator is missing"))])
def test_attention_counts_with_all_that_it_calls(blocks, monkeypatch):
    for name in ('chosen', 'chosen_for_attention'):
        monkeypatch.setattr(onednn, name, lambda: blocks)
    q = torch.rand(1, 1, 1024, 16)
    found = shares(Setting('work', 'name', 1, 'token', lambda: attention(q, q, q)), torch.device('cpu'))
    assert found['attention'] > 0.9 and found['linear'] == 0


def test_the_longest_kernels_come_first():
    a = torch.rand(256, 256)
    found = longest(lambda: [a @ a for _ in range(20)] + [a + 1], torch.device('cpu'), 2)
    assert found[0]['name'] == 'aten::mm' and found[0]['calls'] == 20 and len(found) == 2
    assert found[0]['ms'] >= found[1]['ms'] and 0 < found[1]['share'] < found[0]['share'] < 1
