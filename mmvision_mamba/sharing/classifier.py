"""A shared classifier for timm and transformers, too: what their loaders read, beside this package's own.

The weights have the published names, which timm's classifier has and transformers takes: `patch_embed…`, `levels…`,
`norm…`, `head…`. `config.json` has timm's keys (`architecture`, `model_args`, `pretrained_cfg`) and transformers'
(`model_type`, the architecture, `id2label`), and this package's below one key.
"""
from collections.abc import Mapping
from typing import Any

from mmengine import Config
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import Tensor

from ..backbones.family import FAMILY, FIRST_CONV, check_window_size, resolve_arch
from ..errors import ConfigError
from ..export.pipeline import test_pipeline
from ..printable import shown
from ..text import class_name
from .plain import from_data
from .shared import Shared

# Arguments of the backbone that are settings of a training or of a machine, the same for each classifier, or apart.
_LEFT_OUT = ('type', '_scope_', 'arch', 'out_indices', 'norm_layer', 'init_cfg', 'frozen_stages', 'norm_eval',
             'with_cp', 'scan_backend', 'window_size', 'window_padding', 'drop_path_rate')
_CROP_MODES = ('center', 'squash', 'border')
_CROP = 0.875  # timm's default


def preprocessing(cfg: Config) -> dict[str, Any]:
    """What happens to an image before the classifier: size [height, width] and timm's names for all else.

    Raises:
        ConfigError: the test pipeline does what timm's and transformers' settings have no names for.
    """
    steps = test_pipeline(cfg)
    where = 'test_dataloader.dataset.pipeline'
    if [class_name(step['type']) for step in steps] != ['LoadImageFromFile', 'PackImage'] or 'bands' in steps[0]:
        raise ConfigError(f'{where}: a classifier is saved whose test images go through LoadImageFromFile and '
                          'PackImage alone, as timm and transformers prepare them')
    given = {key: value for key, value in steps[1].items() if key != 'type' and value is not None}
    side = given.pop('input_size', 224)
    size = [side, side] if isinstance(side, int) else list(side)[-2:]
    found = dict(size=size, crop_pct=given.pop('crop_pct', _CROP), crop_mode=given.pop('crop_mode', 'center'),
                 interpolation=given.pop('interpolation', 'bicubic'),
                 mean=list(given.pop('mean', IMAGENET_DEFAULT_MEAN)),
                 std=list(given.pop('std', IMAGENET_DEFAULT_STD)))
    if given.pop('is_training', False) or given or found['crop_mode'] not in _CROP_MODES:
        names = ', '.join(given) or 'is_training or crop_mode'
        raise ConfigError(f'{where}: PackImage has {shown(names)}, for which timm and transformers have no setting')
    return found


def settings(shared: Shared) -> dict[str, Any]:
    """The keys of config.json that timm and transformers read.

    Raises:
        ConfigError: its backbone is none that they know.
    """
    backbone = from_data(shared.config['model']['backbone'])
    if not isinstance(backbone, Mapping) or class_name(backbone['type']) != 'MambaVision':
        raise ConfigError(f"model.backbone.type is '{shown(backbone.get('type'))}': a classifier is saved whose "
                          'backbone is a MambaVision')
    arch = resolve_arch(backbone.get('arch', 'tiny'))
    if (rate := backbone.get('drop_path_rate')) is not None:
        arch['drop_path_rate'] = rate
    given = backbone.get('window_size', 'arch')
    windows = list(arch['window_size'] if given == 'arch' else check_window_size(given))
    padding = backbone.get('window_padding', 'fit')
    more = {key: value for key, value in backbone.items() if key not in _LEFT_OUT}
    arch = {key: list(value) if isinstance(value, tuple) else value for key, value in arch.items()}
    names, size = shared.classes, shared.preprocessing['size']
    variant = next((name for name, known in FAMILY.items() if all(
        arch[key] == (list(value) if isinstance(value, tuple) else value) for key, value in known.items()
        if key in ('dim', 'in_dim', 'depths', 'num_heads'))), 'tiny')
    found = dict(
        architecture=f'mambavision_{variant}', num_classes=len(names), label_names=names,
        model_args=dict(arch=arch, window_size=windows, window_padding=padding, **more),
        pretrained_cfg=dict(
            input_size=[arch['in_channels'], *size], pool_size=[-(-side // 32) for side in size],
            num_classes=len(names), custom_load=False, first_conv=FIRST_CONV, classifier='head', **{
                key: value for key, value in shared.preprocessing.items() if key != 'size'},
            **dict(license=shared.licence.name) if shared.licence.name else {}))
    if not more:  # the paper's ablations have no names in transformers' config
        own = {key: value for key, value in arch.items() if key not in ('window_size', 'in_channels')}
        found |= dict(model_type='mambavision', architectures=['MambaVisionForImageClassification'],
                      window_size=[8, 8, *windows], window_padding=padding, num_channels=arch['in_channels'], **own,
                      id2label={str(i): name for i, name in enumerate(names)})
        if len(set(names)) == len(names):
            found['label2id'] = {name: i for i, name in enumerate(names)}
    return found


def image_processor(shared: Shared) -> dict[str, Any]:
    """`preprocessor_config.json`, of transformers' `MambaVisionImageProcessor`."""
    own = shared.preprocessing
    return dict(image_processor_type='MambaVisionImageProcessor', size=dict(zip(('height', 'width'), own['size'])),
                crop_pct=own['crop_pct'], crop_mode=own['crop_mode'], resample=own['interpolation'],
                image_mean=own['mean'], image_std=own['std'])


def weights(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """An `ImageClassifier`'s weights by the published names."""
    return {key.removeprefix('backbone.'): value for key, value in state.items()}
