"""mmseg's data preprocessor for images of any number of bands."""
from collections.abc import Sequence
from typing import Any

from mmseg.models import SegDataPreProcessor

from .band_normalisation import normalise_bands


class SegBandPreprocessor(SegDataPreProcessor):
    """mmseg's `SegDataPreProcessor`, which not in all distributions takes any number of means.

    Args:
        mean, std: of each band, in the order in which images have them.
        settings: mmseg's further arguments.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float], **settings: Any):
        super().__init__(**settings)
        normalise_bands(self, mean, std)
