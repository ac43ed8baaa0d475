"""mmdet's LVIS metric, made to run with numpy 1.24 and later."""
from contextlib import contextmanager

import numpy as np
from mmdet.evaluation import LVISMetric as _LVISMetric


class LVISMetric(_LVISMetric):
    """mmdet's `LVISMetric`, arguments and all. The package lvis, last released as 0.5.3, uses `np.float`, a name that
    numpy 1.24 dropped: it is defined while the metric is computed."""

    def compute_metrics(self, results: list) -> dict:
        with _numpy_float():
            return super().compute_metrics(results)


@contextmanager
def _numpy_float():
    if 'float' in vars(np):
        yield
        return
    np.float = float
    try:
        yield
    finally:
        del np.float
