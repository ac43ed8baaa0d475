"""Processes with a time of their own: lanes of parts, and commands beside them. None outlives this process."""
import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from .stages import Part

# Runs a command, and ends its process group with this process, whose pipe nobody else holds: after SIGKILL too.
_GUARD = '''
import os, subprocess, sys, threading
def end():
    os.read(0, 1)
    os.killpg(0, 9)
threading.Thread(target=end, daemon=True).start()
sys.exit(subprocess.call(sys.argv[1:], stdin=subprocess.DEVNULL))
'''
_POLL = 0.1  # seconds
AFTER_FAULT = 75  # exit code of a process that has left a part's result, and can do no more


class Process:
    """A command whose output goes to a log, in a process group of its own: what it starts ends with it."""

    def __init__(self, command: list, log: Path, environment: dict[str, str], cwd: Path | None = None):
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open('a') as file:
            self._process = subprocess.Popen(
                [sys.executable, '-c', _GUARD, *map(str, command)], stdin=subprocess.PIPE, stdout=file,
                stderr=subprocess.STDOUT, start_new_session=True, env={**os.environ, **environment}, cwd=cwd)

    def poll(self) -> int | None:
        """The exit code; None: it runs."""
        return self._process.poll()

    def wait(self, seconds: float) -> int | None:
        """As `poll`, after at most so many seconds."""
        try:
            return self._process.wait(max(0., seconds))
        except subprocess.TimeoutExpired:
            return None

    def end(self) -> None:
        """Kill it with all that it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, 9)
        self._process.wait()
        self._process.stdin.close()

    def last_words(self) -> str:
        """The last line of its log that says something."""
        lines = [line.strip() for line in self.log.read_text(errors='replace').splitlines()]
        return next((line for line in reversed(lines) if line), '')[:300]


class Lane:
    """Parts one after another in one process.

    A part that kills its process, or takes longer than its time, is left out, and a new process takes those after it.
    So it does where a process ends with AFTER_FAULT, which leaves out none.

    Args:
        parts: what is to be done.
        start: starts the process that does the parts given, writing each one's result.
        results: part -> the file that the process writes, whole, when the part has ended.
        note: called with each part that ended, its seconds, and why it has no result ('': it has one).
    """

    def __init__(self, parts: tuple[Part, ...], start: Callable[[list[Part]], Process],
                 results: Callable[[Part], Path], note: Callable[[Part, float, str], None]):
        self.left, self._start, self._results, self._note = list(parts), start, results, note
        self._process: Process | None = None
        self._since = 0.

    def step(self, until: float) -> bool:
        """See how far the parts are; at `until` (of `time.monotonic`) the rest is left out. Whether any are left."""
        now = time.monotonic()
        while self.left and self._results(self.left[0]).exists():
            self._finish('')
        if self.left and now >= until:
            running = self._process is not None
            while self.left:
                self._finish('ended with its stage, whose time was over' if running else
                             "not begun before its stage's time was over")
                running = False
        elif self.left and self._process is None:
            self._process, self._since = self._start(self.left), now
        elif self.left and (code := self._process.poll()) is not None:
            if code == AFTER_FAULT:
                self.end()
            elif not self._results(self.left[0]).exists():
                self._fail(f'its process ended with code {code}: {self._process.last_words()}')
        elif self.left and now - self._since > self.left[0].seconds:
            self._fail(f'took longer than its {self.left[0].seconds:.0f} s')
        if not self.left:
            self.end()
        return bool(self.left)

    def end(self) -> None:
        if self._process is not None:
            self._process.end()
            self._process = None

    def _fail(self, why: str) -> None:
        self.end()
        self._finish(why)

    def _finish(self, why: str) -> None:
        now = time.monotonic()
        self._note(self.left.pop(0), now - self._since if self._since else 0., why)
        self._since = now


def run_lanes(lanes: list[Lane], until: float) -> None:
    """Run lanes side by side until all are done, or it is `until` (of `time.monotonic`)."""
    try:
        while sum(lane.step(until) for lane in lanes):  # each of them, where any() would stop at the first
            time.sleep(_POLL)
    finally:
        for lane in lanes:
            lane.end()


def read_result(path: Path) -> dict:
    """What a part left; {} where there is no such file."""
    return json.loads(path.read_text()) if path.exists() else {}
