"""What a config does to an image before its model sees it: the settings that an exported file carries along."""
from __future__ import annotations

from collections.abc import Mapping, Sequence

from mmengine.config import Config

from ..backbones.family import MEAN, STD, resolve_arch
from ..datasets.band_loading import LoadImageFromFile
from ..datasets.image_loader import image_loader
from ..errors import ConfigError
from ..preflight.check_model_inputs import check_normalisation
from ..preflight.datasets import datasets_of, innermost
from ..text import class_name

INTERPOLATIONS = 'bilinear', 'nearest', 'bicubic'
HARMLESS = ('Load', 'Pack', 'ImageToTensor', 'Collect', 'ToTensor')  # beginnings of names: pixels stay as they are


def test_pipeline(cfg: Config) -> list[dict]:
    """The transforms of the config's test pipeline, without those that load annotations; [] where there is none."""
    datasets = datasets_of(cfg, 'test')
    dataset = datasets[0][1] if datasets else innermost((cfg.get('test_dataloader') or {}).get('dataset') or {})
    pipeline = dataset.get('pipeline') or cfg.get('test_pipeline') or []
    return [step for step in pipeline if 'Annotation' not in class_name(step['type'])]


def input_channels(cfg: Config) -> int:
    """Channels of the images that the config's backbone takes: 3, or its `arch.in_channels`."""
    backbone = cfg.model.get('backbone')
    backbone = backbone if isinstance(backbone, Mapping) else cfg.model
    known = class_name(backbone.get('type', '')) in ('MambaVision', 'MambaVisionClassifier')
    return resolve_arch(backbone.get('arch', 'tiny'))['in_channels'] if known else 3


def bands_of(cfg: Config) -> dict | None:
    """Which bands of a file the config's test pipeline loads, and what it fills missing values of them with.

    Returns:
        `numbers`, from 1; `fill`, a value for each; `shown`, the positions of those that pictures have as red, green
        and blue; `file_bands` and `dtype`, what files must have. None: the pipeline loads images in colour.
    """
    loader = image_loader(dict(pipeline=test_pipeline(cfg)))
    if not isinstance(loader, LoadImageFromFile):
        return None
    return dict(numbers=list(loader.bands), fill=list(loader.fill or [0.] * len(loader.bands)), shown=loader.positions,
                file_bands=loader.file_bands, dtype=loader.dtype)


def pipeline_settings(cfg: Config, channels: int = 3, strict: bool = True) -> dict:
    """How the config prepares images: the arguments of `Preprocess`, but for the shape; and `bands`, see `bands_of`.

    A data preprocessor without mean and std leaves pixels as they are; a model without one, a classifier, takes images
    as timm's transforms make them.

    Args:
        cfg: the config.
        channels: of the model's input. Default: 3.
        strict: refuse transforms that no exported file does; else they are left out. Default: True.

    Raises:
        ConfigError: a transform or setting that an exported file does not have; or a mean or std of another number of
            channels than the model takes.
    """
    check_normalisation('model', cfg.model, channels)
    preprocessor = cfg.model.get('data_preprocessor') or cfg.get('data_preprocessor')
    if preprocessor is None:
        preprocessor = dict(mean=MEAN, std=STD, bgr_to_rgb=True) if channels == 3 else {}
    bands = bands_of(cfg)
    flips = bool(preprocessor.get('bgr_to_rgb') or preprocessor.get('rgb_to_bgr')) and bands is None  # read as BGR
    mean, std = (_per_channel(preprocessor, key, default, channels) for key, default in (('mean', 0.), ('std', 1.)))
    if flips and channels != 3 and 'Seg' not in class_name(preprocessor.get('type', '')):
        raise ConfigError(f'model.data_preprocessor.bgr_to_rgb: the model takes {channels} channels, of which three '
                          'would be left.\nUse --cfg-options model.data_preprocessor.bgr_to_rgb=False')
    order = 'RGB' if flips or bands is not None else 'BGR'  # bands keep their own
    settings = dict(mean=mean, std=std, channel_order=order, scale=None, keep_ratio=True, scale_factor=None,
                    interpolation='bilinear', to_float32=bands is not None, pad=None,
                    batch_pad=_batch_pad(preprocessor))
    if bands is not None:
        settings['bands'] = bands
    steps = test_pipeline(cfg)
    for i, step in enumerate(steps):
        name = class_name(step['type'])
        earlier = [class_name(other['type']) for other in steps[:i]]
        settings['to_float32'] |= bool(step.get('to_float32'))
        if name == 'Resize' and not {'Resize', 'Pad'} & set(earlier):
            settings |= _resize(step)
        elif name == 'Pad' and 'Pad' not in earlier:
            settings['pad'] = _pad(step, channels, order if bands is None else 'BGR')
        elif strict and not name.startswith(HARMLESS):
            raise ConfigError(f'the test pipeline: an exported file does not do what {name} does there: it loads, '
                              'resizes once and then pads once.\nLeave it out of test_dataloader.dataset.pipeline, or '
                              'use --part backbone')
    return settings


def _per_channel(preprocessor: Mapping, key: str, default: float, channels: int) -> list[float]:
    values = preprocessor.get(key)
    if values is None:
        return [default] * channels
    return [float(value) for value in values] * (channels if len(values) == 1 else 1)


def _batch_pad(preprocessor: Mapping) -> dict:
    """The data preprocessor's padding at test time: mmseg's from its `test_cfg`, mmdet's always."""
    if 'Seg' in class_name(preprocessor.get('type', '')):
        test = preprocessor.get('test_cfg') or {}
        return dict(size=list(test['size']) if test.get('size') else None, divisor=test.get('size_divisor') or 1,
                    value=float(preprocessor.get('pad_val', 0)))
    return dict(size=None, divisor=preprocessor.get('pad_size_divisor', 1),
                value=float(preprocessor.get('pad_value', 0)))


def _resize(step: Mapping) -> dict:
    interpolation, backend = step.get('interpolation', 'bilinear'), step.get('backend', 'cv2')
    if interpolation not in INTERPOLATIONS or backend != 'cv2':
        raise ConfigError(f"the test pipeline's Resize: an exported file has interpolation {', '.join(INTERPOLATIONS)} "
                          f"as backend 'cv2' does it, got {interpolation!r} of {backend!r}")
    scale, factor = step.get('scale'), step.get('scale_factor')
    if isinstance(scale, int):
        scale = scale, scale
    if isinstance(factor, int | float):
        factor = factor, factor
    return dict(scale=list(scale) if scale else None, keep_ratio=step.get('keep_ratio', False),
                scale_factor=list(factor) if factor and not scale else None, interpolation=interpolation)


def _pad(step: Mapping, channels: int, order: str) -> dict:
    if step.get('padding_mode', 'constant') != 'constant':
        raise ConfigError(f"the test pipeline's Pad: an exported file pads with a constant, got padding_mode="
                          f'{step["padding_mode"]!r}')
    value = step.get('pad_val', 0)
    value = value.get('img', 0) if isinstance(value, Mapping) else value
    values = list(value) if isinstance(value, Sequence) else [value] * channels
    size = step.get('size')  # width and height
    return dict(size=list(size[::-1]) if size else None, divisor=step.get('size_divisor'),
                square=bool(step.get('pad_to_square')),
                value=values[::-1] if order == 'RGB' and channels == 3 else values)
