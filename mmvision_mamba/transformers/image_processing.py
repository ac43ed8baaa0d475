"""Preprocessing of images as published, by timm's transforms, under transformers' interface."""
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD, create_transform
from transformers import BatchFeature
from transformers.image_processing_utils import BaseImageProcessor
from transformers.image_transforms import to_pil_image
from transformers.image_utils import make_list_of_images

from ..backbones.family import FAMILY, LARGEST_SIDE, got, is_real, is_whole
from ..backbones.timm_models import default_cfgs
from ..errors import ConfigError, DataError
from ..limits import PIXELS
from ..printable import shown
from .configuration import MambaVisionConfig

CROP_MODES = ('center', 'squash', 'border')
_LARGEST = 1e6  # of means, and of one over standard deviations
_DEEP = ('I', 'F')  # beginnings of Pillow's modes of more than 8 bits, which it would cut to 255


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
        ConfigError (a ValueError): a setting that is not one of these. DataError (a ValueError): when called, an image
            that is none, or larger, as it is or once it is resized, than `limits.PIXELS`.
    """

    model_input_names = ['pixel_values']

    def __init__(self, size: Mapping[str, int] | int = 224, crop_pct: float = 1., crop_mode: str = 'center',
                 resample: str | int = 'bicubic', image_mean: Sequence[float] = IMAGENET_DEFAULT_MEAN,
                 image_std: Sequence[float] = IMAGENET_DEFAULT_STD, **options: Any):
        super().__init__(**options)
        self.size, self.resample = _size(size), _resample(resample)
        if crop_mode not in CROP_MODES or not is_real(crop_pct, 0, 1) or crop_pct == 0:
            raise ConfigError(f'crop_pct must be in (0, 1] and crop_mode one of {", ".join(CROP_MODES)}, got '
                              f'{got(crop_pct)} and {got(crop_mode)}')
        self.crop_pct, self.crop_mode = crop_pct, crop_mode
        if (pixels := self.size['height'] * self.size['width'] / crop_pct**2) > PIXELS.value:
            raise ConfigError(f'size={self.size} and crop_pct={crop_pct} make images of {pixels:.1e} pixels, and at '
                              f'most {PIXELS.value} are made ({PIXELS.way_out})')
        self.image_mean = _three('image_mean', image_mean, -_LARGEST)
        self.image_std = _three('image_std', image_std, 1 / _LARGEST)

    def preprocess(self, images: Any, return_tensors: Any = None, **options: Any) -> BatchFeature:
        transform = create_transform(
            (3, self.size['height'], self.size['width']), crop_pct=self.crop_pct, crop_mode=self.crop_mode,
            interpolation=Image.Resampling(self.resample).name.lower(), mean=self.image_mean, std=self.image_std)
        if isinstance(images, list | tuple) and not images:
            raise DataError('the list of images is empty')
        pixels = [transform(self._checked(image, f'image {i}').convert('RGB')).numpy()
                  for i, image in enumerate(make_list_of_images(images))]
        return BatchFeature(dict(pixel_values=pixels), tensor_type=return_tensors)

    def _checked(self, image: Any, where: str) -> Image.Image:
        """An image as Pillow's, after a look at its size and kind of numbers."""
        width, height = _size_of(image, where)
        if width < 1 or height < 1 or width * height > PIXELS.value:
            raise DataError(f'{where} has {width} × {height} pixels: expected 1 to {PIXELS.value} ({PIXELS.way_out})')
        if self.crop_mode == 'center':  # the shorter side becomes the crop's
            factor = max(self.size['height'] / height, self.size['width'] / width) / self.crop_pct
            if width * height * factor**2 > PIXELS.value:
                raise DataError(f'{where} has {width} × {height} pixels: with its shorter side resized to the crop it '
                                f"would have more than {PIXELS.value}. Cut it, or use crop_mode='squash' or 'border'")
        if isinstance(image, Image.Image):
            return image
        try:
            return to_pil_image(_array(image))
        except (TypeError, ValueError, OSError) as error:
            raise DataError(f'{where}: {shown(error)}') from None

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
    side = 16 * (config.arch['window_size'][0] or 14)
    variants = [f'mambavision_{name}' for name, arch in FAMILY.items() if all(
        list(getattr(config, key)) == list(arch[key]) if key == 'depths' else getattr(config, key) == arch[key]
        for key in ('dim', 'in_dim', 'depths'))]
    cfgs = [cfg for name in variants for cfg in default_cfgs[name].cfgs.values() if cfg.input_size[-1] == side]
    published = dict(crop_pct=cfgs[0].crop_pct, crop_mode=cfgs[0].crop_mode) if cfgs else {}
    said = dict(crop_pct=getattr(config, 'crop_pct', None), crop_mode=getattr(config, 'crop_mode', None),
                image_mean=getattr(config, 'mean', None), image_std=getattr(config, 'std', None))
    return dict(size=side, **{**published, **{key: value for key, value in said.items() if value is not None}})


def _size(size: Any) -> dict[str, int]:
    sides = size if isinstance(size, Mapping) else dict(height=size, width=size)
    if set(sides) != {'height', 'width'} or not all(
            is_whole(side) and 0 < side <= LARGEST_SIDE for side in sides.values()):
        raise ConfigError(f'size must be a number of pixels or dict(height=…, width=…), from 1 to {LARGEST_SIDE}, got '
                          f'{got(size)}')
    return dict(sides)


def _resample(resample: Any) -> int:
    try:
        if isinstance(resample, str):
            return int(Image.Resampling[resample.upper()])
        return int(Image.Resampling(resample if is_whole(resample) else -1))
    except (KeyError, ValueError):
        raise ConfigError(f'resample must be one of {", ".join(kind.name.lower() for kind in Image.Resampling)}, or '
                          f"Pillow's number, got {got(resample)}") from None


def _three(name: str, values: Any, least: float) -> list[float]:
    if not isinstance(values, list | tuple) or len(values) != 3 or not all(
            is_real(value, least, _LARGEST) for value in values):
        raise ConfigError(f'{name} must be three numbers from {least:g} to {_LARGEST:g}, got {got(values)}')
    return list(values)


def _size_of(image: Any, where: str) -> tuple[int, int]:
    """Width and height; of 1 and 3 channels the first or the last axis is, as transformers takes them."""
    if isinstance(image, Image.Image):
        if image.mode.startswith(_DEEP):
            raise DataError(f'{where} has the mode {image.mode}, of more than 8 bits: convert it to RGB')
        return image.size
    if not isinstance(image, np.ndarray | torch.Tensor) or image.ndim != 3:
        raise DataError(f"{where}: expected one of Pillow's, an array or a tensor of three axes, got "
                        f'{tuple(image.shape) if hasattr(image, "shape") else got(image)}')
    height, width = image.shape[:2] if image.shape[2] in (1, 3) else image.shape[1:]
    return width, height


def _array(image: Any) -> np.ndarray:
    if isinstance(image, torch.Tensor):
        image = image.detach().cpu()
        image = (image.float() if image.dtype == torch.bfloat16 else image).numpy()
    if image.dtype.kind not in 'uif':
        raise TypeError(f'expected whole or floating-point numbers, got {image.dtype}')
    if image.dtype.kind == 'f' and not np.isfinite(image).all():
        raise ValueError('it has numbers that are not finite')
    return image
