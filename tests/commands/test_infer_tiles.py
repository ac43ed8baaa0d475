"""`mmvision-mamba infer --tile` as its users run it; the commands of docs/large_pictures.md."""
import json
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest
from PIL import Image

from ..helpers import ROOT

PAGE = (ROOT / 'docs/large_pictures.md').read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf'^```{language}\n(.*?)^```', PAGE, re.DOTALL | re.MULTILINE)


@pytest.fixture
def folder(model_files, tmp_path):
    """What the page's commands name: configs and checkpoints, in a folder that is the current one for `tool`."""
    for kind in ('segmentor', 'detector'):
        for path in (getattr(model_files, kind).config, getattr(model_files, kind).checkpoint):
            shutil.copy(path, tmp_path)
    return tmp_path


def test_the_commands_of_the_page(tool, folder):
    tifffile = pytest.importorskip('tifffile')
    making, calling = blocks('python')
    tool('infer', '--help')  # which makes the folder the current one
    exec(making)
    commands = [line for block in blocks('bash')[1:] for line in block.splitlines()]
    assert len(commands) == 2
    for command in commands:
        program, name, *arguments = shlex.split(command)
        run = tool(name, *arguments, '--cfg-options', 'model.test_cfg.rcnn.score_thr=0.34') if 'detector' in command \
            else tool(name, *arguments)
        assert (program, run.code) == ('mmvision-mamba', 0), run.err
        assert '1 image done' in run.out and 'are resized by 0.5 in the test pipeline' in run.out
    with tifffile.TiffFile('map/preds/field.tif') as file:
        page = file.pages[0]
        assert page.shape == (500, 700) and page.tags[34735].value == (1, 1, 0, 1, 3072, 0, 1, 32633)
        labels = page.asarray()
    found = json.loads((folder / 'objects/preds/field.geojson').read_text())
    assert found['features'] and 'EPSG::32633' in str(found['crs'])
    assert not list(folder.rglob('unfinished'))
    names: dict = {}
    exec(calling, names)
    assert np.array_equal(names['labels'], labels)


@pytest.mark.parametrize(('options', 'message'), [
    (['--tile', 31], 'tile must be a whole number of pixels, 32 or more, got 31'),
    (['--tile', 64, '--overlap', 0.7], 'overlap must be a share of the tile, 0 to 0.5, got 0.7'),
    (['--overlap', 0.2], 'overlap needs tile')])
def test_wrong_options_are_a_line(tool, folder, options, message):
    Image.new('RGB', (100, 80)).save(folder / 'a.png')
    run = tool('infer', 'segmentor.py', 'segmentor.pth', 'a.png', *options)
    assert (run.code, len(run.errors)) == (2, 1) and message in run.errors[0]
    assert not (folder / 'outputs').exists()


@pytest.mark.slow
def test_a_killed_run_goes_on(folder, tool):
    noise = np.random.default_rng(0).integers(0, 255, (30, 40, 3), dtype=np.uint8)
    cv2.imwrite(str(folder / 'a.png'), cv2.resize(noise, (400, 300)))
    command = [sys.executable, ROOT / 'tools/infer.py', 'segmentor.py', 'segmentor.pth', 'a.png', '--tile', '64',
               '--device', 'cpu', '--out-dir']
    process = subprocess.Popen([*command, 'killed'], cwd=folder, stderr=subprocess.DEVNULL)
    state = folder / 'killed/unfinished/a.parts/state.json'
    while process.poll() is None and not (state.is_file() and json.loads(state.read_text())['rows'] >= 2):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL and state.is_file()
    for name in ('killed', 'whole'):
        subprocess.run([*command, name], cwd=folder, check=True, capture_output=True)
    files = [{path.relative_to(folder / name): path.read_bytes() for path in (folder / name).rglob('*')
              if path.is_file()} for name in ('killed', 'whole')]
    assert files[0] == files[1] and files[0]
