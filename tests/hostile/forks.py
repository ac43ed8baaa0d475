"""A command on one hostile input, in a process forked for it, and what it broke of what every command promises."""
import faulthandler
import gc
import logging
import multiprocessing.process
import multiprocessing.util
import os
import re
import resource
import shutil
import signal
import stat
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Collection
from pathlib import Path
from typing import NamedTuple

from mmvision_mamba.allocator import give_freed_memory_back

FORGED = 'FORGED LINE'  # hostile names hold it behind a line break: no line of output may begin with it
SECRET = 'hf_SECRETofthismachine'  # a token of this machine's: no output may hold it
SECONDS, CPU_SECONDS, MEGABYTES = 90, 40, 2500  # an input's limits; the memory is beyond what the fork begins with
_LEVELS = re.compile(r'(\x1b\[\d+m)+(DEBUG|INFO|WARNING|ERROR|CRITICAL)(\x1b\[0m)?')  # as mmengine colours them
_UNFIT = re.compile('[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]')
_ERROR = re.compile('(mmvision-mamba [a-z-]+: )?error: ')
_HALF_WRITTEN = re.compile(r'^\..*\.\d+(\.\w+)?$|\.part$|\.tmp$')


class Outcome(NamedTuple):
    """What became of an input: exit code, output, seconds of CPU time, and the promises that were broken."""

    code: int
    out: str
    err: str
    seconds: float
    broken: list[str]


def attempt(call: Callable[[], int | None], root: Path, codes: Collection[int] = (0, 2), lists: bool = False,
            writes: Collection[Path] = ()) -> Outcome:
    """Call a command in a fork, in the folder root/run.

    Args:
        call: returns the exit code, or raises SystemExit.
        root: holds all inputs; the command may write to root/run alone.
        codes: the exit codes that it documents.
        lists: an error may go on with a line for each input that failed.
        writes: further folders that it may write to.
    """
    run, temporary = root / 'run', root / 'tmp'
    run.mkdir(exist_ok=True)
    temporary.mkdir(exist_ok=True)
    before = _contents(root, (run, *writes))
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err, tempfile.TemporaryFile() as memory:
        pid = os.fork()
        if not pid:
            gc.freeze()  # what this process left to be collected, or has freed, would make room for what the call takes
            give_freed_memory_back()
            # in the fork: it has none of this process's pages of files, hundreds of megabytes of libraries
            os.write(memory.fileno(), str(_memory()[1]).encode())
            _child(call, run, temporary, out.fileno(), err.fileno())
        status, usage, timed_out = _wait(pid)
        out.seek(0)
        err.seek(0)
        memory.seek(0)
        texts = out.read(), err.read()
        resident = int(memory.read())
    code = os.waitstatus_to_exitcode(status)
    broken = [f'still running after {SECONDS} s'] if timed_out else []
    if code not in codes:
        broken.append(f'exit code {code}')
    if usage.ru_maxrss * 1024 > resident + MEGABYTES * 2 ** 20:
        broken.append(f'{usage.ru_maxrss / 1024:.0f} MB of memory')
    if left := _left_behind(pid):
        broken.append(f'processes left behind: {left}')
    broken += _judged(code, *texts, lists)
    after = _contents(root, (run, *writes))
    broken += [f'{"written" if name not in before else "removed" if name not in after else "changed"}: {name!r}'
               for name in sorted({*before, *after}) if before.get(name) != after.get(name)]
    broken += [f'half-written: {str(path)!r}' for path in run.rglob('*') if _HALF_WRITTEN.search(path.name)]
    out_text, err_text = (text.decode(errors='replace') for text in texts)
    return Outcome(code, out_text, err_text, usage.ru_utime + usage.ru_stime, broken)


def _memory() -> tuple[int, int]:
    """Bytes of this process's address space, and those of them in memory."""
    space, resident = Path('/proc/self/statm').read_text().split()[:2]
    return int(space) * os.sysconf('SC_PAGE_SIZE'), int(resident) * os.sysconf('SC_PAGE_SIZE')


