"""A server on 127.0.0.1 that answers as a hostile one may, and commands that are given its URLs."""
import contextlib
import itertools
import os
import random
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from . import fuzz
from .forks import FORGED
from .hostile_files import Try
from .tool_material import NAMES, copied

JPEG = fuzz.IMAGES[0]
OK = b'HTTP/1.1 200 OK\r\n'
PORT = 0  # of the server, while one is serving


def whole(body: bytes, status: bytes = OK, headers: bytes = b'') -> bytes:
    return status + headers + f'Content-Length: {len(body)}\r\n\r\n'.encode() + body


def moved(to: str, code: int = 302) -> bytes:
    return whole(b'', f'HTTP/1.1 {code} Found\r\nLocation: {to}\r\n'.encode('latin1'))


ANSWERS = dict(
    image=whole(JPEG), half=OK + f'Content-Length: {len(JPEG)}\r\n\r\n'.encode() + JPEG[:200], empty=whole(b''),
    nothing=b'', unknown=whole(b'<html>no', b'HTTP/1.1 404 Not Found\r\n'),
    error=whole(b'', b'HTTP/1.1 500 Oops\r\n'), forged=whole(b'', b'HTTP/1.1 404 \x1b[31mred\r\n'),
    reason=whole(b'', f'HTTP/1.1 403 a\r{FORGED}\r\n'.encode()),
    long_reason=whole(b'', b'HTTP/1.1 404 ' + b'x' * 20_000 + b'\r\n'), status=b'HTTP/1.1 abc OK\r\n\r\n',
    version=b'HTTP/9.9 200 OK\r\n\r\n' + JPEG, ftp=b'220 welcome\r\n', zeros=b'\0' * 1000,
    no_length=OK + b'\r\n' + JPEG, negative=OK + b'Content-Length: -1\r\n\r\n' + JPEG,
    word=OK + b'Content-Length: many\r\n\r\n' + JPEG, huge=OK + b'Content-Length: 99999999999999\r\n\r\n' + JPEG,
    chunk=OK + b'Transfer-Encoding: chunked\r\n\r\nzz\r\nabc',
    chunk_huge=OK + b'Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nabc',
    chunk_negative=OK + b'Transfer-Encoding: chunked\r\n\r\n-5\r\nabc',
    chunk_cut=OK + b'Transfer-Encoding: chunked\r\n\r\n5\r\nab',
    gzip=whole(b'\x1f\x8b' + b'x' * 99, OK, b'Content-Encoding: gzip\r\n'),
    no_content=b'HTTP/1.1 204 No Content\r\n\r\n', partial=whole(JPEG[:50], b'HTTP/1.1 206 Partial\r\n'),
    continued=b'HTTP/1.1 100 Continue\r\n\r\n' * 50 + whole(JPEG),
    auth=whole(b'', b'HTTP/1.1 401 No\r\nWWW-Authenticate: x\r\n'),
    many_headers=OK + b''.join(b'X-%d: a\r\n' % i for i in range(5000)) + b'\r\n',
    long_header=OK + b'X: ' + b'a' * 100_000 + b'\r\n\r\n', bad_header=OK + b'\xff\xfe\r\n: \r\nnone\r\n\r\n' + JPEG,
    html=whole(b'<html>' * 1000), video=whole(b'\0\0\0 ftypisom' + b'x' * 999), loop=moved('loop'),
    file=moved('file:///etc/passwd'), proto=moved('gopher://127.0.0.1/'), nowhere=moved('http://[::1'),
    port=moved('http://127.0.0.1:99999/'), closed=moved('http://127.0.0.1:9/'), blank=moved(''),
    control=moved('http://a\x7fb/'), latin=moved('/\xe9\xff'), space=moved('/a b'),
    user=moved('http://user:secret@127.0.0.1:9/'), idna=moved(f'http://{"x" * 70}.de/'),
    seen_other=moved('image', 303), permanent=moved('image', 308), choices=moved('image', 300))
ENDLESS = dict(drip=b'', headers=b'X: a\r\n', body=b'\0' * 65536, redirects=b'')  # sent again and again


