"""The web page in a real browser: upload, overlay, threshold, attention, and what a broken file gets."""
import itertools
import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

pytest.importorskip('gradio', reason="pip install 'mmvision-mamba[app]'")
pytest.importorskip('selenium', reason="pip install 'mmvision-mamba[dev]'")

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from mmvision_mamba.errors import ConfigError, DataError

BROWSER, DRIVER = shutil.which('chromium'), shutil.which('chromedriver')
pytestmark = pytest.mark.skipif(not (BROWSER and DRIVER), reason='apt-get install chromium chromium-driver')

# What a test run leaves to look at.
OUTPUT = Path(__file__).resolve().parents[2] / 'build' / 'test_output'


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp('uploads')
    image = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    Image.fromarray(image).save(folder / 'my image.png')
    Image.fromarray(image[:, :64]).save(folder / 'other.png')
    alpha = np.where(np.arange(96) < 48, 0, 255).astype(np.uint8)
    Image.fromarray(np.dstack([image, np.tile(alpha, (64, 1))])).save(folder / 'transparent.png')
    (folder / 'large.png').write_bytes(bytes(3 * 2**19))
    (folder / 'broken.png').write_bytes((folder / 'other.png').read_bytes()[:300])
    return folder


@pytest.fixture(scope='module')
def address(models, files):
    from mmvision_mamba.app.page import build_page, serve
    page = build_page(models, [files / 'other.png'], score_thr=0.05)
    yield serve(page, '127.0.0.1', 0, 2**20)
    page.close()


@pytest.fixture
def browser(tmp_path):
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for argument in ('headless', 'no-sandbox', 'disable-gpu', 'disable-quic', 'no-first-run', 'disable-sync',
                     'disable-background-networking', 'disable-component-update', 'window-size=1400,1000',
                     f'user-data-dir={tmp_path}'):
        options.add_argument(f'--{argument}')
    options.set_capability('goog:loggingPrefs', {'performance': 'ALL'})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


def test_in_a_browser(browser, address, files):
    def find(selector):
        return browser.find_elements(By.CSS_SELECTOR, selector)

    def wait(condition):
        return WebDriverWait(browser, 120, ignored_exceptions=[Exception]).until(lambda _: condition())

    def source(selector):
        return find(selector)[0].get_attribute('src')

    def upload(name):
        wait(lambda: find('#upload input[type=file]'))[0].send_keys(str(files / name))

    # upload -> overlay and table
    browser.get(address)
    upload('my image.png')
    wait(lambda: 'my image.png: 96 × 64 pixels' in find('#status')[0].text)
    overlay = wait(lambda: source('#picture img'))
    wait(lambda: 'score' in find('#table')[0].text and 'triangle' in find('#table')[0].text)

    # the model, what to download, and a row that is selected
    assert 'CascadeRCNN' in find('#facts')[0].text and 'random' in find('#facts')[0].text
    links = wait(lambda: [link.get_attribute('href') for link in find('#downloads a[href]')])
    assert {link.rsplit('/', 1)[-1] for link in links} == {
        'my%20image_prediction.png', 'results.json', 'boxes.json', 'images.json'}
    find('#table [data-testid="cell-0-1"]')[0].click()
    selected = wait(lambda: source('#picture img') != overlay and source('#picture img'))
    find('#all')[0].click()
    wait(lambda: source('#picture img') != selected)

    # threshold: the same image, nothing over it, a sentence instead of rows
    field = find('#threshold input[type=number]')[0]
    field.send_keys(Keys.CONTROL, 'a')
    field.send_keys('1', Keys.ENTER, Keys.TAB)
    wait(lambda: 'Nothing found above 1.00; the best score is 0.' in find('#notice')[0].text)
    assert 'triangle' not in find('#table')[0].text

    # attention: all maps, and those of the place that is clicked
    find('button[role=tab]')[1].click()
    wait(lambda: len(find('#maps figure')) == 8)
    assert 'Averaged over all places' in find('#about')[0].text
    OUTPUT.mkdir(parents=True, exist_ok=True)
    assert browser.save_screenshot(str(OUTPUT / 'demo_app.png'))
    find('#upload img')[0].click()
    wait(lambda: 'What the place at' in find('#about')[0].text)

    # the other task
    find('button[role=tab]')[0].click()
    find('#task input')[1].click()
    wait(lambda: 'share (%)' in find('#table')[0].text and 'background' in find('#table')[0].text)

    # a broken file: a message, nothing of the former image, no stack trace
    find('#upload button[aria-label*="lear"], #upload button[aria-label*="emove"]')[0].click()
    wait(lambda: not find('#picture img'))
    upload('broken.png')
    wait(lambda: 'broken.png: the image is truncated' in find('#notice')[0].text)
    assert not find('#picture img') and 'Traceback' not in browser.page_source

    # a file past the limit: a message in the same place, and nothing of it is sent
    find('#upload button[aria-label*="lear"], #upload button[aria-label*="emove"]')[0].click()
    wait(lambda: 'Upload a picture' in find('#notice')[0].text)
    upload('large.png')
    wait(lambda: 'large.png: 1.5 MB are more than the 1 MB that this page takes' in find('#notice')[0].text)
    upload('large.png')  # it can be tried again, and others
    upload('my image.png')
    wait(lambda: find('#picture img') and not find('#notice'))

    # transparent pixels: what the model sees stands beside the upload
    find('#upload button[aria-label*="lear"], #upload button[aria-label*="emove"]')[0].click()
    upload('transparent.png')
    wait(lambda: find('#seen img') and 'transparent.png: 96 × 64 pixels' in find('#status')[0].text)

    requests = [json.loads(entry['message'])['message'] for entry in browser.get_log('performance')]
    urls = {request['params']['request']['url'] for request in requests
            if request['method'] == 'Network.requestWillBeSent'}
    urls = {url for url in urls if url.startswith(('http:', 'https:', 'ws:', 'wss:'))}  # not the browser's own
    assert urls and not {url for url in urls if not url.startswith(address)}


