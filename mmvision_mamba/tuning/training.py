"""A trial's training: `mmvision-mamba train` in a process of its own, whose validations are read from its log."""
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ..checkout import import_path
from ..errors import DataError, UserError
from ..files import read_text
from ..printable import shown
from ..visualization.curves import read_run

OUTPUT = 'output.txt'  # in a trial's folder: what its training printed
_SECONDS = 15  # until a process that is asked to end is killed

# Trains, and ends when its standard input does: with the process that started it, by SIGKILL too.
_PROGRAM = '''
import os, signal, sys, threading

def watch():  # by the file's number: at the interpreter's end nothing may wait for a Python stream
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGKILL)

threading.Thread(target=watch, daemon=True).start()
from mmvision_mamba.commands import main
sys.exit(main('train', sys.argv[1:]))
'''


class Job(NamedTuple):
    """What a trial's process is started with.

    Attributes:
        arguments: of `mmvision-mamba train`.
        folder: the trial's, absolute: its work directory.
        cwd: the folder that relative paths of the config start from.
        environment: variables besides this process's.
    """
    arguments: tuple[str, ...]
    folder: str
    cwd: str
    environment: dict[str, str]


class Progress(NamedTuple):
    """How far a training has come.

    Attributes:
        validations: {name of a metric: its values so far}.
        code: exit code of its process, below 0 the number of a signal; None: it goes on.
        problem: why it failed, in a line or two; '' where it did not.
    """
    validations: dict[str, list[float]]
    code: int | None
    problem: str = ''


class Training:
    """Trains one trial after the other; each has a process of its own, for a crash to end that alone."""

    def __init__(self) -> None:
        self._process: subprocess.Popen | None = None
        self._job: Job | None = None
        self._read: tuple[int, dict[str, list[float]]] = (0, {})  # length of the log, and what it held

    def start(self, job: Job) -> None:
        """Begin a training.

        Raises:
            OSError: no process can be started, or the trial's folder can't be written to.
        """
        self._job, self._read = job, (0, {})
        environment = {**os.environ, **import_path(), **job.environment}
        with open(Path(job.folder, OUTPUT), 'wb') as output:
            self._process = subprocess.Popen(
                [sys.executable, '-c', _PROGRAM, *job.arguments], stdin=subprocess.PIPE, stdout=output,
                stderr=subprocess.STDOUT, cwd=job.cwd, env=environment, start_new_session=True)

    def poll(self) -> Progress:
        """How far it has come."""
        assert self._process is not None and self._job is not None
        code = self._process.poll()  # before the log is read: what comes after it is not missed
        problem = '' if code in (None, 0) else self._problem(code)
        try:
            validations = self._validations(last=code is not None)
        except UserError as error:
            return Progress({}, code, problem or str(error))
        return Progress(validations, code, problem)

    def stop(self) -> None:
        """End the training, with all processes that it has started; without effect where it has ended."""
        if self._process is None:
            return
        for number in (signal.SIGTERM, signal.SIGKILL):
            if self._process.poll() is None:
                self._signal(number)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(_SECONDS)
        self._signal(signal.SIGKILL)  # workers that it has left
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process = None

    def _signal(self, number: int) -> None:
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)  # of the session that it began

    def _validations(self, last: bool) -> dict[str, list[float]]:
        assert self._job is not None
        logs = sorted(Path(self._job.folder).glob('*/vis_data/scalars.json'))
        size = sum(log.stat().st_size for log in logs)
        if size != self._read[0]:
            try:
                run = read_run(self._job.folder)
            except DataError:  # nothing is there yet, or a line is being written
                if last:
                    raise
                return self._read[1]
            self._read = size, {name: [value for _, value in points] for name, points in run.val.items()
                                if name not in ('time', 'data_time', 'memory')}
        return self._read[1]

    def _problem(self, code: int) -> str:
        """Why the process failed: its error, or else the last line that it printed."""
        assert self._job is not None
        try:
            lines = read_text(Path(self._job.folder, OUTPUT)).splitlines()
        except (OSError, UnicodeError):
            lines = []
        if code < 0:
            name = signal.Signals(-code).name if -code in [*signal.Signals] else str(-code)
            return f'its process was ended by {name}{", as where memory runs out" * (code == -signal.SIGKILL)}'
        found = next((i for i in reversed(range(len(lines))) if lines[i].startswith('error: ')), None)
        if found is not None:
            return '\n'.join([lines[found].removeprefix('error: '), *(
                line.strip() for line in lines[found + 1:found + 3] if line.startswith('  '))])
        said = next((line for line in reversed(lines) if line.strip()), f'exit code {code}')
        return shown(said.strip(), 500)


def wait(seconds: float = 0.5) -> None:
    """Let trainings go on for a while."""
    time.sleep(seconds)


def command_of(config: str | os.PathLike, options: Sequence[str]) -> tuple[str, ...]:
    """The command that trains a config, as words for a shell."""
    return ('mmvision-mamba', 'train', os.fspath(config), *options)
