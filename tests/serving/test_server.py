"""`mmvision-mamba serve` as a process: nothing that was let in is lost, whatever ends around it."""
import contextlib
import http.client
import json
import re
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import pytest

pytest.importorskip('ray.serve', exc_type=ImportError)
pytest.importorskip('psutil')

import psutil

from mmvision_mamba.serving.answers import Answering, Asked

from ..helpers import ROOT
from .load import Load, ask

pytestmark = pytest.mark.skipif(sys.platform == 'win32', reason='signals of POSIX')


class Server:
    """A running command.

    Attributes:
        url: that it prints.
        lines: what it has printed so far.
    """

    def __init__(self, *arguments):
        self.process = subprocess.Popen(
            ['env', '--default-signal=INT', sys.executable, '-m', 'mmvision_mamba', 'serve', *map(str, arguments),
             '--port', '0'], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.lines: list[str] = []
        self.url = re.search(r'http\S+', self.wait_for('serving http'))[0]

    def wait_for(self, text: str) -> str:
        """The next line that begins so."""
        for line in self.process.stdout:
            self.lines.append(line)
            if line.startswith(text):
                return line
        raise AssertionError(''.join(self.lines))

    def get(self, path: str) -> tuple[int, str]:
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=60)
        connection.request('GET', path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()

    def models(self) -> list[psutil.Process]:
        """The processes with the model."""
        found = []
        for child in psutil.Process(self.process.pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):  # it has just ended
                if 'ServeReplica:mmvision-mamba:Model' in ' '.join(child.cmdline()):
                    found.append(child)
        return found

    def end(self, number: int) -> int:
        self.process.send_signal(number)
        return self.process.wait(100)


@pytest.fixture(scope='module')
def server(saved):
    model = saved['detector']
    started = Server(model['model'], model['weights'], '--queue', '3', '--device', 'cpu', '--score-thr', '0.1')
    yield started
    if started.process.poll() is None:
        started.process.kill()


@pytest.mark.timeout(400)
def test_a_served_model_answers_as_it_does_without(server, saved, content):
    status, body = ask(server.url, content)
    expected, = Answering(dict(saved['detector'], device='cpu', score_thr=0.1))([Asked(content)])
    answers = [json.loads(answer) for answer in (body, expected.body)]
    for answer in answers:
        del answer['seconds']
    assert status == 200 and answers[0] == answers[1] and answers[0]['instances']
    assert ask(f'{server.url}?output=picture', content)[1].startswith(b'\x89PNG')
    assert ask(f'{server.url}?score_thr=2', content)[0] == 422
    status, about = server.get('/')
    assert json.loads(about)['model'] == 'detector.pth' and json.loads(about)['most']['requests'] == 4
    assert server.get('/health') == (200, '{"status":"ready","models":1}')
    assert '/predict' in json.loads(server.get('/openapi.json')[1])['paths']
    assert 'mmvision_mamba_requests_total{status="200"} 2.0' in server.get('/metrics')[1]


@pytest.mark.timeout(300)
def test_at_overload_each_request_is_answered_or_refused_with_429(server, content):
    with Load(server.url, content, clients=20) as load:
        time.sleep(5)
        outcome = load.stop()
    assert set(outcome.statuses) == {200, 429} and min(outcome.statuses.values()) > 3


@pytest.mark.timeout(300)
def test_nothing_is_lost_where_the_process_with_the_model_is_killed(server, content):
    before, = server.models()
    with Load(server.url, content, clients=3) as load:
        time.sleep(2)
        before.kill()
        end = time.monotonic() + 100
        while not [process for process in server.models() if process.pid != before.pid] and time.monotonic() < end:
            time.sleep(.5)
        answered = load.outcome.statuses[200]
        while load.outcome.statuses[200] < answered + 5 and time.monotonic() < end:
            time.sleep(.5)
        outcome = load.stop()
    assert set(outcome.statuses) == {200} and outcome.statuses[200] >= answered + 5
    assert not re.search(r'^mmvision_mamba_repeated_requests_total 0', server.get('/metrics')[1], re.M)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_nothing_is_lost_while_the_model_is_loaded_again(server, saved, content):
    with Load(server.url, content, clients=3) as load:
        time.sleep(1)
        server.process.send_signal(signal.SIGHUP)
        server.wait_for('the model is loaded again')
        time.sleep(2)
        outcome = load.stop()
    assert set(outcome.statuses) == {200}


@pytest.mark.timeout(300)
def test_a_server_that_is_ended_answers_what_was_let_in(server, content):
    children = psutil.Process(server.process.pid).children(recursive=True)
    with ThreadPoolExecutor(4) as clients:  # as many as are let in
        asked = [clients.submit(ask, server.url, content) for _ in range(4)]
        while 'mmvision_mamba_requests_inside 0' in server.get('/metrics')[1]:
            assert not any(answer.done() for answer in asked)
        assert server.end(signal.SIGTERM) == 0
        assert [answer.result()[0] for answer in asked] == [200] * 4
    assert server.process.stdout.read().splitlines()[-1] == 'stopped'
    _, alive = psutil.wait_procs(children, timeout=20)
    assert not alive


def test_a_model_that_can_not_be_used_is_said_before_anything_is_started(saved, tmp_path):
    broken = tmp_path / 'broken.pth'
    broken.write_bytes(b'x')
    result = subprocess.run([sys.executable, '-m', 'mmvision_mamba', 'serve', saved['detector']['model'], broken],
                            cwd=ROOT, capture_output=True, text=True, timeout=200)
    assert result.returncode == 2 and 'broken.pth' in result.stderr and 'Traceback' not in result.stderr


def reloaded(monkeypatch, running, signals, **settings):
    """Run a server whose processes do not start at the first SIGHUP; `running` says how many are there."""
    from ray import serve

    from mmvision_mamba.errors import ConfigError
    from mmvision_mamba.serving import server as module
    from mmvision_mamba.serving.application import Settings
    started = []

    class Handle:
        drain = type('drain', (), dict(remote=lambda seconds: type('left', (), dict(result=lambda: 0))))

    def start(settings):
        started.append(settings)
        if len(started) == 2:
            raise ConfigError('the processes with the model do not start: why')
        return Handle

    @contextlib.contextmanager
    def events():
        yield queue
    queue = module.queue.SimpleQueue()
    for number in signals:
        queue.put(number)
    for name, value in dict(_start=start, _events=events, cluster=lambda *given: contextlib.nullcontext(),
                            running=lambda: running(queue), SENDING=0).items():
        monkeypatch.setattr(module, name, value)
    monkeypatch.setattr(serve, 'start', lambda **options: None)
    module.run(Settings('model.onnx', **settings), '127.0.0.1', 0, lambda: None)
    return len(started)


def test_processes_that_do_not_start_when_the_model_is_loaded_again_end_no_server(monkeypatch, capsys):
    """The ones before that are left serve on."""
    assert reloaded(monkeypatch, lambda queue: 1, (signal.SIGHUP, signal.SIGHUP, signal.SIGTERM)) == 3
    printed = capsys.readouterr()
    assert 'the one before serves on: the processes with the model do not start: why' in printed.err
    assert printed.out.splitlines()[1:] == [
        'the model is loaded again', 'stopping: what was let in is answered first', 'stopped']


def test_a_process_that_ends_while_the_model_is_loaded_again_ends_no_server(monkeypatch, capsys):
    """Where it is the only one, none is there until Ray has started another."""
    found = iter([0, 0, 0, 1])

    def running(queue):
        if number := next(found):
            queue.put(signal.SIGTERM)
        return number
    assert reloaded(monkeypatch, running, (signal.SIGHUP,)) == 2
    printed = capsys.readouterr()
    assert 'a process with the model ended as it was loaded again' in printed.err
    assert printed.out.splitlines()[-1] == 'stopped'


def test_where_no_process_is_left_a_signal_is_heeded_and_else_the_server_ends(monkeypatch):
    from mmvision_mamba.errors import ConfigError
    assert reloaded(monkeypatch, lambda queue: 0, (signal.SIGHUP, signal.SIGHUP, signal.SIGTERM)) == 3
    with pytest.raises(ConfigError, match='do not start: why'):
        reloaded(monkeypatch, lambda queue: 0, (signal.SIGHUP,), timeout=1)


@pytest.mark.skipif(not hasattr(socket, 'SO_REUSEPORT'), reason='a port is never shared')
def test_a_port_is_kept_from_other_servers_from_the_start(monkeypatch):
    """Ray's sockets share it with each other: of two servers that start at once, each would answer half."""
    from mmvision_mamba.errors import ConfigError
    from mmvision_mamba.serving import server as module

    def shared(port):
        listening = socket.socket()
        for option in (socket.SO_REUSEADDR, socket.SO_REUSEPORT):
            listening.setsockopt(socket.SOL_SOCKET, option, 1)
        listening.bind(('127.0.0.1', port))
        listening.listen()
        return listening
    tried = []

    def check():
        """Another command of the same port, while this one loads its model; then Ray's socket."""
        port = int(found[0])
        with pytest.raises(ConfigError, match=f'--port {port}: can not listen there'):
            module.run(None, '127.0.0.1', port, lambda: None)
        with shared(port) as listening:
            with pytest.raises(ConfigError, match='can not listen there'):
                module.run(None, '127.0.0.1', port, lambda: None)
            for _ in range(20):  # all come to the one that listens
                with socket.create_connection(('127.0.0.1', port), timeout=5):
                    listening.settimeout(5)
                    listening.accept()[0].close()
        tried.append(port)
        raise ConfigError('enough')
    with socket.create_server(('127.0.0.1', 0)) as free:
        found = [free.getsockname()[1]]
    for _ in range(2):  # again at once: what was there a moment ago is in nobody's way
        with pytest.raises(ConfigError, match='enough'):
            module.run(None, '127.0.0.1', found[0], check)
    assert len(tried) == 2
