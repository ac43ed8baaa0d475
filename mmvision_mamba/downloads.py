"""Downloads and uploads over https and http that end, whatever the server does: their time and bytes have bounds."""
import http.client
import io
import ipaddress
import re
import socket
import ssl
import string
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from email.message import Message
from functools import partial
from typing import Any, BinaryIO
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urljoin, urlsplit, urlunsplit
from urllib.request import (
    HTTPDefaultErrorHandler,
    HTTPErrorProcessor,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
)

from .limits import DOWNLOAD_SPEED
from .printable import shown

ANSWER_SECONDS = 60  # until an answer's headers are there, redirects included
_WINDOW = 60  # seconds, over which the speed of a download is taken
_MOST_REDIRECTS = 10
_REDIRECTS = (301, 302, 303, 307, 308)
_BLOCK = 2**16
_HEADERS = 2**20  # bytes of all answers' headers together
_URL = re.compile(r'([a-z][a-z0-9+.-]+)://([^/?#]*)([^?#]*)', re.I)


class DownloadError(OSError):
    """A URL that can't be read. The message is the reason, without the URL.

    Attributes:
        headers: of the server's answer, where that is an error.
        status: of that answer, 404 for instance; 0 without one.
        broken: whether the connection failed or broke off: another try may do.
    """

    def __init__(self, reason: str, status: int = 0, headers: Message | None = None, broken: bool = False):
        super().__init__(reason)
        self.status, self.headers, self.broken = status, headers or Message(), broken


def is_url(text: object) -> bool:
    """Whether a path is a URL, of whatever kind: `SCHEME://…`."""
    return _URL.match(str(text)) is not None


def split_url(url: str) -> tuple[str, str, str]:
    """(scheme, host and port, path) of what `is_url`, however broken: the scheme in lower case, the others as they are.
    """
    scheme, place, path = _URL.match(url).groups()  # type: ignore[union-attr]
    return scheme.lower(), place.rpartition('@')[2], path


def fetch(url: str, most: int, seconds: float, secret: Mapping[str, str] | None = None,
          answer_seconds: float | None = None) -> bytes:
    """The content at a URL, in memory.

    Plain http is taken where the URL says so; no redirect leads from https to http.

    Args:
        url: http or https.
        most: bytes that it may have.
        seconds: for the whole request, redirects included.
        secret: headers for the host that the URL names, and for no other that it redirects to. Default: none.
        answer_seconds: until the answer's headers are there. Default: `seconds`.

    Raises:
        DownloadError: with the reason.
    """
    bounds = _Bounds(most, answer_seconds or seconds)
    with _reasons(), _open(url, bounds, url.lower().startswith('http:'), secret) as answer:
        bounds.end = bounds.start + seconds
        return b''.join(_blocks(answer, bounds))


def headers_of(url: str, seconds: float, secret: Mapping[str, str] | None = None,
               until: Callable[[Message], bool] = lambda headers: False) -> Message:
    """The headers of the answer at a URL, whose content is not asked for.

    Args:
        url, seconds, secret: see `fetch`; plain http is for this machine alone.
        until: whether the headers of a redirect will do. Default: none do.

    Raises:
        DownloadError: with the reason.
    """
    try:
        with _reasons(), _open(url, _Bounds(0, seconds), False, secret, method='HEAD', until=until) as answer:
            return answer.headers
    except _Enough as redirect:
        return redirect.headers


