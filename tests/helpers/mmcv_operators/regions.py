"""Features of regions of interest."""
import numpy as np
import torch
from torch import Tensor

from .calls import on_device, operator, uniform, with_gradients

DTYPES = (torch.float32, torch.float64)


def draw_regions(random: np.random.RandomState, dtype: torch.dtype, count: int = 7) -> tuple[Tensor, Tensor]:
    """Maps (2, 3, H, W), and regions (K, 5) in their coordinates: inside, across the border, beyond it, of no area."""
    height, width = random.randint(5, 12, 2)
    maps = uniform(random, 2, 3, height, width, dtype=dtype)
    corners = uniform(random, count, 2, low=-3, high=12, dtype=dtype)
    sizes = uniform(random, count, 2, low=0, high=9, dtype=dtype)
    sizes[1:2] = 0
    images = on_device(random.randint(0, 2, count)).to(dtype)
    return maps, torch.cat([images[:, None], corners, corners + sizes], dim=1)


@operator(1e-6, dtype=DTYPES, aligned=(False, True), sampling_ratio=(0, 2), scale=(1., .5), count=(0, 7))
def roi_align(random, dtype, aligned, sampling_ratio, scale, count):
    from mmcv.ops import roi_align
    maps, regions = draw_regions(random, dtype, count)
    return with_gradients(lambda maps: roi_align(maps, regions, (3, 2), scale, sampling_ratio, 'avg', aligned), random,
                          maps=maps)
