"""Pictures of predictions during training and tests, where images have other bands than red, green and blue."""
from collections.abc import Iterator
from contextlib import contextmanager

import mmcv
import numpy as np
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from ...datasets.band_loading import LoadImageFromFile
from ...errors import DataError


class BandVisualizationHook(Hook):
    """A toolbox's visualisation hook, which draws on the bands that are shown, stretched.

    Args:
        kind: the toolbox's hook, 'DetVisualizationHook' or 'SegVisualizationHook'.
        loader: arguments of `band_loading.LoadImageFromFile`.
        settings: arguments of the toolbox's hook.
    """

    def __init__(self, kind: str, loader: dict, **settings):
        self.hook, self.loader = HOOKS.build(dict(type=kind, **settings)), LoadImageFromFile(**loader)

    def after_val_iter(self, *args, **kwargs) -> None:
        with self._reading():
            self.hook.after_val_iter(*args, **kwargs)

    def after_test_iter(self, *args, **kwargs) -> None:
        with self._reading():
            self.hook.after_test_iter(*args, **kwargs)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Within it, images that mmcv decodes are the bands that are shown."""
        # mmdet 3.3 and mmseg 1.2.2 have no seam here: their hooks decode the image's file by themselves.
        decode = mmcv.imfrombytes

        def picture(content: bytes, channel_order: str = 'bgr', **_) -> np.ndarray:
            mmcv.imfrombytes = decode  # by which the loader reads all that is no TIFF
            try:
                return self._picture(content, channel_order)
            finally:
                mmcv.imfrombytes = picture

        mmcv.imfrombytes = picture
        try:
            yield
        finally:
            mmcv.imfrombytes = decode

    def _picture(self, content: bytes, channel_order: str) -> np.ndarray:
        image, problem = self.loader.decode(content)
        if image is None:
            raise DataError(f'the image can not be drawn: {problem}')
        return np.ascontiguousarray(self.loader.picture(image)[..., ::-1 if channel_order == 'rgb' else 1])
