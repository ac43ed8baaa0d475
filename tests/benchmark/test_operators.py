"""Shares of time by kind of operator."""
import pytest
import torch

from mmvision_mamba.benchmark.operators import shares
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
