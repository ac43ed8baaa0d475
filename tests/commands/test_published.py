"""Models by name: listed, downloaded once, run, and run again without a network."""
import os
import subprocess
import sys

import pytest
import torch
from mmengine.registry import MODELS as MODEL_REGISTRY

from mmvision_mamba import Inferencer
from mmvision_mamba import configs as configs_module
from mmvision_mamba.errors import ConfigError
from mmvision_mamba.preflight.read import read_config
from mmvision_mamba.published import LICENCE, MODELS

from ..helpers import ROOT
from ..helpers.hub_server import environment, hub, use
from ..helpers.small_configs import SEGMENTOR

NAME = 'upernet_mambavision_t_ade20k'
MODEL = next(model for model in MODELS if model.name == NAME)


def weights_of(config, path) -> bytes:
    torch.manual_seed(1)
    state = MODEL_REGISTRY.build(read_config(config, find_data=False).model).state_dict()
    torch.save(dict(state_dict={key.replace('backbone.', 'backbone.model.'): value for key, value in state.items()},
                    meta={}), path)
    return path.read_bytes()


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A Hub with the weights of a small model, which comes with the package by the name of a published one."""
    (tmp_path / 'package').mkdir()
    config = tmp_path / 'package' / f'{NAME}.py'
    config.write_text(SEGMENTOR)
    monkeypatch.setattr(configs_module, 'CONFIGS', tmp_path / 'package')
    with hub(tmp_path / 'served') as served:
        use(served, monkeypatch, tmp_path / 'home')
        served.add(MODEL.repo, {MODEL.file: weights_of(config, tmp_path / 'w.pth')})
        yield served


def test_infer_downloads_once_and_runs_again_offline(server, tool, shapes, tmp_path, monkeypatch):
    photo = shapes / 'val/000000.png'
    for run in ('first', 'second', 'offline'):
        if run == 'offline':
            use(None, monkeypatch, tmp_path / 'home', offline=True)
        result = tool('infer', NAME, 'published', photo, '--out-dir', run, '--device', 'cpu')
        assert result.code == 0, result.err[-2000:]
        assert '1 image done' in result.out and LICENCE in result.err
    assert len(server.downloads()) == 1
    first, again = ((tmp_path / run / 'preds/000000.png').read_bytes() for run in ('first', 'offline'))
    assert first == again


def test_other_tools_and_python(server, tool, shapes, tmp_path):
    result = tool('test', NAME, 'published', '--work-dir', tmp_path / 'wd', '--cfg-options', f'data_root={shapes}')
    assert result.code == 0, result.err[-2000:]
    result = tool('batch_infer', NAME, 'published', shapes / 'val', '--out', tmp_path / 'batch', '--device', 'cpu')
    assert result.code == 0, result.err[-2000:]
    expected = torch.load(tmp_path / 'w.pth')['state_dict']['decode_head.conv_seg.weight']
    for weights in ((), ('published',), (f'hf://{MODEL.repo}',)):
        model = Inferencer(NAME, *weights, device='cpu', show_progress=False).model
        assert torch.equal(model.decode_head.conv_seg.weight, expected)
    assert len(server.downloads()) == 1


@pytest.mark.parametrize(('command', 'options', 'made'), [
    ('export', ('--part', 'backbone', '--format', 'torchscript', '--shape', 64, 64, '--out', 'made.pt'), 'made.pt'),
    ('attention_maps', ('PHOTO', '--out', 'made.png'), 'made.png'),
    ('confusion', ('--out-dir', 'made', '--work-dir', 'wd', '--cfg-options', 'data_root=SHAPES'),
     'made/confusion.json')])
def test_each_other_tool_that_takes_a_checkpoint(server, tool, shapes, tmp_path, command, options, made):
    words = [str(word).replace('PHOTO', f'{shapes}/val/000000.png').replace('SHAPES', str(shapes)) for word in options]
    result = tool(command, NAME, 'published', *words)
    assert result.code == 0, result.err[-2000:]
    assert LICENCE in result.err and len(server.downloads()) == 1
    assert (tmp_path / made).exists(), [*tmp_path.rglob('made*')]


def test_the_web_page_takes_them(server, tool, tmp_path):
    pytest.importorskip('gradio')
    result = tool('demo_app', NAME, 'published', '--device', 'cpu', '--examples', tmp_path / 'nowhere')
    assert result.code == 2 and result.errors == [f'error: --examples: {tmp_path}/nowhere: no such file or folder']
    assert LICENCE in result.err and len(server.downloads()) == 1, 'the model is loaded before'


def test_training_begins_with_them(server, tool, shapes, tmp_path):
    result = tool('train', NAME, '--work-dir', tmp_path / 'wd', '--cfg-options', 'load_from=published',
                  f'data_root={shapes}', 'train_cfg.max_iters=1', 'train_cfg.val_interval=9')
    assert result.code == 0, result.err[-2000:]
    assert LICENCE in result.out + result.err
    assert read_config(tmp_path / f'wd/{NAME}.py').load_from == MODEL.url and len(server.downloads()) == 1


def test_wrong_names(tool, shapes, tmp_path):
    photo = shapes / 'val/000000.png'
    for words, message in (
            (['published', photo], 'published: name the model before it'),
            (['faster_rcnn_mambavision_t_coco', 'published', photo], 'no weights are published for faster_rcnn'),
            (['mine.py', 'published', photo], 'no weights are published for mine.py')):
        result = tool('infer', *words)
        assert result.code == 2 and len(result.errors) == 1 and message in result.errors[0]
        assert 'mmvision-mamba models' in result.err
    with pytest.raises(ConfigError, match=r'published: no weights are published for .*faster_rcnn'):
        read_config('faster_rcnn_mambavision_t_coco', dict(load_from='published'), find_data=False)
    result = tool('infer', NAME, 'publishd', photo, '--device', 'cpu')
    assert result.code == 2 and "checkpoint not found: publishd (did you mean 'published'?)" in result.err


def test_no_network_and_nothing_cached(tool, shapes, tmp_path, monkeypatch):
    use(None, monkeypatch, tmp_path / 'home')
    result = tool('infer', NAME, 'published', shapes / 'val/000000.png', '--device', 'cpu')
    assert result.code == 2 and f'not in the cache, {tmp_path}/home/hub' in result.err and 'Traceback' not in result.err


def test_the_list(tool):
    result = tool('models')
    rows = result.out.splitlines()
    assert len(rows) == 1 + len(MODELS) + 2 and rows[-1].endswith(f'{LICENCE}.')
    row = next(row for row in rows if row.startswith('cascade_mask_rcnn_mambavision_t_coco'))
    for part in ('detector', 'hf://nvidia/cascade_mask_rcnn_mamba_vision_tiny_3x_coco', '89.2', 'box AP 51.1, mask'):
        assert part in row
    assert len(tool('models', 'segmentor').out.splitlines()) == 1 + 4 + 2
    assert len(tool('models', '*_t_*').out.splitlines()) == 1 + 3 + 2
    result = tool('models', 'cascade_mask_rcnn_mambavison_t_coco')
    assert result.code == 2 and "did you mean 'cascade_mask_rcnn_mambavision_t_coco'?" in result.errors[0]


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_whole_published_detector(tmp_path, shapes):
    """With weights of its shapes; a process of its own each time, as a user has it."""
    name = 'cascade_mask_rcnn_mambavision_t_coco'
    model = next(model for model in MODELS if model.name == name)
    command = [sys.executable, ROOT / 'tools/infer.py', name, 'published', shapes / 'val/000000.png', '--device', 'cpu']
    with hub(tmp_path / 'served') as server:
        server.add(model.repo, {model.file: weights_of(name, tmp_path / 'w.pth')})
        for more in ({}, dict(HF_HUB_OFFLINE='1', HF_ENDPOINT='http://127.0.0.1:1')):
            variables = {**os.environ, **environment(server, tmp_path / 'home'), **more}
            done = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True)
            assert done.returncode == 0 and '1 image done' in done.stdout, done.stderr[-2000:]
        assert server.downloads() == [f'{model.repo}/{model.file}']
