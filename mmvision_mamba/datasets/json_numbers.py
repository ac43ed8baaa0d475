"""What counts as a number or an id in annotation files, and numbers written as text."""
import re

_WHOLE = re.compile(r'\s*[+-]?\d{1,18}(\.0*)?\s*')


def is_number(value) -> bool:
    """Whether a value is a finite int or float, no bool, and below 1e15."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e15  # NaN compares false


def is_integer(value) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def is_id(value) -> bool:
    return is_integer(value) or isinstance(value, str)


def whole_number(value):
    """The int that a text such as '12' or '12.0', or a whole float, stands for; any other value as it is."""
    if isinstance(value, str) and _WHOLE.fullmatch(value):
        return int(value.partition('.')[0])
    if isinstance(value, float) and value.is_integer() and is_number(value):
        return int(value)
    return value


def number(value):
    """The int or float that a text stands for; any other value as it is."""
    if not isinstance(value, str):
        return value
    whole = whole_number(value)
    if whole is not value:
        return whole
    try:
        read = float(value)
    except ValueError:
        return value
    return read if is_number(read) else value
