"""A Hugging Face Hub on 127.0.0.1 that answers as a hostile or broken one may, and commands that read it or push to it.

What it answers to a request depends on the repository's name and on the request alone, so that number N is the same.
"""
import contextlib
import copy
import itertools
import json
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from huggingface_hub import constants  # which has read the environment

from ..helpers.hub_server import environment, hub
from . import fuzz
from .forks import SECRET
from .hostile_files import Try
from .tool_material import NAMES, copied

SERVED = Path(tempfile.gettempdir())  # the repositories' folder, while they are served
_WORDS = ['', 'a', '-1', '0', '5', '9' * 40, 'W/""', '"../../../outside"', '"' + 'x' * 300 + '"', '../..', '0' * 40,
          'f' * 64, '"' + '0' * 64 + '"', '\xff', 'bytes 5-9/10', f'Bearer {SECRET}', 'gzip', 'text/html']
_HEADERS = ['ETag', 'X-Linked-Etag', 'X-Linked-Size', 'X-Repo-Commit', 'X-Error-Code', 'Content-Length', 'Location',
            'Content-Encoding', 'Transfer-Encoding', 'Content-Range', 'Set-Cookie']
_PLACES = ['/', '', 'loop', 'file:///etc/passwd', 'http://127.0.0.1:1/x', 'http://[::1', 'http://mirror.example/x',
           f'http://{SECRET}@127.0.0.1/', '/a b\xe9', 'https://127.0.0.1:1/', '//', 'http://127.0.0.1:99999/']


