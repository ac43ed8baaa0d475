"""Layer-wise learning rate decay for MambaVision: the earlier a layer, the lower its learning rate."""
import re

from mmengine.logging import print_log
from mmengine.optim import DefaultOptimWrapperConstructor
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS

from ..backbones import MambaVision
from ..errors import ConfigError
from ..text import check_names, did_you_mean

_DECAY_TYPES = ('layer_wise', 'stage_wise')
_DECAY_KEYS = ('decay_rate', 'decay_type', 'num_layers')
_MMENGINE_KEYS = ('custom_keys', 'bias_lr_mult', 'bias_decay_mult', 'norm_decay_mult', 'flat_decay_mult',
                  'dwconv_decay_mult', 'dcn_offset_lr_mult', 'bypass_duplicate')
_CUSTOM_KEYS = ('lr_mult', 'decay_mult')


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LayerDecayOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """mmengine's constructor of optimiser wrappers, with learning rates times ``decay_rate^(N + 1 - id)`` by layer.

    `paramwise_cfg` takes all keys of mmengine's `DefaultOptimWrapperConstructor` (`custom_keys`, `norm_decay_mult`,
    `flat_decay_mult`, …), whose multipliers apply on top, and

    - decay_rate: in (0, 1].
    - decay_type: 'layer_wise': N is the number of blocks. The stem has id 0, the blocks of all stages have ids 1 to N,
      and a downsampling convolution has the id of the block after it. 'stage_wise': N is the number of stages, and all
      blocks of stage k have id k. Neck, heads and the output norms, which ImageNet checkpoints do not have, have id
      N + 1: the full rate. Default: 'layer_wise'.
    - num_layers: N, a key that mmdet's `LearningRateDecayOptimizerConstructor` requires. This class counts the model's
      blocks, so leave it out; another number than the model's is an error.

    This keeps weight decay from norms, biases, `D` and layer scale (all have one dimension) and from `A_log`::

        paramwise_cfg=dict(decay_rate=0.9, flat_decay_mult=0., custom_keys={'A_log': dict(decay_mult=0.)})

    Parameters with the same learning rate and weight decay share one parameter group of the optimiser.

    Raises:
        ConfigError: an unknown key, a value out of range, a custom key that no parameter's name contains, a model
            without a MambaVision.
    """

    def _validate_cfg(self) -> None:
        super()._validate_cfg()
        cfg = self.paramwise_cfg
        check_names(cfg, _DECAY_KEYS + _MMENGINE_KEYS, 'paramwise_cfg has no key')
        for key, item in cfg.get('custom_keys', {}).items():
            check_names(item, _CUSTOM_KEYS, f'paramwise_cfg.custom_keys[{key!r}] has no key')
        rate, decay_type = cfg.get('decay_rate'), cfg.get('decay_type', 'layer_wise')
        if not isinstance(rate, int | float) or not 0 < rate <= 1:
            raise ConfigError(f'paramwise_cfg.decay_rate must be in (0, 1], got {rate!r}')
        if decay_type not in _DECAY_TYPES:
            raise ConfigError(f'paramwise_cfg.decay_type must be one of {_DECAY_TYPES}, got {decay_type!r}')
        if self.base_lr is None:
            raise ConfigError('optim_wrapper.optimizer.lr: layer-wise decay needs a learning rate to scale')

    def add_params(self, params: list[dict], module, prefix: str = '', is_dcn_module=None) -> None:
        """Add the parameter groups of `module` to `params`."""
        if prefix:  # mmengine's recursion into children
            super().add_params(params, module, prefix, is_dcn_module)
            return
        backbones = {name: m for name, m in module.named_modules() if isinstance(m, MambaVision)}
        if not backbones:
            raise ConfigError(f'{type(self).__name__} decays the layers of a MambaVision, and there is none in '
                              f'{type(module).__name__}')
        names = {parameter: name for name, parameter in module.named_parameters()}
        for key in self.paramwise_cfg.get('custom_keys', {}):
            if not any(key in name for name in names.values()):
                raise ConfigError(f"paramwise_cfg.custom_keys: no parameter's name contains {key!r}"
                                  f'{did_you_mean(key, {part for name in names.values() for part in name.split(".")})}')
        scales = {}
        for name, backbone in backbones.items():
            scales.update(self._scales(backbone, f'{name}.' if name else ''))

        single_groups = []  # with one parameter each, as mmengine makes them
        super().add_params(single_groups, module, prefix, is_dcn_module)
        groups = {}
        for group in single_groups:
            scale = scales.get(names[group['params'][0]], 1.)
            group['lr'] = group.get('lr', self.base_lr) * scale
            group['lr_scale'] = scale
            settings = tuple((k, repr(v)) for k, v in sorted(group.items()) if k != 'params')
            groups.setdefault(settings, {**group, 'params': []})['params'] += group['params']
        params += groups.values()
        rates = sorted({group['lr'] for group in params})
        print_log(f'layer-wise decay: {len(params)} groups of parameters, learning rates {rates[0]:.3g} to '
                  f'{rates[-1]:.3g}', logger='current')

    def _scales(self, backbone: MambaVision, prefix: str) -> dict[str, float]:
        """Factor of the learning rate by name, for each parameter of the backbone."""
        stage_wise = self.paramwise_cfg.get('decay_type') == 'stage_wise'
        depths = [1 if stage_wise else len(level.blocks) for level in backbone.levels]
        count = sum(depths)
        if self.paramwise_cfg.get('num_layers', count) != count:
            raise ConfigError(f"paramwise_cfg.num_layers={self.paramwise_cfg['num_layers']!r}, but this MambaVision "
                              f'has {count} {"stages" if stage_wise else "blocks"}: leave num_layers out')

        def layer_id(name):
            match = re.match(r'levels\.(\d)\.(blocks\.(\d+)|downsample)', name)
            if not match:
                return 0 if name.startswith('patch_embed.') else count + 1
            stage = int(match[1])
            if match[3] is None:  # downsampling: with the next stage's first block
                return sum(depths[:stage + 1]) + 1
            return sum(depths[:stage]) + 1 + (0 if stage_wise else int(match[3]))

        return {prefix + name: self.paramwise_cfg['decay_rate'] ** (count + 1 - layer_id(name))
                for name, _ in backbone.named_parameters()}
