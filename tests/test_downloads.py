"""Downloads: whatever the server does, they end, with a reason."""
import io
import time

import pytest

from mmvision_mamba import downloads
from mmvision_mamba.downloads import DownloadError, fetch, is_url, save, send, split_url

from .helpers.servers import HEAD, answering, content, forever, redirect


@pytest.fixture(autouse=True)
def direct(monkeypatch):
    monkeypatch.setenv('no_proxy', '127.0.0.1,localhost')


@pytest.mark.parametrize(('answer', 'reason'), [
    (forever(HEAD, b'A: b\r\n', 0.05), 'not send all of it within 0.7 seconds'),
    (forever(HEAD[:5], b'', 0.1), 'not send all of it within 0.7 seconds'),
    (forever(HEAD + b'Content-Length: 9999\r\n\r\n', b'x', 0.01), 'not send all of it within 0.7 seconds'),
    (forever(HEAD + b'\r\n', b'x' * 2**14), 'more than 1000000 bytes'),
    (forever(HEAD, b'A' * 2**14), 'LineTooLong'),
    (forever(b'', b'HTTP/1.1 100 Continue\r\n\r\n' * 99), 'more than 1000000 bytes'),
    (forever(b'HTTP/1.1 302 Found\r\nLocation: /b\r\n\r\n', b'x' * 2**14), 'more than 10 redirects'),
    (HEAD + b'Content-Length: 9' + b'9' * 50 + b'\r\n\r\nabc', 'more than 1000000 bytes'),
    (HEAD + b'Content-Length: 100\r\n\r\nabc', 'breaks off after 3 of 100 bytes'),
    (HEAD + b'Transfer-Encoding: chunked\r\n\r\n5\r\nabc', 'IncompleteRead'),
    (HEAD + b'Transfer-Encoding: chunked\r\n\r\n' + b'f' * 40 + b'\r\nabc', 'IncompleteRead'),
    (b'\x00\x01junk\r\n\r\n', r'BadStatusLine: \\x00'), (b'', 'RemoteDisconnected'),
    (b'HTTP/1.1 404 \x1b[31mred\r\n\r\n', r'the server answers 404 \\x1b\[31mred'),
    (redirect('file:///etc/passwd'), 'not over file'), (redirect('ftp://127.0.0.1/x'), 'not over ftp'),
    (redirect('http://[::1'), 'download failed: Invalid IPv6 URL'), (redirect('/'), 'more than 10 redirects'),
    (redirect('//user:secret@127.0.0.1/'), 'a user name or password'), (redirect('http://127.0.0.1:1/'), 'refused'),
    (b'HTTP/1.1 302 Found\r\n\r\n', 'answers 302 Found')])
def test_servers_that_do_what_they_like(answer, reason):
    start = time.monotonic()
    with answering(answer) as url, pytest.raises(DownloadError, match=reason) as error:
        fetch(f'{url}/x', 1_000_000, 0.7 if '0.7' in reason else 60)
    assert time.monotonic() - start < 30
    assert '\n' not in str(error.value) and 'secret' not in str(error.value)


@pytest.mark.parametrize(('url', 'reason'), [
    ('http://127.0.0.1:99999/x', 'Port out of range'), ('http://127.0.0.1:-1/x', 'it is no URL'),
    ('http://[::1/x', 'Invalid IPv6 URL'), ('http://user:secret@127.0.0.1/', 'a user name or password'),
    ('http://us@er:sec\u2100ret@127.0.0.1/', 'a user name or password'), ('https:///x', 'names no host'),
    ('HTTP://', 'names no host'), ('ftp://127.0.0.1/x', 'not over ftp'), ('file:///etc/passwd', 'not over file'),
    ('gs://bucket/x', 'not over gs'), ('http://%00/x', 'control characters'), ('http://a b/x', 'control characters'),
    ('http://a..b/x', 'label empty'), (f'http://{"a" * 70}.invalid/x', 'too long'), ('http://\u2100/', 'it is no URL'),
    ('http://\ud800/', 'it is no URL'), ('http://127.0.0.1:1/%00', 'refused'), ('http://127.0.0.1:1/ ü\n\0', 'refused'),
    ('http://127.0.0.1:1/\ud800', 'surrogates')])
def test_what_is_no_url_of_a_file(url, reason):
    assert is_url(url) and split_url(url)[0] in ('http', 'https', 'ftp', 'file', 'gs')
    with pytest.raises(DownloadError, match=reason) as error:
        fetch(url, 100, 5)
    assert 'sec' not in str(error.value)
    with pytest.raises(DownloadError, match=reason):
        save(url, io.BytesIO(), 100, plain=True)


