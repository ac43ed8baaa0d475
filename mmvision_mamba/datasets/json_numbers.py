"""What counts as a number or an id in annotation files, and numbers written as text."""
import re

from ..limits import FILE_NAME
from ..printable import shown

_WHOLE = re.compile(r'\s*[+-]?\d{1,18}(\.0*)?\s*', re.ASCII)


def is_number(value) -> bool:
    """Whether a value is a finite int or float, no bool, and below 1e15."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e15  # NaN compares false


def is_integer(value) -> bool:
    """Whether a value is a whole number that fits into 64 bits, as NumPy's do."""
    return isinstance(value, int) and not isinstance(value, bool) and -2**63 <= value < 2**63


def is_id(value) -> bool:
    """Whether a value is an `is_integer`, or a text of a file name's length at most."""
    return is_integer(value) or (isinstance(value, str) and len(value) <= FILE_NAME)


def as_written(value, most: int = 40) -> str:
    """A value for a message: text in quotes, all of it bounded, as `shown`."""
    return shown(repr(value[:most]) if isinstance(value, str) else value, most)


def whole_number(value):
    """The int that a text such as '12' or '12.0', or a whole float, stands for; any other value as it is."""
    if isinstance(value, str) and _WHOLE.fullmatch(value):
        return int(value.partition('.')[0])
    if isinstance(value, float) and value.is_integer() and is_number(value):
        return int(value)
    return value


def plain_float(text: str) -> float:
    """The float that a text stands for wherever it is read: Python alone takes `1_000` and other digits than ASCII's.

    Raises:
        ValueError: it is none.
    """
    return float(text if text.isascii() and '_' not in text else '')


def number(value):
    """The int or float that a text stands for; any other value as it is."""
    if not isinstance(value, str):
        return value
    whole = whole_number(value)
    if whole is not value:
        return whole
    try:
        read = plain_float(value)
    except ValueError:
        return value
    return read if is_number(read) else value
