"""Where a picture lies on the ground: the GeoTIFF tags of a file, read, kept for its results, and applied."""
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

SCALE, TIEPOINTS, TRANSFORMATION, KEYS = 33550, 33922, 34264, 34735
TAGS = {SCALE: 'd', TIEPOINTS: 'd', TRANSFORMATION: 'd', KEYS: 'H', 34736: 'd', 34737: 's'}  # and TIFF types of values
_RASTER_TYPE, _GEOGRAPHIC, _PROJECTED = 1025, 2048, 3072  # of the keys
_POINT, _USER_DEFINED = 2, 32767
_FARTHEST = 1e12  # of a coordinate, in any unit of a map


@dataclass(frozen=True)
class Georeference:
    """The GeoTIFF tags of a picture.

    Args:
        tags: value of each of `TAGS` that the file has: tuples of numbers, and a text.

    Attributes:
        transform: ``(2, 3)``, from (column, row, 1) to ground coordinates, of pixels' corners: (0, 0) is the upper left
            corner of the picture. None: the file has none.
        epsg: EPSG code of the coordinate reference system. None: the file names none, or defines one of its own.
    """
    tags: Mapping[int, Any]
    transform: np.ndarray | None = field(init=False, compare=False)
    epsg: int | None = field(init=False)

    def __post_init__(self) -> None:
        keys = _short_keys(self.tags.get(KEYS, ()))
        code = keys.get(_PROJECTED, keys.get(_GEOGRAPHIC, 0))
        object.__setattr__(self, 'epsg', code if 0 < code < _USER_DEFINED else None)
        transform = _transform(self.tags)
        if transform is not None and keys.get(_RASTER_TYPE) == _POINT:  # the tags speak of pixels' centres
            transform[:, 2] -= transform[:, :2].sum(1) / 2
        if transform is not None and not (np.abs(transform).max() < _FARTHEST and np.linalg.det(transform[:, :2])):
            transform = None  # it leads all pixels to one line, or off any map
        object.__setattr__(self, 'transform', transform)

    def problem(self) -> str | None:
        """Why results can't be given in ground coordinates; None where they can."""
        if not self.tags:
            return 'it is not georeferenced'
        if self.transform is None:
            return 'its GeoTIFF tags have no transformation'
        return None if self.epsg else 'its GeoTIFF tags name no coordinate reference system by an EPSG code'

    def to_ground(self, points: np.ndarray) -> np.ndarray:
        """Pixel coordinates ``(…, 2)``, (column, row) from the upper left corner -> ground coordinates, float64."""
        if self.transform is None:
            raise ValueError('no transformation')
        return np.asarray(points, float) @ self.transform[:, :2].T + self.transform[:, 2]

    def extra_tags(self) -> list[tuple]:
        """The same tags as tifffile's `extratags`."""
        return [(code, TAGS[code], 0, value.encode(), True) if isinstance(value, str) else
                (code, TAGS[code], len(value), value, True) for code, value in self.tags.items()]


def read_georeference(tags: Mapping[int, Any]) -> Georeference:
    """The georeference in a TIFF directory's values by tag; of none, one without tags. What isn't sound is left out."""
    found = {}
    for code, kind in TAGS.items():
        value = tags.get(code)
        sound = isinstance(value, str) and value.isprintable() if kind == 's' else isinstance(value, tuple) and all(
            isinstance(number, int | float) and (0 <= number < 2**16 and number == int(number) if kind == 'H' else
                                                 abs(number) < float('inf')) for number in value)
        if value and sound:
            found[code] = value
    return Georeference(found)


def _short_keys(directory: tuple) -> dict[int, int]:
    """The keys of a GeoKeyDirectory whose value stands in the directory itself."""
    entries = [directory[i:i + 4] for i in range(4, len(directory) - 3, 4)]
    return {key: value for key, location, _, value in entries if location == 0}


def _transform(tags: Mapping[int, Any]) -> np.ndarray | None:
    matrix = tags.get(TRANSFORMATION, ())
    if len(matrix) == 16:
        return np.array([matrix[0:2] + matrix[3:4], matrix[4:6] + matrix[7:8]], float)
    scale, ties = tags.get(SCALE, ()), tags.get(TIEPOINTS, ())
    if len(scale) < 2 or len(ties) < 6:
        return None
    (column, row), (x, y) = ties[:2], ties[3:5]
    return np.array([[scale[0], 0, x - column * scale[0]], [0, -scale[1], y + row * scale[1]]], float)
