import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmvision_mamba.datasets.tile_grid import Grid, Tiling
from mmvision_mamba.errors import ConfigError


@given(length=st.integers(1, 3000), tile=st.integers(32, 700), overlap=st.floats(0, 0.5))
def test_windows_cover_a_side_and_share_what_they_should(length, tile, overlap):
    tiling = Tiling(tile, overlap)
    axis = tiling.axis(length)
    assert axis.starts[0] == 0 and axis.starts[-1] + axis.side == length and axis.side == min(tile, length)
    for i in range(len(axis) - 1):
        assert axis.side - axis.step(i) >= tiling.shared and axis.step(i) > 0


@given(length=st.integers(1, 900), tile=st.integers(32, 300), overlap=st.floats(0, 0.5))
def test_the_weights_at_a_pixel_add_up_to_one(length, tile, overlap):
    axis = Tiling(tile, overlap).axis(length)
    total, seen = np.zeros(length), np.zeros(length, int)
    for i, start in enumerate(axis.starts):
        total[start:start + axis.side] += axis.weights(i)
        seen[start:start + axis.side] += 1
        assert (axis.weights(i) > 0).all()
    np.testing.assert_allclose(total, 1, atol=1e-6)
    assert (total[seen == 1] == 1).all()  # to the last bit


def test_weights_are_smooth():
    axis = Tiling(100, 0.3).axis(400)
    assert np.abs(np.diff(axis.weights(1))).max() < 0.1


def test_a_picture_that_fits_is_one_window():
    grid = Grid.of(Tiling(64), 64, 40)
    assert len(grid) == 1 and grid.window(0, 0) == (0, 0, 40, 64)


@pytest.mark.parametrize('tile', [31, 0, -5, 64.5, True, '64'])
def test_a_tile_out_of_range_is_refused(tile):
    with pytest.raises(ConfigError, match='tile must be a whole number of pixels, 32 or more'):
        Tiling(tile)


@pytest.mark.parametrize('overlap', [-0.1, 0.51, float('nan'), '0.2'])
def test_an_overlap_out_of_range_is_refused(overlap):
    with pytest.raises(ConfigError, match='overlap must be a share of the tile, 0 to 0'):
        Tiling(64, overlap)
