"""tools/benchmark.py at sizes too small to mean anything: what it writes, counts and refuses."""
import csv
import json
from pathlib import Path

import cv2
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mmvision_mamba import MambaVision
from mmvision_mamba.backbones.family import FAMILY
from mmvision_mamba.backbones.mambavision import MambaVisionMixer
from mmvision_mamba.benchmark import command, options, roofline, timing
from mmvision_mamba.benchmark.memory import kept_for_backward, peak_memory
from mmvision_mamba.benchmark.page import fill_page
from mmvision_mamba.benchmark.setting import Setting
from mmvision_mamba.errors import ConfigError
from mmvision_mamba.files import replace

CPU = torch.device('cpu')
SCAN = ['scan', '--shapes', '1,48,16', '--rounds', '1']


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(roofline, 'MATMUL_SIZE', dict(cpu=64))
    monkeypatch.setattr(roofline, 'COPY_BYTES', dict(cpu=2**16))
    monkeypatch.setattr(timing, 'TURN_SECONDS', 0)
    monkeypatch.setitem(FAMILY, 'tiny', dict(dim=16, in_dim=8, depths=(1, 1, 2, 2), num_heads=(1, 1, 2, 4)))


@pytest.fixture
def results(tmp_path):
    """results(*arguments) runs the command and returns what it wrote."""
    def run(*arguments):
        path = tmp_path / 'results.json'
        assert command.main([*arguments, '--device', 'cpu', '--out', path]) == 0
        found = json.loads(path.read_text())
        assert set(found) == {'command', 'machine', 'roofline', 'rows'}
        assert {'cpu', 'gpu', 'threads', 'torch', 'commit', 'date'} <= set(found['machine'])
        assert not list(tmp_path.glob('.*'))
        for row in found['rows']:
            assert row['error'] is None
            for phase in {'forward', 'training'} & set(row):
                figures = row[phase]
                assert min(figures['samples_ms']) <= figures['q1_ms'] <= figures['median_ms'] <= figures['q3_ms']
                assert figures['per_second'] == pytest.approx(1e3 * figures['units'] / figures['median_ms'])
                assert min(figures[key] for key in ('peak_bytes', 'flops', 'matmul_fraction', 'ratio')) > 0
        return found
    return run


# The subcommands ----------------------------------------------------------------------------------------------------

def test_roofline(tool, tmp_path):
    result = tool('benchmark', 'roofline', '--device', 'cpu', '--dtypes', 'float32', 'bfloat16', '--out', 'rates.json')
    assert result.code == 0 and 'matrix product, bfloat16' in result.out, result.err
    rates = json.loads((tmp_path / 'rates.json').read_text())['roofline']
    assert rates['copy_bytes_per_second'] > 0
    assert set(rates['matmul_flops_per_second']) == {'float32', 'bfloat16'}
    assert min(rates['matmul_flops_per_second'].values()) > 0


def test_scan(results, capsys):
    found = results('scan', '--shapes', '1,48,16', '2,8200,2', '--backends', 'reference', 'chunked', '--state', '4',
                    '--dtypes', 'float32', 'bfloat16', '--rounds', '2')
    out = capsys.readouterr().out
    assert 'reference, step by step, is left out at 8,200 tokens' in out and 'kept for backward' in out
    assert [row['name'] for row in found['rows']] == [
        'reference, float32', 'chunked, float32', 'reference, bfloat16', 'chunked, bfloat16',
        'chunked, float32', 'chunked, bfloat16']
    row = found['rows'][0]
    assert row['group'] == '1 × 48 × 16' and row['forward']['ratio'] == row['training']['ratio'] == 1
    assert len(row['forward']['samples_ms']) == len(row['training']['samples_ms']) == 2
    assert row['options'] == dict(batch=1, tokens=48, channels=16, state=4, backend='reference', dtype='float32',
                                  variant=[])
    assert row['forward']['least_bytes'] == 4 * (3 * 48 * 16 + 2 * 48 * 4 + 16 * 4 + 2 * 16)
    assert row['forward']['copy_fraction'] > 0
    assert row['kept_bytes'] > found['rows'][1]['kept_bytes'] > 0
    assert found['rows'][3]['forward']['least_bytes'] < found['rows'][1]['forward']['least_bytes']


