"""The page's functions called over HTTP with values that the page never sends: a line, and no traceback in the log."""
import itertools
import json
import math

import numpy as np
import pytest
from PIL import Image

pytest.importorskip('gradio', reason="pip install 'mmvision-mamba[app]'")

import httpx

SESSIONS = itertools.count()


class Page:
    def __init__(self, address):
        self.address = address
        config = httpx.get(f'{address}config').json()
        self.functions = {}
        for function in config['dependencies']:
            self.functions.setdefault(function['api_name'], function['id'])
        self.task = next(c['props']['value'] for c in config['components'] if c['props'].get('elem_id') == 'task')

    def upload(self, content: bytes) -> dict:
        path, = httpx.post(f'{self.address}gradio_api/upload', files={'files': ('x.png', content)}).json()
        return dict(path=path, meta=dict(_type='gradio.FileData'))

    def call(self, name: str, data: list, event=None, session: str | None = None) -> dict:
        session = session or f's{next(SESSIONS)}'
        body = json.dumps(dict(data=data, fn_index=self.functions[name], session_hash=session, event_data=event))
        joined = httpx.post(f'{self.address}gradio_api/queue/join', content=body,
                            headers={'Content-Type': 'application/json'})
        assert joined.status_code == 200, joined.text
        with httpx.stream('GET', f'{self.address}gradio_api/queue/data?session_hash={session}', timeout=60) as lines:
            line = next(line for line in lines.iter_lines() if 'process_completed' in line)
        return json.loads(line.removeprefix('data:'))


@pytest.fixture(scope='module')
def page(models, tmp_path_factory):
    from mmvision_mamba.app.page import build_page, serve
    example = tmp_path_factory.mktemp('examples') / 'example.png'
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)).save(example)
    built = build_page(models, [example], score_thr=0.05)
    found = Page(serve(built, '127.0.0.1', 0, 2**20))
    found.picture = found.upload(example.read_bytes())
    yield found
    built.close()


def test_what_the_page_sends_is_answered(page, capfd):
    """Picture, threshold, selections, maps and downloads of one visitor."""
    def call(name, data, event=None):
        answer = page.call(name, data, event, 'visitor')
        assert answer['success'], answer
        return answer['output']['data']
    assert '96 × 64 pixels' in call('answer', [{**page.picture, 'size': 9, 'url': None, 'orig_name': 'x.png',
                                                 'mime_type': 'image/png', 'is_stream': False}, page.task])[2]
    assert call('show', [None, 0.05, [], None])[0]['path']
    assert call('files', [None, page.picture, 1, None])[0]['value']
    assert call('files', [None, None, 0.3, []])[0]['visible'] is False
    place = dict(index=[5, 7], value=None)
    call('select_place', [None, 0.05, []], place)
    assert 'What the place at 5, 7 looks at' in call('maps_of_point', [None], place)[1]
    for outside in ([-1, -1], [9999, 3.5]):
        call('select_place', [None, 0.05, []], dict(index=outside, value=None))
        call('maps_of_point', [None], dict(index=outside, value=None))
    for row in (['3', 'square'], [1, 'circle'], [], None):
        call('select_row', [None], dict(index=[0, 1], value='x', row_value=row))
    assert 'x: 5.0 MB are more than the 1 MB' in call('refuse', [json.dumps(['x', 5 * 2**20, 2**20, 17])])[0]['value']
    assert 'example.png' in json.dumps(call('load_example', [0]))
    assert 'Traceback' not in capfd.readouterr().err


NO_EVENTS = (None, 5, [], {}, dict(index=[1, 1]), dict(index=5, value=None), dict(index=[1], value=None),
             dict(index=['a', 'b'], value=None), dict(index=[math.nan, 1], value=None), dict(index=None, value=None),
             dict(index=[10**400, 1], value=None), dict(index=[1e300, -1e9], value=None),
             dict(index=[True, 1], value=0))
NO_ROWS = ('x', ['x'], [10**30], [-1], [math.nan], [[1]], ['٣'], dict(a=1), 5)


def no_calls(page):
    picture = page.picture
    for value in ('0.3', None, True, [0.3], math.nan, math.inf, -1, 1e308, 10**400, {}, 0.01):
        yield 'show', [None, value, [], None], None
    for value in ('x', ['nope'], [1], [None], [[]], {}, 5):
        yield 'show', [None, 0.3, value, None], None
        yield 'files', [None, picture, 0.3, value], None
    for value in ('x', '[1]', '[1,2,3,4]', '{"a":1}', 'null', '["a","b",1,1]', '["a",1e999,1,1]',
                  '[' * 100_000, 5, None,
                  '["a",' + '9' * 5000 + ',1,1]', [1]):
        yield 'refuse', [value], None
    for value in ('x', 5, [], {}, dict(path=picture['path']), dict(picture, path=5), dict(picture, size='many'),
                  dict(picture, url=5), dict(picture, is_stream=None), dict(picture, meta={}), dict(picture, path=''),
                  dict(picture, path='/etc/passwd'), dict(picture, path='http://127.0.0.1:1/x.png'),
                  dict(picture, path='a\0b'), dict(picture, path='\ud800'),
                  dict(picture, path=picture['path'] + '/../..'),
                  dict(picture, path='x' * 10**5)):
        yield 'answer', [value, page.task], None
    for value in ('no task', None, 5, [page.task], {}):
        yield 'answer', [picture, value], None
        yield 'about', [value], None
    for value in ('x', -1, 1, 10**30, [0], math.nan, True):
        yield 'load_example', [value], None
    for event in NO_EVENTS:
        yield 'select_place', [None, 0.3, []], event
        yield 'maps_of_point', [None], event
    for row in NO_ROWS:
        yield 'select_row', [None], dict(index=[0, 0], value=None, row_value=row)
    yield 'select_row', [None], None
    for name, data in (('show', []), ('answer', [None]), ('maps_of_point', [])):
        yield name, data, dict(index=[1, 1], value=None)


def test_what_it_never_sends_gets_a_line(page, capfd):
    page.call('answer', [page.picture, page.task], session='hostile')
    number = 0
    for name, data, event in no_calls(page):
        answer = page.call(name, data, event, 'hostile')
        assert not answer['success'], (name, data, event, answer)
        text = answer['output']['error']
        assert isinstance(text, str) and len(text.splitlines()) == 1 and len(text) < 500, (name, str(data)[:99], answer)
        number += 1
    assert number > 80 and 'Traceback' not in capfd.readouterr().err
    assert page.call('show', [None, 0.05, [], None], session='hostile')['success']
