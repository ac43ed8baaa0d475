"""What commands make of errors that are no input's."""
import errno
import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from mmvision_mamba.commands import errors
from mmvision_mamba.commands.errors import closed_output, printable_output

from ..helpers import ROOT

if os.name != 'posix':
    pytest.skip('pipes are of POSIX', allow_module_level=True)


@pytest.fixture
def closed_pipe():
    """The writing end of a pipe that nobody reads."""
    reading, writing = os.pipe()
    os.close(reading)
    yield writing
    os.close(writing)


def test_a_command_whose_output_nobody_reads_ends_in_silence(closed_pipe):
    done = subprocess.run([sys.executable, '-m', 'mmvision_mamba', 'config', '--list'], stdout=closed_pipe,
                          stderr=subprocess.PIPE, text=True, env={**os.environ, 'PYTHONPATH': str(ROOT)})
    assert (done.returncode, done.stderr) == (141, '')


def test_files_do_not_get_the_numbers_of_streams_that_are_closed(tmp_path):
    """What a C library prints to them would be written into these files."""
    done = subprocess.run(
        ['sh', '-c', f'"{sys.executable}" -c "$CODE" config --list <&- >&- 2>&-'], env={
            **os.environ, 'PYTHONPATH': str(ROOT), 'CODE': f"""
import os, sys
from mmvision_mamba.commands import main
code = main()
with open({str(tmp_path / 'a.txt')!r}, 'w') as file:
    file.write(str((code, file.fileno() > 2, *(stream.write('') for stream in (sys.stdout, sys.stderr)))))
    file.flush()
    os.write(2, b'libjpeg: warning')
"""}, timeout=120)
    assert done.returncode == 0
    assert (tmp_path / 'a.txt').read_text() == '(0, True, 0, 0)'


def test_an_interrupted_command_ends_with_a_word(tmp_path):
    process = subprocess.Popen(
        [sys.executable, '-m', 'mmvision_mamba', 'make-shapes', tmp_path / 'shapes', '--train', '1000000'],
        stderr=subprocess.PIPE, text=True, env={**os.environ, 'PYTHONPATH': str(ROOT)},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))  # ignored in the background
    try:
        while process.poll() is None and not os.listdir(tmp_path):  # it makes them in a folder beside their place
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        assert (process.communicate(timeout=60)[1], process.returncode) == ('interrupted\n', -signal.SIGINT)
    finally:
        process.kill()
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize('name', ['stdout', 'stderr'])
def test_an_output_that_is_closed_while_it_is_written(name, closed_pipe, monkeypatch):
    with open(os.dup(closed_pipe), 'w') as stream:
        monkeypatch.setattr(sys, name, stream)
        with pytest.raises(SystemExit) as exit_, closed_output():
            print('x' * 10**6, file=stream, flush=True)
        assert exit_.value.code == 141
        stream.flush()  # as the interpreter does at its end


def test_another_pipe_that_breaks_is_an_error(closed_pipe):
    with pytest.raises(BrokenPipeError), closed_output():
        os.write(closed_pipe, b'x')


def test_a_limit_of_open_files_is_told_with_the_way_out(capsys):
    with pytest.raises(SystemExit) as exit_, errors.user_errors():
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))  # of a pipe: it has no name
    assert exit_.value.code == 2
    first, second = capsys.readouterr().err.splitlines()
    assert first == 'error: no further file may be opened: Too many open files.' and 'ulimit -n' in second


@pytest.mark.parametrize('start', ['thread', 'fork', 'program'])
def test_a_thread_or_process_that_can_not_be_started_is_told_with_the_way_out(start, capsys, monkeypatch):
    def refuse(*args):
        if start == 'thread':
            raise RuntimeError("can't start new thread")
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(threading, '_start_new_thread', refuse)
    monkeypatch.setattr(os, 'fork', refuse, raising=False)
    monkeypatch.setattr(subprocess, '_fork_exec', refuse, raising=False)
    monkeypatch.setattr(subprocess, '_USE_POSIX_SPAWN', False, raising=False)
    calls = dict(thread=threading.Thread(target=print).start, program=lambda: subprocess.run([sys.executable, '-V']),
                 fork=lambda: multiprocessing.get_context('fork').Process(target=print).start())
    with pytest.raises(SystemExit) as exit_, errors.user_errors():
        calls[start]()
    assert exit_.value.code == 2
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith('error: no further thread or process can be started: ') and 'ulimit -u' in second


def test_a_log_that_can_not_be_written_is_told_once(capsys, monkeypatch):
    monkeypatch.setattr(logging.Handler, 'handleError', logging.Handler.handleError)
    monkeypatch.setattr(logging, '_logRecordFactory', logging.getLogRecordFactory())
    monkeypatch.setattr(errors, '_untold', [True])
    printable_output()

    class Full:
        def write(self, text):
            raise OSError(errno.ENOSPC, 'No space left on device')

        def flush(self):
            pass
    logger = logging.getLogger('of a full disk')
    logger.addHandler(logging.StreamHandler(Full()))
    logger.propagate = False
    for _ in range(3):
        logger.error('x')
    err = capsys.readouterr().err
    assert err.count('\n') == 1 and 'is not complete: [Errno 28] No space left' in err, err
