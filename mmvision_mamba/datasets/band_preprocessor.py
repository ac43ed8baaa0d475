"""mmdet's data preprocessor for images of any number of bands."""
from collections.abc import Sequence
from typing import Any

import torch
from mmdet.models.data_preprocessors import DetDataPreprocessor


class BandPreprocessor(DetDataPreprocessor):
    """mmdet's `DetDataPreprocessor`, which takes one or three means alone, with a mean and deviation for each band.

    Args:
        mean, std: of each band, in the order in which images have them.
        settings: mmdet's further arguments.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float], **settings: Any):
        super().__init__(**settings)
        # mmengine 0.10.7 has no seam here: its constructor refuses other numbers, and all else takes them.
        for name, values in (('mean', mean), ('std', std)):
            self.register_buffer(name, torch.tensor(values, dtype=torch.float32).view(-1, 1, 1), persistent=False)
        self._enable_normalize = True
