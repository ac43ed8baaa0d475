"""Records what a MambaVision's stages compute during a forward, by hooks that change nothing of it."""
import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from ..backbones import MambaVision
from ..backbones.mambavision import Attention, WindowStage
from ..backbones.mixers import Mixer
from ..backbones.windows import Windows

QUERIES = 256  # queries whose attention is in memory at a time; that of all queries of a window can be gigabytes


@dataclass
class SelfAttention:
    """Queries and keys of one attention block.

    Args:
        q, k: ``(windows, heads, tokens, channels)``.
        mask: bool ``(windows, tokens)``, True at keys that are seen; None: all are.
    """
    q: Tensor
    k: Tensor
    mask: Tensor | None

    def weights(self, window: int, queries: slice = slice(None)) -> Tensor:
        """softmax(q kᵀ / √channels) for some queries of a window, ``(heads, queries, tokens)``."""
        scores = self.q[window, :, queries] @ self.k[window].transpose(1, 2) / math.sqrt(self.q.shape[-1])
        if self.mask is not None:
            scores = scores.masked_fill(~self.mask[window], -math.inf)
        return scores.softmax(-1)

    def mean(self, real: Tensor) -> Tensor:
        """Attention averaged over the real queries of each window.

        Args:
            real: bool ``(windows, tokens)``, True at real tokens, False at padding.

        Returns:
            ``(windows, heads, tokens)``, 0 for windows of padding alone.
        """
        total = self.q.new_zeros(self.q.shape[:3])
        for window in range(len(real)):
            for start in range(0, real.shape[1], QUERIES):
                queries = slice(start, start + QUERIES)
                total[window] += (self.weights(window, queries) * real[window, queries, None]).sum(1)
        return total / real.sum(1).clamp(min=1)[:, None, None]


@dataclass
class Stage:
    """The record of one stage for one image.

    Args:
        features: its output, ``(channels, height, width)``.
        stride: pixels of the input per position of the map.
        windows: how stages 3 and 4 cut the map; None for stages 1 and 2.
        attention: of each self-attention block.
        delta: of each mixer, the scan's step Δ averaged over channels, ``(windows, tokens)``.
    """
    stride: int
    features: Tensor | None = None
    windows: Windows | None = None
    attention: list[SelfAttention] = field(default_factory=list)
    delta: list[Tensor] = field(default_factory=list)

    def to_map(self, values: Tensor) -> Tensor:
        """``(windows, tokens)`` -> ``(height, width)``, padding cropped."""
        return self.windows.merge(values.unsqueeze(-1), self.windows.real(1, values.device))[0, 0]

    def real_tokens(self, device: torch.device) -> Tensor:
        """The mask of real tokens: bool ``(windows, tokens)``, False at padding."""
        real = self.windows.real(1, device)
        if real is None:
            return torch.ones(self.windows.rows * self.windows.columns, self.windows.tokens, dtype=torch.bool,
                              device=device)
        return self.windows.mask(real, 1)

    def locate(self, row: int, column: int) -> tuple[int, int]:
        """The window that holds a position of the map, and the position's index among its tokens."""
        w = self.windows
        window = row // w.window_height * w.columns + column // w.window_width
        return window, row % w.window_height * w.window_width + column % w.window_width


@contextmanager
def recording(backbone: MambaVision) -> Iterator[list[Stage]]:
    """Yields a list with a `Stage` for each stage; a forward of one image within the context fills them."""
    stages = [Stage(4 * 2**i) for i in range(len(backbone.levels))]
    with ExitStack() as hooks:
        def add(handle):
            hooks.callback(handle.remove)

        for stage, level in zip(stages, backbone.levels):
            add(level.register_forward_pre_hook(lambda level, args, stage=stage: _begin(stage, level, args[0])))
            add(level.register_forward_hook(
                lambda level, args, output, stage=stage: setattr(stage, 'features', output[0].detach())))
            for block in level.blocks:
                mixer = getattr(block, 'mixer', None)
                if isinstance(mixer, (Attention, Mixer)):
                    note = _note_attention if isinstance(mixer, Attention) else _note_delta
                    add(mixer.register_forward_pre_hook(
                        lambda mixer, args, stage=stage, note=note: note(stage, mixer, *args)))
        yield stages


def _begin(stage: Stage, level, x: Tensor) -> None:
    stage.attention, stage.delta = [], []
    if isinstance(level, WindowStage):
        stage.windows = Windows.plan(*x.shape[2:], level.window_size, level.window_padding)


@torch.no_grad()
def _note_attention(stage: Stage, mixer: Attention, x: Tensor, mask: Tensor | None = None) -> None:
    q, k, _ = mixer.qkv(x).unflatten(-1, (3, mixer.num_heads, -1)).permute(2, 0, 3, 1, 4)
    stage.attention.append(SelfAttention(q.float(), k.float(), mask))


@torch.no_grad()
def _note_delta(stage: Stage, mixer: Mixer, x: Tensor, mask: Tensor | None = None) -> None:
    """Compute Δ again from the mixer's input: where one operator does all, Δ is the output of no layer."""
    x = mixer.in_proj(x)[..., :len(mixer.D)].transpose(1, 2)
    dt = mixer.x_proj(F.silu(mixer.conv1d_x(x)).transpose(1, 2))[..., :mixer.dt_rank]
    delta = F.softplus(mixer.dt_proj(dt).float() + mixer.dt_proj.bias.float()).mean(-1)
    stage.delta.append(delta if mask is None else delta * mask)
