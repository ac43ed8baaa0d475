"""Names and colours of a model's classes, from its checkpoint or its config."""
import colorsys
import inspect
from collections import Counter
from collections.abc import Mapping

import numpy as np
from mmengine.config import Config
from mmengine.registry import DATASETS
from torch import nn

from ..preflight.datasets import datasets_of
from ..printable import shown
from ..processes import warn_once


def dataset_meta(model: nn.Module, cfg: Config, meta: Mapping) -> dict:
    """Names and colours of a model's classes: `classes`, a tuple, and `palette`, a list with an RGB triple for each.

    Names are the checkpoint's, else the config's; colours are the config's where the names agree, else the
    checkpoint's. Missing ones are made up: names such as 'class 7', and hues that are far apart.

    Args:
        model: gives the number of classes, the largest `num_classes` of its modules.
        cfg: a config with a test data set.
        meta: `meta` of a checkpoint.
    """
    saved = {str(key).lower(): value for key, value in (meta.get('dataset_meta') or meta).items()}
    configured = _config_meta(cfg)
    classes = saved.get('classes') or configured.get('classes') or ()
    classes = (classes,) if isinstance(classes, str) else tuple(classes)
    if len(set(classes)) < len(classes):
        twice = Counter(classes).most_common(1)[0][0]
        warn_once(f"{len(classes) - len(set(classes))} of the model's {len(classes)} classes have a name that another "
                  f"has, such as '{shown(twice, 100)}': results by name do not tell them apart")
    palettes = [configured.get('palette')] if tuple(configured.get('classes') or ()) == classes else []
    palettes.append(saved.get('palette'))
    number = max([len(classes), *(n for module in model.modules()
                                  if isinstance(n := getattr(module, 'num_classes', 0), int))])
    classes += tuple(f'class {i}' for i in range(len(classes), number))
    palette = next((list(p) for p in palettes if isinstance(p, (list, tuple, np.ndarray)) and len(p)), [])
    palette = [tuple(int(v) for v in colour) for colour in palette][:number]
    palette += [hue(i) for i in range(len(palette), number)]
    return dict(classes=classes, palette=palette)


def reduces_zero_label(cfg: Config) -> bool:
    """Whether the masks of a config's test data set count from 1 and call 0 unlabelled, as ADE20K's do."""
    for _, dataset, cls in datasets_of(cfg, 'test')[:1]:
        if 'reduce_zero_label' in dataset:
            return bool(dataset['reduce_zero_label'])
        for base in cls.__mro__:
            parameter = inspect.signature(base.__init__).parameters.get('reduce_zero_label')  # type: ignore[misc]
            if parameter is not None:
                return parameter.default is True
    return False


def _config_meta(cfg: Config) -> dict:
    """`classes` and `palette` of the config's test data set, as far as it has them."""
    try:
        return DATASETS.build(dict(cfg.test_dataloader.dataset, lazy_init=True)).metainfo
    except Exception:  # the data set needs its files to be built: take the config's own metainfo
        return dict(cfg.test_dataloader.dataset.get('metainfo') or {})


def hue(i: int) -> tuple[int, int, int]:
    """RGB colour i of a sequence in which neighbours differ: hues turn by the golden ratio."""
    return tuple(round(255 * v) for v in colorsys.hsv_to_rgb(i * 0.618034 % 1, 0.75, 0.95))
