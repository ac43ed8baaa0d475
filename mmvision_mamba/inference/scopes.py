"""mmengine's default scope in threads."""
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from mmengine.registry import DefaultScope

_changed = threading.Condition()
_users: list[str] = []  # the scope in force, once for each thread inside
_entered = ExitStack()


@contextmanager
def in_scope(scope: str) -> Iterator[None]:
    """Make `scope` the default one in the context, which threads may enter at once; those with another scope wait.

    There is one default scope in a process: `DefaultScope.overwrite_default_scope` of two threads would fail now and
    then, and leave one's scope behind. Within the context none with another scope can be entered.
    """
    with _changed:
        _changed.wait_for(lambda: not _users or _users[0] == scope)
        if not _users:
            _entered.enter_context(DefaultScope.overwrite_default_scope(scope))
        _users.append(scope)
    try:
        yield
    finally:
        with _changed:
            _users.pop()
            if not _users:
                _entered.close()
                _changed.notify_all()
