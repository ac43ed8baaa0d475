"""tools/ablate.py: a row per variant, nothing done twice, what wrong input gets."""
import json
import os

import pytest
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

from mmvision_mamba.commands.steps import ablation
from mmvision_mamba.datasets import make_shapes

from ..helpers import ROOT
from ..helpers.small_configs import ARCH

BASELINE = ROOT / 'configs/ablations/baseline.py'


@pytest.fixture(scope='module')
def objects(tmp_path_factory):
    root = tmp_path_factory.mktemp('data') / 'shapes_objects'
    make_shapes(root, train=6, val=3, size=(32, 32), kind='objects')
    return root


@pytest.fixture
def variants(tmp_path):
    return write_variants(tmp_path)


def write_variants(folder):
    paths = []
    for name, options in (('baseline', ''), ('gate', "mixer_branch='gate', ")):
        paths.append(folder / f'{name}.py')
        paths[-1].write_text(f"# The {name}.\n_base_ = '{ROOT}/configs/ablations/baseline.py'\n"
                             f'model = dict(backbone=dict({options}arch={ARCH}))\n'
                             'train_dataloader = dict(batch_size=2)\n')
    return paths


@pytest.fixture
def goes_on(tool, variants, objects, tmp_path, monkeypatch):
    """Calls the command with other results of its first run in the folder; these are made without a training."""
    columns = dict(metric='accuracy/top1', score=50., parameters=9, flops=9, ms_per_image=1., training_seconds=1.)
    monkeypatch.setattr(ablation, 'train_and_measure', lambda cfg: dict(columns))
    arguments = (variants[0], '--out', tmp_path / 'out', '--iters', 2, '--cfg-options', f'data_root={objects}')
    assert tool('ablate', *arguments).code == 0

    def call(change):
        path = tmp_path / 'out/ablation.json'
        path.write_text(change(json.loads(path.read_text())))
        return tool('ablate', *arguments)
    return call


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

    build, called = ablation.build_runner, []
    monkeypatch.setattr(ablation, 'build_runner', lambda cfg: called.append(cfg.randomness.seed) or build(cfg))
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
    from mmvision_mamba.preflight.datasets import override_data_root
    override_data_root(cfg, objects)
    with DefaultScope.overwrite_default_scope('mmengine'):
        (first,), (again,) = (ablation.run_variants({'baseline': ablation.shorten(cfg, 2)}, [3], tmp_path / name, str)
                              for name in 'ab')
    assert first['score'] == again['score'] and first['config'] == again['config']


@pytest.mark.parametrize(('arguments', 'message'), [
    (['/nowhere.py'], 'config file not found: /nowhere.py'), (['--iters', '0'], '--iters: at least 2'),
    (['--seeds', '1', '1'], 'none of them twice'), ([BASELINE, BASELINE], 'two variants are named baseline'),
    ([ROOT / 'configs/mambavision_t_in1k.py', '--cfg-options', 'data_root={root}'], 'no train_cfg.max_iters'),
    ([BASELINE, '--out', '{tmp}', '--cfg-options', 'data_root={root}'], 'ablation.json is no file of results')])
def test_wrong_input(arguments, message, tool, objects, tmp_path):
    (tmp_path / 'ablation.json').write_text('{"half": ')
    result = tool('ablate', *[str(a).format(root=objects, tmp=tmp_path) for a in arguments])
    assert result.code == 2 and message in result.err, result.err[-2000:]


@pytest.mark.skipif(os.name != 'posix', reason='FIFOs')
@pytest.mark.parametrize('kind', ['fifo', 'zero', 'nested'])
def test_earlier_results_that_never_end(kind, tool, objects, tmp_path):
    path = tmp_path / 'ablation.json'
    dict(fifo=lambda: os.mkfifo(path), zero=lambda: path.symlink_to('/dev/zero'),
         nested=lambda: path.write_text('[' * 100_000))[kind]()
    result = tool('ablate', BASELINE, '--out', tmp_path, '--cfg-options', f'data_root={objects}')
    assert result.code == 2 and 'ablation.json is no file of results' in result.err, result.err[-2000:]


@pytest.mark.parametrize(('key', 'value'), [
    ('score', 'a'), ('score', None), ('score', True), ('score', 10**400), ('parameters', 'many'), ('flops', []),
    ('ms_per_image', {}), ('training_seconds', None), ('metric', 5), ('about', None), ('seed', '0'), ('variant', [])])
def test_earlier_results_of_other_kinds_are_a_line(key, value, goes_on):
    result = goes_on(lambda rows: json.dumps([{**rows[0], key: value}]))
    assert result.code == 2 and 'is no file of results' in result.err, result.err[-2000:]


@pytest.mark.parametrize('text', ['{}', '5', '"variant"', '[5]', '[["variant", "seed", "config", "score"]]'])
def test_earlier_results_that_are_no_list_of_runs_are_a_line(text, goes_on):
    result = goes_on(lambda rows: text)
    assert result.code == 2 and 'is no file of results' in result.err, result.err[-2000:]


def test_texts_of_earlier_results_stay_in_their_cells(goes_on):
    result = goes_on(lambda rows: json.dumps(
        [{**rows[0], 'about': 'a\x1b[2J\nFORGED | LINE\ud800', 'metric': 'a\rFORGED' + 'x' * 5000}]))
    assert result.code == 0, result.err[-2000:]
    assert '\x1b' not in result.out and not any(line.startswith('FORGED') for line in result.out.splitlines())
    assert r'FORGED \| LINE' in result.out and max(map(len, result.out.splitlines())) < 1000


def test_a_score_that_is_not_a_number_is_taken_up_again(goes_on):
    result = goes_on(lambda rows: json.dumps([{**rows[0], 'score': float('nan')}]))
    assert result.code == 0 and 'nan' in result.out, result.err[-2000:]