def test_sweep_and_plot(results, tmp_path):
    found = results('scan', '--shapes', '1,99,8', '--backends', 'reference', 'chunked', '--sweep', 'tokens', '--values',
                    '16', '32', '64', '--plot', str(tmp_path / 'sweep.png'), '--rounds', '1')
    assert [row['options']['tokens'] for row in found['rows']] == [16, 16, 32, 32, 64, 64]
    picture = cv2.imread(str(tmp_path / 'sweep.png'))
    assert min(picture.shape[:2]) > 600 and picture.std() > 10


def test_mixer(tmp_path):
    path = tmp_path / 'results.csv'
    assert command.main(['mixer', '--shapes', '2,16,32', '--amp', 'none', 'bf16', '--backends', 'chunked', '--rounds',
                         '1', '--device', 'cpu', '--baseline', 'chunked, bf16', '--out', path]) == 0
    with path.open(newline='') as file:
        rows = list(csv.DictReader(file))
    assert [row['name'] for row in rows] == ['chunked', 'chunked, bf16']
    assert float(rows[1]['forward_ratio']) == float(rows[1]['training_ratio']) == 1
    assert float(rows[0]['forward_ratio']) == pytest.approx(
        float(rows[1]['forward_median_ms']) / float(rows[0]['forward_median_ms']))
    assert float(rows[0]['training_flops']) > 2 * float(rows[0]['forward_flops']) > 0
    assert rows[0]['machine_torch'] == torch.__version__


def test_backbone(results, capsys):
    found = results('backbone', '--sizes', '40,64', '--windows', '2,1', 'none,2', '--channels-last', '--batch', '1',
                    '2', '--profile', '--rounds', '1')
    rows = found['rows']
    assert [row['name'] for row in rows[:4]] == [
        'tiny, fit, windows 2/1', 'tiny, fit, windows 2/1, channels last', 'tiny, fit, windows all/2',
        'tiny, fit, windows all/2, channels last']
    assert [row['forward']['units'] for row in rows] == [1] * 8 + [2] * 8
    for row in rows:
        assert sum(row['shares'].values()) == pytest.approx(1)
        assert min(row['shares'][group] for group in ('convolution', 'linear', 'attention', 'scan', 'norm')) > 0
    assert rows[8]['forward']['flops'] == 2 * rows[0]['forward']['flops']
    assert rows[4]['name'] == 'tiny, zeros, windows 2/1'
    assert 'share of an inference' in capsys.readouterr().out


def test_peers(results):
    rows = results('backbone', '--sizes', '32,32', '--paddings', 'fit', '--peers', '--no-training', '--rounds',
                   '1')['rows']
    assert [row['name'] for row in rows] == ['tiny, fit', 'swin-t', 'convnext-t', 'resnet-50']
    assert all('training' not in row and row['kept_bytes'] is None for row in rows)


@pytest.mark.parametrize('kind', ['detector', 'segmentor'])
def test_whole_models(kind, results, configs):
    rows = results(kind, str(getattr(configs, kind)), '--sizes', '64,96', '--rounds', '1', '--cfg-options',
                   "model.backbone.window_padding=zeros")['rows']
    assert [row['name'] for row in rows] == [kind]
    assert rows[0]['forward']['units'] == 1 and rows[0]['training']['units'] == 2
    assert rows[0]['options']['cfg_options'] == {'model.backbone.window_padding': 'zeros'}


def test_exported(tmp_path, configs):
    """The same work in PyTorch and in onnxruntime, beside each other."""
    path = tmp_path / 'results.json'
    assert command.main(['export', configs.segmentor, '--sizes', '64,64', '--modes', '--device', 'cpu', '--rounds', '2',
                         '--out', path]) == 0
    rows = json.loads(path.read_text())['rows']
    assert [row['name'] for row in rows] == ['PyTorch', 'PyTorch, fused', 'onnxruntime']
    assert all(row['error'] is None and len(row['forward']['samples_ms']) for row in rows)
    assert 'training' not in rows[0] and rows[0]['forward']['flops'] > 0


