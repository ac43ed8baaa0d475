"""The settings of a MambaVision in transformers, with the names that published repositories give them."""
from collections.abc import Mapping, Sequence
from typing import Any

from transformers import PretrainedConfig

from ..backbones.family import DEFAULTS, FAMILY, got, is_whole, resolve_arch
from ..errors import ConfigError
from ..limits import CATEGORIES
from ..printable import shown

try:
    from transformers.backbone_utils import BackboneConfigMixin
except ImportError:  # before transformers 5
    from transformers.utils.backbone_utils import BackboneConfigMixin

# What `Model.save` and timm have in a config.json besides. Saved again, of other classes say, it would be wrong.
_OTHERS = ('mmvision_mamba', 'architecture', 'num_classes', 'num_features', 'global_pool', 'label_names', 'model_args',
           'pretrained_cfg')
CLASSES = 1000  # of a published classifier, also where its config.json doesn't say so


class MambaVisionConfig(BackboneConfigMixin, PretrainedConfig):
    """Settings of a MambaVision: `config.json`, as published repositories have it.

    Args:
        dim, in_dim, depths, num_heads, mlp_ratio, layer_scale, layer_scale_conv, d_state, d_conv: the architecture, see
            `MambaVision`. Default: MambaVision-T.
        drop_path_rate: stochastic depth of the last block. Default: 0.2.
        window_size: four sides, one per stage, the first two unused; None: the whole map. Default: (8, 8, 14, 7).
        window_padding: see `MambaVision`. Default: 'zeros', as published.
        num_channels: channels of the images. Default: 3.
        norm_layer: norm of the backbone's feature maps: 'ln', 'bn' or None. Default: 'ln'.
        out_features, out_indices: stages that the backbone returns, out of 'stage1' to 'stage4', or 0 to 3. Default:
            the last.
        options: settings of every config in transformers. Without `id2label` and `num_labels` there are 1000 classes.

    Raises:
        ConfigError: `out_features` and `out_indices` that name different stages; `num_labels` or `id2label` that can't
            be; from `from_dict`, and all that reads files, the settings of another model. What else can't be built is
            an error of the model's.
        ValueError: stages that there are not.
    """

    model_type = 'mambavision'

    def __init__(self,
                 dim: int = 80,
                 in_dim: int = 32,
                 depths: Sequence[int] = FAMILY['tiny']['depths'],
                 num_heads: Sequence[int] = FAMILY['tiny']['num_heads'],
                 window_size: Sequence[int | None] = (8, 8, *DEFAULTS['window_size']),
                 mlp_ratio: float = DEFAULTS['mlp_ratio'],
                 drop_path_rate: float = DEFAULTS['drop_path_rate'],
                 layer_scale: float | None = None,
                 layer_scale_conv: float | None = None,
                 d_state: int = DEFAULTS['d_state'],
                 d_conv: int = DEFAULTS['d_conv'],
                 num_channels: int = DEFAULTS['in_channels'],
                 window_padding: str = 'zeros',
                 norm_layer: str | None = 'ln',
                 out_features: list[str] | None = None,
                 out_indices: Sequence[int] | None = None,
                 **options: Any):
        options.pop('auto_map', None)  # names the repository's code, which is not needed here
        if options.get('id2label') is None:
            options.setdefault('num_labels', CLASSES)
        _check_labels(options.get('num_labels'), options.get('id2label'))  # transformers makes a name for each
        _check_stages(out_features, out_indices)
        super().__init__(**options)
        self.dim, self.in_dim, self.depths, self.num_heads = dim, in_dim, _listed(depths), _listed(num_heads)
        self.window_size, self.window_padding = _listed(window_size), window_padding
        self.mlp_ratio, self.drop_path_rate = mlp_ratio, drop_path_rate
        self.layer_scale, self.layer_scale_conv = layer_scale, layer_scale_conv
        self.d_state, self.d_conv, self.num_channels, self.norm_layer = d_state, d_conv, num_channels, norm_layer
        self.stage_names = [f'stage{i}' for i in range(1, 5)]
        if out_features is None and out_indices is not None:
            self.out_indices = list(out_indices)
        else:
            self.out_features = out_features
            if out_indices is not None and self.out_indices != [i % 4 for i in out_indices]:
                raise ConfigError(f'out_features={out_features} and out_indices={list(out_indices)} are not the same '
                                  'stages: give one of them')

    @classmethod
    def from_dict(cls, config_dict: Mapping[str, Any], **kwargs: Any) -> Any:
        """As `PretrainedConfig.from_dict`, but settings of another model are refused.

        Names of implementations are left out: transformers 5 downloads kernels of such names and runs them, and
        MambaVision has none to choose.
        """
        cls._check_type(config_dict, kwargs.get('name_or_path') or config_dict.get('_name_or_path') or
                        'this config.json')
        config_dict = {key: value for key, value in config_dict.items()
                       if '_implementation' not in key and key not in _OTHERS}
        return super().from_dict(config_dict, **kwargs)

    @classmethod
    def get_config_dict(cls, pretrained_model_name_or_path: Any, **kwargs: Any) -> Any:
        """As `PretrainedConfig.get_config_dict`, but settings of another model are refused."""
        found, kwargs = super().get_config_dict(pretrained_model_name_or_path, **kwargs)
        cls._check_type(found, pretrained_model_name_or_path)
        return found, kwargs

    @classmethod
    def _check_type(cls, settings: Mapping[str, Any], where: Any) -> None:
        if (found := settings.get('model_type', cls.model_type)) != cls.model_type:
            raise ConfigError(f'{shown(where)} is of the model type {shown(found)!r}, not {cls.model_type!r}: load it '
                              "with that model's classes, or with AutoModel")

    @property
    def arch(self) -> dict[str, Any]:
        """The architecture as `MambaVision` takes it.

        Raises:
            ConfigError: an architecture that can't be built.
        """
        if not isinstance(self.window_size, list | tuple) or len(self.window_size) != 4:
            raise ConfigError(f'window_size must have four values, one per stage, got {got(self.window_size)}')
        return resolve_arch(dict(
            dim=self.dim, in_dim=self.in_dim, depths=self.depths, num_heads=self.num_heads, mlp_ratio=self.mlp_ratio,
            layer_scale=self.layer_scale, layer_scale_conv=self.layer_scale_conv, drop_path_rate=self.drop_path_rate,
            d_state=self.d_state, d_conv=self.d_conv, in_channels=self.num_channels,
            window_size=tuple(self.window_size[2:])))


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, list | tuple) else value  # JSON has lists


def _check_labels(number: Any, names: Any) -> None:
    if number is not None and not (is_whole(number) and 0 <= number <= CATEGORIES.value):
        raise ConfigError(f'num_labels must be a whole number from 0 to {CATEGORIES.value} ({CATEGORIES.way_out}), got '
                          f'{got(number)}')
    if names is not None and not (isinstance(names, Mapping) and len(names) <= CATEGORIES.value and all(
            str(key).isdecimal() and len(str(key)) < 10 for key in names)):
        raise ConfigError(f'id2label must name at most {CATEGORIES.value} classes by their numbers, {{0: NAME, …}}, '
                          f'got {got(names)}')


def _check_stages(names: Any, indices: Any) -> None:
    for key, value, kind in (('out_features', names, str), ('out_indices', indices, int)):
        if value is not None and not (isinstance(value, list | tuple) and value and all(
                type(item) is kind for item in value)):
            raise ConfigError(f"{key} must be a list of stages, {'names' if kind is str else 'numbers'}, got "
                              f'{got(value)}')
