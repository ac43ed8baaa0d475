"""A model's prediction for one frame."""
from dataclasses import dataclass

import numpy as np
from mmengine.structures import BaseDataElement

from .results import Results, to_dict
from .sources import Source


@dataclass
class Prediction:
    """A model's prediction for one frame.

    Args:
        source: the input it comes from.
        frame: number of the frame in its video, from 0.
        image: uint8 ``(H, W, 3)``, BGR.
        sample: mmdet's DetDataSample or mmseg's SegDataSample on the CPU, in the image's own coordinates.
    """
    source: Source
    frame: int
    image: np.ndarray
    sample: BaseDataElement

    def to_dict(self) -> dict:
        """See `results.to_dict`."""
        return to_dict(self.sample)

    def add_to(self, results: Results) -> None:
        """Write the predictions."""
        results.add_sample(self)
