"""Reports errors of the input in a line or two with an exit code; any other error is a bug and keeps its traceback."""
import contextlib
import errno
import inspect
import logging
import os
import re
import select
import sys
import traceback
import warnings
from collections.abc import Iterator
from types import FrameType
from typing import TextIO

from ..errors import UserError
from ..installation import WITHOUT_PARTS, problem, with_mmcv_lite
from ..mmcv_ops import source
from ..printable import printable, shown
from ..processes import is_first_process, part_processes, was_restarted
from ..work_dirs import hold, make_work_dir, remove_empty, remove_log_folders
from .pipeline_errors import missing_in_pipeline

_LIBRARIES = ('mmcv', 'mmdet', 'mmengine', 'mmseg', 'torch')  # whose classes say what is wrong with their arguments

_FULL = (errno.ENOSPC, errno.EDQUOT)
_STARTERS = ('threading', 'multiprocessing', 'subprocess')  # of threads and processes
# What PyTorch's norms say of maps of one pixel: of one image in the batch, or of any number.
_SINGLE_VALUES = ('Expected more than 1 value per channel', 'Expected more than 1 spatial element')
_LONGEST = 2000  # characters of a line of a message


@contextlib.contextmanager
def user_errors() -> Iterator[None]:
    """Turn errors of the input into a line or two on stderr and their exit code."""
    with _held_warnings() as held:
        try:
            yield
        except Exception as error:
            message = _user_message(error)
            if message is None:
                raise
            held.clear()  # the error says what is broken
            print(_lines(message), file=sys.stderr, flush=True)
            sys.exit(getattr(error, 'exit_code', UserError.exit_code))
        part_processes()


@contextlib.contextmanager
def closed_output() -> Iterator[None]:
    """End in silence, with exit code 141, where a program that reads this one's output has ended, such as `head`.

    That is the code of shells for programs that SIGPIPE ends; Python ignores this signal.
    """
    try:
        try:
            yield
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()  # or the interpreter would, when nothing can be done any more
    except BrokenPipeError:
        closed = [stream for stream in (sys.stdout, sys.stderr) if stream is not None and _is_closed(stream)]
        if not closed:  # another pipe's, or a connection's
            raise
        for stream in closed:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())  # for all that is still to be flushed
        sys.exit(141)


@contextlib.contextmanager
def interruptions() -> Iterator[None]:
    """Have a process that is interrupted (Ctrl-C, SIGINT) end with a word in place of a traceback.

    It ends as by the signal, 130 for a shell, which then stops a script that has started it.
    """
    try:
        yield
    except KeyboardInterrupt:
        sys.excepthook = lambda *_: print('interrupted', file=sys.stderr, flush=True)
        raise


def _is_closed(stream: TextIO) -> bool:
    """Whether a stream is a pipe without a reader."""
    try:
        if not hasattr(select, 'poll'):  # on Windows
            stream.flush()
            return False
        poll = select.poll()
        poll.register(stream.fileno(), 0)
        return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))
    except BrokenPipeError:
        return True
    except (OSError, ValueError):  # it is no file, or closed by this process itself
        return False


@contextlib.contextmanager
def raising_user_errors() -> Iterator[None]:
    """Raise errors of the input as a UserError with the lines that a command prints; for Python, where none ends."""
    try:
        yield
    except Exception as error:
        message = _user_message(error)
        if message is None or (isinstance(error, UserError) and message == str(error)):
            raise
        raise (type(error) if isinstance(error, UserError) else UserError)(message) from error


@contextlib.contextmanager
def _held_warnings() -> Iterator[list[str]]:
    """Keeps warnings of this package's parts that can't be used until the end, and prints those that are left then."""
    held: list[str] = []
    show = warnings.showwarning

    def hold(message, *args, **kwargs) -> None:
        if str(message).startswith(WITHOUT_PARTS):
            held.append(str(message))
        else:
            show(message, *args, **kwargs)

    warnings.showwarning = hold
    try:
        yield held
    finally:
        warnings.showwarning = show
        for message in held:
            print(_lines(message, 'warning'), file=sys.stderr, flush=True)


def open_streams() -> None:
    """Open the null device in the place of standard streams that are closed (`>&-`).

    Their numbers would go to the next files that are opened, and what C libraries print into these; and of Python's
    streams, which are None then, many packages take a method.
    """
    for number, name in enumerate(('stdin', 'stdout', 'stderr')):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest number that is free
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, 'r' if name == 'stdin' else 'w', encoding='utf-8'))  # noqa: SIM115


