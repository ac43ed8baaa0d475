"""The page in a real browser: a phone and a desk, light and dark, on paper; what it holds is its own."""
import base64
import json
import re
import shutil
from pathlib import Path

import pytest

from mmvision_mamba.report.charts import WIDTH, Line, line_chart, ticks
from mmvision_mamba.report.curves_section import curve_charts
from mmvision_mamba.report.making import make_comparison, make_report
from mmvision_mamba.visualization.curves import Run

from ..helpers.evaluations import write_run

BROWSER, DRIVER = shutil.which('chromium'), shutil.which('chromedriver')
OUTPUT = Path(__file__).resolve().parents[2] / 'build' / 'test_output'  # what a test run leaves to look at
MOST_BYTES = 3_000_000


@pytest.fixture(scope='module')
def pages(runs, tmp_path_factory):
    other = write_run(tmp_path_factory.mktemp('other') / 'other', 'detection', seed=3)
    return {**{kind: make_report(folder) for kind, folder in runs.items()},
            'comparison': make_comparison([runs['detection'], other], tmp_path_factory.mktemp('comparison'))}


@pytest.fixture(scope='module')
def browser(tmp_path_factory):
    webdriver = pytest.importorskip('selenium.webdriver', reason="pip install 'mmvision-mamba[dev]'")
    if not (BROWSER and DRIVER):
        pytest.skip('apt-get install chromium chromium-driver')
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for argument in ('headless', 'no-sandbox', 'disable-gpu', 'hide-scrollbars',
                     f'user-data-dir={tmp_path_factory.mktemp("browser")}'):
        options.add_argument(f'--{argument}')
    options.set_capability('goog:loggingPrefs', {'browser': 'ALL', 'performance': 'ALL'})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


def look(browser, page: Path, width: int, scheme: str) -> None:
    """Open a page on a screen of that width."""
    browser.execute_cdp_cmd('Emulation.setDeviceMetricsOverride', dict(
        width=width, height=900, deviceScaleFactor=1, mobile=width < 600))
    browser.execute_cdp_cmd('Emulation.setEmulatedMedia', dict(
        features=[dict(name='prefers-color-scheme', value=scheme)]))
    browser.get(page.as_uri())


@pytest.mark.parametrize('width', [360, 1280])
@pytest.mark.parametrize('scheme', ['light', 'dark'])
@pytest.mark.parametrize('kind', ['detection', 'segmentation', 'classification', 'comparison'])
def test_a_page_on_a_screen(kind, scheme, width, pages, browser):
    look(browser, pages[kind], width, scheme)
    assert browser.get_log('browser') == [], 'no error on the console'
    found = browser.execute_script('''return {
        wide: document.documentElement.scrollWidth, paper: getComputedStyle(document.body).backgroundColor,
        broken: [...document.images].filter(image => !image.naturalWidth).length, images: document.images.length,
        silent: [...document.images].filter(image => !image.alt).length,
        charts: [...document.querySelectorAll('svg[role=img]')].filter(chart => chart.getAttribute('aria-label')
            && chart.getBoundingClientRect().height > 100).length,
        tables: document.querySelectorAll('table').length,
        headed: [...document.querySelectorAll('table')].filter(table => table.querySelector('th[scope=col]')
            && table.caption.textContent).length, h1: document.querySelectorAll('h1').length,
        bold: document.querySelectorAll('b').length}''')
    assert found['wide'] <= width, 'nothing but wide tables scrolls sideways'
    assert found['paper'] == ('rgb(255, 255, 255)' if scheme == 'light' else 'rgb(15, 20, 26)')
    assert found['broken'] == found['silent'] == 0 and found['charts'] >= 3 and found['h1'] == 1
    assert found['tables'] == found['headed'] and found['bold'] == 0, 'names of classes are text'
    assert found['images'] == {'detection': 36, 'segmentation': 16, 'classification': 18, 'comparison': 0}[kind]
    OUTPUT.mkdir(parents=True, exist_ok=True)
    height = browser.execute_script('return document.documentElement.scrollHeight')
    picture = browser.execute_cdp_cmd('Page.captureScreenshot', dict(captureBeyondViewport=True, clip=dict(
        x=0, y=0, width=width, height=min(height, 8000), scale=1)))
    (OUTPUT / f'report_{kind}_{scheme}_{width}.png').write_bytes(base64.b64decode(picture['data']))


