"""Mean and deviation of any number of bands for a toolbox's data preprocessor."""
from collections.abc import Sequence

import torch
from torch import nn


def normalise_bands(preprocessor: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
    """Have a data preprocessor that was built without mean and std normalise each band by its own.

    mmengine 0.10.7 has no seam here: the constructor of its `ImgDataPreprocessor`, from which mmdet's and, in one of
    two families of distributions, mmseg's are derived, takes one or three means alone; all else takes any number.

    Args:
        preprocessor: changed in place.
        mean, std: of each band, in the order in which images have them.
    """
    for name, values in (('mean', mean), ('std', std)):
        preprocessor.register_buffer(name, torch.tensor(values, dtype=torch.float32).view(-1, 1, 1), persistent=False)
    preprocessor._enable_normalize = True
