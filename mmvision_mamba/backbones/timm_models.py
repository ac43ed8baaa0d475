"""The published classifiers under timm's names, `mambavision_{tiny,…}`, and `create_model`.

This module does not import the backbone: the backbone's own import of timm may be what registers it.
"""
import inspect
import os
from collections.abc import Sequence
from typing import Any

import timm
import torch.nn as nn
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model, resolve_pretrained_cfg

from ..errors import CheckpointError, ConfigError
from ..published import BY_NAME, MODELS
from ..text import check_names, did_you_mean
from .family import FAMILY, FIRST_CONV, resolve_arch


def _cfg(name: str, crop_pct: float = 1., **settings: Any) -> dict:
    model = BY_NAME[name]
    assert isinstance(model.image, int)
    side = model.image
    return dict(
        url=model.url, custom_load=True, num_classes=1000, input_size=(3, side, side),
        pool_size=(side // 32, side // 32), crop_pct=crop_pct, interpolation='bicubic', mean=IMAGENET_DEFAULT_MEAN,
        std=IMAGENET_DEFAULT_STD, first_conv=FIRST_CONV, classifier='head', license='cc-by-nc-sa-4.0',
        paper_ids='arXiv:2407.08083', **settings)


_CROPS: dict[str, dict] = {
    'mambavision_tiny2.in1k': dict(crop_pct=0.98), 'mambavision_small.in1k': dict(crop_pct=0.93),
    'mambavision_large2.in21k_512': dict(crop_pct=0.93, crop_mode='squash'),
    'mambavision_large3.in21k_512': dict(crop_pct=0.93, crop_mode='squash')}
default_cfgs = generate_default_cfgs({
    model.timm: _cfg(model.timm, **_CROPS.get(model.timm, {})) for model in MODELS if model.timm})


def _register(variant: str) -> None:
    def build(pretrained: bool = False, **kwargs: Any) -> nn.Module:
        return _build(variant, pretrained, **kwargs)
    build.__name__ = build.__qualname__ = f'mambavision_{variant}'
    build.__doc__ = f'MambaVision-{variant}; keyword arguments as `MambaVisionClassifier`.'
    globals()[build.__name__] = register_model(build)


def _build(variant: str, pretrained: bool, pretrained_cfg: Any = None, pretrained_cfg_overlay: dict | None = None,
           cache_dir: str | os.PathLike | None = None, **kwargs: Any) -> nn.Module:
    from .classifier import MambaVisionClassifier
    name, overlay = f'mambavision_{variant}', dict(pretrained_cfg_overlay or {})
    if isinstance(pretrained_cfg, str) and f'{name}.{pretrained_cfg}' not in _names():
        raise ConfigError(f'{name} has no weights {pretrained_cfg!r}'
                          f'{did_you_mean(f"{name}.{pretrained_cfg}", _names())}; there are: {", ".join(_names())}')
    # timm 1.0.31 takes weights named in the overlay for ones in its own format, unless the overlay says otherwise.
    overlay.setdefault('custom_load', resolve_pretrained_cfg(name, pretrained_cfg).custom_load)
    cfg = resolve_pretrained_cfg(name, pretrained_cfg, dict(overlay))
    if cache_dir is not None:
        if cfg.source != 'hf-hub':  # of which timm itself downloads
            raise ConfigError("cache_dir: weights are downloaded into the Hub's cache; set HF_HOME to move it")
        kwargs['cache_dir'] = cache_dir
    if pretrained and cfg.custom_load and cfg.url and not (cfg.file or cfg.state_dict or cfg.source):
        overlay['file'] = cfg.url  # timm would download and read it in its own way; `load_pretrained` reads URLs too
    if 'img_size' in kwargs:
        size = kwargs['img_size']
        overlay['input_size'] = (cfg.input_size[0], *((size, size) if isinstance(size, int) else size))
        overlay['pool_size'] = tuple(-(-side // 32) for side in overlay['input_size'][1:])
    else:
        kwargs['img_size'] = cfg.input_size[1:]
    kwargs.setdefault('arch', variant)
    if kwargs.get('features_only'):
        kwargs['num_classes'] = 0  # no linear layer, so no warning that one was left out
    return build_model_with_cfg(
        MambaVisionClassifier, name, pretrained, pretrained_cfg=pretrained_cfg, pretrained_cfg_overlay=overlay,
        feature_cfg=dict(out_indices=(0, 1, 2, 3), feature_cls='getter'), **kwargs)


def _names() -> list[str]:
    return [f'{model}.{tag}' for model, cfg in default_cfgs.items() for tag in cfg.tags]


for _variant in FAMILY:
    _register(_variant)


# Arguments that `create_model` names otherwise, or sets itself.
_OTHER_NAMES = ('arch', 'in_chans', 'img_size', 'drop_path_rate', 'norm_layer', 'init_cfg')


def create_model(model_name: str = 'mambavision_tiny', pretrained: bool | str | os.PathLike = False, *,
                 num_classes: int = 1000, features_only: bool = False, out_indices: Sequence[int] | None = None,
                 image_size: int | Sequence[int] | None = None, in_channels: int = 3, dim: int | None = None,
                 depths: Sequence[int] | None = None, num_heads: Sequence[int] | None = None,
                 mlp_ratio: float | None = None, dropout: float | None = None, d_state: int | None = None,
                 d_conv: int | None = None, **options: Any) -> nn.Module:
    """A MambaVision classifier, or, with `features_only`, its multi-scale features; needs torch and timm alone.

    `timm.create_model(model_name, …)` builds the same with timm's own names (in_chans, img_size, drop_path_rate).

    Args:
        model_name: 'mambavision_{tiny,tiny2,small,base,large,large2,large3}', also with the tag of its weights, as in
            'mambavision_base.in21k' (`timm.list_pretrained('mambavision*')` lists them), and without 'mambavision_'.
            Default: 'mambavision_tiny'.
        pretrained: True: the published weights, downloaded once; a path or URL: those; False: none. Default: False.
        num_classes: 0: the pooled feature, ``(B, 8 · dim)``. Weights for another number of classes are loaded without
            their linear layer, with a warning. Default: 1000.
        features_only: return a list of ``(B, dim · 2^i, H/2^(i+2), W/2^(i+2))``. Default: False.
        out_indices: with features_only, the stages to return. Default: (0, 1, 2, 3).
        image_size: side in pixels, or (height, width), of the images: the default windows of stages 3 and 4 span their
            maps. Images of other sizes are taken too. Default: as published, 224.
        in_channels: channels of the images; published weights are adapted. Default: 3.
        dim, depths, num_heads, mlp_ratio, d_state, d_conv: the architecture, see `MambaVision`. Default: the variant's.
        dropout: stochastic depth of the last block, linear from 0 at the first. Default: the variant's.
        options: arguments of `MambaVisionClassifier` (drop_rate, global_pool) and `MambaVision` (window_size,
            window_padding, with_cp, scan_backend, …).

    Returns:
        `MambaVisionClassifier`, or timm's `FeatureGetterNet`, with `feature_info`.

    Raises:
        ConfigError: an unknown name, or an invalid value.
        TypeError: an unknown argument.
        CheckpointError: weights that can't be downloaded or read, or that don't fit.
    """
    from .classifier import MambaVisionClassifier
    from .mambavision import MambaVision
    if model_name.partition('.')[0] in FAMILY:  # as MambaVision's `arch` has it
        model_name = f'mambavision_{model_name}'
    variant = model_name.partition('.')[0].removeprefix('mambavision_')
    names = [f'mambavision_{v}' for v in FAMILY]
    if f'mambavision_{variant}' != model_name.partition('.')[0] or variant not in FAMILY:
        raise ConfigError(f'unknown model {model_name!r}{did_you_mean(model_name, [*names, *FAMILY])}; valid ones: '
                          f'{", ".join(names)}')
    arguments = {**inspect.signature(create_model).parameters, **inspect.signature(MambaVisionClassifier).parameters,
                 **inspect.signature(MambaVision).parameters}
    valid = set(arguments) - {'options', 'backbone', *_OTHER_NAMES}
    check_names(options, sorted(valid), 'create_model has no argument', TypeError)
    changes = dict(dim=dim, depths=depths, num_heads=num_heads, mlp_ratio=mlp_ratio, d_state=d_state, d_conv=d_conv)
    if changes := {key: value for key, value in changes.items() if value is not None}:
        options['arch'] = resolve_arch({**FAMILY[variant], **changes})
    if features_only:
        options.update(features_only=True, **({} if out_indices is None else dict(out_indices=tuple(out_indices))))
    elif out_indices is not None:
        raise ConfigError('out_indices goes with features_only=True')
    if options.get('window_size', ()) is None:  # timm drops arguments that are None
        options['window_size'] = (None, None)
    if not isinstance(pretrained, bool):
        if not os.fspath(pretrained):  # of a variable that is not set, say: timm would take it for False
            raise CheckpointError("pretrained='' names no file: give a path or URL, True, or False for none")
        options['pretrained_cfg_overlay'] = dict(file=os.fspath(pretrained))
    return timm.create_model(model_name, pretrained=bool(pretrained), num_classes=num_classes, in_chans=in_channels,
                             img_size=image_size, drop_path_rate=dropout, **options)
