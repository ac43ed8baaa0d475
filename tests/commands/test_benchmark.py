"""tools/benchmark.py at sizes too small to mean anything: what it writes and refuses."""
import csv
import importlib.util
import json
import os
import re
import shutil
from importlib import import_module
from pathlib import Path

import cv2
import pytest
import torch

from mmvision_mamba import MambaVision
from mmvision_mamba.backbones.family import FAMILY
from mmvision_mamba.benchmark import roofline, timing
from mmvision_mamba.benchmark.experiments import build_model
from mmvision_mamba.benchmark.page import fill_page
from mmvision_mamba.benchmark.peers import build_peer
from mmvision_mamba.benchmark.plan import PLAN
from mmvision_mamba.commands import benchmark_options, main
from mmvision_mamba.errors import ConfigError

SCAN = ['scan', '--shapes', '1,48,16', '--rounds', '1']


def benchmark(arguments) -> int:
    """The command's exit code."""
    try:
        return main('benchmark', arguments)
    except SystemExit as stop:
        return stop.code


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(roofline, 'MATMUL_SHAPES', dict(cpu=[(64, 32, 16), (64, 64, 64)]))
    monkeypatch.setattr(roofline, 'COPY_BYTES', dict(cpu=2**16))
    monkeypatch.setattr(timing, 'TURN_SECONDS', 0)
    monkeypatch.setitem(FAMILY, 'tiny', dict(dim=16, in_dim=8, depths=(1, 1, 2, 2), num_heads=(1, 1, 2, 4)))


