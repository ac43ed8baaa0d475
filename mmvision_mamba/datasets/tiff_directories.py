"""The directories of TIFF files, and of the EXIF headers in images of other formats: whether they come to an end."""
import re
import zlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import TypeVar

from ..errors import DataError

_ENTRY_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_HEADS = re.compile(rb'II[*+]\0|MM\0[*+]|II\0\*|MM\*\0')  # the last two are wrong, and Pillow reads them
_DIRECTORIES = (0x8769, 0x8825, 0xa005)  # tags of an EXIF header whose values are further directories
_MOST_PARTS = 2**18  # a PNG of 2 GiB has as many
_Part = TypeVar('_Part')
_MOST_ENTRIES, _MOST_TWICE = 200_000, 2**27  # of all directories of a file, and bytes that they name more than once


def check_directories(content: bytes) -> None:
    """Raise DataError for the directories of a TIFF file, or of an EXIF header in any other, without end.

    Pillow reads and keeps what each entry names: thousands that name the same megabyte take gigabytes.
    """
    entries = named = 0
    for found in counted(_HEADS.finditer(content)):
        base, order, word = found.start(), 'little' if found[0][:1] == b'I' else 'big', 8 if b'+' in found[0] else 4
        seen: set[int] = set()
        todo, head = [base + word], 8 if word == 8 else 2
        while todo:
            try:
                start = base + number(content, todo.pop(), word, order)
                if start in seen:
                    continue
                seen.add(start)
                count = number(content, start, head, order)
                for at in range(start + head, start + head + count * (4 + 2 * word), 4 + 2 * word):
                    tag, kind = number(content, at, 2, order), number(content, at + 2, 2, order)
                    size = _ENTRY_BYTES.get(kind, 0) * number(content, at + 4, word, order)
                    value = number(content, at + 4 + word, word, order)
                    named += max(min(size, len(content) - base - value), 0) if size > word else 0
                    todo += [at + 4 + word] if tag in _DIRECTORIES else []
                    entries += 1
                    if entries > _MOST_ENTRIES or named > len(content) + _MOST_TWICE:
                        raise DataError(f'the image has {entries} or more entries of TIFF or EXIF directories, which '
                                        f'name {named} bytes of its {len(content)}: save it anew')
            except IndexError:  # no directory but such bytes, or one that is cut off: decoders ignore it, or tell
                continue


def raw_profile(kind: bytes, chunk: bytes) -> bytes:
    """The EXIF header that ImageMagick writes as hexadecimal digits into a chunk of text of a PNG; b'' without one.

    Args:
        kind: of the chunk: tEXt, zTXt or iTXt.
        chunk: its data.
    """
    text, packed = chunk.partition(b'\0')[2], kind == b'zTXt'
    if kind == b'iTXt':  # two bytes about the compression, a language and the translated keyword
        packed, text = text[:1] != b'\0', text[2:].partition(b'\0')[2].partition(b'\0')[2]
    elif packed:
        text = text[1:]
    if packed:
        try:
            text = zlib.decompressobj().decompress(text, 2**21)
        except zlib.error:
            return b''
    with suppress(ValueError):
        return bytes.fromhex(b''.join(text.split(b'\n')[3:]).decode('ascii', errors='replace'))
    return b''


def counted(parts: Iterable[_Part]) -> Iterator[_Part]:
    """The parts of an image one by one; DataError for more than any program writes: each takes microseconds."""
    for count, part in enumerate(parts):
        if count >= _MOST_PARTS:
            raise DataError(f'the image is of more than {_MOST_PARTS} parts (chunks, segments, blocks): save it anew')
        yield part


def number(content: bytes, at: int, size: int, order: str = 'big', signed: bool = False) -> int:
    """The whole number in `size` bytes; IndexError past the end."""
    if at < 0 or at + size > len(content):
        raise IndexError(at)
    return int.from_bytes(content[at:at + size], order, signed=signed)  # type: ignore[arg-type]
