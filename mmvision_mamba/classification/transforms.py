"""timm's transforms in an mmengine pipeline."""
import inspect

import numpy as np
from mmcv.transforms import BaseTransform
from mmengine.registry import TRANSFORMS
from PIL import Image
from timm.data import create_transform

from ..text import check_names


@TRANSFORMS.register_module()
class PackImage(BaseTransform):
    """Apply `timm.data.create_transform` to an image loaded by mmcv (BGR), and pack the input of `ImageClassifier`.

    Args:
        input_size: side of the result in pixels, or (height, width). Default: 224.
        is_training: augment, or resize and crop for tests. Default: False.
        **options: of `timm.data.create_transform`, whose defaults hold (ImageNet's mean and std), but bicubic.

    Returns:
        dict(inputs=(3, H, W) float tensor, RGB, gt_label=int, img_path=str).
    """

    def __init__(self, input_size=224, is_training: bool = False, **options):
        valid = list(inspect.signature(create_transform).parameters)
        check_names(options, valid, 'PackImage has no argument')
        options.setdefault('interpolation', 'bicubic')
        self.transforms = create_transform(tuple(input_size) if not isinstance(input_size, int) else input_size,
                                           is_training, **options)

    def transform(self, results: dict) -> dict:
        image = Image.fromarray(np.ascontiguousarray(results['img'][..., ::-1]))
        return dict(inputs=self.transforms(image), gt_label=results['gt_label'], img_path=results['img_path'])

    def __repr__(self) -> str:
        return f'{type(self).__name__}({self.transforms})'