@pytest.fixture
def results(tmp_path):
    """results(*arguments) runs the command and returns what it wrote."""
    def run(*arguments):
        path = tmp_path / 'results.json'
        assert benchmark([*arguments, '--device', 'cpu', '--out', path]) == 0
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
    assert re.search(r'matrix product, float32 +[\d.e-]+ TFLOP/s \((MKL|oneDNN)\); (MKL|oneDNN) [\d.e-]+', result.out)
    rates = json.loads((tmp_path / 'rates.json').read_text())['roofline']
    for dtype, libraries in rates['matmul_libraries'].items():
        assert 'oneDNN' in libraries and rates['matmul_flops_per_second'][dtype] == max(libraries.values())
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
    assert benchmark(['mixer', '--shapes', '2,16,32', '--amp', 'none', 'bf16', '--backends', 'chunked', '--rounds',
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
    assert [row['name'] for row in rows] == ['tiny, fit', 'swin-t', 'swin-t-timm', 'convnext-t', 'resnet-50']
    assert all('training' not in row and row['kept_bytes'] is None for row in rows)


@pytest.mark.parametrize('kind', ['detector', 'segmentor'])
def test_whole_models(kind, results, configs):
    rows = results(kind, str(getattr(configs, kind)), '--sizes', '64,96', '--rounds', '1', '--cfg-options',
                   "model.backbone.window_padding=zeros")['rows']
    assert [row['name'] for row in rows] == [kind]
    assert rows[0]['forward']['units'] == 1 and rows[0]['training']['units'] == 2
    assert rows[0]['options']['cfg_options'] == {'model.backbone.window_padding': 'zeros'}


def test_a_training_step_of_one_image_that_is_pooled_to_one_pixel(results, configs):
    row, = results('segmentor', str(configs.segmentor), '--sizes', '64,64', '--rounds', '1', '--train-batch',
                   '1')['rows']
    assert row['training']['units'] == 1


@pytest.mark.parametrize(('kind', 'parts'), [
    ('detector', {'backbone', 'neck', 'RPN', 'RoI features', 'box heads', 'mask heads', 'mask pasting', 'NMS'}),
    ('segmentor', {'backbone', 'decode head', 'resizing of logits', 'label map'})])
def test_whole_models_beside_peers_part_by_part(kind, parts, results, configs, capsys):
    """It is said where a training step has another batch."""
    training = ['--no-training'] if kind == 'detector' else []
    rows = results(kind, str(getattr(configs, kind)), '--sizes', '64,64', '--rounds', '1', '--peers', 'resnet-50',
                   '--amp', 'bf16', '--profile', *training)['rows']
    assert [row['name'] for row in rows] == [f'{kind}, bf16', f'{kind}, resnet-50, bf16']
    for row in rows:
        assert sum(row['shares'].values()) == pytest.approx(1) and parts < set(row['shares'])
    out = capsys.readouterr().out
    assert 'beside resnet-50' in out and ('training batch' in out) == (not training)


@pytest.mark.parametrize(('kind', 'ours', 'stock'), [
    ('detector', 'mask_rcnn_mambavision_t_1x_coco', 'mmdet/swin/mask-rcnn_swin-t-p4-w7_fpn_1x_coco.py'),
    ('segmentor', 'upernet_mambavision_t_ade20k',
     'mmseg/swin/swin-tiny-patch4-window7-in1k-pre_upernet_8xb2-160k_ade20k-512x512.py')])
def test_a_peer_stands_under_the_heads_that_its_own_config_has(kind, ours, stock):
    library, _, path = stock.partition('/')
    config = Path(import_module(library).__file__).parent / '.mim/configs' / path
    peer, model = (build_model(str(name), None, kind, (64, 64), peer) for name, peer in (
        (ours, 'swin-t'), (config, None)))

    def shapes(model):
        return sorted(tuple(p.shape) for p in model.parameters())
    assert shapes(peer) == shapes(model)


def test_a_backbone_whose_maps_nothing_takes_has_no_peers(tmp_path):
    config = tmp_path / 'headless.py'
    config.write_text("default_scope = 'mmdet'\nmodel = dict(type='RPN', backbone=dict(type='ResNet', depth=50))\n")
    with pytest.raises(ConfigError, match='--peers needs a model with a neck or a decode_head'):
        build_model(str(config), None, 'detector', (64, 64), 'resnet-50')


def test_exported_backbones(tmp_path, monkeypatch):
    monkeypatch.setitem(FAMILY, 'tiny', dict(dim=16, in_dim=8, depths=(1, 1, 2, 2), num_heads=(1, 1, 2, 4)))
    path = tmp_path / 'results.json'
    assert benchmark(['export', '--archs', 'tiny', '--peers', 'resnet-50', '--sizes', '64,96', '--device', 'cpu',
                      '--rounds', '1', '--out', path]) == 0
    rows = json.loads(path.read_text())['rows']
    assert {row['group'] for row in rows} == {'backbone, 1 × 3 × 64 × 96'} and not any(row['error'] for row in rows)
    names = [row['name'] for row in rows]
    assert all(f'{model}, {run}' in names for model in ('tiny', 'resnet-50')
               for run in ('PyTorch', 'PyTorch, bf16', 'onnxruntime'))


def test_exported(tmp_path, configs):
    """The same work in PyTorch, in onnxruntime and, where it is installed, in OpenVINO, beside each other."""
    path = tmp_path / 'results.json'
    assert benchmark(['export', configs.segmentor, '--sizes', '64,64', '--modes', '--device', 'cpu', '--rounds', '2',
                         '--out', path]) == 0
    rows = json.loads(path.read_text())['rows']
    names = [row['name'] for row in rows]
    assert names[:3] == ['PyTorch', 'PyTorch, fused', 'onnxruntime']
    assert names[3:] == ['OpenVINO', 'OpenVINO, bf16'] * bool(importlib.util.find_spec('openvino')) + \
        ['MNN'] * bool(importlib.util.find_spec('MNN'))
    assert all(row['error'] is None and len(row['forward']['samples_ms']) for row in rows)
    assert 'training' not in rows[0] and rows[0]['forward']['flops'] > 0


def test_variants(results, monkeypatch):
    """Each beside the plain setting, several together too; what only infers has no training step.

    A peer has those that suit it.
    """
    compiled = []
    monkeypatch.setattr(torch, 'compile', lambda module, dynamic: compiled.append(module) or module)
    monkeypatch.setattr(MambaVision, 'fuse', lambda self: None, raising=False)
    rows = results('backbone', '--sizes', '32,64', '--paddings', 'fit', '--compile', '--fuse', '--rounds', '1',
                   '--peers', 'convnext-t', 'resnet-50')['rows']
    assert [row['name'] for row in rows] == [
        'tiny, fit', 'tiny, fit, fuse', 'tiny, fit, compile', 'tiny, fit, fuse, compile', 'convnext-t',
        'convnext-t, compile', 'resnet-50', 'resnet-50, fuse', 'resnet-50, compile', 'resnet-50, fuse, compile']
    assert ['training' in row for row in rows] == [
        True, False, True, False, True, True, True, False, True, False]
    assert len(compiled) == 5
    assert len({row['forward']['flops'] for row in rows[6:]}) == 1  # compiled too


def test_a_resnet_whose_batch_norms_are_folded_is_the_same():
    model, x = build_peer('resnet-50', (64, 64)).eval(), torch.rand(1, 3, 64, 64)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
    with torch.no_grad():
        expected = model(x)
        model.fuse()
        assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in model.modules())
        for before, after in zip(expected, model(x)):
            torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which(os.environ.get('CXX', 'g++')), reason='no C++ compiler, which torch.compile needs')
def test_compile(results):
    rows = results(*SCAN, '--backends', 'chunked', '--compile')['rows']
    assert [row['name'] for row in rows] == ['chunked', 'chunked, compile']


# All, and the page --------------------------------------------------------------------------------------------------

