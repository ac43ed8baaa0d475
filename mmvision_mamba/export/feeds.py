"""Calibration data in the form that onnxruntime's quantiser reads. Imported on demand, since it may be missing."""
from collections.abc import Iterable, Mapping

import numpy as np
from onnxruntime.quantization import CalibrationDataReader


class Feeds(CalibrationDataReader):
    """Hands out the inputs of a graph, arrays by name, one image after the other."""

    def __init__(self, feeds: Iterable[Mapping[str, np.ndarray]]):
        self.feeds = iter(feeds)

    def get_next(self) -> Mapping[str, np.ndarray] | None:
        return next(self.feeds, None)