def save(url: str, file: BinaryIO, most: int, plain: bool = False, secret: Mapping[str, str] | None = None,
         report: Callable[[int, int | None], object] = lambda count, total: None) -> None:
    """Write the content at a URL to a file, as long as bytes keep coming, `DOWNLOAD_SPEED` on average over a minute.

    Args:
        url: http or https.
        file: opened for writing bytes; what is behind its present position is asked for, where the server can do so,
            else the file begins anew.
        most: bytes that it may have.
        plain: whether plain http will do, on other machines than this one. Default: False.
        secret: see `fetch`. Default: none.
        report: called after each block with the bytes that are there, and all that there will be, if that is known.

    Raises:
        DownloadError: with the reason.
        OSError: the file can't be written.
    """
    bounds = _Bounds(most, ANSWER_SECONDS)
    count = file.tell()
    with _reasons(), _open(url, bounds, plain, secret, {'Range': f'bytes={count}-'} if count else {}) as answer:
        bounds.keep_going()
        if count and answer.status != 206:
            count = file.seek(0)
            file.truncate()
        elif count and not (answer.headers.get('Content-Range') or '').startswith(f'bytes {count}-'):
            raise DownloadError('the server answers with another part than was asked for')
        bounds.most -= count
        total = None if answer.length is None else count + answer.length
        for block in _blocks(answer, bounds):
            file.write(block)
            count += len(block)
            report(count, total)


def send(url: str, content: bytes | BinaryIO, size: int, most: int, headers: Mapping[str, str],
         method: str = 'POST') -> bytes:
    """Send content to a URL, as long as bytes are taken or come, `DOWNLOAD_SPEED` on average over a minute.

    It goes to the host that the URL names and to no other: a redirect is an error. Plain http is for this machine
    alone.

    Args:
        url: http or https.
        content: bytes, or a file opened for reading them.
        size: their number, of a file from its present position on.
        most: bytes that the answer may have.
        headers: to send along.
        method: 'POST' or 'PUT'. Default: 'POST'.

    Returns:
        What the server answers.

    Raises:
        DownloadError: with the reason.
    """
    bounds = _Bounds(most, ANSWER_SECONDS)
    bounds.keep_going()
    with _reasons('upload'), _open(url, bounds, False, None, {'Content-Length': str(size), **headers}, method,
                           content=content) as answer:
        return b''.join(_blocks(answer, bounds))


class _Enough(Exception):
    """The headers of a redirect are all that was asked for."""

    def __init__(self, headers: Message):
        super().__init__()
        self.headers = headers


class _Bounds:
    """What a request may still take. Each wait for the network asks for its time, and reports the bytes that came."""

    def __init__(self, most: int, seconds: float):
        self.start = time.monotonic()
        self.end = self.start + seconds  # when the request has failed
        self.most, self.left = most, most + _HEADERS
        self.window: tuple[float, int] | None = None  # where bytes have to keep coming: its begin, its bytes

    def keep_going(self) -> None:
        """From now on the time isn't limited, but the speed is."""
        self.window = time.monotonic(), 0

    def wait(self) -> float:
        """Seconds to wait for the next bytes."""
        now = time.monotonic()
        end = self.end
        if self.window is not None:
            begin, count = self.window
            end = begin + _WINDOW
            if now >= end and count >= _WINDOW * DOWNLOAD_SPEED.value:
                self.window, end = (now, 0), now + _WINDOW
        if now >= end:
            raise DownloadError(
                f'it came to a halt: less than {DOWNLOAD_SPEED.value} bytes a second in {_WINDOW} seconds'
                if self.window else f'the server did not send all of it within {self.end - self.start:g} seconds')
        return end - now

    def moved(self, count: int) -> None:
        """So many bytes came or went."""
        if self.window is not None:
            self.window = self.window[0], self.window[1] + count

    def answered(self) -> None:
        """All is sent, and the server has a minute to begin with its answer."""
        if self.window is not None:
            self.keep_going()

    def took(self, count: int) -> None:
        self.left -= count
        if self.left < 0:
            raise self.too_large()
        self.moved(count)

    def too_large(self) -> DownloadError:
        return DownloadError(f'it has more than {self.most} bytes')