def printable_output() -> None:
    """Escape what a terminal would obey in this process's log records, and in all its output what can't be encoded."""
    make = logging.getLogRecordFactory()
    if not getattr(make, 'printable', False):
        def printable_record(*args, **kwargs) -> logging.LogRecord:
            record = make(*args, **kwargs)
            with contextlib.suppress(TypeError, ValueError):  # arguments that don't fit: logging reports them
                record.msg, record.args = printable(record.getMessage()), ()
            return record

        printable_record.printable = True
        logging.setLogRecordFactory(printable_record)
    logging.Handler.handleError = _tell_once
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, 'reconfigure'):
            stream.reconfigure(errors='backslashreplace')


_untold = [True]


def _tell_once(handler: logging.Handler, record: logging.LogRecord) -> None:
    """In place of a traceback for each line of a log that can't be written."""
    if _untold:
        _untold.clear()
        where = getattr(handler, 'baseFilename', 'the screen')
        with contextlib.suppress(OSError, ValueError):
            print(_lines(f'the log in {shown(where)} is not complete: {shown(sys.exc_info()[1])}', 'warning'),
                  file=sys.stderr, flush=True)


def _lines(message: str, kind: str = 'error') -> str:
    """The message behind its kind, its further lines indented: none can be taken for output of the command."""
    first, *others = printable(message).splitlines() or ['']
    return '\n'.join([f'{kind}: {shown(first, _LONGEST)}', *(
        ' ' * (2 * (not line.startswith('  '))) + shown(line, _LONGEST) for line in others)])


class Start:
    """A run that is about to begin. The command sets its `runner` once that is built."""
    runner = None


@contextlib.contextmanager
def removing_failed_start(work_dir: str, alone: bool = False) -> Iterator[Start]:
    """Make `work_dir`, and remove a run's logs from it if an error of the input, or Ctrl-C, ends it before its first
    iteration.

    What others wrote there stays; after a bug nothing is removed.

    Args:
        work_dir: the folder that the run writes to.
        alone: whether to hold it against other processes, as a training does; one that torchrun or Slurm started again
            waits up to two minutes, for a file server may take that long to notice that the one before is dead.

    Yields:
        A `Start`, whose `runner` the command sets.

    Raises:
        ConfigError: the folder can't be written to, or another run holds it.
    """
    start, made, failed = Start(), [], False
    try:
        with contextlib.ExitStack() as stack:
            if is_first_process():
                made = make_work_dir(work_dir)
                if alone:
                    stack.enter_context(hold(work_dir, wait=120 if was_restarted() else 1))
            try:
                yield start
            except (Exception, KeyboardInterrupt) as error:
                # mmengine 0.10.7 has no seam here: `runner.iter` builds the loop, which may be just what failed.
                iterations = getattr(getattr(start.runner, '_train_loop', None), 'iter', 0)
                failed = not iterations and (
                    isinstance(error, KeyboardInterrupt) or _user_message(error) is not None)
                if failed:
                    _close_writers(work_dir)
                    remove_log_folders(work_dir)
                raise
    finally:
        if failed:
            remove_empty(made)


def _close_writers(work_dir: str) -> None:
    """End visualisers that write below `work_dir`: TensorBoard's thread would make the removed file anew."""
    if 'mmengine.visualization' not in sys.modules:
        return
    from mmengine.visualization import Visualizer
    root = os.path.join(os.path.realpath(work_dir), '')
    # mmengine 0.10.7 has no seam here: the runner may have failed before it can be asked for its visualiser.
    for visualizer in Visualizer._instance_dict.values():
        for backend in visualizer._vis_backends.values():
            if os.path.realpath(backend._save_dir).startswith(root):
                backend.close()


