"""MambaVision (arXiv 2407.08083): from pixels to multi-scale features, top to bottom.

Parameter names are those of the published checkpoints. Maps are ``(B, C, H, W)`` in channels-last memory throughout, so
that a map is a sequence of tokens without a copy.
"""
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import torch
import torch.nn as nn
from timm.layers import DropPath, trunc_normal_
from torch import Tensor
from torch.nn.utils.fusion import fuse_conv_bn_eval
from typing_extensions import Self

from ..errors import ConfigError, DataError
from ..ops import Linear, attention, check_backend
from ..text import check_names
from .family import PADDINGS, check_drop_path_rate, check_window_size, resolve_arch
from .mixers import MambaVisionMixer, mixer_class  # noqa: F401  (models that were pickled whole look for it here)
from .padding_norm import PaddingNorm
from .patterns import hybrid_patterns
from .recompute import checkpoint_block
from .weights import load_pretrained
from .windows import Windows


class PatchEmbed(nn.Module):
    """Stem: two strided convolutions, ``(B, in_channels, H, W)`` -> ``(B, dim, H/4, W/4)``, sides rounded up."""

    def __init__(self, in_channels: int, in_dim: int, dim: int):
        super().__init__()
        self.conv_down = nn.Sequential(
            nn.Conv2d(in_channels, in_dim, 3, 2, 1, bias=False), nn.BatchNorm2d(in_dim, eps=1e-4),
            nn.ReLU(inplace=True), nn.Conv2d(in_dim, dim, 3, 2, 1, bias=False), nn.BatchNorm2d(dim, eps=1e-4),
            nn.ReLU(inplace=True))

    def forward(self, x: Tensor) -> Tensor:
        return self.conv_down(x)

    def fuse(self) -> None:
        for i in (0, 3):
            self.conv_down[i] = fuse_conv_bn_eval(self.conv_down[i], self.conv_down[i + 1])  # type: ignore[arg-type]
            self.conv_down[i + 1] = nn.Identity()