def test_variants(results, monkeypatch):
    """Each beside the plain setting, several together too; what only infers has no training step."""
    compiled = []
    monkeypatch.setattr(torch, 'compile', lambda module: compiled.append(module) or module)
    monkeypatch.setattr(MambaVision, 'fuse', lambda self: None, raising=False)
    rows = results('backbone', '--sizes', '32,32', '--paddings', 'fit', '--compile', '--fuse', '--rounds', '1')['rows']
    assert [row['name'] for row in rows] == ['tiny, fit', 'tiny, fit, fuse', 'tiny, fit, compile',
                                             'tiny, fit, fuse, compile']
    assert ['training' in row for row in rows] == [True, False, True, False]
    assert len(compiled) == 2


@pytest.mark.slow
def test_compile(results):
    rows = results(*SCAN, '--backends', 'chunked', '--compile')['rows']
    assert [row['name'] for row in rows] == ['chunked', 'chunked, compile']


# All, and the page --------------------------------------------------------------------------------------------------

def test_all_writes_what_the_page_shows(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(command.PLAN, 'cpu', dict(
        roofline='roofline', broken='scan --backends nonsense',
        scan='scan --shapes 1,16,4 --sweep tokens --values 8 16'))
    every = ['all', '--device', 'cpu', '--name', 'box', '--rounds', '1', '--out-dir', tmp_path / 'docs/results']
    assert command.main([*every, '--only', 'roofline']) == 0
    assert [p.name for p in (tmp_path / 'docs/results/box').iterdir()] == ['roofline.json']
    assert command.main(every) == 1  # one part is broken, and the others go on
    assert "unknown scan backend 'nonsense'" in capsys.readouterr().err
    assert {p.name for p in (tmp_path / 'docs/results/box').iterdir()} == {'roofline.json', 'scan.json', 'scan.png'}
    found = json.loads((tmp_path / 'docs/results/box/scan.json').read_text())
    assert found['command'].startswith('tools/benchmark.py scan --shapes 1,16,4') and str(tmp_path) not in str(found)

    def places(*names):
        return ''.join(f'# {name}\n<!-- results: {name} -->\nstale\n<!-- end -->\n' for name in names)
    page = fill_page(places('roofline', 'scan', 'mixer', 'amp'), tmp_path / 'docs/results', tmp_path)
    assert 'stale' not in page and '| matrix product, float32 |' in page
    assert '| 1 × 16 × 4 | chunked |' in page and '(results/box/scan.png)' in page
    assert '`tools/benchmark.py all --only mixer`' in page and '--stages amp`' in page
    assert fill_page(page, tmp_path / 'docs/results', tmp_path) == page
    with pytest.raises(ConfigError, match=r'scan\.json: the page has no place'):
        fill_page(places('roofline'), tmp_path / 'docs/results', tmp_path)


def test_the_page_is_up_to_date(tool):
    result = tool('performance_page', '--check')
    assert result.code == 0, result.out + result.err


def test_the_page_has_a_place_for_every_part():
    page = (Path(__file__).resolve().parents[2] / 'docs/performance.md').read_text()
    for plan in command.PLAN.values():
        for part in plan:
            assert f'<!-- results: {part} -->' in page, part


# What is counted ----------------------------------------------------------------------------------------------------

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


def test_settings_take_turns_and_one_that_fails_does_not_stop_the_others(capsys):
    calls = []

    def fail():
        raise RuntimeError('out of memory\nand more')
    rows = timing.measure([Setting('g', name, 1, 'token', forward) for name, forward in (
        ('a', lambda: calls.append('a')), ('b', fail), ('c', lambda: calls.append('c')))], CPU, rounds=3)
    assert ''.join(calls) == 'aacc' + 'ac' * 3 + 'ac'  # warming up, turns, memory
    assert [r['error'] for r in rows] == [None, 'forward: out of memory', None]
    assert 'g, b: forward: out of memory' in capsys.readouterr().out


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


def test_overrides_keep_white_space():
    args = options.parse_args(['segmentor', '--cfg-options', 'data_root=/my data', 'model.backbone.with_cp=True'])
    assert args.cfg_options == {'data_root': '/my data', 'model.backbone.with_cp': True}


@pytest.mark.parametrize('groups', [1, 2, 8])
def test_flops_of_a_convolution_and_its_backward(groups):
    conv, x = torch.nn.Conv2d(8, 16, 3, padding=1, groups=groups), torch.ones(2, 8, 5, 7, requires_grad=True)
    forward = 2 * 2 * 16 * 5 * 7 * (8 // groups) * 9
    assert roofline.count_flops(lambda: conv(x), conv, 'forward') == forward
    assert roofline.count_flops(lambda: conv(x).sum().backward(), conv, 'training') == 3 * forward
    assert roofline.count_flops(lambda: conv(x.detach()).sum().backward(), conv, 'training') == 2 * forward


def test_flops():
    linear = nn.Linear(8, 16)
    assert roofline.count_flops(lambda: linear(torch.ones(4, 8)), linear, 'forward') == 2 * 4 * 8 * 16
    q = torch.randn(1, 2, 32, 16)
    assert roofline.count_flops(lambda: F.scaled_dot_product_attention(q, q, q), linear, 'forward') == \
        2 * 2 * 2 * 32 * 32 * 16
    mixer = MambaVisionMixer(32, scan_backend='reference')
    x = torch.randn(2, 24, 32)
    found = {phase: roofline.count_flops(lambda: mixer(x).sum().backward(), mixer, phase) - roofline.scan_flops(
        2, 24, 16, 8, phase) for phase in ('forward', 'training')}
    assert found['forward'] == found['training'] > 0  # without the scan, whose count alone depends on the phase
    assert mixer.scan_backend == 'reference'
    assert roofline.scan_flops(1, 1, 1, 8) == 63


# Wrong input --------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(('arguments', 'message'), [
    (['scan', '--backends', 'nonsense'], "unknown scan backend 'nonsense'"),
    (['scan', '--shapes', '1,2'], "3 positive whole numbers with commas between them, got '1,2'"),
    (['scan', '--dtypes', 'int8'], "unknown dtype 'int8'"),
    (['scan', '--out', 'x.txt'], '.json or .csv'),
    (['scan', '--rounds', '0'], '--rounds must be at least 1'),
    (['scan', '--plot', 'x.png'], 'belong to a --sweep'),
    ([*SCAN, '--baseline', 'nonsense'], "no setting is called 'nonsense'; there are: reference; chunked"),
    (['scan', '--device', 'nonsense'], "cpu, cuda or cuda:N, got 'nonsense'"),
    (['scan', '--cuda-graphs', '--device', 'cpu'], '--cuda-graphs needs a CUDA device'),
    (['mixer', '--shapes', '1,16,3'], 'an even number of channels'),
    (['backbone', '--archs', 'tinny'], "unknown arch 'tinny' (did you mean 'tiny'?)"),
    (['backbone', '--peers', 'swin-x'], "unknown peer 'swin-x' (did you mean 'swin-t'?)"),
    (['backbone', '--sizes', '16,64', '--device', 'cpu', '--rounds', '1'], '32 pixels or more on each side'),
    (['backbone', '--windows', '0,1'], 'a positive whole number'),
    (['backbone', '--fuse', '--device', 'cpu'], '--fuse: MambaVision has no method fuse()'),
    (['detector', 'nowhere.py'], 'config file not found: nowhere.py'),
    (['detector', '--cfg-options', 'nonsense'], '--cfg-options takes KEY=VALUE pairs'),
    (['all', '--only', 'nonsense', '--device', 'cpu'], "--only: unknown part 'nonsense'; valid ones: roofline, scan"),
    (['nonsense'], 'nonsense')])
def test_wrong_input(arguments, message, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delattr(MambaVision, 'fuse', raising=False)
    assert command.main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error and error.startswith('error: ') and len(error.splitlines()) <= 2, error
    assert not list(tmp_path.iterdir())


def test_a_config_of_another_kind(configs, capsys):
    assert command.main(['detector', str(configs.segmentor), '--device', 'cpu']) == 2
    assert 'is no config of a detector' in capsys.readouterr().err


@pytest.mark.skipif(torch.cuda.is_available(), reason='there is one')
def test_cuda_where_there_is_none(capsys):
    assert command.main(['scan', '--device', 'cuda']) == 2
    assert 'this machine has no CUDA devices' in capsys.readouterr().err


def test_no_half_written_file(tmp_path):
    path = tmp_path / 'new' / 'results.json'

    def fail(temporary):
        temporary.write_text('half')
        raise OSError('disk full')
    with pytest.raises(OSError, match='disk full'):
        replace(path, fail)
    assert not list(path.parent.iterdir())