def _altered(rng: random.Random, path: str, code: int, content, headers: dict):
    how = rng.choice(['code', 'code', 'json', 'json', 'json', 'json', 'bytes', 'headers', 'headers', 'redirect',
                      'endless'])
    if how == 'code':
        code = rng.choice([204, 206, 300, 400, 401, 402, 403, 404, 404, 409, 413, 416, 429, 500, 503, 599])
        content = rng.choice([b'', json.dumps(dict(error=SECRET)).encode(), f'\x1b[31m{SECRET}'.encode()])
        headers = {'X-Error-Code': rng.choice(['RepoNotFound', 'RevisionNotFound', 'GatedRepo', 'EntryNotFound',
                                               f'\x1b[31m{SECRET}'])} if rng.random() < 0.5 else {}
    elif how == 'json' and isinstance(content, dict):
        content = fuzz.mutated(content, rng.randrange) if rng.random() < 0.6 else _hrefs(copy.deepcopy(content), rng)
    elif how == 'headers':
        for name in rng.sample(_HEADERS, 2):
            headers = {**headers, name: rng.choice([*_WORDS, *_PLACES])}
    elif how == 'redirect':
        code, content = rng.choice([301, 302, 303, 307, 308]), b''
        headers = {**headers, 'Location': rng.choice([*_PLACES, path])}
    elif how == 'endless':
        piece, pause = rng.choice([(b' ' * 2**14, 0), (b' ', 0.05)])
        return code, (piece for _ in itertools.count() if not time.sleep(pause)), {}
    else:
        text = content if isinstance(content, bytes) else json.dumps(content).encode()
        content = rng.choice([b'', b'[' * 10**5, b'9' * 5000, b'<html>' + SECRET.encode(), b'null', b'[]',
                              text[:len(text) // 2],
                              fuzz.spliced(text, rng.randrange, b'\0\xff{}[]"') if text else b'x'])
    return code, content, headers


def _hrefs(content, rng: random.Random):
    """An answer whose URLs, names and numbers are others."""
    if isinstance(content, dict):
        return {key: _hrefs(value, rng) for key, value in content.items()}
    if isinstance(content, list):
        return [_hrefs(value, rng) for value in content]
    if rng.random() < 0.5:
        return content
    return rng.choice([*_PLACES, *_WORDS]) if isinstance(content, str) and content.startswith('http') else rng.choice(
        [*NAMES, *_WORDS, *fuzz.VALUES[:12]])


@contextlib.contextmanager
def serving() -> Iterator[None]:
    """Serve the repositories below `SERVED`, from a process of its own, as the Hub that this process asks."""
    global SERVED
    SERVED = Path(tempfile.mkdtemp())
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        with hub(SERVED) as served:
            last = '0'

            def alter(method, path, *answer):
                nonlocal last
                if named := re.search(r'/r(\d+)', path):
                    last = named[1]
                rng = random.Random(f'{last} {method} {re.sub("[0-9a-f]{64}", "", path)}')
                return _altered(rng, path, *answer) if rng.random() < 0.25 else answer
            served.alter = alter
            os.write(writing, served.url.encode())
            os.close(writing)
            signal.pause()
        sys.exit()
    os.close(writing)
    with open(reading) as pipe:
        url = pipe.read()
    try:
        home = SERVED / 'home'
        os.environ.update(environment(None, home, HF_TOKEN=SECRET) | dict(HF_ENDPOINT=url))
        constants.ENDPOINT, constants.HF_HUB_CACHE, constants.HF_HUB_ETAG_TIMEOUT = url, str(home / 'hub'), 2
        yield
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        shutil.rmtree(SERVED)


def prepare(base: Path) -> None:
    """Save a model, base/saved; let requests that never end take two seconds, and failed ones be repeated at once."""
    from mmvision_mamba import downloads
    from mmvision_mamba.checkpoints import hub as hub_module
    from mmvision_mamba.inference import Inferencer
    from mmvision_mamba.sharing.folder import save
    save(base / 'saved', Inferencer(base / 'det.py', base / 'det.pth', show_progress=False), 'det')
    downloads._WINDOW = downloads.ANSWER_SECONDS = hub_module._LIST_SECONDS = 2
    hub_module._PAUSE = 0


def repositories(base: Path, root: Path, rng: random.Random) -> Try:
    """infer, test and publish with a repository; publish --hub to one that is there or not."""
    from safetensors.torch import save_file
    from torch import load
    copied(base, root, ['outside', 'det.py'])
    repo = f'fuzz/r{root.name.rpartition("_")[2]}'
    served, run, config = SERVED / repo, root / 'run', root / 'det.py'
    name = rng.choice(['infer', 'infer', 'publish', 'attention-maps', 'push', 'push', 'push', 'push'])
    if name == 'push':
        if rng.random() < 0.4:
            served.mkdir(parents=True)
            (served / rng.choice(['.gitattributes', 'README.md'])).write_text('x')
        model = rng.choice(['saved'] * 4 + ['det_run'])
        copied(base, root, [model])
        options = [option for option in ('--private', '--yes') if rng.random() < 0.5]
        model = root / ('det_run/epoch_1.pth' if model == 'det_run' else model)
        return Try(['publish', model, '--hub', repo, *options], 'push')
    served.mkdir(parents=True)
    state = load(base / 'det.pth', weights_only=False)['state_dict']
    if rng.random() < 0.5:
        save_file({key: value.contiguous() for key, value in state.items()}, served / 'model.safetensors')
    else:
        shutil.copy(base / 'det.pth', served / rng.choice(['pytorch_model.bin', 'weights.pth']))
    if rng.random() < 0.2:
        index = dict(weight_map={key: rng.choice([*NAMES, *os.listdir(served)]) for key in [*state][:20]})
        (served / 'model.safetensors.index.json').write_text(json.dumps(index))
    reference = f'hf://{repo}' + rng.choice(['', '', '', '@main', f'@{rng.choice(NAMES)}', f'/{rng.choice(NAMES)}',
                                             '/model.safetensors', '/weights.pth', '@' + '0' * 40])
    reference = reference.replace('\0', '0')
    if name == 'infer':
        return Try([name, config, reference, root / 'outside/secret.jpg', '--out-dir', run / 'out'], reference)
    if name == 'publish':
        return Try([name, reference, run / 'published.pth'], reference)
    return Try([name, config, reference, root / 'outside/secret.jpg', '--out', run / 'maps.png'], reference)
