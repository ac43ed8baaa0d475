"""Text from outside, names in files and on disks among it, made fit for messages: printable, bounded, on one line."""
import itertools
import re
from collections.abc import Iterator, Mapping

# Control characters (an escape sequence recolours a terminal, or clears it), separators of lines, those that turn the
# direction of writing, and lone surrogates, which no file or terminal takes. All letters, marks and emoji stay.
_UNFIT = '\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff'
_IN_A_MESSAGE, _ON_A_LINE = re.compile(f'[{_UNFIT}]'), re.compile(f'[{_UNFIT}\t\n]')
_PASSWORD = re.compile(r'(?<=://)[^/?#\s]*@')
# Bytes of names that are no UTF-8 are surrogates from DC80 to DCFF in Python.
_NO_NAME = re.compile('[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udc7f\udd00-\udfff]')
_DEEPEST = 5


def printable(text: str) -> str:
    """A message with all that doesn't belong on a screen escaped as in Python, and without the passwords of URLs; its
    lines stay lines."""
    return _IN_A_MESSAGE.sub(_escape, without_passwords(text))


def without_passwords(text: str) -> str:
    """Text with '***' for the user names and passwords of the URLs in it."""
    return _PASSWORD.sub('***@', text) if '://' in text else text


def is_name(text: str) -> bool:
    """Whether a text from a file may name an image or a class: it is one line, without control characters.

    Nor does it have two braces, as mmengine's templates begin: a config that is written with it would be another one.
    """
    return not _NO_NAME.search(text) and '{{' not in text


def shown(value: object, most: int = 300) -> str:
    r"""A value from outside as part of a message: one printable line of at most `most` characters.

    Text and paths stand as they are, but for escapes such as ``\n``, ``\x1b`` and ``\u202e``; the middle of long ones
    is left out. Containers and plain values are shown as Python writes them, up to what fits; other objects by the name
    of their class, for a representation of their own may take for ever.
    """
    if isinstance(value, BaseException):
        plain = isinstance(value, OSError) or all(isinstance(part, str) for part in value.args)
        value = str(value) if plain else ': '.join(shown(part, most) for part in value.args)
    text = str(value) if hasattr(type(value), '__fspath__') else value if isinstance(value, str) else ''.join(
        itertools.islice(_pieces(value), most + 1))
    # Cut before it is escaped, for it may be very long, and after it, for escapes make it longer.
    return _cut(_ON_A_LINE.sub(_escape, _cut(text, most)), most)


def _cut(text: str, most: int) -> str:
    if len(text) <= most:
        return text
    end = most // 2
    return f'{text[:most - end - 1]}…{text[len(text) - end:]}'


def _escape(match: re.Match) -> str:
    return repr(match[0])[1:-1]


def _pieces(value: object, depth: int = 0) -> Iterator[str]:
    """Parts of a representation, none of them empty: whoever stops after N has seen N characters or more."""
    if value is None or isinstance(value, bool | float | complex):
        yield repr(value)
    elif isinstance(value, int):
        yield repr(value) if value.bit_length() < 256 else f'<int of {value.bit_length()} bits>'
    elif isinstance(value, str | bytes):
        yield repr(value[:1000])
    elif isinstance(value, Mapping | list | tuple | set | frozenset):
        start, end = '()' if isinstance(value, tuple) else '[]' if isinstance(value, list) else '{}'
        yield start
        for i, item in enumerate(value):
            if depth == _DEEPEST:
                yield '…'
                break
            if i:
                yield ', '
            yield from _pieces(item, depth + 1)
            if isinstance(value, Mapping):
                yield ': '
                yield from _pieces(value[item], depth + 1)
        yield end
    else:
        yield f'<{type(value).__name__}>'