def test_on_a_phone_the_prediction_follows_the_upload(browser, address, files):
    browser.execute_cdp_cmd('Emulation.setDeviceMetricsOverride', dict(width=390, height=844, deviceScaleFactor=1,
                                                                       mobile=True))
    browser.get(address)
    wait = WebDriverWait(browser, 120, ignored_exceptions=[Exception]).until
    wait(lambda _: browser.find_elements(By.CSS_SELECTOR, '#upload input[type=file]'))[0].send_keys(
        str(files / 'other.png'))
    wait(lambda _: browser.find_elements(By.CSS_SELECTOR, '#picture img'))
    boxes = [browser.find_element(By.CSS_SELECTOR, name).rect for name in ('#upload', '#outputs', '#controls')]
    assert [box['y'] for box in boxes] == sorted(box['y'] for box in boxes)
    assert all(box['x'] >= 0 and box['x'] + box['width'] <= 390 for box in boxes)


def test_one_task_is_no_choice(models):
    from mmvision_mamba.app.page import build_page
    for names, visible in ((['Instances'], False), (list(models), True)):
        page = build_page({name: models[name] for name in names})
        task, = (block for block in page.blocks.values() if block.elem_id == 'task')
        assert task.visible is visible


def test_the_slider_begins_where_the_page_takes_it(models):
    """Below its least value each call of the page would be refused."""
    from mmvision_mamba.app.page import build_page
    for given, begins in ((0, 0.05), (0.4, 0.4)):
        page = build_page(models, score_thr=given)
        slider, = (block for block in page.blocks.values() if block.elem_id == 'threshold')
        assert slider.value == begins >= slider.minimum


def test_an_exported_file_is_named_without_its_folder():
    from mmvision_mamba.app.page import _problem
    for path, message in (('/srv/models/m.onnx', 'm.onnx'), (None, '/srv/models/m.onnx')):
        model = SimpleNamespace(model=SimpleNamespace(**dict(path=path) if path else {}))
        assert f'>{message} fails<' in _problem(DataError('/srv/models/m.onnx fails'), model)


def test_uploads_that_are_too_large_are_refused(address):
    import httpx

    def status(size):
        return httpx.post(f'{address}gradio_api/upload', files={'files': ('x.png', b'0' * size)}).status_code
    assert status(2**19) == 200 and status(2**20 + 1) == 413


def test_no_file_of_the_machine_is_opened_but_uploads_and_examples(address, files):
    """Whoever asks the page's functions without the page can say that any file was uploaded."""
    import httpx

    sessions = itertools.count()

    def answer(path, **more):
        config = httpx.get(f'{address}config').json()
        function = next(d['id'] for d in config['dependencies'] if d['api_name'] == 'answer')
        tasks = next(c['props']['value'] for c in config['components'] if c['props'].get('elem_id') == 'task')
        session = str(next(sessions))
        call = dict(data=[dict(path=path, **more), tasks], fn_index=function, session_hash=session)
        assert httpx.post(f'{address}gradio_api/queue/join', json=call).status_code == 200
        with httpx.stream('GET', f'{address}gradio_api/queue/data?session_hash={session}', timeout=60) as lines:
            return next(line for line in lines.iter_lines() if 'process_completed' in line)

    uploaded, = httpx.post(f'{address}gradio_api/upload', files={
        'files': ('x.png', (files / 'my image.png').read_bytes())}).json()
    is_file = dict(meta=dict(_type='gradio.FileData'))
    assert '96 × 64 pixels' in json.loads(answer(uploaded, **is_file).removeprefix('data:'))['output']['data'][2]
    for path in (str(files / 'my image.png'), str(files / 'nothing.png'), os.path.relpath(files / 'my image.png'),
                 f'{uploaded}/../../../../../../../..{files}/my image.png', '/dev/zero', 'a\0b'):
        for more in ({}, is_file):
            assert '"success":false' in answer(path, **more).replace(' ', ''), path


def test_a_page_that_its_machine_does_not_reach(models, monkeypatch):
    import gradio.networking

    from mmvision_mamba.app.page import build_page, serve
    monkeypatch.setattr(gradio.networking, 'url_ok', lambda url: False)
    with pytest.raises(ConfigError, match='NO_PROXY=localhost'):
        serve(build_page(models), '127.0.0.1', 0, 2**20)


def test_a_port_in_use(models):
    import socket

    from mmvision_mamba.app.page import build_page, serve
    with socket.create_server(('127.0.0.1', 0)) as taken, pytest.raises(OSError, match='empty port'):
        serve(build_page(models), '127.0.0.1', taken.getsockname()[1], 2**20)