def test_all_writes_what_the_page_shows(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(PLAN, 'cpu', dict(
        roofline='roofline', broken='scan --backends nonsense',
        scan='scan --shapes 1,16,4 --sweep tokens --values 8 16'))
    every = ['all', '--device', 'cpu', '--name', 'box', '--rounds', '1', '--out-dir', tmp_path / 'docs/results']
    assert benchmark([*every, '--only', 'roofline']) == 0
    assert [p.name for p in (tmp_path / 'docs/results/box').iterdir()] == ['roofline.json']
    assert benchmark(every) == 1  # one part is broken, and the others go on
    assert "unknown scan backend 'nonsense'" in capsys.readouterr().err
    assert {p.name for p in (tmp_path / 'docs/results/box').iterdir()} == {'roofline.json', 'scan.json', 'scan.png'}
    found = json.loads((tmp_path / 'docs/results/box/scan.json').read_text())
    assert found['command'].startswith('mmvision-mamba benchmark scan --shapes 1,16,4')
    assert str(tmp_path) not in str(found)

    def places(*names):
        return ''.join(f'# {name}\n<!-- results: {name} -->\nstale\n<!-- end -->\n' for name in names)
    page = fill_page(places('roofline', 'scan', 'mixer', 'steps'), tmp_path / 'docs/results', tmp_path)
    assert 'stale' not in page and '| matrix product, float32 |' in page
    assert '| 1 × 16 × 4 | chunked |' in page and '(results/box/scan.png)' in page
    assert '`tools/benchmark.py all --only mixer`' in page and '`python tools/dev/gpu_check --wheels' in page
    assert fill_page(page, tmp_path / 'docs/results', tmp_path) == page
    with pytest.raises(ConfigError, match=r'scan\.json: the page has no place'):
        fill_page(places('roofline'), tmp_path / 'docs/results', tmp_path)


def test_every_command_of_the_plan_is_understood():
    for command in PLAN['cpu'].values():
        benchmark_options.parse([*command.split(), '--device', 'cpu'])


def test_the_page_shows_the_limit_and_the_best_of_each(tmp_path):
    """Results of earlier versions, which name no library, are drawn as they were."""
    def draw(roofline, *rows):
        file = tmp_path / 'docs/results/box/peers.json'
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(dict(command='benchmark', rows=rows, roofline=roofline, machine=dict(
            gpu=None, cpu='a CPU', cores=2, threads=2, torch='2', commit=None, date='2026-01-01'))))
        return fill_page('<!-- results: peers -->\n<!-- end -->\n', file.parents[1], tmp_path)

    def row(name, peer, ms):
        return dict(group='work', name=name, forward=dict(median_ms=ms), options=dict(
            model=name, peer=peer, amp='none', variant=['compile']))
    rates = dict(copy_bytes_per_second=1e9, matmul_flops_per_second=dict(float32=4e11))
    new = draw(dict(rates, matmul_libraries=dict(float32=dict(MKL=2e11, oneDNN=4e11))), row('a', False, 3),
               row('b', True, 4))
    assert 'Matrix products: float32 0.4 TFLOP/s (oneDNN); MKL 0.2.' in new
    assert '| work | a | float32 | forward | 3.00 ms (compile) | 0.75 of 4.00 ms (compile) |' in new
    old = draw(rates, dict(group='work', name='a', forward=dict(median_ms=3), options=dict(arch='a')))
    assert '| work | a | 3.00 ms |' in old and 'Matrix products' not in old and 'best' not in old


def test_overrides_keep_white_space():
    args = benchmark_options.parse(['segmentor', '--cfg-options', 'data_root=/my data', 'model.backbone.with_cp=True'])
    assert args.cfg_options == {'data_root': '/my data', 'model.backbone.with_cp': True}


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
    (['detector', '--peers', 'swin-t-timm'], "unknown peer 'swin-t-timm' (did you mean 'swin-t'?)"),
    (['backbone', '--sizes', '16,64', '--device', 'cpu', '--rounds', '1'], '32 pixels or more on each side'),
    (['export', 'a.onnx', '--sizes', '1,64', '--device', 'cpu'], 'or one side, of 32 pixels or more'),
    (['backbone', '--windows', '0,1'], 'a positive whole number'),
    (['backbone', '--fuse', '--device', 'cpu'], '--fuse: MambaVision has no method fuse()'),
    (['detector', 'nowhere.py'], 'config file not found: nowhere.py'),
    (['detector', '--cfg-options', 'nonsense'], 'KEY=VALUE pairs are taken'),
    (['all', '--only', 'nonsense', '--device', 'cpu'], "--only: unknown part 'nonsense'; valid ones: roofline, scan")])
def test_wrong_input(arguments, message, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delattr(MambaVision, 'fuse', raising=False)
    assert benchmark(arguments) == 2
    error = capsys.readouterr().err
    assert message in error and error.startswith('error: ') and len(error.splitlines()) <= 2, error
    assert not list(tmp_path.iterdir())


def test_an_unknown_subcommand(capsys):
    assert benchmark(['nonsense']) == 2
    assert "invalid choice: 'nonsense'" in capsys.readouterr().err


def test_a_config_of_another_kind(configs, capsys):
    assert benchmark(['detector', str(configs.segmentor), '--device', 'cpu']) == 2
    assert 'is no config of a detector' in capsys.readouterr().err


@pytest.mark.skipif(torch.cuda.is_available(), reason='there is one')
def test_cuda_where_there_is_none(capsys):
    assert benchmark(['scan', '--device', 'cuda']) == 2
    assert 'this machine has no CUDA devices' in capsys.readouterr().err


