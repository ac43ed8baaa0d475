"""What the paper's ablations change (arXiv 2407.08083, section 5): the inside of the mixer, and where mixers stand."""
import math
import random
from collections.abc import Callable, Sequence
from functools import partial

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from ..errors import ConfigError
from ..ops import Linear, selective_scan
from .family import did_you_mean
from .mambavision import MambaVisionMixer

CONVS = ('regular', 'causal')
BRANCHES = ('concat', 'gate', 'linear_gate', 'none')


class CausalConv1d(nn.Conv1d):
    """Depthwise, on ``(B, C, L)``: a token sees itself and those before, as in Mamba."""

    def __init__(self, channels: int, kernel: int):
        super().__init__(channels, channels, kernel, groups=channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.pad(x, (self.kernel_size[0] - 1, 0)))


class MixerVariant(MambaVisionMixer):
    """A mixer that differs from `MambaVisionMixer`, on ``(B, L, C)``. It runs operator by operator, never fused.

    Args:
        dim, d_state, d_conv, scan_backend: see `MambaVisionMixer`.
        conv: 'regular': convolutions see both neighbours. 'causal': those before alone. Default: 'regular'.
        branch: the half without a scan. 'concat': joined to the scan's output. 'gate': multiplied with it, so that
            out_proj has half the inputs. 'linear_gate': the same without a convolution of its own, as in Mamba. 'none':
            there is none, all C channels go through the scan. Default: 'concat'.
    """

    def __init__(self, dim: int, d_state: int = 8, d_conv: int = 3, scan_backend: str = 'auto', conv: str = 'regular',
                 branch: str = 'concat'):
        nn.Module.__init__(self)  # layers of other sizes than the parent's
        scanned = dim if branch == 'none' else dim // 2
        self.dt_rank, self.d_state, self.scan_backend, self.branch = math.ceil(dim / 16), d_state, scan_backend, branch

        def convolution():
            if conv == 'causal':
                return CausalConv1d(scanned, d_conv)
            return nn.Conv1d(scanned, scanned, d_conv, padding='same', groups=scanned, bias=False)
        self.in_proj = Linear(dim, scanned if branch == 'none' else 2 * scanned, bias=False)
        self.conv1d_x = convolution()
        if branch in ('concat', 'gate'):
            self.conv1d_z = convolution()
        self.x_proj = nn.Linear(scanned, self.dt_rank + 2 * d_state, bias=False)
        self.dt_proj = nn.Linear(self.dt_rank, scanned)
        self.A_log = nn.Parameter(torch.log(torch.arange(1., d_state + 1)).repeat(scanned, 1))
        self.D = nn.Parameter(torch.ones(scanned))
        self.out_proj = Linear(2 * scanned if branch == 'concat' else scanned, dim, bias=False)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        xz = self.in_proj(x)
        x, z = xz[..., :len(self.D)], xz[..., len(self.D):]
        x = F.silu(self.conv1d_x(x.transpose(1, 2)).transpose(1, 2))
        dt, B, C = self.x_proj(x).split((self.dt_rank, self.d_state, self.d_state), -1)
        y = selective_scan(x, self.dt_proj(dt), -torch.exp(self.A_log.float()), B, C, self.D, self.dt_proj.bias,
                           delta_softplus=True, mask=mask, backend=self.scan_backend)
        if self.branch in ('concat', 'gate'):
            z = self.conv1d_z(z.transpose(1, 2)).transpose(1, 2)
        if self.branch == 'concat':
            y = torch.cat((y, F.silu(z)), -1)
        elif self.branch != 'none':
            y = y * F.silu(z)
        return self.out_proj(y)


def mixer_class(conv: str, branch: str) -> Callable[..., MambaVisionMixer]:
    """What to build a mixer with: `MambaVisionMixer`, or `MixerVariant` where conv and branch say other than it has.

    Raises:
        ConfigError: there is no such variant.
    """
    for name, value, valid in (('mixer_conv', conv, CONVS), ('mixer_branch', branch, BRANCHES)):
        if value not in valid:
            raise ConfigError(f'{name} must be one of {valid}{did_you_mean(value, valid)}, got {value!r}')
    return MambaVisionMixer if (conv, branch) == ('regular', 'concat') else partial(
        MixerVariant, conv=conv, branch=branch)


def _attention_last(mixers: int, depth: int, rng: random.Random) -> str:
    return 'M' * mixers + 'S' * (depth - mixers)


def _attention_first(mixers: int, depth: int, rng: random.Random) -> str:
    return 'S' * (depth - mixers) + 'M' * mixers


def _alternate(mixers: int, depth: int, rng: random.Random) -> str:
    """In turns, a mixer first, as long as there are both."""
    turns = min(mixers, depth - mixers)
    return 'MS' * turns + 'M' * (mixers - turns) + 'S' * (depth - mixers - turns)


def _random(mixers: int, depth: int, rng: random.Random) -> str:
    chosen = rng.sample(range(depth), mixers)
    return ''.join('M' if i in chosen else 'S' for i in range(depth))


PATTERNS = dict(attention_last=_attention_last, attention_first=_attention_first, alternate=_alternate, random=_random)


def hybrid_patterns(pattern: str | Sequence[str], ratio: float | None, seed: int, depths: Sequence[int]) -> list[str]:
    """Which blocks of stages 3 and 4 are mixers, M, and which self-attention, S: a letter per block.

    Args:
        pattern: a name in `PATTERNS`, or such letters; one for both stages or one each.
        ratio: of each stage's blocks, the part that are mixers, rounded up. None: a half.
        seed: of 'random'.
        depths: of stages 3 and 4.

    Raises:
        ConfigError: an unknown name, another letter, a wrong number of letters, a ratio outside [0, 1] or beside
            letters, which say it themselves.
    """
    pair = (pattern, pattern) if isinstance(pattern, str) else tuple(pattern)
    if len(pair) != 2:
        raise ConfigError(f'pattern must be a string, or two, for stages 3 and 4, got {pattern!r}')
    if ratio is not None and not 0 <= ratio <= 1:
        raise ConfigError(f'mixer_ratio must be in [0, 1], got {ratio!r}')
    found = []
    for stage, name, depth in zip((3, 4), pair, depths):
        usual = _attention_last(math.ceil(depth / 2), depth, random)
        if name in PATTERNS:
            mixers = math.ceil(round(depth * (0.5 if ratio is None else ratio), 6))  # 0.7 · 10 is a little over 7
            found.append(PATTERNS[name](mixers, depth, random.Random(f'{seed} {stage}')))
        elif not isinstance(name, str) or set(name) - set('MS'):
            raise ConfigError(f'pattern {name!r}: expected one of {", ".join(PATTERNS)}{did_you_mean(name, PATTERNS)}, '
                              f'or letters, M for a MambaVision mixer and S for self-attention, such as {usual!r}')
        elif len(name) != depth:
            raise ConfigError(f'pattern {name!r} has {len(name)} letters, but stage {stage} has {depth} blocks: give '
                              f'one string for each of the two stages, here of {depth} letters, such as {usual!r}')
        elif ratio is not None:
            raise ConfigError(f'mixer_ratio={ratio} does not go with the pattern {name!r}, whose letters say which '
                              'blocks are mixers: leave out one of them')
        else:
            found.append(name)
    return found
