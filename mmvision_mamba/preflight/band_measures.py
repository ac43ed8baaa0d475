"""Mean, deviation and range of the bands of a data set's images, from a sample of bounded size."""
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
from mmengine import Config

from ..datasets.band_statistics import BandStatistics
from ..datasets.bands import Kind, read_bands
from ..datasets.image_files import file_content, missing
from ..datasets.tiff_windows import is_tiff, open_tiff
from ..errors import DataError, MissingExtraError
from ..processes import warn_once
from .datasets import build_without_pipeline, datasets_of

IMAGES = 200  # of a data set that are looked at, evenly spread
_KINDS = 16  # images whose kind is looked at without measuring
_VALUES = 2**28  # of all bands, that are read in all: of large TIFFs, windows
_WINDOW = 512  # pixels a side


class Measured(NamedTuple):
    """What images hold.

    Attributes:
        kind: of nearly all of them.
        statistics: of the bands that were asked for.
        images: how many were read.
    """
    kind: Kind
    statistics: BandStatistics
    images: int

    @property
    def mean(self) -> list[float]:
        return _rounded(self.statistics.mean)

    @property
    def std(self) -> list[float]:
        """1 for a band that is the same everywhere, which can't be divided by its deviation."""
        return _rounded(np.where(self.statistics.std > 0, self.statistics.std, 1))


def _rounded(values: np.ndarray) -> list[float]:
    return [float(f'{value:.6g}') for value in values.tolist()]


def image_paths(cfg: Config, split: str) -> list[str]:
    """The files of the images of a split's data sets, in their order."""
    built = [build_without_pipeline(cfg, dataset) for _, dataset, _ in datasets_of(cfg, split)]
    paths = [dataset.get_data_info(i)['img_path'] for dataset in built for i in range(len(dataset))]
    return list(dict.fromkeys(path for path in paths if isinstance(path, str)))


def measure(paths: Sequence[str], numbers: Sequence[int], strict: bool = True, images: int = IMAGES) -> Measured:
    """Read a sample of images, and measure their bands.

    Args:
        paths: of all images.
        numbers: of the bands, from 1.
        strict: raise for an image that can't be read, or is of another kind than most; else it is passed over.
        images: how many are read at most. Default: `IMAGES`.

    Raises:
        DataError: see above; or no image can be read, or a band has no values; names the file or band.
    """
    sample = [str(paths[i]) for i in dict.fromkeys(np.linspace(0, len(paths) - 1, images).astype(int).tolist())]
    found: dict[Kind, BandStatistics] = {}
    files: dict[Kind, list[str]] = {}
    problem = None
    for path in sample:
        try:
            statistics = BandStatistics(len(numbers))
            with _opened(path, numbers, _VALUES // len(sample)) as (kind, nodata, parts):
                for part in parts:
                    statistics.add(part, nodata)
        except DataError as error:
            if strict:
                raise
            problem = problem or error
            continue
        files.setdefault(kind, []).append(path)
        found.setdefault(kind, BandStatistics(len(numbers))).merge(statistics)
    if not found:
        raise problem or DataError(f'{sample[0]}: there is no image to measure')
    kind = max(files, key=lambda one: len(files[one]))
    if strict:
        _check_alike(kind, files)
    statistics = found[kind]
    for number, count, std in zip(numbers, statistics.count.tolist(), statistics.std.tolist()):
        if not count:
            raise DataError(f'{files[kind][0]}: band {number} has no values there, nor in the other images that were '
                            'looked at: all are missing (NaN, or what stands for no data)')
        if not std:
            warn_once(f'band {number} has one value in all images that were looked at: it says nothing')
    return Measured(kind, statistics, len(files[kind]))


def kind_of(paths: Sequence[str], numbers: Sequence[int]) -> Kind:
    """The kind that most of a few images are of; raises DataError where none can be read."""
    kinds, problem = Counter[Kind](), None
    for i in dict.fromkeys(np.linspace(0, len(paths) - 1, _KINDS).astype(int).tolist()):
        try:
            with _opened(str(paths[i]), numbers, 0) as (kind, _, _):
                kinds[kind] += 1
        except DataError as error:
            problem = problem or error
    if not kinds:
        raise problem or DataError('there is no image')
    return kinds.most_common(1)[0][0]


def _check_alike(kind: Kind, files: dict[Kind, list[str]]) -> None:
    others = [(other, paths) for other, paths in files.items() if other != kind]
    if others:
        total = sum(map(len, files.values()))
        raise DataError(f'{others[0][1][0]}: it has {others[0][0]}, and {len(files[kind])} of {total} images looked at '
                        f'have {kind}. Save all alike, or leave such files out with --skip-bad-images; `mmvision-mamba '
                        'check-dataset` lists them')


@contextmanager
def _opened(path: str, numbers: Sequence[int],
            values: int) -> Iterator[tuple[Kind, float | None, Iterator[np.ndarray]]]:
    """The kind of an image, its value for no data, and parts ``(h, w, n)`` of some bands, about `values` in all.

    Raises:
        DataError: it can't be read; names the file. MissingExtraError: imagecodecs is missing.
    """
    try:
        if is_tiff(path):
            with open_tiff(path, numbers) as tiff:
                if tiff.problem:
                    raise DataError(tiff.problem)
                yield Kind(tiff.bands, tiff.dtype), tiff.nodata, _windows(tiff, values // len(numbers))
        else:
            image, nodata, kind = read_bands(file_content(path), numbers)
            yield kind, nodata, iter([image])
    except MissingExtraError:
        raise
    except FileNotFoundError:
        raise DataError(f'{path}: {missing(path)}') from None
    except OSError as error:
        raise DataError(f'{path}: the file cannot be read ({error.strerror or error})') from None
    except DataError as error:
        raise DataError(str(error) if str(error).startswith(path) else f'{path}: {error}') from None


def _windows(tiff, pixels: int) -> Iterator[np.ndarray]:
    """Windows of a TIFF, evenly spread, of about as many pixels in all; at least one."""
    corners = [(x, y) for y in range(0, tiff.height, _WINDOW) for x in range(0, tiff.width, _WINDOW)]
    count = min(max(pixels // _WINDOW**2, 1), len(corners))
    for i in np.linspace(0, len(corners) - 1, count).round().astype(int).tolist():
        x, y = corners[i]
        yield tiff.read(x, y, min(_WINDOW, tiff.width - x), min(_WINDOW, tiff.height - y))
