"""timm's transforms in an mmengine pipeline."""
import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform
from mmengine.registry import TRANSFORMS
from PIL import Image
from timm.data import create_transform

from ..backbones.family import is_real, is_whole
from ..errors import ConfigError, DataError
from ..limits import PIXELS
from ..printable import shown
from ..text import check_names

_LARGEST = 1e6  # of a mean or a standard deviation


@TRANSFORMS.register_module()
class PackImage(BaseTransform):
    """Apply `timm.data.create_transform` to an image loaded by mmcv (BGR), and pack the input of `ImageClassifier`.

    Args:
        input_size: side of the result in pixels, or (height, width). Default: 224.
        is_training: augment, or resize and crop for tests. Default: False.
        **options: of `timm.data.create_transform`, whose defaults hold (ImageNet's mean and std), but bicubic.

    Returns:
        dict(inputs=(3, H, W) float tensor, RGB), and gt_label=int and img_path=str of an image that has them.

    Raises:
        ConfigError: an unknown option, or images of more pixels than `PIXELS`, on the way to the crop too. DataError:
            such an image, which is too long for its width.
    """

    def __init__(self, input_size=224, is_training: bool = False, **options):
        valid = list(inspect.signature(create_transform).parameters)
        check_names(options, valid, 'PackImage has no argument')
        options.setdefault('interpolation', 'bicubic')
        resized = _resized(input_size, options)
        self._resized = None if is_training else resized
        self.transforms = create_transform(tuple(input_size) if not isinstance(input_size, int) else input_size,
                                           is_training, **options)

    def transform(self, results: dict) -> dict:
        image = Image.fromarray(np.ascontiguousarray(results['img'][..., ::-1]))
        pixels = 0 if self._resized is None else self._resized**2 * max(image.size) / min(image.size)
        if pixels > PIXELS.value:
            raise DataError(f'an image of {image.size[0]} × {image.size[1]} pixels would have {pixels:.0f} with its '
                            f'shorter side resized, and at most {PIXELS.value} are made ({PIXELS.way_out})')
        return dict(inputs=self.transforms(image), **{
            key: results[key] for key in ('gt_label', 'img_path') if key in results})

    def __repr__(self) -> str:
        return f'{type(self).__name__}({self.transforms})'


def _resized(input_size: Any, options: Mapping[str, Any]) -> float | None:
    """Pixels of the shorter side of an image before a test cuts its crop; None where no side is kept in proportion.

    Raises:
        ConfigError: sizes of images, a mean or a std that can't be.
    """
    sides = list(input_size)[-2:] if isinstance(input_size, list | tuple) else [input_size]
    crop = options.get('crop_pct') or 0.875  # timm's default
    if not sides or not all(is_whole(side) and side > 0 for side in sides) or not is_real(crop, 1e-6, 1) or \
            (max(sides) / crop)**2 > PIXELS.value:
        raise ConfigError(f'PackImage: input_size is {shown(input_size)} and crop_pct {shown(crop)}: expected sides in '
                          f'pixels, of images of at most {PIXELS.value} ({PIXELS.way_out}), and a share up to 1')
    for key in ('mean', 'std'):
        values = options.get(key)
        if values is not None and not (isinstance(values, list | tuple) and all(
                is_real(value, -_LARGEST, _LARGEST) and (key == 'mean' or value > 0) for value in values)):
            raise ConfigError(f'PackImage: {key} is {shown(values)}: expected numbers{", above 0" * (key == "std")}')
    return max(sides) / crop if options.get('crop_mode') in (None, 'center') else None
