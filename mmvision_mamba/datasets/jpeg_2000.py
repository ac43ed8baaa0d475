"""What a JPEG 2000 picture is cut into, by its headers: OpenJPEG takes memory and time for all of it, there or not."""
import re
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from ..errors import DataError
from .tiff_directories import counted, number

_MOST_TILES = 2**19  # times the components: 1 to 2 KiB for each
_MOST_BLOCKS = 2**21  # half a KiB for each
_MOST_PACKETS = 2**24  # an eighth of a microsecond for each
_MOST_SEGMENTS = 2**19  # of all tiles' headers

_SIZ, _COD, _COC, _POC, _SOT, _SOD = 0xff51, 0xff52, 0xff53, 0xff5f, 0xff90, 0xff93
_KNOWN = {_SIZ, _COD, _COC, _POC, 0xff55, 0xff57, 0xff58, 0xff5c, 0xff5d, 0xff5e, 0xff60, 0xff61, 0xff63, 0xff64,
          0xff74, 0xff75, 0xff77, 0xff78}  # to all versions of OpenJPEG
_NEWER = {0xff50, 0xff59}  # older ones look for markers within these


class Codestream(NamedTuple):
    """What the header of a codestream announces: width and height in pixels, and the number of components."""
    width: int
    height: int
    components: int


def read_codestream(content: bytes, start: int) -> Codestream:
    """Read a codestream's header, and those of its tiles.

    Raises:
        DataError: it is cut into more tiles, code blocks or packets than are allowed; without the file's name.
        IndexError, ValueError: it is truncated or broken.
    """
    if content[start:start + 4] != b'\xff\x4f\xff\x51':
        raise ValueError('it has no codestream')
    right, bottom, left, top, *tile = (number(content, start + 8 + 4 * i, 4) for i in range(8))
    components = number(content, start + 40, 2)
    tiles = [-(-(end - at) // max(side, 1)) for end, side, at in zip((right, bottom), tile, tile[2:])]
    if tiles[0] * tiles[1] * (components + 4) > _MOST_TILES:
        raise DataError(f'the image has {tiles[0]} × {tiles[1]} tiles of {components} components, and {_MOST_TILES} of '
                        'these are allowed in all: save it with larger tiles')
    cut = _Cut((right - left, bottom - top), tile[:2], tiles, components)
    for marker, at in counted(_segments(content, start + 2, _SOT)):
        cut.add(content, marker, at, None)
    walked = 0
    for part in counted(re.compile(rb'\xff\x90\0\x0a').finditer(content, start)):  # no such bytes are within a tile
        try:
            for marker, at in _segments(content, part.end() + 8, _SOD):
                walked += 1
                if walked > _MOST_SEGMENTS:
                    raise DataError(f'the image has more than {_MOST_SEGMENTS} segments in the headers of its tiles: '
                                    'save it anew')
                cut.add(content, marker, at, number(content, part.end(), 2))
        except DataError:
            raise
        except (IndexError, ValueError):  # decoders end there, too
            continue
    cut.check_packets()
    return Codestream(right - left, bottom - top, components)


def _segments(content: bytes, at: int, stop: int) -> Iterator[tuple[int, int]]:
    """(marker, offset of its length) of the segments of a header, up to the marker `stop`."""
    while (marker := number(content, at, 2)) != stop:
        length = max(number(content, at + 2, 2), 2)
        if marker not in _KNOWN and not (marker in _NEWER and length % 2 == 0
                                         and b'\xff' not in content[at + 2:at + 2 + length]):
            raise ValueError(f'its header has the marker {marker:x}')
        yield marker, at + 2
        at += 2 + length


class _Cut:
    """Counts what the segments of headers cut a picture into.

    Args:
        sides, tile: width and height of the picture, and of a tile.
        tiles: across and down.
        components: their number.
    """

    def __init__(self, sides: tuple[int, int], tile: list[int], tiles: list[int], components: int):
        self.sides, self.tile, self.tiles, self.components = sides, tile, tiles, components
        self.blocks, self.layers, self.resolutions, self.steps = 0, 1, 1, [32, 32]
        self.progressions: Counter[int | None] = Counter()

    def add(self, content: bytes, marker: int, at: int, tile: int | None) -> None:
        """Count the segment whose length is at `at`, in the header of a tile; None: of the picture."""
        wide = 2 if self.components > 256 else 1
        if marker == _POC:
            self.progressions[tile] += (number(content, at, 2) - 2) // (5 + 2 * wide)
        elif marker == _COD:
            self.layers = max(self.layers, number(content, at + 4, 2))
            self._add_style(content, at + 7, number(content, at + 2, 1), self.components, tile is None)
        elif marker == _COC:
            self._add_style(content, at + 3 + wide, number(content, at + 2 + wide, 1), 1, tile is None)

    def _add_style(self, content: bytes, at: int, flags: int, components: int, everywhere: bool) -> None:
        """Count the code blocks of a coding style, which is at `at`."""
        levels = number(content, at, 1)
        if levels > 32:
            raise ValueError(f'it has {levels} levels')
        sides, tiles = (self.sides, self.tiles) if everywhere else ([*map(min, self.sides, self.tile)], [1, 1])
        self.resolutions = max(self.resolutions, levels + 1)
        for level in range(levels + 1):
            precinct = number(content, at + 5 + level, 1) if flags & 1 else 0xff
            halved, cells = levels - level + (level > 0), 1
            for axis, exponent in enumerate((precinct & 15, precinct >> 4)):
                self.steps[axis] = min(self.steps[axis], exponent + levels - level)
                block = max(min(number(content, at + 1 + axis, 1) + 2, exponent - (level > 0)), 0)
                cells *= _cells(sides[axis], halved + block, tiles[axis])
            self.blocks += cells * components * (3 if level else 1)
            if self.blocks > _MOST_BLOCKS:
                raise DataError(f'the image has {self.blocks} code blocks or more, and {_MOST_BLOCKS} are allowed: '
                                'save it with larger code blocks, precincts or tiles')

    def check_packets(self) -> None:
        """Raise DataError for too many packets: those of all layers, resolutions, components and precincts."""
        of_tiles = max((count for tile, count in self.progressions.items() if tile is not None), default=0)
        packets = self.layers * self.resolutions * self.components * max(self.progressions[None] + of_tiles, 1)
        for side, step, tiles in zip(self.sides, self.steps, self.tiles):
            packets *= _cells(side, step, tiles)
        if packets > _MOST_PACKETS:
            raise DataError(f'the image may have {packets} packets, of {self.layers} layers and their precincts, and '
                            f'{_MOST_PACKETS} are allowed: save it with fewer layers or larger precincts')


def _cells(side: int, exponent: int, tiles: int) -> int:
    """At most so many cells of 2 ** exponent pixels a side is cut into, which is cut into tiles first."""
    return -(-side >> exponent) + tiles
