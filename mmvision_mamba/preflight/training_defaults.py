"""How long, how large and with how many images at a time a model is trained on a folder of so many images."""
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from ..errors import ConfigError
from ..printable import shown

CONFIGS = dict(boxes='faster_rcnn_mambavision_t_custom', outlines='cascade_mask_rcnn_mambavision_t_custom',
               maps='upernet_mambavision_t_custom')
"""What is learned: the config for it."""
_VIEWS = 120_000  # images that a training sees in all
_EPOCHS = 12, 100  # fewest and most, whatever that makes
_VALIDATIONS = 20  # in a training
_BATCH = 16  # images that the learning rates are for
_STEPS = 10  # in an epoch, at the least
_SEGMENTOR_BATCH = 4  # of its config, whose training counts iterations
_WARM_UP = 500  # iterations of the segmentor's, a tenth of all at most
_WORKERS = 8
_SIDES = dict(boxes=(320, 800), outlines=(320, 800), maps=(256, 512))  # the last is the config's own
_ENLARGED = dict(boxes=1.6, outlines=1.6, maps=1.)  # as the published detectors see COCO's images, whose side is 480


class Defaults(NamedTuple):
    """Settings for a folder.

    Attributes:
        options: settings of the config, by dotted keys.
        most_per_batch: images per process that --auto-batch may take; None: the config's batch.
    """
    options: dict[str, Any]
    most_per_batch: int | None


def training_defaults(what: str, images: int, side: int | None, cores: int, gpu: bool,
                      given: Mapping[str, Any]) -> Defaults:
    """The settings to train with.

    Args:
        what: is learned, a key of `CONFIGS`.
        images: to train with.
        side: the short side of an image in pixels, the median. None: not known.
        cores: CPU cores of each process.
        gpu: whether it trains on one.
        given: settings that the user has chosen, by dotted keys; the others follow from them.

    Raises:
        ConfigError: the length or the batch that the user has chosen is no number above 0.
    """
    options: dict[str, Any] = {}
    batch = _number(given, 'train_dataloader.batch_size')
    epochs = min(max(math.ceil(_VIEWS / images), _EPOCHS[0]), _EPOCHS[1])
    if what == 'maps':
        length = _number(given, 'train_cfg.max_iters') or math.ceil(images * epochs / (batch or _SEGMENTOR_BATCH))
        warm_up = min(_WARM_UP, max(2, length // 10))
        options.update({'train_cfg.max_iters': length, 'param_scheduler.0.end': warm_up,
                        'param_scheduler.1.begin': warm_up, 'param_scheduler.1.end': max(length, warm_up + 2)})
        most = _SEGMENTOR_BATCH
    else:
        length = _number(given, 'train_cfg.max_epochs') or epochs
        steps = sorted({max(round(length * share), 1) for share in (0.75, 11 / 12)})
        options.update({'train_cfg.max_epochs': length, 'param_scheduler.1.end': max(length, 2),
                        'param_scheduler.1.milestones': steps})
        most = min(max(images // _STEPS, 2), _BATCH)
    interval = max(length // _VALIDATIONS, 1)
    options.update({'train_cfg.val_interval': interval, 'default_hooks.checkpoint.interval': interval,
                    'train_dataloader.num_workers': min(max(cores, 1), _WORKERS)})
    size = _size(what, side)
    if size is not None:
        options['custom_data.size'] = size
    return Defaults(options, most if gpu and batch is None else None)


def _size(what: str, side: int | None) -> int | None:
    """The short side to train at, None for the config's own."""
    least, most = _SIDES[what]
    if side is None:
        return None
    size = min(max(math.ceil(side * _ENLARGED[what] / 32) * 32, least), most)
    return size if size < most else None


def _number(given: Mapping[str, Any], key: str) -> int | None:
    value = given.get(key)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        raise ConfigError(f'{key} is {shown(value)}: expected a whole number above 0')
    return value
