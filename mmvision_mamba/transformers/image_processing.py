"""Preprocessing of images as published, by timm's transforms, under transformers' interface."""
import os
from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD, create_transform
from timm.data.transforms import str_to_pil_interp
from transformers import BatchFeature
from transformers.image_processing_utils import BaseImageProcessor
from transformers.image_transforms import to_pil_image
from transformers.image_utils import make_list_of_images

from ..backbones.family import FAMILY
from ..backbones.timm_models import default_cfgs
from ..errors import ConfigError
from .configuration import MambaVisionConfig

CROP_MODES = ('center', 'squash', 'border')


class MambaVisionImageProcessor(BaseImageProcessor):
    """Resizes, crops and normalises RGB images, to the last bit as timm does for the published accuracies.

    Args:
        size: sides of the crop in pixels, dict(height=…, width=…), or one number. Default: 224.
        crop_pct: share of the resized image's side that the crop keeps. Default: 1.
        crop_mode: 'center': the shorter side is resized to the crop's / crop_pct. 'squash': both sides are. 'border':
            the longer side is, the rest is padding. Default: 'center'.
        resample: 'bicubic' or another of timm's names, or Pillow's number. Default: 'bicubic'.
        image_mean, image_std: of the channels on the scale 0 to 1. Default: ImageNet's.

    Returns:
        called with an image or a list of them (Pillow's, arrays or tensors): pixel_values, with return_tensors='pt'
        float32 ``(B, 3, height, width)``.

    Raises:
        ConfigError: a setting that is not one of these.
    """

    model_input_names = ['pixel_values']

    def __init__(self, size: Mapping[str, int] | int = 224, crop_pct: float = 1., crop_mode: str = 'center',
                 resample: str | int = 'bicubic', image_mean: Sequence[float] = IMAGENET_DEFAULT_MEAN,
                 image_std: Sequence[float] = IMAGENET_DEFAULT_STD, **options: Any):
        super().__init__(**options)
        size = dict(height=size, width=size) if isinstance(size, int) else dict(size)
        if set(size) != {'height', 'width'}:
            raise ConfigError(f'size must be a number of pixels or dict(height=…, width=…), got {size!r}')
        if not 0 < crop_pct <= 1 or crop_mode not in CROP_MODES:
            raise ConfigError(f'crop_pct must be in (0, 1] and crop_mode one of {", ".join(CROP_MODES)}, got '
                              f'{crop_pct!r} and {crop_mode!r}')
        self.size, self.crop_pct, self.crop_mode = size, crop_pct, crop_mode
        self.resample = int(str_to_pil_interp(resample) if isinstance(resample, str) else resample)
        self.image_mean, self.image_std = list(image_mean), list(image_std)

    def preprocess(self, images: Any, return_tensors: Any = None, **options: Any) -> BatchFeature:
        transform = create_transform(
            (3, self.size['height'], self.size['width']), crop_pct=self.crop_pct, crop_mode=self.crop_mode,
            interpolation=Image.Resampling(self.resample).name.lower(), mean=self.image_mean, std=self.image_std)
        pixels = [transform(to_pil_image(image).convert('RGB')).numpy() for image in make_list_of_images(images)]
        return BatchFeature(dict(pixel_values=pixels), tensor_type=return_tensors)

    @classmethod
    def from_config(cls, config: MambaVisionConfig, **settings: Any) -> 'MambaVisionImageProcessor':
        """The published preprocessing of the model of `config`; `settings` are arguments that replace some of it."""
        return cls(**{**published_settings(config), **settings})

    @classmethod
    def get_image_processor_dict(cls, pretrained_model_name_or_path: str | os.PathLike, **kwargs: Any
                                 ) -> tuple[dict[str, Any], dict[str, Any]]:
        """As in transformers; for a published repository, which has no `preprocessor_config.json`, by its config."""
        try:
            return super().get_image_processor_dict(pretrained_model_name_or_path, **kwargs)
        except OSError as error:
            try:
                config, rest = MambaVisionConfig.from_pretrained(
                    pretrained_model_name_or_path, return_unused_kwargs=True, **kwargs)
            except OSError:
                raise error from None
            return published_settings(config), rest


def published_settings(config: MambaVisionConfig) -> dict[str, Any]:
    """Arguments of the image processor: what config.json says, else what the published variant of that size has."""
    side = 16 * (config.window_size[2] or 14)
    variants = [f'mambavision_{name}' for name, arch in FAMILY.items() if all(
        list(getattr(config, key)) == list(arch[key]) if key == 'depths' else getattr(config, key) == arch[key]
        for key in ('dim', 'in_dim', 'depths'))]
    cfgs = [cfg for name in variants for cfg in default_cfgs[name].cfgs.values() if cfg.input_size[-1] == side]
    published = dict(crop_pct=cfgs[0].crop_pct, crop_mode=cfgs[0].crop_mode) if cfgs else {}
    said = dict(crop_pct=getattr(config, 'crop_pct', None), crop_mode=getattr(config, 'crop_mode', None),
                image_mean=getattr(config, 'mean', None), image_std=getattr(config, 'std', None))
    return dict(size=side, **{**published, **{key: value for key, value in said.items() if value is not None}})
