"""Real images to check an exported file on."""
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
from mmengine.config import Config
from mmengine.registry import DATASETS

from ..engine.data_checks import check_datasets
from ..engine.dataset_configs import datasets_of
from ..errors import DataError, UserError
from ..inference.images import read_image

COUNT = 2  # of the test data set


def find_photos(cfg: Config, paths: Sequence[str] | None = None) -> list[tuple[str, np.ndarray]]:
    """Names, and RGB images ``(h, w, 3)`` uint8.

    Args:
        cfg: the model's config.
        paths: of images. None: two of the config's test data set, or none where it isn't there. Default: None.

    Raises:
        DataError: one of `paths` is missing, or no image.
    """
    if paths is not None:
        return [_read(path) for path in paths]
    found = []
    for path in _test_images(cfg):
        with suppress(DataError):
            found.append(_read(path))
    return found


def _read(path: str) -> tuple[str, np.ndarray]:
    return Path(path).name, np.ascontiguousarray(read_image(path)[..., ::-1])


def _test_images(cfg: Config) -> list[str]:
    datasets = datasets_of(cfg, 'test')
    if not datasets:
        return []
    try:
        check_datasets(cfg, ('test',))
        dataset = DATASETS.build(dict(datasets[0][1], pipeline=[]))
    except (UserError, OSError):
        return []
    places = np.linspace(0, len(dataset) - 1, COUNT).astype(int).tolist() if len(dataset) else []
    return [dataset.get_data_info(i)['img_path'] for i in dict.fromkeys(places)]