def test_a_page_fetches_nothing_and_can_be_printed(pages, browser):
    look(browser, pages['detection'], 1280, 'dark')
    requests = [json.loads(entry['message'])['message'] for entry in browser.get_log('performance')]
    fetched = {one['params']['request']['url'].split(':')[0] for one in requests
               if one['method'] == 'Network.requestWillBeSent'}
    assert 'file' in fetched and not {'http', 'https', 'ws'} & fetched
    printed = base64.b64decode(browser.execute_cdp_cmd('Page.printToPDF', {})['data'])
    (OUTPUT / 'report_detection.pdf').write_bytes(printed)
    assert printed.startswith(b'%PDF') and 1 < len(re.findall(rb'/Type\s*/Page\b', printed)) < 20


def test_pages_are_bounded_files_of_their_own(pages):
    for page in pages.values():
        text = page.read_text()
        assert len(text) < MOST_BYTES and '<script' not in text and 'http' not in text.replace('http-equiv', '')


def test_the_worst_class_and_the_threshold_stand_at_the_top(pages):
    text = pages['detection'].read_text()
    words = text.index('<ul class="words">')
    assert words < text.index('<main>') and 'The worst class is' in text[words:words + 500]
    report = json.loads((pages['detection'].parent / 'report.json').read_text())
    assert report['thresholds']['all'] == report['evaluation']['analysis']['overall']['best']['score_thr']
    assert set(report['thresholds']['classes']) == set(report['classes'])
    assert 'Use the score threshold' in report['findings'][1] and 'pictures' not in report['evaluation']


def test_pictures_are_enlarged_by_a_touch(pages, browser):
    look(browser, pages['detection'], 390, 'light')
    widths = browser.execute_script('''const picture = document.querySelector('.picture');
        const width = () => picture.querySelector('img').getBoundingClientRect().width;
        const before = width(); picture.focus(); const focused = width(); picture.blur();
        return [before, focused, width()]''')
    assert widths[1] > 1.8 * widths[0] and widths[2] == widths[0]


def test_a_curve_of_one_point_is_a_row():
    once = curve_charts([Run('run', Path(), {'loss': [(1, 2.), (2, 1.)]},
                             {'coco/bbox_mAP': [(400, 0.5)], 'coco/bbox_mAP_l': [(400, -1)]})])
    assert once.count('<svg viewBox') == 1 and 'Measured once' in once and '<td>400</td><td>0.500</td>' in once


def test_the_last_label_of_an_axis_is_not_cut_off():
    chart = line_chart('title', [Line('a', [(0, 1.), (2000, 2.)])], 'iteration', 'loss')
    for x, anchor, label in re.findall(r'<text x="([\d.]+)" y="[\d.]+" text-anchor="(\w+)">([^<]+)</text>', chart):
        assert float(x) + 3.5 * len(label) * (anchor == 'middle') <= WIDTH


@pytest.mark.parametrize('low, high', [(0, 1), (0.3, 0.5), (0, 264_000), (-3, 7), (1e-9, 2e-9), (0.00095, 0.00105)])
def test_ticks_are_a_few_round_numbers(low, high):
    found = ticks(low, high)
    assert 2 <= len(found) <= 8 and all(low - 1e-9 * abs(high) <= value <= high * (1 + 1e-9) for value in found)


@pytest.mark.parametrize('points', [[], [(1, 2)], [(1, None)], [(1, float('nan')), (2, 1.)], [(0, 1e300), (1, 1.)],
                                    [(None, 1.)], [(i, i % 7) for i in range(5000)]])
def test_charts_of_few_odd_and_many_points(points):
    chart = line_chart('<title>', [Line('a & b', points), Line('c', [])], 'x', 'y')
    assert 'nan' not in chart and '<title>' not in chart and len(chart) < 20_000
