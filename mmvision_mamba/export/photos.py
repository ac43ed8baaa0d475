"""Photos to check an exported file on."""
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
from mmengine.config import Config
from mmengine.registry import DATASETS

from ..errors import DataError, UserError
from ..inference.images import read_image
from ..preflight.check_data import check_datasets
from ..preflight.datasets import datasets_of

COUNT = 2  # photos from the test data set


def find_photos(cfg: Config, paths: Sequence[str] | None = None) -> list[tuple[str, np.ndarray]]:
    """(file name, RGB image ``(h, w, 3)`` uint8) of each photo to check on.

    Args:
        cfg: the model's config.
        paths: image files. None: two of the config's test data set, or no photos where it isn't there. Default: None.

    Raises:
        DataError: one of `paths` is missing or no image.
    """
    if paths is not None:
        return [_read(path) for path in paths]
    photos = []
    for path in _test_images(cfg):
        with suppress(DataError):
            photos.append(_read(path))
    return photos


def _read(path: str) -> tuple[str, np.ndarray]:
    return Path(path).name, np.ascontiguousarray(read_image(path)[..., ::-1])


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
