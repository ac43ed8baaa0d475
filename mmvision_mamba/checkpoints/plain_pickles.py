"""Stand-ins that unpickle plain data of Python in a checkpoint: dates, times and paths.

Each makes its object from checked parts, by its ordinary constructor. The types' own ways to unpickle take bytes as
they are, a 40th of a month too.
"""
import pathlib
from datetime import date, datetime, time, timedelta, timezone

from .numpy_pickles import named


def _date(state):
    year, month, day = _numbers(state, 2, 1, 1)
    return date(year, month, day)


def _time(state, zone=None):
    return time(*_numbers(state, 1, 1, 1, 3), zone)


def _datetime(state, zone=None):
    return datetime(*_numbers(state, 2, 1, 1, 1, 1, 1, 3), zone)


def _numbers(state, *lengths: int) -> list[int]:
    """Numbers of so many bytes each, the first byte highest. torch's protocol of pickles is 2, which has no `fold`."""
    if not isinstance(state, bytes) or len(state) != sum(lengths):
        raise ValueError('no date or time')
    return [int.from_bytes(state[sum(lengths[:i]):sum(lengths[:i + 1])], 'big') for i in range(len(lengths))]


def _path(kind: type):
    """Makes paths of `kind`; a path of another system becomes a pure one, since no other can be made here."""
    pure = next(base for base in kind.__mro__ if base in (pathlib.PurePosixPath, pathlib.PureWindowsPath))
    made = kind if kind is pure or isinstance(pathlib.Path(), kind) else pure

    def make(*parts):
        if not all(isinstance(part, str) for part in parts):
            raise TypeError('a path is made of strings')
        return made(*parts)
    return make


SAFE = [named('datetime', 'date', _date), named('datetime', 'time', _time), named('datetime', 'datetime', _datetime),
        timedelta, timezone]
for _kind in (pathlib.PosixPath, pathlib.WindowsPath, pathlib.PurePosixPath, pathlib.PureWindowsPath):
    SAFE += [named(module, _kind.__name__, _path(_kind)) for module in ('pathlib', 'pathlib._local')]  # Python 3.13's