class _Stream(io.RawIOBase):
    """What comes from a socket, within bounds, which a socket's own timeout sets for each of its parts alone."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket, bounds: _Bounds):
        self._raw, self._sock, self._bounds = raw, sock, bounds  # while `raw` is open, so is the socket

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while True:
            self._sock.settimeout(self._bounds.wait())
            try:
                count = self._sock.recv_into(buffer)
            except TimeoutError:  # at the end of a minute in which enough came
                continue
            except OSError as error:  # not to be taken for one of the file that is written
                raise DownloadError(f'the connection broke off: {error.strerror or error}', broken=True) from None
            self._bounds.took(count)
            return count

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Response(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, bounds: _Bounds, **kwargs: Any):
        super().__init__(sock, *args, **kwargs)
        bounds.answered()
        self.fp = io.BufferedReader(_Stream(self.fp.detach(), sock, bounds))


class _Handler(HTTPSHandler):
    """Requests over both, whose connections and answers keep to bounds."""

    def __init__(self, bounds: _Bounds):
        super().__init__()
        self._bounds = bounds

    def https_open(self, request: Request) -> http.client.HTTPResponse:
        kind = partial(http.client.HTTPSConnection, context=_trusted())
        return self.do_open(partial(self._connection, kind), request)

    def http_open(self, request: Request) -> http.client.HTTPResponse:
        return self.do_open(partial(self._connection, http.client.HTTPConnection), request)

    def _connection(self, kind: Callable[..., Any], host: str, timeout: Any = None,
                    **options: Any) -> http.client.HTTPConnection:
        connection = kind(host, timeout=self._bounds.wait(), **options)
        connection.response_class = partial(_Response, bounds=self._bounds)
        # http.client has no seam here: it would wait for each of a host's addresses as long as for the first.
        connection._create_connection = self._connect
        # Nor here: a socket's timeout would be for a whole block of what is sent, however slowly it is taken.
        connection.send = partial(self._send, connection)
        return connection

    def _send(self, connection: http.client.HTTPConnection, data: Any) -> None:
        if connection.sock is None:
            connection.connect()
        left = memoryview(data)
        while left:
            connection.sock.settimeout(self._bounds.wait())
            try:
                count = connection.sock.send(left)
            except TimeoutError:  # at the end of a minute in which enough went
                continue
            self._bounds.moved(count)
            left = left[count:]

    def _connect(self, address: tuple[str, int], timeout: Any, *options: Any) -> socket.socket:
        failure = OSError(f'no address of {address[0]}')
        for *_, place in socket.getaddrinfo(address[0], address[1], type=socket.SOCK_STREAM):
            wait = self._bounds.wait()
            try:
                return socket.create_connection((str(place[0]), int(place[1])), wait, *options)
            except OSError as error:
                failure = error
        raise failure


def _trusted() -> ssl.SSLContext:
    """The system's certificates, or SSL_CERT_FILE's; certifi's where Python finds none, as on a new macOS."""
    context = ssl.create_default_context()
    paths = ssl.get_default_verify_paths()
    if sys.platform != 'win32' and paths.cafile is None and paths.capath is None:
        with suppress(ImportError):
            import certifi  # of the Hub's library's requirements
            context.load_verify_locations(certifi.where())
    return context


