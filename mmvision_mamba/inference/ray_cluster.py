"""A Ray cluster for the time that something runs on it: one that is there, or one of this machine alone."""
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from ..checkout import import_path
from ..errors import DataError, MissingExtraError

# Ends processes when its standard input ends, as it does with the driver, by SIGKILL too. By handles, not by numbers:
# those of processes that ended long ago may be others' by now.
_GUARD = '''
import os, signal, sys
handles = []
for number in sys.argv[1:]:
    try:
        handles.append(os.pidfd_open(int(number)))
    except OSError:
        pass
sys.stdin.buffer.read()
for handle in handles:
    try:
        signal.pidfd_send_signal(handle, signal.SIGKILL)
    except OSError:
        pass
'''


@contextmanager
def cluster(address: str, workers: int, what: str, extra: str = 'ray', store: int = 128) -> Iterator[ModuleType]:
    """Connect to a cluster, and leave it at the end.

    Args:
        address: of the cluster; 'local' starts one on this machine for this process alone.
        workers: processes that are to work there, of one CPU each.
        what: needs Ray, for errors.
        extra: that installs it. Default: 'ray'.
        store: megabytes of memory for what processes of a local cluster send each other. Default: 128, for numbers.

    Yields:
        The module `ray`.

    Raises:
        MissingExtraError: Ray is not installed.
        DataError: there is no cluster at `address`.
    """
    if address == 'local' and 'ray' not in sys.modules:  # which reads these at its import
        # A cluster's ports are open to other machines, and whoever may connect may run code: those who know this.
        os.environ.setdefault('RAY_AUTH_MODE', 'token')
        os.environ.setdefault('RAY_AUTH_TOKEN', secrets.token_hex(32))
    try:
        os.environ['RAY_USAGE_STATS_ENABLED'] = '0'  # no reports to Ray's authors; read at the import
        os.environ.setdefault('RAY_worker_niceness', '0')  # Ray's default, 15, gives way to every other process
        import ray
    except ImportError:
        raise MissingExtraError(what, extra) from None

    options = dict(runtime_env=dict(env_vars=dict(import_path(), RAY_USAGE_STATS_ENABLED='0')),
                   log_to_driver=False, logging_level='ERROR', configure_logging=True)
    if address == 'local':  # one CPU more for Ray Data's tasks
        options.update(num_cpus=workers + 1, include_dashboard=False, object_store_memory=store * 2**20)
    others = _children()
    try:
        ray.init(address=address, **options)
    except (ConnectionError, ValueError) as error:
        raise DataError(f'no Ray cluster at {address!r} ({str(error).splitlines()[0]})') from None
    with _guarded(_children() - others if address == 'local' else set()):
        yield ray


def gone() -> tuple[type[Exception], ...]:
    """What Ray raises where a process that was asked is no more: it died, or Ray ended it as memory ran out."""
    from ray import exceptions
    return exceptions.RayActorError, exceptions.ActorUnavailableError, exceptions.OutOfMemoryError


def _children() -> set[int]:
    """Numbers of the processes that this one has started, and of those that they have."""
    import psutil  # Ray brings it
    return {child.pid for child in psutil.Process().children(recursive=True)}


@contextmanager
def _guarded(daemons: set[int]) -> Iterator[None]:
    """Shut Ray down at the end; on Linux, have its daemons end with this process, if that is killed.

    Most of them do so by themselves, but two agents stay for a minute or so.
    """
    import ray
    guard = None
    if daemons and hasattr(os, 'pidfd_open'):
        guard = subprocess.Popen([sys.executable, '-c', _GUARD, *map(str, daemons)], stdin=subprocess.PIPE,
                                 start_new_session=True)
    try:
        yield
    finally:
        ray.shutdown()
        if guard is not None:
            guard.kill()
            guard.communicate()
