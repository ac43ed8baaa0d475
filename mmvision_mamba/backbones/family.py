"""The published variants of MambaVision (arXiv 2407.08083, table 1 and the released models)."""
from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import Any

from ..errors import ConfigError
from ..limits import PARAMETERS
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


_MOST = 65536  # of each number of channels, heads, states, taps
_DEEPEST = 1000  # blocks of a stage
_WIDEST = 1024  # tokens on the side of a window; zero padding makes maps as large as their windows
LARGEST_SIDE = 16 * _WIDEST  # pixels of images that the windows of stage 3 can span


def resolve_arch(arch: str | Mapping) -> dict:
    """All settings of an architecture.

    Args:
        arch: a name in `FAMILY`, or a mapping with the keys of `REQUIRED` and any of `DEFAULTS`.

    Raises:
        ConfigError: an unknown name or key, a missing key, a value of the wrong kind or number, heads that don't
            divide the channels of stage 3 or 4, or more parameters than `limits.PARAMETERS`.
    """
    if isinstance(arch, str):
        if arch not in FAMILY:
            raise ConfigError(f'unknown arch {got(arch)}{did_you_mean(arch, FAMILY)}; valid ones: '
                              f'{", ".join(FAMILY)}, or a dict with {", ".join(REQUIRED)}')
        return DEFAULTS | FAMILY[arch]
    if not isinstance(arch, Mapping):
        raise ConfigError(f'arch must be a name ({", ".join(FAMILY)}) or a dict, got {got(arch)}')
    valid = (*REQUIRED, *DEFAULTS)
    check_names(arch, valid, 'unknown arch key')
    if missing := [key for key in REQUIRED if key not in arch]:
        raise ConfigError(f'arch lacks {", ".join(missing)}; got the keys {", ".join(arch)}')
    arch = DEFAULTS | dict(arch)
    for key in ('depths', 'num_heads'):
        if not isinstance(arch[key], Sequence) or len(arch[key]) != 4:
            raise ConfigError(f'arch[{key!r}] must have four values, one per stage, got {got(arch[key])}')
    for key in ('dim', 'in_dim', 'depths', 'num_heads', 'd_state', 'd_conv', 'in_channels'):
        least, values = (0 if key == 'depths' else 1), arch[key] if key in ('depths', 'num_heads') else [arch[key]]
        if not all(is_whole(value) and value >= least for value in values):
            raise ConfigError(f'arch[{key!r}] takes integers from {least} up, got {got(arch[key])}')
        if max(values) > (most := _DEEPEST if key == 'depths' else _MOST):
            raise ConfigError(f'arch[{key!r}] takes at most {most}, got {got(arch[key])}')
    if not is_real(arch['mlp_ratio'], 0, _DEEPEST) or arch['dim'] * arch['mlp_ratio'] < 1:
        raise ConfigError(f"arch['mlp_ratio'] takes a positive number, at most {_DEEPEST}, got "
                          f"{got(arch['mlp_ratio'])}")
    check_drop_path_rate(arch['drop_path_rate'])
    for key in ('layer_scale', 'layer_scale_conv'):
        if arch[key] is not None and not is_real(arch[key], -_DEEPEST, _DEEPEST):
            raise ConfigError(f'arch[{key!r}] takes a number from -{_DEEPEST} to {_DEEPEST}, or None, got '
                              f'{got(arch[key])}')
    arch['window_size'] = check_window_size(arch['window_size'])
    for stage in (2, 3):
        channels, heads = arch['dim'] * 2**stage, arch['num_heads'][stage]
        if channels % heads:
            nearest = min((h for h in range(1, channels + 1) if channels % h == 0), key=lambda h: abs(h - heads))
            raise ConfigError(f'{heads} heads do not divide the {channels} channels of stage {stage + 1}; '
                              f'the nearest number that does is {nearest}')
    if (number := _parameters(arch)) > PARAMETERS.value:
        raise ConfigError(f'arch has some {number:.1e} parameters, and at most {PARAMETERS.value} are built '
                          f'({PARAMETERS.way_out}); the largest published one has 7.4e+08')
    return arch


def with_channels(arch: str | Mapping, channels: int) -> dict:
    """An architecture for images of another number of channels, as a dict that a config can hold."""
    return dict(FAMILY[arch] if isinstance(arch, str) else arch, in_channels=channels)


def check_window_size(window_size: int | Sequence[int | None] | None) -> tuple[int | None, int | None]:
    """The windows' sides in stages 3 and 4, None for the whole map. Raises ConfigError for any other `window_size`."""
    pair = tuple(window_size) if isinstance(window_size, Sequence) else (window_size, window_size)
    if len(pair) != 2 or not all(w is None or (is_whole(w) and 0 < w <= _WIDEST) for w in pair):
        raise ConfigError('window_size must be a positive int or None (the whole map), or a pair of these for stages 3 '
                          f'and 4, each at most {_WIDEST}, got {got(window_size)}')
    return pair


def check_drop_path_rate(rate: Any) -> None:
    """Raise ConfigError unless a rate is in [0, 1)."""
    if not is_real(rate, 0, 1) or rate == 1:
        raise ConfigError(f'drop_path_rate must be in [0, 1), got {got(rate)}')


def is_whole(value: Any) -> bool:
    """Whether a value is a whole number, and no truth value."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def is_real(value: Any, least: float, most: float) -> bool:
    """Whether a value is a number within bounds, neither NaN nor a truth value."""
    return isinstance(value, Real) and not isinstance(value, bool) and least <= value <= most  # type: ignore[operator]


def got(value: Any) -> str:
    """A value as messages say it: text between quotes, and long ones cut."""
    return repr(shown(value)) if isinstance(value, str) else shown(value)


def _parameters(arch: Mapping) -> float:
    """About how many parameters a backbone has, at most: as if each block had the larger of both token mixers."""
    total = 9. * arch['in_dim'] * (arch['in_channels'] + arch['dim'])
    for i, depth in enumerate(arch['depths']):
        channels = arch['dim'] * 2**i
        block = 18. * channels**2
        if i > 1:
            mixer = channels * (2 * channels + 2 * arch['d_state'] + arch['d_conv'])
            block = max(mixer, 4 * channels**2) + 2 * channels**2 * arch['mlp_ratio']
        total += depth * block + 18. * channels**2 * (i < 3)
    return total
