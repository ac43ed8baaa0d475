"""Runs the application on this machine until a signal ends it: SIGTERM and Ctrl-C answer what was let in first."""
import logging
import queue
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from ..errors import ConfigError
from ..inference.ray_cluster import cluster
from ..printable import shown
from .application import APPLICATION, Settings, application, running

STOP = (signal.SIGINT, signal.SIGTERM)
SENDING = 1  # seconds for the last answers to leave
_LOGS = dict(log_level='ERROR', enable_access_log=False)
STORE = 512  # megabytes of memory for images on their way to the model


def run(settings: Settings, host: str, port: int, check) -> None:
    """Serve until SIGTERM or SIGINT; SIGHUP starts the processes anew, one after the other.

    Args:
        settings: what is served.
        host, port: where to listen. 0: any free port.
        check: loads the model, and raises UserError where that can't be used.

    Raises:
        ConfigError: nothing can listen there. UserError: of `check`.
        MissingExtraError: Ray Serve isn't installed.
    """
    with _kept_port(host, port) as port:
        check()
        _serve(settings, host, port, check)


def _serve(settings: Settings, host: str, port: int, check) -> None:
    from ray import serve
    with cluster('local', settings.replicas, 'serving', 'serve', STORE), _events() as events:
        logging.getLogger('ray.serve').setLevel('ERROR')
        serve.start(http_options=dict(host=host, port=port), logging_config=_LOGS)
        handle = _start(settings)
        address = f'[{host}]' if ':' in host else host
        print(f'serving http://{address}:{port}/predict  (Ctrl-C or SIGTERM ends it, SIGHUP loads the model again)',
              flush=True)
        while (event := _next(events)) not in STOP:
            if event is not None:
                try:
                    check()
                    handle = _start(settings)
                except Exception as error:  # a server that runs doesn't end for a file that is broken
                    # Ray calls it a failure, too, where one ends as others begin, and starts another in its place.
                    said = 'the model is not loaded again, and the one before serves on'
                    if not running():  # the last process with the model before had to go for a new one
                        said = 'a process with the model ended as it was loaded again'
                        if not _recovers(settings.timeout, events):
                            raise
                    print(f'{said}: {_first_line(error)}', file=sys.stderr, flush=True)
                    continue
                print('the model is loaded again', flush=True)
        print('stopping: what was let in is answered first', flush=True)
        left = handle.drain.remote(settings.timeout).result()
        time.sleep(SENDING)
        print(f'stopped, {left} requests unanswered' if left else 'stopped', flush=True)


def _start(settings: Settings):
    """Start the application, or in the place of a running one its processes anew; returns a handle of its front."""
    from ray import serve
    try:
        return serve.run(application(settings), name=APPLICATION, route_prefix='/', logging_config=_LOGS)
    except RuntimeError as error:  # its text ends in the traceback of a process
        lines = str(error).strip().splitlines() or ['']
        raise ConfigError(f'the processes with the model do not start: {shown(lines[-1], 500)}') from error


def _recovers(seconds: float, events: 'queue.SimpleQueue[int]') -> bool:
    """Whether a process with the model is there within some seconds, or a signal comes, which says what is next."""
    until = time.monotonic() + seconds
    while not running() and events.empty():
        if time.monotonic() > until:
            return False
        time.sleep(.2)
    return True


def _first_line(error: Exception) -> str:
    lines = str(error).splitlines()
    return shown(lines[0], 500) if lines else type(error).__name__


@contextmanager
def _events() -> Iterator['queue.SimpleQueue[int]']:
    """The signals that come, in order; a second one that is to end the process does so at once."""
    events: queue.SimpleQueue[int] = queue.SimpleQueue()
    seen: list[int] = []

    def note(number, frame):
        if number in STOP:
            if seen:
                raise KeyboardInterrupt
            seen.append(number)
        events.put(number)
    numbers = [*STOP, *([signal.SIGHUP] if hasattr(signal, 'SIGHUP') else [])]
    before = {number: signal.signal(number, note) for number in numbers}
    try:
        yield events
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _next(events) -> int | None:
    """The next signal; None after a second without one, for handlers run between Python's own steps alone."""
    try:
        return events.get(timeout=1)
    except queue.Empty:
        return None


@contextmanager
def _kept_port(host: str, port: int) -> Iterator[int]:
    """The port, or for 0 a free one, kept from other servers of this command while it is used.

    Ray's sockets share their port with those of the same user that say so too, as all of Ray's do: of two servers that
    start at once, each would answer half of the requests.

    Raises:
        ConfigError: nothing can listen there.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        with socket.socket(family, socket.SOCK_STREAM) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind((host, port))
            port = trial.getsockname()[1]
    except OSError as error:
        raise ConfigError(f'--host {host} --port {port}: can not listen there ({error}); choose another '
                          'port') from error
    with socket.socket(family, socket.SOCK_STREAM) as keeper:
        # It never listens. A trial finds it, since it shares with those alone that say so; Ray's sockets do.
        with suppress(AttributeError, OSError):  # Windows has no such thing; connections that wait to end may be there
            keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            keeper.bind((host, port))
        yield port
