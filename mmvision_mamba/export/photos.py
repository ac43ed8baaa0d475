"""Photos to check an exported file on."""
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
from mmengine.config import Config
from mmengine.registry import DATASETS

from ..errors import DataError, UserError
from ..preflight.check_data import check_datasets
from ..preflight.datasets import datasets_of
from ..runtime.standalone import RuntimeInputError, read_image

COUNT = 2  # photos from the test data set


def find_photos(cfg: Config, paths: Sequence[str] | None = None, channels: int = 3,
                bands: dict | None = None) -> list[tuple[str, Path]]:
    """(file name, path) of each photo to check on.

    Args:
        cfg: the model's config.
        paths: image files. None: two of the config's test data set, or no photos where it isn't there. Default: None.
        channels: that the model takes. Default: 3.
        bands: see `read_image`. Default: none.

    Raises:
        DataError: one of `paths` is missing, no image, or of another number of channels.
    """
    if paths is not None:
        return [_checked(path, channels, bands) for path in paths]
    photos = []
    for path in _test_images(cfg):
        with suppress(DataError):
            photos.append(_checked(path, channels, bands))
    return photos


def _checked(path: str, channels: int, bands: dict | None) -> tuple[str, Path]:
    try:
        read_image(path, channels, bands)
    except RuntimeInputError as error:
        raise DataError(str(error)) from None
    return Path(path).name, Path(path)


def _test_images(cfg: Config) -> list[str]:
    """Paths of images from the config's test data set; none where it can't be built."""
    datasets = datasets_of(cfg, 'test')
    if not datasets:
        return []
    try:
        check_datasets(cfg, ('test',))
        dataset = DATASETS.build(dict(datasets[0][1], pipeline=[]))
    except (UserError, OSError):
        return []
    indices = np.linspace(0, len(dataset) - 1, COUNT).astype(int).tolist() if len(dataset) else []
    return [dataset.get_data_info(i)['img_path'] for i in dict.fromkeys(indices)]
