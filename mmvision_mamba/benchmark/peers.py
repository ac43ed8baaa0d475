"""Other backbones of about tiny's size, as their libraries have them. Each returns four maps, at strides 4 to 32."""
from collections.abc import Sequence

import timm
import torch
from torch import Tensor, nn
from torch.fx.experimental.optimization import fuse as fold_batch_norms

from ..installation import needing
from . import PEERS

CHANNELS = dict(zip(PEERS, ([96, 192, 384, 768], [96, 192, 384, 768], [96, 192, 384, 768], [256, 512, 1024, 2048])))


def build_peer(name: str, size: tuple[int, int], drop_path_rate: float = 0.2) -> nn.Module:
    """One of `PEERS`, with random weights.

    Args:
        name: 'swin-t' is mmdet's, all others are timm's.
        size: height and width of the images, which timm's Swin has to know.
        drop_path_rate: not for 'resnet-50', which is trained without.

    Raises:
        MissingExtraError: mmdet is not installed.
    """
    if name == 'swin-t':
        with needing('--peers swin-t', 'openmmlab'):
            from mmdet.models.backbones import SwinTransformer
        return SwinTransformer(drop_path_rate=drop_path_rate)
    if name == 'swin-t-timm':
        return _TimmSwin(size, drop_path_rate)
    if name == 'convnext-t':
        return timm.create_model('convnext_tiny', features_only=True, drop_path_rate=drop_path_rate)
    return _ResNet()


class _TimmSwin(nn.Module):
    """timm's Swin-T, whose attention is fused; its maps have the channels last."""

    def __init__(self, size: tuple[int, int], drop_path_rate: float):
        super().__init__()
        self.body = timm.create_model('swin_tiny_patch4_window7_224', features_only=True, img_size=size,
                                      drop_path_rate=drop_path_rate)

    def forward(self, x: Tensor) -> list[Tensor]:
        return [y.permute(0, 3, 1, 2) for y in self.body(x)]


class _ResNet(nn.Module):
    """timm's ResNet-50."""

    def __init__(self):
        super().__init__()
        self.body = timm.create_model('resnet50', features_only=True, out_indices=(1, 2, 3, 4))

    def forward(self, x: Tensor) -> Sequence[Tensor]:
        return self.body(x)

    @torch.no_grad()
    def fuse(self) -> None:
        """Fold BatchNorm into the convolutions before it, for inference."""
        self.body = fold_batch_norms(self.body.eval())
