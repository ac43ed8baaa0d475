"""The FLOPs in the share of the matrix product rate, of MambaVision and its peers, beside counts by hand.

A training step counts three times its forward but for the first convolution, whose image needs no gradient.
"""
import pytest
import torch

from mmvision_mamba import MambaVision
from mmvision_mamba.benchmark.peers import build_peer
from mmvision_mamba.benchmark.variants import mean_of
from mmvision_mamba.costs.flops import count_flops, scan_flops
from mmvision_mamba.ops import onednn


def padded(side: int, multiple: int) -> int:
    return -(-side // multiple) * multiple


def stages(height: int, width: int):
    """Height and width of the maps at strides 4 to 32."""
    return [(height // stride, width // stride) for stride in (4, 8, 16, 32)]


def swin(height: int, width: int) -> tuple[int, int]:
    first = total = 2 * height // 4 * width // 4 * 96 * 48
    for stage, ((h, w), depth) in enumerate(zip(stages(height, width), (2, 2, 6, 2))):
        channels, tokens, real = 96 * 2**stage, padded(h, 7) * padded(w, 7), h * w
        total += depth * (2 * tokens * 4 * channels**2 + 4 * tokens * 49 * channels + 2 * real * 8 * channels**2)
        if stage < 3:
            total += 2 * real // 4 * 4 * channels * 2 * channels
    return total, first


def convnext(height: int, width: int) -> tuple[int, int]:
    first = total = 2 * height // 4 * width // 4 * 96 * 48
    for stage, ((h, w), depth) in enumerate(zip(stages(height, width), (3, 3, 9, 3))):
        channels = 96 * 2**stage
        total += depth * 2 * h * w * (49 * channels + 8 * channels**2)
        if stage:
            total += 2 * h * w * 4 * channels // 2 * channels
    return total, first


def resnet(height: int, width: int) -> tuple[int, int]:
    first = total = 2 * height // 2 * width // 2 * 64 * 3 * 49
    before, larger = 64, 1
    for stage, ((h, w), depth) in enumerate(zip(stages(height, width), (3, 4, 6, 3))):
        width = 64 * 2**stage
        for block in range(depth):
            # The first 1 × 1 convolution of a stage sees the map before its stride.
            total += 2 * h * w * ((larger if block == 0 else 1) * before * width + 9 * width**2 + 4 * width**2)
            if block == 0:
                total += 2 * h * w * before * 4 * width
            before = 4 * width
        larger = 4
    return total, first


def ours(training: bool, dim: int, stem: int, depths: tuple[int, ...], side: int):
    """Windows of the whole map."""
    first = 2 * (side // 2)**2 * 3 * stem * 9
    total, scans = first + 2 * (side // 4)**2 * stem * dim * 9, 0
    for stage, depth in enumerate(depths):
        channels, tokens = dim * 2**stage, (side // 2**(2 + stage))**2
        if stage < 2:
            total += depth * 2 * 2 * tokens * 9 * channels**2
        else:
            half, rank = channels // 2, -(-channels // 16)
            attention = 2 * tokens * 4 * channels**2 + 4 * tokens**2 * channels
            mixer = 2 * tokens * (2 * channels**2 + 3 * channels + half * (rank + 16) + rank * half)
            scans += depth // 2 * scan_flops(1, tokens, half, 8, 'training' if training else 'forward')
            total += depth // 2 * (attention + mixer) + depth * 2 * tokens * 8 * channels**2
        if stage < 3:
            total += 2 * tokens // 4 * 9 * channels * 2 * channels
    return total, first, scans


def counted(model, training: bool, size: tuple[int, int]) -> int:
    model.train(training)
    x = torch.rand(1, 3, *size)
    if not training:
        with torch.no_grad():
            return count_flops(lambda: model(x), model, 'forward')
    return count_flops(lambda: mean_of(model(x)).backward(), model, 'training')


@pytest.mark.parametrize('training', [False, True])
@pytest.mark.parametrize(('peer', 'by_hand', 'size'), [
    ('swin-t', swin, (64, 96)),
    ('swin-t-timm', swin, (224, 224)),  # which makes windows smaller on smaller maps
    ('convnext-t', convnext, (64, 96)),
    ('resnet-50', resnet, (64, 96))])
def test_a_peer_is_counted_as_by_hand(peer, by_hand, size, training):
    total, first = by_hand(*size)
    assert counted(build_peer(peer, size, drop_path_rate=0.), training, size) == (
        3 * total - first if training else total)


@pytest.mark.parametrize('training', [False, True])
@pytest.mark.parametrize('side', [64, 512])
def test_mambavision_is_counted_as_by_hand(side, training, monkeypatch):
    """Over 16 and over 1,024 tokens, which some CPUs take in blocks, whose backward computes the scores anew."""
    if onednn.linear_operator() is not None:
        for name in ('chosen', 'chosen_for_attention'):
            monkeypatch.setattr(onednn, name, lambda: True)
    size = dict(dim=16, in_dim=8, depths=(1, 1, 2, 2))
    model = MambaVision(dict(size, num_heads=(1, 1, 2, 4)), window_padding='fit', window_size=(None, None),
                        drop_path_rate=0.)
    total, first, scans = ours(training, *size.values(), side)
    assert counted(model, training, (side, side)) == (3 * total - first if training else total) + scans
