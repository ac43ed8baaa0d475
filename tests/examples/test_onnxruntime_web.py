"""The example page in a real browser: what it finds is what the Python runtime finds."""
import functools
import http.server
import json
import os
import re
import shutil
import subprocess
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip('selenium', reason="pip install 'mmvision-mamba[dev]'")

from selenium import webdriver
from selenium.webdriver.support.ui import WebDriverWait

from mmvision_mamba.export.verify import verification_images
from mmvision_mamba.runtime.standalone import Model

from ..helpers import ROOT
from ..helpers.detectors import build, cascade, export

EXAMPLE = ROOT / 'examples' / 'onnxruntime_web'
PACKAGE = re.search(r'onnxruntime-web@[\d.]+', (EXAMPLE / 'fetch.sh').read_text())[0]
CACHE = Path(os.environ.get('XDG_CACHE_HOME', Path.home() / '.cache')) / 'mmvision_mamba' / PACKAGE


@pytest.fixture(scope='module')
def site(tmp_path_factory):
    """A folder with the page, a model, its class names and onnxruntime-web, which npm fetches once."""
    if not shutil.which('npm'):
        pytest.skip('npm is not installed')
    if not (CACHE / 'node_modules' / 'onnxruntime-web' / 'dist').is_dir():
        CACHE.mkdir(parents=True, exist_ok=True)
        fetched = subprocess.run([EXAMPLE / 'fetch.sh', CACHE], capture_output=True, text=True, timeout=600)
        if fetched.returncode:
            pytest.skip(f'npm could not fetch onnxruntime-web: {fetched.stderr[-300:]}')
    folder = tmp_path_factory.mktemp('site')
    for name in ('index.html', 'detect.js'):
        shutil.copy(EXAMPLE / name, folder)
    (folder / 'node_modules').symlink_to(CACHE / 'node_modules')
    export(build(cascade(), seed=5), folder / 'model.onnx', with_preprocess=True)
    (folder / 'classes.json').write_text(json.dumps(list('abcd')))
    Image.fromarray(verification_images((75, 110), 1)[0]).save(folder / 'picture.png')
    return folder


@pytest.fixture(scope='module')
def browser(site, tmp_path_factory):
    chromium, driver = shutil.which('chromium'), shutil.which('chromedriver')
    if not (chromium and driver):
        pytest.skip('chromium and chromedriver are not installed')
    class Quiet(http.server.SimpleHTTPRequestHandler):
        extensions_map = http.server.SimpleHTTPRequestHandler.extensions_map | {'.mjs': 'text/javascript'}

        def log_message(self, *_):
            """Nothing on every request."""

    handler = functools.partial(Quiet, directory=site)
    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in ('headless', 'no-sandbox', 'disable-gpu', 'disable-quic', 'no-first-run', 'disable-component-update',
                 'disable-background-networking', 'disable-sync'):
        options.add_argument(f'--{flag}')
    options.add_argument(f'--user-data-dir={tmp_path_factory.mktemp("profile")}')
    found = webdriver.Chrome(options, webdriver.ChromeService(driver))
    found.get(f'http://127.0.0.1:{server.server_port}/index.html')
    yield found
    found.quit()
    server.shutdown()


@pytest.mark.slow
def test_finds_what_python_finds(browser, site):
    WebDriverWait(browser, 250).until(lambda b: b.find_element('id', 'status').text != 'Loading the model…')
    assert browser.find_element('id', 'status').text == 'Choose a photo.'
    browser.set_script_timeout(300)
    found = browser.execute_async_script('''
        const done = arguments[arguments.length - 1];
        fetch('picture.png').then(response => response.blob()).then(show).then(
            found => done(found.map(({ mask, ...one }) => ({ ...one, pixels: mask.reduce((a, b) => a + b, 0) }))),
            error => done(String(error)));''')
    wanted = Model(site / 'model.onnx')(site / 'picture.png')
    assert isinstance(found, list), found
    assert len(found) == len(wanted.scores) > 5
    assert [one['name'] for one in found] == ['abcd'[label] for label in wanted.labels]
    np.testing.assert_allclose([one['score'] for one in found], wanted.scores, atol=1e-3)
    np.testing.assert_allclose([one['box'] for one in found], wanted.boxes, atol=0.1)
    np.testing.assert_allclose([one['pixels'] for one in found], wanted.masks.sum((1, 2)), atol=5)
    assert browser.find_element('id', 'status').text == f'{len(found)} found'
    assert browser.execute_script("return document.getElementById('canvas').width") == 110


@pytest.mark.slow
@pytest.mark.parametrize(('gpu', 'fails', 'said'), [
    ('undefined', 'false', 'Runs on the CPU, by WebAssembly: this browser has no WebGPU.'),
    ('{ requestAdapter: async () => null }', 'false', 'Runs on the CPU, by WebAssembly: WebGPU finds no GPU here.'),
    ('{ requestAdapter: async () => ({}) }', 'true',
     'Runs on the CPU, by WebAssembly: WebGPU does not take the model: too old.'),
    ('{ requestAdapter: async () => ({}) }', 'false', 'Runs on the GPU, by WebGPU.')])
def test_the_page_says_where_it_runs(browser, gpu, fails, said):
    """By a stand-in for the browser's WebGPU and for the library, which is asked for the GPU first."""
    found = browser.execute_async_script('''
        const done = arguments[arguments.length - 1], create = ort.InferenceSession.create;
        Object.defineProperty(navigator, 'gpu', { value: %s, configurable: true });
        const asked = [];
        ort.InferenceSession.create = async (model, { executionProviders }) => {
            asked.push(executionProviders.join());
            if (%s && executionProviders[0] === 'webgpu') { throw new Error('too old'); }
            return {};
        };
        load('model.onnx').then(() => done([document.getElementById('provider').textContent, ...asked])).finally(() => {
            ort.InferenceSession.create = create;
        });''' % (gpu, fails))  # noqa: UP031
    assert found[0] == said
    assert found[1:] == ['webgpu,wasm'] * ('GPU' in said.split(':')[0] or fails == 'true') + ['wasm'] * ('CPU' in said)


@pytest.mark.slow
def test_the_page_says_what_is_wrong(browser):
    browser.execute_script("show(new Blob(['no image'])).catch(() => 0);")
    WebDriverWait(browser, 60).until(lambda b: b.find_element('id', 'status').text.startswith('error: '))
