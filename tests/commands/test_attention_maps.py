import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from mmvision_mamba import MambaVision


@pytest.fixture
def image(tmp_path):
    path = tmp_path / 'my images' / 'good.png'
    path.parent.mkdir()
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8))
    return path


def test_maps_of_a_config_and_of_an_arch(tool, model_files, image, tmp_path):
    files = model_files.segmentor
    out = tmp_path / 'new folder' / 'maps.png'
    run = tool('attention_maps', files.config, files.checkpoint, image, '--point', 3, 40, '--out', out)
    assert run.code == 0, run.err
    with Image.open(out) as picture:
        assert picture.width > 800
    torch.save(MambaVision('tiny').state_dict(), tmp_path / 'tiny.pth')
    run = tool('attention_maps', 'tiny', tmp_path / 'tiny.pth', image, '--window-size', 3, 2,
               '--window-padding', 'zeros', '--size', 70, 90, '--out', tmp_path / 'arch.png')
    assert run.code == 0, run.err
    assert (tmp_path / 'arch.png').exists()


@pytest.mark.parametrize('arguments, message', [
    (['--point', '64', '0'], 'lies outside the image of 64 × 48'),
    (['--size', '64', '64'], '--size goes with an arch'),
    (['--point', '1', '1'] * 51, '51 points: a picture has 50 at most'),
    (['--out', 'maps.gif'], 'expected the name of a picture')])
def test_it_tells_wrong_input_in_a_line(tool, model_files, image, arguments, message):
    files = model_files.segmentor
    run = tool('attention_maps', files.config, files.checkpoint, image, *arguments)
    assert (run.code, len(run.errors)) == (2, 1)
    assert message in run.err
