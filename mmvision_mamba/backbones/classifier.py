"""MambaVision for classification: the backbone, BatchNorm, pooling and a linear layer, with timm's interface."""
import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any

import torch.nn as nn
import torch.nn.functional as F
from timm.layers import create_classifier
from torch import Tensor

from ..checkpoints.loaded import renamed
from ..checkpoints.reading import extract_state_dict, read_checkpoint
from ..errors import ConfigError
from ..limits import PARAMETERS
from .family import LARGEST_SIDE, got, is_real, is_whole, resolve_arch
from .mambavision import MambaVision, init_linear
from .weights import load_weights


class MambaVisionClassifier(MambaVision):
    """MambaVision classifier, with the state-dict keys of the published ImageNet checkpoints.

    Args:
        arch: see `MambaVision`. Default: 'tiny'.
        num_classes: outputs of the linear layer; 0: no layer, `forward` returns the pooled feature. Default: 1000.
        in_chans: channels of the images. Default: the arch's, 3.
        img_size: side of the images in pixels, or (height, width). The default windows then span them: one window is
            the whole map of its stage, as in the published models. Default: windows as the arch has them.
        global_pool: 'avg', 'max', 'avgmax', 'catavgmax', or '' for none, with num_classes=0. Default: 'avg'.
        drop_rate: dropout rate before the linear layer. Default: 0.
        backbone: further arguments of `MambaVision`: window_size, window_padding, drop_path_rate, with_cp, …

    Returns:
        forward: ``(B, in_chans, H, W)``, H and W from 32 up -> logits ``(B, num_classes)``, or, with num_classes=0, the
        pooled feature ``(B, 8 · dim)``.

    Raises:
        ConfigError: as `MambaVision`.
    """

    num_features: Any  # once built, of the last stage alone: timm's meaning of the name

    def __init__(self,
                 arch: str | Mapping = 'tiny',
                 num_classes: int = 1000,
                 in_chans: int | None = None,
                 img_size: int | Sequence[int] | None = None,
                 global_pool: str = 'avg',
                 drop_rate: float = 0.,
                 **backbone: Any):
        arch = resolve_arch(arch)
        if in_chans is not None:
            arch['in_channels'] = in_chans
        if img_size is not None:
            arch['window_size'] = windows_for(img_size)
        super().__init__(arch, norm_layer=None, **backbone)
        if not is_real(drop_rate, 0, 1) or drop_rate == 1:
            raise ConfigError(f'drop_rate must be in [0, 1), got {got(drop_rate)}')
        self.feature_info = [dict(num_chs=channels, reduction=2**(i + 2), module=f'levels.{i}')
                             for i, channels in enumerate(self.num_features)]
        self.num_features = self.head_hidden_size = self.num_features[-1]  # timm's name for the last stage's channels
        self.in_chans, self.drop_rate = arch['in_channels'], drop_rate
        self.norm = nn.BatchNorm2d(self.num_features)
        self.reset_classifier(num_classes, global_pool)

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        return self.forward_head(self.forward_features(x))

    def forward_features(self, x: Tensor) -> Tensor:
        """``(B, in_chans, H, W)`` -> ``(B, 8 · dim, H/32, W/32)``, normed."""
        return self.norm(self.features(x, (3,))[0])

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """The output of `forward_features` -> logits, or, with `pre_logits`, the pooled feature."""
        x = F.dropout(self.global_pool(x), self.drop_rate, self.training)
        return x if pre_logits else self.head(x)

    def forward_intermediates(self, x: Tensor, indices: int | Sequence[int] | None = None, norm: bool = False,
                              stop_early: bool = False, output_fmt: str = 'NCHW', intermediates_only: bool = False
                              ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """The stages' outputs without a norm: timm's interface for multi-scale features.

        Args:
            x: images, ``(B, in_chans, H, W)``.
            indices: stages to return, negative ones counted from the last; a number n: the last n. Default: all.
            norm: False; the classifier's norm is for the last stage alone.
            stop_early: compute nothing past the last stage returned, as happens anyway with `intermediates_only`.
            output_fmt: 'NCHW'.
            intermediates_only: return the list alone, not the pair of the output of `forward_features` and the list.
        """
        if norm or output_fmt != 'NCHW':
            raise ConfigError(f"intermediate features come as norm=False, output_fmt='NCHW', got {norm}, "
                              f'{output_fmt!r}')
        indices = self._stages(indices)
        last = [] if intermediates_only or stop_early else [len(self.levels) - 1]
        features = dict(zip(sorted({*indices, *last}), self.features(x, sorted({*indices, *last}))))
        intermediates = [features[i] for i in indices]
        if intermediates_only:
            return intermediates
        x = features[max(features)]
        return (self.norm(x) if max(features) == 3 else x), intermediates

    def prune_intermediate_layers(self, indices: int | Sequence[int] = 1, prune_norm: bool = False,
                                  prune_head: bool = True) -> list[int]:
        """Remove the layers that the stages `indices` don't need. Returns those stages, counted from 0."""
        indices = self._stages(indices)
        if (last := max(indices)) < 3:
            self.levels = self.levels[:last + 1]
            self.levels[last].downsample = None
        if prune_norm or last < 3:
            self.norm = nn.Identity()
        if prune_head:
            self.reset_classifier(0, '')
        return indices

    def _stages(self, indices: int | Sequence[int] | None) -> list[int]:
        built = len(self.levels)
        if isinstance(indices, int):
            indices = range(built - indices, built)
        stages = [i + built if i < 0 else i for i in (range(built) if indices is None else indices)]
        if not stages or not all(0 <= i < built for i in stages):
            raise ConfigError(f'out_indices must be stages 0 to {built - 1}, or negative from the last, got '
                              f'{indices if indices is None else list(indices)!r}')
        return stages

    def output_size(self, image_size: int | Sequence[int]) -> tuple[int, ...]:  # type: ignore[override]
        """Shape of the output for one image of `image_size`, a side or (height, width)."""
        if self.num_classes:
            return (self.num_classes,)
        pooled = self.num_features * self.global_pool.feat_mult()
        height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
        return (pooled,) if self.global_pool.pool_type else (pooled, -(-height // 32), -(-width // 32))

    def get_classifier(self) -> nn.Module:
        return self.head

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Replace the linear layer with a new one for `num_classes`, or with none for 0."""
        if not is_whole(num_classes) or num_classes < 0:
            raise ConfigError('num_classes must be a positive int, or 0 for the pooled feature, got '
                              f'{got(num_classes)}')
        if num_classes * self.num_features > PARAMETERS.value:
            raise ConfigError(f'num_classes is {got(num_classes)}: a linear layer for them has more parameters than '
                              f'{PARAMETERS.value} ({PARAMETERS.way_out})')
        self.num_classes = num_classes
        pool = self.global_pool.pool_type if global_pool is None else global_pool
        self.global_pool, self.head = create_classifier(self.num_features, num_classes, pool_type=pool)
        init_linear(self.head)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        for level in self.levels:
            level.with_cp = enable

    def group_matcher(self, coarse: bool = False) -> dict:
        """timm's groups of layers for layer-wise learning rates: the stem, then stages (`coarse`) or blocks."""
        return dict(stem=r'^patch_embed', blocks=r'^levels\.(\d+)' if coarse else [
            (r'^levels\.(\d+)\.downsample', (99998,)), (r'^levels\.(\d+)\.blocks\.(\d+)', None), (r'^norm', (99999,))])

    def load_pretrained(self, path: str | os.PathLike, prefix: str = '') -> None:
        """Load published weights or your own: a classifier's file, or a checkpoint that `mmvision-mamba train` made.

        A linear layer for another number of classes is left out with a warning; the stem's weights are adapted to other
        numbers of channels as in timm.

        Raises:
            CheckpointError: the file can't be read, or doesn't fit; says which variant it looks like.
        """
        state = extract_state_dict(read_checkpoint(path), prefix)
        state = renamed({k.removeprefix('backbone.'): v for k, v in state.items()}, self.state_dict())
        missing_ok: tuple[str, ...] = ()
        head = state.get('head.weight')
        if head is not None and head.ndim == 2 and self.num_classes not in (0, len(head)):
            logging.getLogger('mmvision_mamba').warning(
                f"{path}: its linear layer is for {len(head)} classes, this model's for {self.num_classes}: left out, "
                'and to be trained')
            state = {k: v for k, v in state.items() if not k.startswith('head.')}
            missing_ok = ('head.',)
        load_weights(self, state, path, missing_ok)


def windows_for(img_size: int | Sequence[int]) -> tuple[int, int]:
    """Windows of stages 3 and 4 that span the map of an image: (14, 7) at 224 pixels."""
    sides = list(img_size) if isinstance(img_size, Sequence) else [img_size]
    if len(sides) not in (1, 2) or not all(is_whole(side) and 32 <= side <= LARGEST_SIDE for side in sides):
        raise ConfigError(f'the image size must be a side of 32 pixels or more, or (height, width), at most '
                          f'{LARGEST_SIDE}, got {got(img_size)}')
    side = max(sides)
    return -(-side // 16), -(-side // 32)
