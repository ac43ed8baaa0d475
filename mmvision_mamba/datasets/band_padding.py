"""Padding for images of any number of bands: mmcv's takes four."""
from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform
from mmengine.registry import TRANSFORMS

_MODES = dict(edge='edge', reflect='reflect', symmetric='symmetric')  # mmcv's names: NumPy's


class Pad(BaseTransform):
    """The toolbox's `Pad`, right and below, for `img` ``(H, W, n)`` or ``(H, W)``; masks and maps it pads itself.

    Args:
        pad_val: a number, or a dict whose `img` is one, or one for each band.
        padding_mode, settings: the toolbox's arguments.
    """

    def __init__(self, pad_val: Any = 0, padding_mode: str = 'constant', **settings: Any):
        values = dict(pad_val) if isinstance(pad_val, dict) else dict(img=pad_val, seg=255)
        self.value, self.mode = values.get('img', 0), padding_mode
        self.pad = TRANSFORMS.build(dict(
            type='Pad', pad_val=dict(values, img=0), padding_mode=padding_mode, **settings))

    def transform(self, results: dict) -> dict:
        image = results['img']
        results['img'] = np.zeros(image.shape[:2], np.uint8)  # in its place, which tells the size
        results = self.pad(results)
        height, width = results['img'].shape[:2]
        results['img'] = padded(image, height, width, self.value, self.mode)
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}({self.pad!r}, img={self.value})'


def padded(image: np.ndarray, height: int, width: int, value: Any, mode: str = 'constant') -> np.ndarray:
    """An image ``(H, W, n)`` or ``(H, W)``, padded right and below with a value, or one for each band."""
    below, right = height - image.shape[0], width - image.shape[1]
    if mode != 'constant':
        return np.pad(image, ((0, below), (0, right), (0, 0))[:image.ndim], mode=_MODES[mode])  # type: ignore[call-overload]
    out = np.empty((height, width, *image.shape[2:]), image.dtype)
    out[:] = np.ravel(value) if image.ndim == 3 else np.ravel(value)[0]
    out[:image.shape[0], :image.shape[1]] = image
    return out