def test_what_arrives():
    body = b'\x1f\x8b\x08' + bytes(range(256)) * 999  # not unpacked, whatever the header says
    with answering(content(body, 'Content-Encoding: gzip')) as url, answering(redirect(f'{url}/ü ä')) as first:
        assert fetch(first, len(body), 9) == body
        with pytest.raises(DownloadError, match=f'more than {len(body) - 1} bytes'):
            fetch(url, len(body) - 1, 9)
        save(first, file := io.BytesIO(), len(body))
        assert file.getvalue() == body


def test_a_long_download_goes_on_and_one_that_stalls_ends(monkeypatch):
    monkeypatch.setattr(downloads, '_WINDOW', 0.4)
    monkeypatch.setenv(downloads.DOWNLOAD_SPEED.variable, '1000')

    def slowly(connection):
        connection.sendall(HEAD + b'Content-Length: 30000\r\n\r\n')
        for _ in range(10):
            connection.sendall(b'x' * 3000)
            time.sleep(0.15)  # over the end of a window, too

    with answering(slowly) as url:
        save(url, file := io.BytesIO(), 30_000)
        assert len(file.getvalue()) == 30_000
    with answering(forever(HEAD + b'\r\n', b'x', 0.01)) as url, pytest.raises(DownloadError, match='came to a halt'):
        save(url, io.BytesIO(), 30_000)


def test_plain_http(monkeypatch):
    """What it would put in a file's place comes from this machine, or from one that was asked over http."""
    reached = DownloadError('reached')
    monkeypatch.setattr('socket.getaddrinfo', lambda *_, **__: (_ for _ in ()).throw(reached))
    for url in ('https://example.org/x', 'http://localhost/x', 'http://127.1.2.3/x', 'http://[::1]/x'):
        with pytest.raises(DownloadError, match='reached'):
            save(url, io.BytesIO(), 10)
    for url in ('http://example.org/x', 'http://127.0.0.1.example.org/x', 'HTTP://localhost.example.org'):
        with pytest.raises(DownloadError, match='plain http, where anyone'):
            save(url, io.BytesIO(), 10)
        with pytest.raises(DownloadError, match='reached'):
            save(url, io.BytesIO(), 10, plain=True)
        with pytest.raises(DownloadError, match='reached'):
            fetch(url, 10, 9)
    monkeypatch.undo()
    monkeypatch.setenv('no_proxy', '127.0.0.1')
    with answering(redirect('http://example.invalid/')) as url, pytest.raises(DownloadError, match='plain http'):
        save(url, io.BytesIO(), 10)


def test_a_long_upload_goes_on_and_one_that_is_not_taken_ends(monkeypatch):
    monkeypatch.setattr(downloads, '_WINDOW', 0.4)
    content_, headers = b'x' * 2**25 + b'END', {'Content-Type': 'text/plain'}  # more than the system keeps for others

    def slowly(connection):
        end = b''
        while end != b'END':
            end = (end + connection.recv(2**20))[-3:]
            time.sleep(0.02)  # over the end of a window, too
        connection.sendall(content(b'taken'))

    for sent in (content_, io.BytesIO(content_)):
        with answering(slowly) as url:
            assert send(url, sent, len(content_), 100, headers, 'PUT') == b'taken'
    with answering(lambda connection: time.sleep(9)) as url, pytest.raises(DownloadError, match='came to a halt'):
        send(url, content_, len(content_), 100, headers)
    with answering(lambda connection: time.sleep(9)) as url, pytest.raises(DownloadError, match='came to a halt'):
        send(url, b'', 0, 100, headers)


@pytest.mark.parametrize(('answer', 'reason'), [
    (forever(HEAD, b'A: b\r\n', 0.05), 'came to a halt'), (forever(HEAD + b'\r\n', b'x', 0.01), 'came to a halt'),
    (forever(HEAD + b'\r\n', b'x' * 2**14), 'more than 100 bytes'), (forever(HEAD, b'A' * 2**14), 'LineTooLong'),
    (b'', 'RemoteDisconnected'), (redirect('http://127.0.0.1:1/'), 'it redirects what is sent'),
    (b'HTTP/1.1 500 \x1b[31m\r\n\r\n', r'the server answers 500 \\x1b\[31m')])
def test_answers_to_what_is_sent_end(monkeypatch, answer, reason):
    monkeypatch.setattr(downloads, '_WINDOW', 0.4)
    with answering(answer) as url, pytest.raises(DownloadError, match=reason):
        send(url, b'abc', 3, 100, {})
    with pytest.raises(DownloadError, match='plain http'):
        send('http://example.org/x', b'abc', 3, 100, {})