def _open(url: str, bounds: _Bounds, plain: bool, secret: Mapping[str, str] | None = None,
          headers: Mapping[str, str] | None = None, method: str = 'GET',
          until: Callable[[Message], bool] = lambda headers: False,
          content: bytes | BinaryIO | None = None) -> http.client.HTTPResponse:
    """The answer to a request, from where its redirects lead; raises `_Enough` at one of those that will do."""
    opener = OpenerDirector()  # without handlers of files and other schemes, and without urllib's own redirects
    for handler in (ProxyHandler(), _Handler(bounds), HTTPErrorProcessor(), HTTPDefaultErrorHandler()):
        opener.add_handler(handler)
    first = None
    for _ in range(_MOST_REDIRECTS + 1):
        url = _checked(url, plain)
        first = first or urlsplit(url)[:2]
        told = secret or {} if urlsplit(url)[:2] == first else {}
        sent = {'User-Agent': 'mmvision-mamba', **(headers or {}), **told}
        try:
            return opener.open(Request(url, content, sent, method=method), timeout=bounds.wait())
        except HTTPError as error:
            error.close()
            target = error.headers.get('Location') if error.code in _REDIRECTS else None
            if target and content is not None:
                raise DownloadError('it redirects what is sent, which goes nowhere else: was it renamed?') from None
            if target and until(error.headers):
                raise _Enough(error.headers) from None
            if not target:
                raise DownloadError(f'the server answers {error.code} {shown(str(error.reason), 100)}', error.code,
                                    error.headers) from None
        # Headers are read as Latin-1; what isn't ASCII in them is bytes of a URL.
        url = urljoin(url, quote(target, safe=string.punctuation, encoding='latin-1'))
    raise DownloadError(f'more than {_MOST_REDIRECTS} redirects')


def _checked(url: str, plain: bool) -> str:
    """A URL that is fit for a request: quoted where people write it as it is read, its host in ASCII.

    Raises:
        DownloadError: it can't be requested, or would be over plain http.
    """
    scheme, _, rest = url.partition('://')
    if scheme.lower() not in ('http', 'https'):
        raise DownloadError(f'URLs are read over https and http, not over {shown(scheme, 20)}')
    if '@' in re.split(r'[/?#\\]', rest, maxsplit=1)[0]:
        raise DownloadError('a URL with a user name or password, which are not sent; name one that needs none')
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or '', parts.port
        if not host.isascii():
            host = host.encode('idna').decode()
    except ValueError as error:
        raise DownloadError(f'it is no URL: {shown(error, 100)}') from None
    if not host:
        raise DownloadError('it is no URL: it names no host')
    if parts.scheme == 'http' and not plain and not is_this_machine(host):
        raise DownloadError('plain http, where anyone on the way can put another file in its place; use https')
    place = (f'[{host}]' if ':' in host else host) + (f':{port}' if port is not None else '')
    return urlunsplit((parts.scheme, place, quote(parts.path or '/', safe=string.punctuation),
                       quote(parts.query, safe=string.punctuation), ''))


def is_this_machine(host: str) -> bool:
    """Whether a host is this machine by its name or address."""
    if host.rstrip('.') == 'localhost':
        return True
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return False


def _blocks(answer: http.client.HTTPResponse, bounds: _Bounds) -> Iterator[bytes]:
    expected, count = answer.length, 0
    if expected is not None and expected > bounds.most:
        raise bounds.too_large()
    while block := answer.read(_BLOCK):
        count += len(block)
        if count > bounds.most:
            raise bounds.too_large()
        yield block
    if expected is not None and count < expected:
        raise DownloadError(f'it breaks off after {count} of {expected} bytes', broken=True)


@contextmanager
def _reasons(what: str = 'download') -> Iterator[None]:
    """Turn what the network, the server and the libraries make of a URL into a DownloadError."""
    try:
        yield
    except DownloadError:
        raise
    except URLError as error:
        reason = error.reason
        if isinstance(reason, DownloadError):
            raise reason from None
        text = 'no answer in time' if isinstance(reason, TimeoutError) else getattr(reason, 'strerror', None) or reason
        raise DownloadError(f'{what} failed: {shown(str(text), 200)}', broken=True) from None
    except TimeoutError:
        raise DownloadError(f'{what} failed: no answer in time', broken=True) from None
    except http.client.HTTPException as error:
        raise DownloadError(f'the server does not answer as HTTP says ({type(error).__name__}: '
                            f'{shown(str(error), 100)})', broken=True) from None
    except ValueError as error:  # of urllib, http.client and encodings
        raise DownloadError(f'{what} failed: {shown(str(error), 200)}') from None
