"""The token mixers of stages 3 and 4: the published one, and those of the paper's ablations, over one base."""
import math
from collections.abc import Callable
from functools import partial

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from ..errors import ConfigError
from ..ops import Linear, fused_mixer, fuses, selective_scan
from ..text import did_you_mean

CONVS = ('regular', 'causal')
BRANCHES = ('concat', 'gate', 'linear_gate', 'none')


class Mixer(nn.Module):
    """The layers of a mixer, under their published names, and its selective scan.

    Args:
        dim: channels C of the tokens.
        d_state: states per channel of the scan.
        scan_backend: see `selective_scan`.
        convolution: function that builds a depthwise convolution along the sequence for a number of channels.
        scanned: channels that go through the scan.
        unscanned: channels of the branch beside it.
        convolves_both: whether the branch beside the scan has a convolution too.
        joined: channels that out_proj takes.
    """

    def __init__(self, dim: int, d_state: int, scan_backend: str, convolution: Callable[[int], nn.Conv1d], scanned: int,
                 unscanned: int, convolves_both: bool, joined: int):
        super().__init__()
        self.dt_rank, self.d_state, self.scan_backend = math.ceil(dim / 16), d_state, scan_backend
        self.in_proj = Linear(dim, scanned + unscanned, bias=False)
        self.conv1d_x = convolution(scanned)
        if convolves_both:
            self.conv1d_z = convolution(unscanned)
        self.x_proj = nn.Linear(scanned, self.dt_rank + 2 * d_state, bias=False)
        self.dt_proj = nn.Linear(self.dt_rank, scanned)
        self.A_log = nn.Parameter(torch.empty(scanned, d_state))
        self.D = nn.Parameter(torch.empty(scanned))
        self.out_proj = Linear(joined, dim, bias=False)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Initialise A_log and D as published."""
        self.A_log.copy_(torch.log(torch.arange(1., self.d_state + 1)))
        self.D.fill_(1)

    def scan(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """The selective scan over ``(B, L, scanned)``, whose Δ, B and C are computed from x itself."""
        dt, B, C = self.x_proj(x).split((self.dt_rank, self.d_state, self.d_state), -1)
        # dt_proj's bias enters here and once more in the scan: the published weights were trained so.
        return selective_scan(x, self.dt_proj(dt), -torch.exp(self.A_log.float()), B, C, self.D, self.dt_proj.bias,
                              delta_softplus=True, mask=mask, backend=self.scan_backend)


class MambaVisionMixer(Mixer):
    """Selective scan beside a symmetric branch without one (paper, section 3.2), on ``(B, L, C)``.

    Args:
        dim: channels C; half of them go through the scan.
        d_state: states per channel of the scan. Default: 8.
        d_conv: kernel of the depthwise convolutions along the sequence. Default: 3.
        scan_backend: see `selective_scan`. Default: 'auto'.
    """

    def __init__(self, dim: int, d_state: int = 8, d_conv: int = 3, scan_backend: str = 'auto'):
        half = dim // 2
        super().__init__(dim, d_state, scan_backend, partial(_same_conv, kernel=d_conv), scanned=half, unscanned=half,
                         convolves_both=True, joined=2 * half)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        xz = self.in_proj(x)
        # Fused form of the code below. It reads the layers' weights, so it is skipped where a layer was swapped
        # (quantised, LoRA).
        layers = (self.conv1d_x, self.conv1d_z, self.x_proj, self.dt_proj)
        if fuses(xz, self.conv1d_x.kernel_size[0], self.scan_backend) and all(
                type(layer) in (nn.Conv1d, nn.Linear) for layer in layers):
            return self.out_proj(fused_mixer(xz, self.conv1d_x.weight, self.conv1d_z.weight, self.x_proj.weight,
                                             self.dt_proj.weight, self.dt_proj.bias, self.A_log, self.D, mask))
        # Both branches' convolutions are depthwise: one over all channels serves them.
        weight = torch.cat((self.conv1d_x.weight, self.conv1d_z.weight))
        xz = F.conv1d(xz.transpose(1, 2), weight, padding='same', groups=len(weight)).transpose(1, 2)
        x, z = F.silu(xz).chunk(2, -1)
        return self.out_proj(torch.cat((self.scan(x, mask), z), -1))


class MixerVariant(Mixer):
    """A mixer of the paper's ablations, on ``(B, L, C)``. It runs operator by operator, never fused.

    Args:
        dim, d_state, d_conv, scan_backend: see `MambaVisionMixer`.
        conv: 'regular': convolutions see tokens on both sides. 'causal': only those before. Default: 'regular'.
        branch: the half without a scan. 'concat': joined to the scan's output. 'gate': multiplied with it, so that
            out_proj has half the inputs. 'linear_gate': as 'gate', without a convolution on it, as in Mamba. 'none': no
            such half, all C channels go through the scan. Default: 'concat'.
    """

    def __init__(self, dim: int, d_state: int = 8, d_conv: int = 3, scan_backend: str = 'auto', conv: str = 'regular',
                 branch: str = 'concat'):
        scanned = dim if branch == 'none' else dim // 2
        super().__init__(dim, d_state, scan_backend, partial(CausalConv1d if conv == 'causal' else _same_conv,
                                                             kernel=d_conv),
                         scanned=scanned, unscanned=0 if branch == 'none' else scanned,
                         convolves_both=branch in ('concat', 'gate'),
                         joined=2 * scanned if branch == 'concat' else scanned)
        self.branch = branch

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        xz = self.in_proj(x)
        x, z = xz[..., :len(self.D)], xz[..., len(self.D):]
        y = self.scan(F.silu(self.conv1d_x(x.transpose(1, 2)).transpose(1, 2)), mask)
        if self.branch in ('concat', 'gate'):
            z = self.conv1d_z(z.transpose(1, 2)).transpose(1, 2)
        if self.branch == 'concat':
            y = torch.cat((y, F.silu(z)), -1)
        elif self.branch != 'none':
            y = y * F.silu(z)
        return self.out_proj(y)


def _same_conv(channels: int, kernel: int) -> nn.Conv1d:
    """Depthwise, on ``(B, C, L)``: a token sees its neighbours on both sides."""
    return nn.Conv1d(channels, channels, kernel, padding='same', groups=channels, bias=False)


class CausalConv1d(nn.Conv1d):
    """Depthwise, on ``(B, C, L)``: a token sees itself and those before, as in Mamba."""

    def __init__(self, channels: int, kernel: int):
        super().__init__(channels, channels, kernel, groups=channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.pad(x, (self.kernel_size[0] - 1, 0)))


def mixer_class(conv: str, branch: str) -> Callable[..., Mixer]:
    """`MambaVisionMixer` for the default options, else `MixerVariant`.

    Raises:
        ConfigError: there is no such variant.
    """
    for name, value, valid in (('mixer_conv', conv, CONVS), ('mixer_branch', branch, BRANCHES)):
        if value not in valid:
            raise ConfigError(f'{name} must be one of {valid}{did_you_mean(value, valid)}, got {value!r}')
    return MambaVisionMixer if (conv, branch) == ('regular', 'concat') else partial(
        MixerVariant, conv=conv, branch=branch)
