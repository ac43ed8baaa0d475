"""What is made of ablations' results, and of their schedules."""
from mmengine.config import Config

from mmvision_mamba.commands.steps import ablation

from ...helpers import ROOT


def test_table():
    def row(variant, seed, score):
        return dict(variant=variant, about='', seed=seed, score=score, metric='mIoU', parameters=2e6, flops=3e6,
                    ms_per_image=1.)
    table = ablation.as_markdown([row('a', 0, 50.), row('b', 0, 51.), row('a', 1, 60.), row('b', 1, 58.)])
    assert [line.split('|')[5:7] for line in table.splitlines()[2:]] == [
        [' 55.0 ± 5.0 ', ' – '], [' 54.5 ± 3.5 ', ' -0.5 ± 1.5 ']]


def test_iterations_shrink_the_schedule():
    cfg = ablation.shorten(Config.fromfile(ROOT / 'configs/ablations/baseline.py'), 16)
    assert cfg.train_cfg.max_iters == 16 and [(s.begin, s.end) for s in cfg.param_scheduler] == [(0, 2), (2, 16)]
