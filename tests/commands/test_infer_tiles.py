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


SMALL = '''
model.update(
    backbone=dict(arch=dict(_delete_=True, dim=16, in_dim=8, depths=(1, 1, 2, 2), num_heads=(1, 1, 2, 4)),
                  window_size=(4, 2), init_cfg=None),
    decode_head=dict(in_channels=[16, 32, 64, 128], channels=16), auxiliary_head=dict(in_channels=64, channels=16))
for loader in (train_dataloader, val_dataloader):
    loader.update(num_workers=0, persistent_workers=False)
del loader
'''


def test_the_commands_of_the_page(tool, folder):
    tifffile = pytest.importorskip('tifffile')
    making, config, calling = blocks('python')
    walk, objects, _ = blocks('bash')
    tool('infer', '--help')  # which makes the folder the current one
    exec(making)
    (folder / 'fields.py').write_text(config + SMALL)
    outputs = {}
    for command in [*walk.splitlines(), *objects.splitlines()]:
        program, name, *arguments = shlex.split(command)
        options = ['--cfg-options', 'model.test_cfg.rcnn.score_thr=0.2',
                   'model.test_cfg.rcnn.max_per_img=5'] if 'detector' in command else []
        run = outputs[name] = tool(name.replace('-', '_'), *arguments, *options)
        assert (program, run.code) == ('mmvision-mamba', 0), (command, run.err[-3000:])
    assert re.search(r'2 images, \d+ tiles of 64 × 64 pixels at most', outputs['check-dataset'].out)
    assert 'mIoU' in (folder / 'work/metrics.json').read_text() or list(folder.rglob('metrics.json'))
    with tifffile.TiffFile('results/preds/2.tif') as file:
        page = file.pages[0]
        assert page.shape == (200, 300) and page.tags[34735].value == (1, 1, 0, 1, 3072, 0, 1, 32633)
        labels = page.asarray()
    areas = json.loads((folder / 'results/preds/2.geojson').read_text())
    assert 'EPSG::32633' in str(areas['crs'])
    assert {(one['properties']['category'], one['properties']['pixel_value']) for one in areas['features']} == {
        (('background', 'wheat', 'maize')[label], label) for label in np.unique(labels)}
    x, y = np.concatenate([np.array(ring) for one in areas['features'] for ring in one['geometry']['coordinates']]).T
    assert (x.min(), x.max(), y.min(), y.max()) == (500_300, 500_450, 4_999_900, 5_000_000)
    found = json.loads((folder / 'objects/preds/2.geojson').read_text())
    assert found['features'] and 'EPSG::32633' in str(found['crs'])
    assert {one['category_id'] for one in json.loads((folder / 'all/results.json').read_text())} == {
        one['properties']['category_id'] for one in areas['features']}
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
