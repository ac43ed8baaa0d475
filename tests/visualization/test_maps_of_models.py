import numpy as np
import pytest

from mmvision_mamba.visualization import BackboneMaps


@pytest.mark.parametrize('kind', ['detector', 'segmentor'])
def test_maps_of_a_whole_model_lie_on_the_image_s_own_pixels(kind, request):
    """The test pipeline makes 90 × 60 pixels 128 × 85, and the detector pads them to 128 × 96."""
    inferencer = request.getfixturevalue(kind)
    image = np.random.default_rng(0).integers(0, 255, (60, 90, 3), dtype=np.uint8)
    inputs, scale = inferencer.preprocess(image)
    assert inputs.shape[2:] == ((96, 128) if kind == 'detector' else (85, 128))
    assert scale == pytest.approx((85 / 60, 128 / 90))
    maps = BackboneMaps(inferencer, image)
    assert np.array_equal(maps.image, image[..., ::-1])
    lit = maps.attention(3, (89, 0))
    # Windows are 3 × 4 cells of 16 pixels: the point's takes the last 4 of 8 columns, and the first 3 of 6 rows.
    assert lit[:, :45].max() == lit[34:].max() == 0 < lit[:33, 45:].min()
    assert maps.components(1).shape == (60, 90, 3)
