"""tools/infer.py, attention_maps.py and model_info.py, as a user calls them."""
import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from mmvision_mamba import MambaVision


@pytest.fixture
def images(tmp_path):
    """A folder with two images, one of them broken."""
    folder = tmp_path / 'my images'
    folder.mkdir()
    noise = np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)
    cv2.imwrite(str(folder / 'good.png'), noise)
    (folder / 'bad.png').write_bytes((folder / 'good.png').read_bytes()[:500])
    return folder


def test_infer_lists_what_failed_and_keeps_what_is_done(tool, models, images):
    about = models.detector
    run = tool('infer', about.config, about.checkpoint, images, '--out-dir', images / 'out', '--device', 'cpu',
               '--batch-size', 2, '--score-thr', 0)
    assert run.code == 2
    assert run.errors == ['error: 1 of 2 inputs failed:']
    assert f'{images / "bad.png"}: the image is truncated' in run.err
    assert '1 image done' in run.out
    done = sorted(str(p.relative_to(images / 'out')) for p in (images / 'out').rglob('*') if p.is_file())
    assert done == ['preds/images.json', 'preds/results.json', 'vis/good.png']
    # The second run does not take the first one's pictures for inputs.
    (images / 'bad.png').unlink()
    run = tool('infer', about.config, about.checkpoint, images, '--out-dir', images / 'out', '--no-save-vis')
    assert run.code == 0
    assert '1 image done' in run.out


@pytest.mark.parametrize('arguments, message', [
    (['{images}/none*.png'], 'no file matches'),
    (['missing.png'], 'no such file or folder'),
    (['{images}', '--classes', 'ellipse', 'cat'], "unknown class 'cat'"),
    (['{images}', '--device', 'cuda:99'], "device 'cuda:99' can not be used"),
    (['{images}', '--batch-size', '0'], 'batch_size must be 1 or more'),
    (['{images}', '--out-dir', '{images}/good.png'], 'can not be written to'),
    (['{images}', '--show'], '--show needs a display'),
    (['{images}/bad.png'], 'the image is truncated')])
def test_infer_tells_wrong_input_in_a_line(tool, models, images, tmp_path, monkeypatch, arguments, message):
    monkeypatch.delenv('DISPLAY', raising=False)
    monkeypatch.delenv('WAYLAND_DISPLAY', raising=False)
    about = models.segmentor
    run = tool('infer', about.config, about.checkpoint, *(a.format(images=images) for a in arguments))
    assert run.code == 2
    assert len(run.errors) == 1
    assert message in run.err
    assert 'Traceback' not in run.err
    assert not list(tmp_path.rglob('vis/*'))
    assert 'bad.png' in str(arguments) or not (tmp_path / 'outputs').exists()


def test_a_checkpoint_that_does_not_belong_to_the_config(tool, models, images):
    run = tool('infer', models.segmentor.config, models.detector.checkpoint, images)
    assert run.code == 2
    assert 'does not fit the model of this config' in run.errors[0]
    assert 'decode_head' in run.errors[0]


def test_attention_maps_of_a_config_and_of_an_arch(tool, models, images, tmp_path):
    about = models.segmentor
    out = tmp_path / 'new folder' / 'maps.png'
    run = tool('attention_maps', about.config, about.checkpoint, images / 'good.png', '--point', 3, 40, '--out', out)
    assert run.code == 0, run.err
    with Image.open(out) as picture:
        assert picture.width > 800
    torch.save(MambaVision('tiny').state_dict(), tmp_path / 'tiny.pth')
    run = tool('attention_maps', 'tiny', tmp_path / 'tiny.pth', images / 'good.png', '--window-size', 3, 2,
               '--window-padding', 'zeros', '--size', 70, 90, '--out', tmp_path / 'arch.png')
    assert run.code == 0, run.err
    assert (tmp_path / 'arch.png').exists()


@pytest.mark.parametrize('arguments, message', [
    (['--point', '64', '0'], 'lies outside the image of 64 × 48'),
    (['--size', '64', '64'], '--size goes with an arch'),
    (['--out', 'maps.gif'], 'expected the name of a picture')])
def test_attention_maps_tells_wrong_input_in_a_line(tool, models, images, arguments, message):
    about = models.segmentor
    run = tool('attention_maps', about.config, about.checkpoint, images / 'good.png', *arguments)
    assert (run.code, len(run.errors)) == (2, 1)
    assert message in run.err


def test_model_info_of_a_config_and_of_an_arch(tool, models, tmp_path):
    run = tool('model_info', models.detector.config, '--out', tmp_path / 'info.png')
    assert run.code == 0, run.err
    parts = ['stem', 'stage 1', 'stage 2', 'stage 3', 'stage 4', 'neck', 'rpn_head', 'roi_head', 'total']
    assert [line[:8].strip() for line in run.out.splitlines()[-1 - len(parts):-1]] == parts
    state = torch.load(models.detector.checkpoint, weights_only=True)['state_dict']
    number = sum(v.numel() for k, v in state.items() if not k.endswith(('running_mean', 'running_var', 'tracked')))
    total = next(line for line in run.out.splitlines() if line.startswith('total')).split()
    assert float(total[1]) == pytest.approx(number / 1e6, abs=0.01)
    assert float(total[3]) > 0
    with Image.open(tmp_path / 'info.png') as picture:
        assert picture.width > 800
    run = tool('model_info', '--arch', 'tiny', '--size', 64, '--no-memory')
    assert run.code == 0
    assert '31.79' in run.out


@pytest.mark.parametrize('arguments, message', [
    ([], 'name a config file or --arch'),
    (['--arch', 'tiny', '--size', '16'], '32 pixels or more'),
    (['missing.py'], 'config file not found')])
def test_model_info_tells_wrong_input_in_a_line(tool, arguments, message):
    run = tool('model_info', *arguments)
    assert (run.code, len(run.errors)) == (2, 1)
    assert message in run.err