class Downsample(nn.Module):
    """``(B, C, H, W)`` -> ``(B, 2C, H/2, W/2)``, sides rounded up."""

    def __init__(self, dim: int):
        super().__init__()
        self.reduction = nn.Sequential(nn.Conv2d(dim, 2 * dim, 3, 2, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        return self.reduction(x)


class ConvBlock(nn.Module):
    """Residual block of stages 1 and 2, on ``(B, C, H, W)``."""

    def __init__(self, dim: int, drop_path: float = 0., layer_scale: float | None = None):
        super().__init__()
        self.conv1 = nn.Conv2d(dim, dim, 3, 1, 1)
        self.norm1 = nn.BatchNorm2d(dim)
        self.act1 = nn.GELU(approximate='tanh')
        self.conv2 = nn.Conv2d(dim, dim, 3, 1, 1)
        self.norm2 = nn.BatchNorm2d(dim)
        self.layer_scale: Any = layer_scale
        self.gamma = None if layer_scale is None else nn.Parameter(torch.empty(dim))
        self.drop_path = DropPath(drop_path)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        if self.gamma is not None:
            nn.init.constant_(self.gamma, self.layer_scale)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm2(self.conv2(self.act1(self.norm1(self.conv1(x)))))
        if self.gamma is not None:
            y = y * self.gamma[:, None, None]
        return x + self.drop_path(y)

    @torch.no_grad()
    def fuse(self) -> None:
        if self.gamma is not None:
            self.norm2.weight *= self.gamma
            self.norm2.bias *= self.gamma
            self.gamma = None
        self.conv1, self.norm1 = fuse_conv_bn_eval(self.conv1, self.norm1), nn.Identity()
        self.conv2, self.norm2 = fuse_conv_bn_eval(self.conv2, self.norm2), nn.Identity()


class Attention(nn.Module):
    """Multi-head self-attention without positions, on ``(B, L, C)``; `mask` bool ``(B, L)``, True at keys to see."""

    def __init__(self, dim: int, num_heads: int):
        super().__init__()
        self.num_heads = num_heads
        self.qkv = Linear(dim, 3 * dim)
        self.proj = Linear(dim, dim)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        return self.proj(attention(q, k, v, mask).transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    """Two linear layers with GELU between them, on ``(..., C)``."""

    def __init__(self, dim: int, hidden: int):
        super().__init__()
        self.fc1 = Linear(dim, hidden)
        self.act = nn.GELU()
        self.fc2 = Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.act(self.fc1(x)))


class Block(nn.Module):
    """Block of stages 3 and 4, on windows ``(B, L, C)``: a token mixer, then an MLP, each on its residual branch.

    If there is padding, `mask`, bool ``(B, L)``, is True at the real tokens, and `real` holds their flat indices among
    all ``B · L`` tokens; without `real` the MLP runs on the padding too.
    """

    def __init__(self, dim: int, mixer: nn.Module, mlp_ratio: float, drop_path: float, layer_scale: float | None,
                 norm: type[nn.LayerNorm] = nn.LayerNorm):
        super().__init__()
        self.norm1 = norm(dim)
        self.mixer = mixer
        self.norm2 = norm(dim)
        self.mlp = Mlp(dim, int(dim * mlp_ratio))
        self.layer_scale: Any = layer_scale
        self.gamma_1, self.gamma_2 = (
            None if layer_scale is None else nn.Parameter(torch.empty(dim)) for _ in range(2))
        self.drop_path = DropPath(drop_path)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        for gamma in (self.gamma_1, self.gamma_2):
            if gamma is not None:
                nn.init.constant_(gamma, self.layer_scale)

    def forward(self, x: Tensor, mask: Tensor | None = None, real: Tensor | None = None) -> Tensor:
        y = self.norm1(x)
        if mask is not None:
            # in_proj has no bias and keeps zeros: the mixer's convolutions then treat padding like the map's border.
            y = y.masked_fill_(~mask.unsqueeze(-1), 0)
        x = x + self.drop_path(_scale(self.mixer(y, mask), self.gamma_1))
        y = x if real is None else x.flatten(0, 1).index_select(0, real)
        y = _scale(self.mlp(self.norm2(y)), self.gamma_2)
        if real is not None:  # nothing reads the MLP's output at padding
            y = y.new_zeros(x.shape).flatten(0, 1).index_copy(0, real, y).view_as(x)
        return x + self.drop_path(y)


def _scale(x: Tensor, gamma: Tensor | None) -> Tensor:
    return x if gamma is None else x * gamma


class ConvStage(nn.Module):
    """Stage 1 or 2: ``(B, C, H, W)`` -> same."""

    def __init__(self, blocks: Sequence[nn.Module], downsample: nn.Module | None, with_cp: bool):
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.downsample = downsample
        self.with_cp = with_cp

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = checkpoint_block(block, x) if self.with_cp else block(x)
        return x


class WindowStage(ConvStage):
    """Stage 3 or 4: ``(B, C, H, W)`` -> same shape; blocks see each window as one sequence."""

    def __init__(self, blocks: Sequence[nn.Module], downsample: nn.Module | None, with_cp: bool,
                 window_size: int | None, window_padding: str):
        super().__init__(blocks, downsample, with_cp)
        self.window_size, self.window_padding = window_size, window_padding

    def forward(self, x: Tensor) -> Tensor:
        windows = Windows.plan(*x.shape[2:], self.window_size, self.window_padding)  # type: ignore[call-arg]
        batch = x.shape[0]  # not len(x): a trace and an export keep a shape's changes
        real = windows.real(batch, x.device)
        padding: tuple[Tensor, ...] = ()  # with 'zeros' the blocks treat padding like real tokens
        if real is not None and self.window_padding == 'fit':
            padding = windows.mask(real, batch), real
        x = windows.partition(x, real)
        for block in self.blocks:
            x = checkpoint_block(block, x, *padding) if self.with_cp else block(x, *padding)
        return windows.merge(x, real)


class FeatureNorm(nn.LayerNorm):
    """LayerNorm over the channels of ``(B, C, H, W)``."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class MambaVision(nn.Module):
    """MambaVision backbone for dense prediction.

    Args:
        arch: 'tiny', 'tiny2', 'small', 'base', 'large', 'large2', 'large3', or a dict with dim, in_dim, depths,
            num_heads, and optionally layer_scale, layer_scale_conv, drop_path_rate, window_size, mlp_ratio, d_state,
            d_conv, in_channels. Default: 'tiny'.
        out_indices: stages to return, from 0 to 3. Stages past the last one are not built. Default: (0, 1, 2, 3).
        window_size: side of the windows of stages 3 and 4, one value or a pair; None: the whole map. Default: what
            the arch was published with, (14, 7) or, for large3, (16, 8).
        window_padding: 'fit': windows shrink to the map, and the padding that is left is masked. 'zeros': the published
            behaviour, which published detectors and segmentors need. Default: 'fit'.
        drop_path_rate: stochastic depth of the last block, linear from 0 at the first block. Default: the arch's.
        with_cp: gradient checkpointing of every block: less memory, more time, same gradients. Default: False.
        frozen_stages: stages to freeze, with the stem; 0: the stem alone; -1: nothing. Default: -1.
        norm_eval: keep every BatchNorm in eval mode while training. Default: False.
        scan_backend: see `mmvision_mamba.ops.selective_scan`. Default: 'auto'.
        norm_layer: norm of the output features, 'ln', 'bn' or None. Default: 'ln'.
        pattern, mixer_ratio, pattern_seed: which blocks of stages 3 and 4 are mixers, see `hybrid_patterns`. Default:
            'attention_last': the first half of each stage's blocks are mixers.
        mixer_conv, mixer_branch: see `MixerVariant`. Default: 'regular' and 'concat', the `MambaVisionMixer`.
        init_cfg: dict(type='Pretrained', checkpoint=PATH_OR_URL, prefix=None, sha256=None) loads published weights or
            your own (see `load_pretrained`); None: initialised as published. Default: None.

    Returns:
        forward: ``(B, in_channels, H, W)``, H and W from 32 up -> tuple of ``(B, dim · 2^i, H/2^(i+2), W/2^(i+2))``,
        sides rounded up, for i in out_indices.

    Raises:
        ConfigError (a ValueError): an argument with a value that is not listed here.
        DataError (a ValueError): from forward, an image smaller than 32 pixels.
    """

    def __init__(self,
                 arch: str | Mapping = 'tiny',
                 out_indices: Sequence[int] = (0, 1, 2, 3),
                 window_size: int | Sequence[int | None] | Literal['arch'] | None = 'arch',
                 window_padding: str = 'fit',
                 drop_path_rate: float | None = None,
                 with_cp: bool = False,
                 frozen_stages: int = -1,
                 norm_eval: bool = False,
                 scan_backend: str = 'auto',
                 norm_layer: str | None = 'ln',
                 pattern: str | Sequence[str] = 'attention_last',
                 mixer_ratio: float | None = None,
                 pattern_seed: int = 0,
                 mixer_conv: str = 'regular',
                 mixer_branch: str = 'concat',
                 init_cfg: dict | None = None):
        super().__init__()
        self.init_cfg, self.is_init, self.fused = init_cfg, False, False
        arch = resolve_arch(arch)
        self.out_indices = _check_out_indices(out_indices)
        if window_padding not in PADDINGS:
            raise ConfigError(f'window_padding must be one of {PADDINGS}, got {window_padding!r}')
        if frozen_stages not in range(-1, 5):
            raise ConfigError(f'frozen_stages must be -1 (nothing), 0 (the stem) or 1 to 4, got {frozen_stages!r}')
        if norm_layer not in FEATURE_NORMS:
            raise ConfigError(f'norm_layer must be one of {tuple(FEATURE_NORMS)}, got {norm_layer!r}')
        check_backend(scan_backend)
        self.frozen_stages, self.norm_eval = frozen_stages, norm_eval
        window_size = check_window_size(arch['window_size'] if window_size == 'arch' else window_size)
        rate = arch['drop_path_rate'] if drop_path_rate is None else drop_path_rate
        check_drop_path_rate(rate)

        dim, depths = arch['dim'], arch['depths']
        patterns = hybrid_patterns(pattern, mixer_ratio, pattern_seed, depths[2:])
        mixer = mixer_class(mixer_conv, mixer_branch)
        self.num_features = [dim * 2**i for i in range(4)]
        rates = iter([rate * i / max(1, sum(depths) - 1) for i in range(sum(depths))])
        self.patch_embed = PatchEmbed(arch['in_channels'], arch['in_dim'], dim)
        self.levels = nn.ModuleList()
        for i in range(self.out_indices[-1] + 1):
            channels = self.num_features[i]
            downsample = Downsample(channels) if i < self.out_indices[-1] else None
            blocks: list[nn.Module]
            if i < 2:
                blocks = [ConvBlock(channels, next(rates), arch['layer_scale_conv']) for _ in range(depths[i])]
                self.levels.append(ConvStage(blocks, downsample, with_cp))
                continue
            blocks = []
            for j in range(depths[i]):
                token_mixer = mixer(channels, arch['d_state'], arch['d_conv'], scan_backend) \
                    if patterns[i - 2][j] == 'M' else Attention(channels, arch['num_heads'][i])
                blocks.append(Block(channels, token_mixer, arch['mlp_ratio'], next(rates), arch['layer_scale'],
                                    PaddingNorm if window_padding == 'zeros' else nn.LayerNorm))
            self.levels.append(WindowStage(blocks, downsample, with_cp, window_size[i - 2], window_padding))
        for i in self.out_indices:
            self.add_module(f'outnorm{i}', FEATURE_NORMS[norm_layer](self.num_features[i]))
        self.apply(init_linear)
        self.to(memory_format=torch.channels_last)  # the convolutions' weights; loading and copying keep it
        self._freeze()

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return self.features(x, self.out_indices)

    def features(self, x: Tensor, indices: Sequence[int]) -> tuple[Tensor, ...]:
        """The outputs of the stages `indices`, each of which is in out_indices."""
        return tuple(self.normed(i, stage) for i, stage in enumerate(self.stages(x)) if i in indices)

    def stages(self, x: Tensor) -> Iterator[Tensor]:
        """The maps of the stages one by one, before their norms, in channels-last memory."""
        if min(x.shape[2:]) < 32:
            raise DataError(f'MambaVision takes images of 32 pixels or more on each side, got {x.shape[2]} × '
                            f'{x.shape[3]} (height × width): resize or pad them')
        x = self.patch_embed(x.contiguous(memory_format=torch.channels_last))
        for level in self.levels:
            x = level(x)
            yield x
            if level.downsample is not None:
                x = level.downsample(x)

    def normed(self, index: int, stage: Tensor) -> Tensor:
        """The map of the stage `index`, one of out_indices, as it is returned."""
        # Contiguous: mmcv's RoIAlign reads memory as if it were, whatever the strides.
        return getattr(self, f'outnorm{index}')(stage).contiguous()

    def output_size(self, image_size: int | Sequence[int]) -> tuple[tuple[int, int, int], ...]:
        """(channels, height, width) of each output for images of `image_size`, a side or (height, width)."""
        height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
        return tuple((self.num_features[i], -(-height // 2**(i + 2)), -(-width // 2**(i + 2)))
                     for i in self.out_indices)

    def fuse(self) -> Self:
        """Fold each BatchNorm of the stem and of stages 1 and 2, and their layer scale, into its convolution, in place.

        For inference: same outputs, less work, and no way back. The state dict then lacks those norms' keys, so load
        weights first. A second call does nothing.

        Returns:
            self.

        Raises:
            ConfigError: in training mode; and from `train` once fused.
        """
        if self.training:
            raise ConfigError('fuse folds BatchNorm for inference: call eval() first')
        if not self.fused:
            for module in (self.patch_embed, *(block for level in self.levels[:2] for block in level.blocks)):
                module.fuse()
            self.fused = True
        return self

    def train(self, mode: bool = True) -> Self:
        """As `nn.Module.train`, but frozen stages, and with `norm_eval` every BatchNorm, stay in eval mode."""
        if mode and self.fused:
            raise ConfigError('this MambaVision is fused, its BatchNorms are gone: to train, build another and load '
                              'the weights from before fuse()')
        super().train(mode)
        self._freeze()
        if mode and self.norm_eval:
            for module in self.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
        return self

    def init_weights(self) -> None:
        """Load the weights that `init_cfg` names, once; without it they stay as initialised at construction.

        mmengine calls this method. `init_cfg` may also name mmengine's other initialisers, or be a list; weights come
        last, and all must fit (`load_pretrained`).
        """
        if self.is_init:
            return
        init_cfgs = [self.init_cfg] if isinstance(self.init_cfg, Mapping) else list(self.init_cfg or ())
        pretrained = [cfg for cfg in init_cfgs if cfg.get('type') == 'Pretrained']
        if others := [cfg for cfg in init_cfgs if cfg not in pretrained]:
            from mmengine.model import initialize
            initialize(self, others)
        for cfg in pretrained:
            load_pretrained(self, *_weights_of(cfg))
        self.is_init = True

    def _freeze(self) -> None:
        frozen: list[nn.Module] = [self.patch_embed] if self.frozen_stages >= 0 else []
        for i in range(min(self.frozen_stages, len(self.levels))):
            frozen += [self.levels[i]] + ([getattr(self, f'outnorm{i}')] if i in self.out_indices else [])
        for module in frozen:
            module.eval().requires_grad_(False)


FEATURE_NORMS = {'ln': FeatureNorm, 'bn': nn.BatchNorm2d, None: nn.Identity}


def init_linear(module: nn.Module) -> None:
    """Initialise a linear layer as published: truncated normal weights, bias 0. Other layers stay as they are."""
    if isinstance(module, nn.Linear):
        trunc_normal_(module.weight, std=.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def _weights_of(init_cfg: Mapping) -> tuple:
    """The arguments of `load_pretrained`. mmengine's map_location is ignored: weights go to the module's device."""
    valid = ('checkpoint', 'prefix', 'sha256')
    check_names(set(init_cfg) - {'type', 'map_location'}, valid, 'init_cfg has no key')
    if init_cfg.get('checkpoint') is None:
        raise ConfigError("init_cfg of type 'Pretrained' needs checkpoint=PATH_OR_URL; init_cfg=None: from scratch")
    return tuple(init_cfg.get(key) for key in valid)


def _check_out_indices(out_indices: Sequence[int]) -> tuple[int, ...]:
    valid = isinstance(out_indices, Sequence) and len(out_indices) and all(i in range(4) for i in out_indices)
    if not valid or list(out_indices) != sorted(set(out_indices)):
        raise ConfigError(f'out_indices must be increasing values out of 0, 1, 2, 3 (the stages), got {out_indices!r}')
    return tuple(out_indices)