def _user_message(error: Exception) -> str | None:
    """The lines to print for an error of the input; None for a bug."""
    if isinstance(error, UserError):
        # A DataLoader worker's error comes with its traceback as text; the message is behind the class's name.
        return re.split(rf'{type(error).__module__}\.{type(error).__qualname__}: ', str(error))[-1].strip()
    if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
        return f'no further file may be opened: {error.strerror}.\nRaise the limit, such as by `ulimit -n 4096`'
    if _is_failed_start(error):
        return (f'no further thread or process can be started: {shown(getattr(error, "strerror", None) or error)}.\n'
                'Raise the limit of processes (`ulimit -u`, of a container its pids limit) or of memory (`ulimit -v`), '
                'or use fewer workers and threads')
    if isinstance(error, OSError) and (error.filename is not None or error.errno in _FULL):
        return f'{shown(error.filename)}: {error.strerror}' if error.filename is not None else str(error.strerror)
    if isinstance(error, UnicodeEncodeError) and error.encoding == sys.getfilesystemencoding() \
            and error.reason == 'surrogates not allowed':
        return f"'{shown(error.object)}': no file can have this name ({error.reason})"
    if 'torch' in sys.modules and isinstance(error, MemoryError | RuntimeError):
        from ..inference.failures import is_memory_error
        if is_memory_error(error) or 'Storage size calculation overflowed' in str(error):
            return (f'there is too little memory: {shown(str(error).partition(chr(10))[0] or type(error).__name__)}.\n'
                    'Take smaller images, or fewer at once')
    if isinstance(error, RuntimeError) and 'BFloat16' in str(error) and _on_cpu():
        other = f', or with mmcv-lite: {with_mmcv_lite()}' if source().kind == 'compiled' else ''
        return (f'--amp: an operator of this model has no bfloat16 kernel for CPUs ({error}).\n'
                f'Train in float32, without --amp{other}.')
    if (known := problem(error, 'this command')) is not None:
        return str(known)
    if isinstance(error, ImportError | RuntimeError) and 'is not installed' in str(error):
        return shown(error, _LONGEST)  # lvis, pycocoevalcap and the like, each with the way to get it
    if isinstance(error, ValueError) and str(error).startswith(_SINGLE_VALUES):
        return (f'a norm has one value to normalise, which has no variance: {shown(error)}.\n'
                'Set train_dataloader.batch_size to 2 or more, with train_dataloader.drop_last=True, or take larger '
                'images')
    built = _class_being_built(error.__traceback__)
    if isinstance(error, KeyError) and 'is not in the' in str(error):
        return shown(str(error.args[0]).split('. Please check')[0], _LONGEST)
    if isinstance(error, TypeError | KeyError) and (part := _part_without_class(error)) is not None:
        return part
    if isinstance(error, KeyError | AttributeError | AssertionError | RuntimeError) and _of_library(_raised_in(error)) \
            and (missing := missing_in_pipeline(error)) is not None:
        return missing
    if isinstance(error, ValueError | AssertionError | KeyError) and built \
            and (_of_library(built.__module__) or _raised_by_library(error, built)):
        said = error.args[0] if error.args else traceback.extract_tb(error.__traceback__)[-1].line  # a bare assertion
        return f'{built.__name__}, as the config has it: {" ".join(str(said).split())}'
    if isinstance(error, RuntimeError | LookupError | AttributeError | ArithmeticError) and built \
            and _of_library(built.__module__) and _of_library(_raised_in(error)):  # such as sides below 0
        return f'{built.__name__}, as the config has it: {shown(error) or type(error).__name__}'
    if isinstance(error, TypeError) and 'mmengine' in sys.modules:
        from ..preflight.keys import unknown_argument
        if (message := unknown_argument(error, built)) is not None:
            return message
        if built and _of_library(built.__module__):  # an argument of another type than it takes
            return f'{built.__name__}, as the config has it: {" ".join(str(error).split())}'
    return None


def _is_failed_start(error: Exception) -> bool:
    """Whether the system has started no thread or process, for a limit or want of memory."""
    if isinstance(error, RuntimeError):
        return str(error).startswith("can't start new thread")
    return isinstance(error, OSError) and error.errno in (errno.EAGAIN, errno.ENOMEM) and any(
        step.f_globals.get('__name__', '').split('.')[0] in _STARTERS
        for step, _ in traceback.walk_tb(error.__traceback__))


def _part_without_class(error: Exception) -> str | None:
    """The line for a part of the config that is no dict, or has no type; None for other errors."""
    frame = _frame(error)
    if frame.f_code.co_name != 'build_from_cfg' or frame.f_locals.get('obj_cls') is not None \
            or 'registry' not in frame.f_locals:
        return None
    return (f'a {shown(frame.f_locals["registry"].name)} of the config is {shown(frame.f_locals.get("cfg"), 200)}: '
            'expected a dict with a type, the name of a class')


def _of_library(module: str) -> bool:
    return module.split('.')[0] in _LIBRARIES


def _raised_by_library(error: Exception, built: type) -> bool:
    """Whether a library's class, from which this package's `built` derives, refused what the config gives."""
    holder, cls = map(_frame(error).f_locals.get, ('self', 'cls'))  # a method's, or a class method's
    return _of_library(_raised_in(error)) and (isinstance(holder, built) or cls is built)


def _raised_in(error: Exception) -> str:
    """The name of the module whose code raised an error."""
    return _frame(error).f_globals.get('__name__', '')


def _frame(error: Exception) -> FrameType:
    last = error.__traceback__
    while last.tb_next is not None:
        last = last.tb_next
    return last.tb_frame


def _on_cpu() -> bool:
    if 'mmengine' not in sys.modules:  # then `--amp` was no option
        return False
    from mmengine.device import get_device
    return get_device() == 'cpu'


def _class_being_built(step):
    """The class whose construction from a config failed, or None. PyTorch's own, which others build, say less."""
    built = None
    while step is not None:
        if step.tb_frame.f_code.co_name == 'build_from_cfg':
            found = step.tb_frame.f_locals.get('obj_cls', built)
            if built is None or not getattr(found, '__module__', '').startswith('torch.nn.'):
                built = found
        step = step.tb_next
    return built if inspect.isclass(built) else None
