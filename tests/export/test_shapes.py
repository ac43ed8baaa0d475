import pytest
from mmengine.config import Config
from mmengine.logging import MMLogger

from mmvision_mamba.export.shapes import warn_of_shape

TILED = dict(test_cfg=dict(type='mmvision_mamba.inference.tiled.loops.TiledTestLoop', tile=64, overlap=0.2))


@pytest.mark.parametrize(('scale', 'shape', 'said'), [
    (None, (64, 64), None),
    ([128, 128], (128, 128), None),
    ([128, 128], (64, 64), '--shape 64 64 is smaller than the tiles that the config tests on: a tile of 64 × 64 pixels '
     '(height × width) is 128 × 128 there and 64 × 64 in this file, so small objects get lost.\n'
     '--shape 128 128 holds these tiles whole; --dynamic takes images as the config makes them'),
])
def test_a_config_that_tests_by_tiles_is_exported_for_these(scale, shape, said, monkeypatch, tmp_path):
    warnings: list[str] = []
    monkeypatch.setattr(MMLogger.get_current_instance(), 'warning', warnings.append)
    settings = dict(scale=scale, keep_ratio=True, scale_factor=None, pad=None, bands=None,
                    batch_pad=dict(size=None, divisor=1))
    photos = [('a photo', tmp_path / 'larger than a tile.png')]
    warn_of_shape(None, 'segmentor', Config(TILED), settings, shape, photos)
    assert warnings == ([said] if said else [])
