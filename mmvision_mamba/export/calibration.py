"""Calibration images in the form that onnxruntime's quantiser reads. Imported on demand, since it may be missing."""
from collections.abc import Iterable

import numpy as np
from onnxruntime.quantization import CalibrationDataReader


class ImageReader(CalibrationDataReader):
    """Hands out images, ``(1, 3, H, W)`` float32 each, as the input `images` of a graph."""

    def __init__(self, images: Iterable[np.ndarray]):
        self.images = iter(images)

    def get_next(self) -> dict[str, np.ndarray] | None:
        image = next(self.images, None)
        return None if image is None else dict(images=image)
