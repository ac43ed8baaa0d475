"""tools/ablate.py: a row per variant, nothing done twice, what wrong input gets; the configs of the ablations."""
import json

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

from mmvision_mamba.datasets import make_shapes
from mmvision_mamba.engine import ablation

from .conftest import ROOT

CONFIGS = sorted((ROOT / 'configs' / 'ablations').glob('*.py'))
ARCH = 'dict(_delete_=True, dim=16, in_dim=8, depths=(1, 1, 2, 2), num_heads=(1, 1, 2, 4))'


@pytest.fixture(scope='module')
def objects(tmp_path_factory):
    root = tmp_path_factory.mktemp('data') / 'shapes_objects'
    make_shapes(root, train=6, val=3, size=(32, 32), kind='objects')
    return root


@pytest.fixture
def variants(tmp_path):
    paths = []
    for name, options in (('baseline', ''), ('gate', "mixer_branch='gate', ")):
        paths.append(tmp_path / f'{name}.py')
        paths[-1].write_text(f"# The {name}.\n_base_ = '{ROOT}/configs/ablations/baseline.py'\n"
                             f'model = dict(backbone=dict({options}arch={ARCH}))\n'
                             'train_dataloader = dict(batch_size=2)\n')
    return paths


def test_runs_tabulates_and_goes_on(tool, variants, objects, tmp_path, monkeypatch):
    out = tmp_path / 'out'
    arguments = ('--out', out, '--iters', 2, '--cfg-options', f'data_root={objects}')
    result = tool('ablate', *variants, *arguments)
    assert result.code == 0, result.err[-3000:]
    rows = json.loads((out / 'ablation.json').read_text())
    assert [(r['variant'], r['seed']) for r in rows] == [('baseline', 0), ('gate', 0)]
    table = (out / 'ablation.md').read_text()
    assert table in result.out and '| `gate`: The gate |' in table and len(table.splitlines()) == 4
    models = [MODELS.build(Config.fromfile(path).model) for path in variants]
    assert [r['parameters'] for r in rows] == [sum(p.numel() for p in model.parameters()) for model in models]
    assert rows[0]['parameters'] > rows[1]['parameters'] and rows[0]['flops'] > rows[1]['flops'] > 0
    assert all(r['ms_per_image'] > 0 and r['metric'] == 'accuracy/top1' for r in rows)

    run, called = ablation._run, []
    monkeypatch.setattr(ablation, '_run', lambda cfg: called.append(cfg.randomness.seed) or run(cfg))
    result = tool('ablate', *variants, '--seeds', 0, 1, *arguments)
    assert result.code == 0 and called == [1, 1], 'what was done is not done again'
    assert len(json.loads((out / 'ablation.json').read_text())) == 4 and '±' in (out / 'ablation.md').read_text()
    result = tool('ablate', variants[0], *arguments, 'optim_wrapper.optimizer.lr=1.e-4')
    assert result.code == 0 and called == [1, 1, 0], 'other settings are another run'


def test_a_detector(tool, configs, shapes, tmp_path, monkeypatch):
    monkeypatch.setattr(ablation, 'SPEED_BATCH', 2)
    monkeypatch.setattr(ablation, 'SPEED_SECONDS', 0.1)
    out = tmp_path / 'out'
    result = tool('ablate', configs.detector, '--out', out, '--iters', 2, '--cfg-options', f'data_root={shapes}')
    assert result.code == 0, result.err[-3000:]
    row, = json.loads((out / 'ablation.json').read_text())
    assert row['metric'] == 'coco/bbox_mAP' and 0 <= row['score'] <= 1 and row['flops'] > 1e6