def _child(call: Callable[[], int | None], run: Path, temporary: Path, out: int, err: int) -> None:
    os.setsid()
    multiprocessing.process._children = set()  # as in its own forks: the parent's are not this one's
    code: object = 99
    try:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(out, 1)
        os.dup2(err, 2)
        sys.stdout, sys.stderr = (open(number, 'w', encoding='utf-8', errors=errors, closefd=False)  # noqa: SIM115
                                  for number, errors in ((1, 'strict'), (2, 'backslashreplace')))
        faulthandler.enable(2)
        os.chdir(run)
        os.environ['TMPDIR'], tempfile.tempdir = str(temporary), None
        resource.setrlimit(resource.RLIMIT_AS, (_memory()[0] + (MEGABYTES + 1500) * 2 ** 20,) * 2)
        resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS + 5))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        code = call() or 0
    except SystemExit as exit_:
        code = exit_.code or 0
    except BaseException:
        traceback.print_exc()
    if not isinstance(code, int):
        print(code, file=sys.stderr)
        code = 1
    try:
        multiprocessing.util._exit_function()
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    os._exit(code)


def _wait(pid: int) -> tuple[int, resource.struct_rusage, bool]:
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        done, status, usage = os.wait4(pid, os.WNOHANG)
        if done:
            return status, usage, False
        time.sleep(0.005)
    os.kill(pid, signal.SIGABRT)  # says where it is
    time.sleep(1)
    os.killpg(pid, signal.SIGKILL)
    return (*os.wait4(pid, 0)[1:], True)


def _left_behind(session: int) -> list[str]:
    """Command lines of the processes of a session that are still there after a moment; they are killed."""
    for _ in range(20):
        left = _processes(session)
        if not left:
            return []
        time.sleep(0.1)
    names = []
    for pid in left:
        names.append(Path(f'/proc/{pid}/cmdline').read_text().replace('\0', ' ')[:80])
        os.kill(pid, signal.SIGKILL)
    return names


def _processes(session: int) -> list[int]:
    found = []
    for entry in Path('/proc').iterdir():
        if entry.name.isdecimal():
            try:
                state, _, _, its_session = (entry / 'stat').read_text().rpartition(')')[2].split()[:4]
            except OSError:
                continue
            if int(its_session) == session and state not in 'ZX':
                found.append(int(entry.name))
    return found


def _judged(code: int, out: bytes, err: bytes, lists: bool) -> list[str]:
    """What the output broke."""
    broken = []
    try:
        texts = [_LEVELS.sub('', text.decode()) for text in (out, err)]
    except UnicodeDecodeError as error:
        return [f'output that is no UTF-8: {error}']
    for text in texts:
        if 'Traceback (most recent call last)' in text or 'Logging error' in text:
            broken.append('a traceback')
        if match := _UNFIT.search(text):
            broken.append(f'{match[0]!r} in the output: {text[max(0, match.start() - 60):match.end() + 20]!r}')
        if SECRET in text:
            broken.append('a token in the output')
        if any(line.startswith(FORGED) for line in text.splitlines()):
            broken.append('a forged line')
    lines = texts[1].splitlines()
    if code == 2:
        starts = [i for i, line in enumerate(lines) if _ERROR.match(line)]
        if len(starts) != 1:
            broken.append(f'{len(starts)} lines of errors')
        elif len(lines) - starts[0] > 2 and not lists and 'Expected:' not in texts[1]:  # which layouts there are
            broken.append(f'an error of {len(lines) - starts[0]} lines')
    if any(len(line) > 4100 for line in lines):
        broken.append(f'a line of {max(map(len, lines))} characters')
    return broken


def _contents(root: Path, without: Collection[Path]) -> dict[str, tuple]:
    """{path: what tells that it changed} of all below a folder; links are not followed."""
    left_out, found = {os.fspath(path) for path in without}, {}
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if os.path.join(folder, name) not in left_out]
        for name in {*folders, *files} - {'.ses'}:  # of onnxruntime
            path = os.path.join(folder, name)
            info = os.lstat(path)
            size = (info.st_size, info.st_mtime_ns) if stat.S_ISREG(info.st_mode) else ()
            found[path] = (info.st_mode, *size)
    return found


def remove(root: Path) -> None:
    """Remove a folder, whatever its permissions."""
    for folder, _, _ in os.walk(root):
        os.chmod(folder, 0o700)
    shutil.rmtree(root)
