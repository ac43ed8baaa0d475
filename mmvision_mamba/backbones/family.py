"""The published variants of MambaVision (arXiv 2407.08083, table 1 and the released models)."""
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

from ..errors import ConfigError
from ..printable import shown
from ..text import check_names, did_you_mean

# Mean and standard deviation of ImageNet's RGB channels, on the scale 0 to 255. The published weights were trained with
# them.
MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
FIRST_CONV = 'patch_embed.conv_down.0'  # the convolution that sees the image
PADDINGS = ('zeros', 'fit')  # of windows that don't divide the map, see `MambaVision`

# Optional settings of an architecture, with the values that hold where a variant doesn't say otherwise.
DEFAULTS: dict[str, Any] = dict(layer_scale=None, layer_scale_conv=None, drop_path_rate=0.2, window_size=(14, 7),
                                mlp_ratio=4.0, d_state=8, d_conv=3, in_channels=3)
REQUIRED = ('dim', 'in_dim', 'depths', 'num_heads')

FAMILY: dict[str, dict[str, Any]] = dict(
    tiny=dict(dim=80, in_dim=32, depths=(1, 3, 8, 4), num_heads=(2, 4, 8, 16)),
    tiny2=dict(dim=80, in_dim=32, depths=(1, 3, 11, 4), num_heads=(2, 4, 8, 16)),
    small=dict(dim=96, in_dim=64, depths=(3, 3, 7, 5), num_heads=(2, 4, 8, 16)),
    base=dict(dim=128, in_dim=64, depths=(3, 3, 10, 5), num_heads=(2, 4, 8, 16), layer_scale=1e-5, drop_path_rate=0.3),
    large=dict(dim=196, in_dim=64, depths=(3, 3, 10, 5), num_heads=(4, 8, 16, 32), layer_scale=1e-5,
               drop_path_rate=0.3),
    large2=dict(dim=196, in_dim=64, depths=(3, 3, 12, 5), num_heads=(4, 8, 16, 32), layer_scale=1e-5,
                drop_path_rate=0.3),
    large3=dict(dim=256, in_dim=64, depths=(3, 3, 20, 10), num_heads=(4, 8, 16, 32), layer_scale=1e-5,
                drop_path_rate=0.5, window_size=(16, 8)),
)


def resolve_arch(arch: str | Mapping) -> dict:
    """All settings of an architecture.

    Args:
        arch: a name in `FAMILY`, or a mapping with the keys of `REQUIRED` and any of `DEFAULTS`.

    Raises:
        ConfigError: an unknown name or key, a missing key, a value of the wrong kind or number, or heads that don't
            divide the channels of stage 3 or 4.
    """
    if isinstance(arch, str):
        if arch not in FAMILY:
            raise ConfigError(f'unknown arch {arch!r}{did_you_mean(arch, FAMILY)}; valid ones: {", ".join(FAMILY)}, '
                             f'or a dict with {", ".join(REQUIRED)}')
        return DEFAULTS | FAMILY[arch]
    if not isinstance(arch, Mapping):
        raise ConfigError(f'arch must be a name ({", ".join(FAMILY)}) or a dict, got {arch!r}')
    valid = (*REQUIRED, *DEFAULTS)
    check_names(arch, valid, 'unknown arch key')
    if missing := [key for key in REQUIRED if key not in arch]:
        raise ConfigError(f'arch lacks {", ".join(missing)}; got the keys {", ".join(arch)}')
    arch = DEFAULTS | dict(arch)
    for key in ('depths', 'num_heads'):
        if not isinstance(arch[key], Sequence) or len(arch[key]) != 4:
            raise ConfigError(f'arch[{key!r}] must have four values, one per stage, got {arch[key]!r}')
    for key in ('dim', 'in_dim', 'depths', 'num_heads', 'd_state', 'd_conv', 'in_channels'):
        least, values = (0 if key == 'depths' else 1), arch[key] if key in ('depths', 'num_heads') else [arch[key]]
        if not all(isinstance(value, int) and value >= least for value in values):
            raise ConfigError(f'arch[{key!r}] takes integers from {least} up, got {arch[key]!r}')
        if max(values) > (most := 1000 if key == 'depths' else 65536):
            raise ConfigError(f'arch[{key!r}] takes at most {most}, got {shown(arch[key])}')
    if not isinstance(arch['mlp_ratio'], Real) or not 1 <= arch['dim'] * arch['mlp_ratio'] < 2**31:
        raise ConfigError(f"arch['mlp_ratio'] takes a positive number, got {arch['mlp_ratio']!r}")
    for stage in (2, 3):
        channels, heads = arch['dim'] * 2**stage, arch['num_heads'][stage]
        if channels % heads:
            nearest = min((h for h in range(1, channels + 1) if channels % h == 0), key=lambda h: abs(h - heads))
            raise ConfigError(f'{heads} heads do not divide the {channels} channels of stage {stage + 1}; '
                             f'the nearest number that does is {nearest}')
    return arch
