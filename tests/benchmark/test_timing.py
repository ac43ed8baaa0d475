"""Settings that take turns, and what is made of their times."""
import pytest
import torch

from mmvision_mamba.benchmark import timing
from mmvision_mamba.benchmark.setting import Setting


def row(group, name, *samples, burst=None):
    return dict(group=group, name=name, dtype='float32', forward=dict(
        samples_ms=list(samples), burst_ms=burst, units=3, flops=2e6, least_bytes=None))


def test_medians_ratios_and_fractions():
    def rows():
        return [row('a', 'x', 4, 9, 1, 2, 3), row('a', 'y', 6, 6), row('b', 'y', 5), row('b', 'x', 10, burst=[2, 4, 4])]
    first, named = rows(), rows()
    timing.summarize(first, dict(float32=1e9), None)
    assert [r['forward']['median_ms'] for r in first] == [3, 6, 5, 10]
    assert (first[0]['forward']['q1_ms'], first[0]['forward']['q3_ms']) == (2, 4)
    assert [r['forward']['ratio'] for r in first] == [1, 0.5, 1, 0.5]
    assert [r['forward']['per_second'] for r in first] == [1000, 500, 600, 750]  # the last in bursts
    assert first[0]['forward']['matmul_fraction'] == pytest.approx(2 / 3)
    timing.summarize(named, {}, None, baseline='y')
    assert [r['forward']['ratio'] for r in named] == [2, 1, 1, 0.5]
    assert named[0]['forward']['matmul_fraction'] is None


def test_settings_take_turns_and_one_that_fails_does_not_stop_the_others(monkeypatch, capsys):
    monkeypatch.setattr(timing, 'TURN_SECONDS', 0)
    calls = []

    def fail():
        raise RuntimeError('out of memory\nand more')
    settings = [Setting('g', name, 1, 'token', forward) for name, forward in (
        ('a', lambda: calls.append('a')), ('b', fail), ('c', lambda: calls.append('c')))]
    rows = timing.measure(settings, torch.device('cpu'), rounds=3)
    assert ''.join(calls) == 'aacc' + 'ac' * 3 + 'ac'  # warming up, turns, memory
    assert [r['error'] for r in rows] == [None, 'forward: out of memory', None]
    assert 'g, b: forward: out of memory' in capsys.readouterr().out