def test_the_same_seed_gives_the_same_score(variants, objects, tmp_path):
    cfg = Config.fromfile(variants[0])
    from mmvision_mamba.engine.dataset_configs import override_data_root
    override_data_root(cfg, objects)
    with DefaultScope.overwrite_default_scope('mmengine'):
        (first,), (again,) = (ablation.run_variants({'baseline': ablation.shorten(cfg, 2)}, [3], tmp_path / name, str)
                              for name in 'ab')
    assert first['score'] == again['score'] and first['config'] == again['config']


def test_table():
    def row(variant, seed, score):
        return dict(variant=variant, about='', seed=seed, score=score, metric='mIoU', parameters=2e6, flops=3e6,
                    ms_per_image=1.)
    table = ablation.as_markdown([row('a', 0, 50.), row('b', 0, 51.), row('a', 1, 60.), row('b', 1, 58.)])
    assert [line.split('|')[5:7] for line in table.splitlines()[2:]] == [
        [' 55.0 ± 5.0 ', ' – '], [' 54.5 ± 3.5 ', ' -0.5 ± 1.5 ']]


def test_iterations_shrink_the_schedule():
    cfg = ablation.shorten(Config.fromfile(CONFIGS[0]), 16)
    assert cfg.train_cfg.max_iters == 16 and [(s.begin, s.end) for s in cfg.param_scheduler] == [(0, 2), (2, 16)]


@pytest.mark.parametrize(('arguments', 'message'), [
    (['/nowhere.py'], 'config file not found: /nowhere.py'), (['--iters', '0'], '--iters: at least 2'),
    (['--seeds', '1', '1'], 'none of them twice'), ([CONFIGS[0], CONFIGS[0]], 'two variants are named baseline'),
    ([ROOT / 'configs/mambavision_t_in1k.py', '--cfg-options', 'data_root={root}'], 'no train_cfg.max_iters'),
    ([CONFIGS[0], '--out', '{tmp}', '--cfg-options', 'data_root={root}'], 'ablation.json is no file of results')])
def test_wrong_input(arguments, message, tool, objects, tmp_path):
    (tmp_path / 'ablation.json').write_text('{"half": ')
    result = tool('ablate', *[str(a).format(root=objects, tmp=tmp_path) for a in arguments])
    assert result.code == 2 and message in result.err, result.err[-2000:]


# The configs -------------------------------------------------------------------------------------------------------

def test_each_config_is_the_baseline_but_for_what_its_name_says():
    base = Config.fromfile(CONFIGS[0])
    found = {}
    for path in CONFIGS[1:]:
        cfg = Config.fromfile(path)
        with DefaultScope.overwrite_default_scope('mmengine'), torch.device('meta'):
            backbone = MODELS.build(cfg.model).backbone
        found[path.stem] = (
            *(''.join('S' if hasattr(b.mixer, 'qkv') else 'M' for b in level.blocks) for level in backbone.levels[2:]),
            *(level.window_size for level in backbone.levels[2:]))
        changed = {k: v for k, v in cfg.model.backbone.items() if base.model.backbone.get(k) != v}
        assert changed
        cfg.model.backbone = base.model.backbone
        assert cfg.to_dict() == base.to_dict(), path.stem
    usual = ('MMMMSSSS', 'MS', 4, 2)
    assert found == dict(
        mixer_causal_conv=usual, mixer_gate=usual, mixer_linear_gate=usual, mixer_mamba=usual, mixer_no_branch=usual,
        pattern_alternate=('MSMSMSMS', 'MS', 4, 2), pattern_alternate_attention=('SMSMSMSM', 'SM', 4, 2),
        pattern_attention_first=('SSSSMMMM', 'SM', 4, 2),
        pattern_last_quarter=('MMMMMMSS', 'MM', 4, 2), pattern_random=found['pattern_random'],
        ratio_attention_only=('SSSSSSSS', 'SS', 4, 2), ratio_mixers_only=('MMMMMMMM', 'MM', 4, 2),
        windows_2_1=(*usual[:2], 2, 1))
    assert found['pattern_random'][0].count('M') == 4 and found['pattern_random'][0] != usual[0]
