"""mmdet's data preprocessor for images of any number of bands."""
from collections.abc import Sequence
from typing import Any

from mmdet.models.data_preprocessors import DetDataPreprocessor

from .band_normalisation import normalise_bands


class BandPreprocessor(DetDataPreprocessor):
    """mmdet's `DetDataPreprocessor`, which takes one or three means alone, with a mean and deviation for each band.

    Args:
        mean, std: of each band, in the order in which images have them.
        settings: mmdet's further arguments.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float], **settings: Any):
        super().__init__(**settings)
        normalise_bands(self, mean, std)
