"""Directories of TIFF files and EXIF headers that name more than there is."""
import struct

import pytest

from mmvision_mamba.datasets.tiff_directories import check_directories
from mmvision_mamba.errors import DataError
from mmvision_mamba.runtime import standalone


def header(head: bytes, pointers, entries: int, size: int = 1_000_000) -> bytes:
    """A first directory with the pointers {tag: offset}, and at offset 100 one whose entries name the same bytes."""
    order = '<' if head[:1] == b'I' else '>'
    first = struct.pack(f'{order}H', len(pointers)) + b''.join(
        struct.pack(f'{order}HHII', tag, 4, 1, value) for tag, value in pointers.items())
    second = struct.pack(f'{order}H', entries) + b''.join(
        struct.pack(f'{order}HHII', i + 1, 7, size, 200) for i in range(entries))
    content = head + struct.pack(f'{order}I', 8) + first
    return content.ljust(100, b'\0') + second + bytes(size)


@pytest.mark.parametrize('pointers', [{0x8769: 100}, {0x8769: 100, 0x8825: 2**31}, {0x8825: 2**31, 0x8769: 100}])
@pytest.mark.parametrize('head', [b'II*\0', b'MM\0*', b'II\0*', b'MM*\0'])
def test_the_same_bytes_again_and_again(head, pointers):
    """A pointer to nowhere beside it, and heads that only Pillow takes, change nothing."""
    content = b'before' + header(head, pointers, 5000)
    with pytest.raises(DataError, match='or more entries of TIFF or EXIF directories'):
        check_directories(content)
    with pytest.raises(ValueError, match='TIFF or EXIF directories name'):
        standalone._check_directories(content)


@pytest.mark.parametrize('head', [b'II*\0', b'MM\0*', b'II\0*', b'MM*\0'])
@pytest.mark.parametrize('cut', [5, 20, 120, None])
def test_real_ones_and_those_that_are_cut_off(head, cut):
    content = header(head, {0x8769: 100, 0x8825: 2**31}, 40, 1000)[:cut]
    check_directories(content)
    standalone._check_directories(content)