def _answer(connection: socket.socket, numbers: Iterator[int]) -> None:
    with contextlib.suppress(OSError), connection:
        connection.settimeout(5)
        request = connection.recv(65536).split(b' ')
        path = request[1].decode(errors='replace') if len(request) > 1 else ''
        name = path.strip('/').partition('.')[0].partition('?')[0]
        if name == 'redirects':
            connection.sendall(moved(f'/redirects.{next(numbers)}'))
        elif name in ENDLESS:
            connection.sendall(OK + (b'' if name == 'headers' else b'\r\n'))
            for _ in range(600 if name == 'drip' else 20_000):
                connection.sendall(ENDLESS[name] or b'\xff')
                time.sleep(0.5 if name == 'drip' else 0)
        elif name == 'silent':
            time.sleep(600)
        elif name == 'reset':
            connection.sendall(OK + b'Content-Length: 1000\r\n\r\n')
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b'\1\0\0\0\0\0\0\0')
        else:
            connection.sendall(ANSWERS.get(name, ANSWERS['unknown']))


@contextlib.contextmanager
def serving() -> Iterator[int]:
    """Serve on `PORT`, from a process of its own."""
    global PORT
    with socket.create_server(('127.0.0.1', 0), backlog=50) as server:
        PORT = server.getsockname()[1]
        pid = os.fork()
        if not pid:
            numbers = itertools.count()
            while True:
                threading.Thread(target=_answer, args=(server.accept()[0], numbers), daemon=True).start()
    try:
        yield PORT
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def urls(base: Path, root: Path, rng: random.Random) -> Try:
    """infer, batch-infer, attention-maps and others on a few URLs, most of them of this server."""
    copied(base, root, ['outside', 'det.py', 'det.pth'])
    given = [_url(rng) for _ in range(rng.choice([1, 1, 2, 4]))]
    name = rng.choice(['infer'] * 5 + ['batch-infer'] * 3 + ['attention-maps', 'publish', 'test', 'infer a checkpoint'])
    run, config, checkpoint = root / 'run', root / 'det.py', root / 'det.pth'
    if name == 'attention-maps':
        argv = [name, config, checkpoint, given[0], '--out', run / 'maps.png']
    elif name == 'publish':
        argv = [name, given[0], run / 'published.pth']
    elif name in ('test', 'infer a checkpoint'):
        argv = [name.split()[0], config, given[0], *([root / 'outside'] if name != 'test' else [])]
    else:
        inputs = [*given, *([root / 'outside'] if rng.random() < 0.3 else [])]
        if rng.random() < 0.3:
            (root / 'list.txt').write_bytes('\n'.join(map(str, inputs)).encode(errors='surrogatepass'))
            inputs = [root / 'list.txt']
        argv = [name, config, checkpoint, *inputs, '--out-dir' if name == 'infer' else '--out', run / 'out']
    return Try([str(argument).replace('\0', '0') for argument in argv], f'{given}'[:300], lists=True)


def _url(rng: random.Random) -> str:
    name = rng.choice([*ANSWERS] * 3 + ['redirects', 'body', 'reset', 'headers', rng.choice(['drip', 'silent'])])
    place = f'127.0.0.1:{PORT}'
    if rng.random() < 0.75:
        return f'http://{place}/{name}{rng.choice([".jpg", ".jpg", "", ".png", ".pth", ".mp4", ".txt"])}'
    return rng.choice([
        f'http://{place}', f'http://{place}/', f'HTTP://{place}/image.JPG', f'http:/{place}/image.jpg',
        f'https://{place}/image.jpg', f'http://{place}/%00.jpg', f'http://{place}/%0a{FORGED}.jpg', f'http://{place}/%ff%fe.jpg',
        f'http://{place}/%zz.jpg',
        f'http://{place}/a b.jpg', f'http://{place}/é.jpg', f'http://{place}/\udcff.jpg',
        f'http://{place}/a\n{FORGED}.jpg',
        f'http://{place}/\x1b[31m.jpg', f'http://{place}/{"x" * 5000}.jpg', f'http://{place}/../../etc/passwd',
        f'http://user:secret@{place}/image.jpg', f'http://{place}/image.jpg#sha256=00', f'http://{place}/image.jpg?a=\n',
        'http://', 'https://', 'http:///a.jpg', 'http://127.0.0.1:0/a', 'http://127.0.0.1:99999/a', 'http://127.0.0.1:-1/a',
        'http://127.0.0.1:a/a', 'http://[::1]:9/a', 'http://[::1/a', 'http://[zz]/a', 'http://xn--/a', 'http://.../a',
        f'http://{"x" * 70}.invalid/a', 'http://\u2100.invalid/a', 'ftp://127.0.0.1/a.jpg', 'file:///etc/passwd',
        'data:,a', f'http://127.0.0.1:{PORT}:{PORT}/a', f'http://127.0.0.1:{PORT}@/a', rng.choice(NAMES)])
