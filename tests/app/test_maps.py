"""The backbone's maps on the page: eight figures with scales, or a word where there is nothing to see."""
import re

import numpy as np
import pytest

from mmvision_mamba.app.maps import maps_html
from mmvision_mamba.errors import ConfigError
from mmvision_mamba.visualization.backbone_maps import BackboneMaps


@pytest.fixture(scope='module')
def maps(models):
    image = np.random.default_rng(0).integers(0, 256, (64, 80, 3), dtype=np.uint8)
    return BackboneMaps(models['Semantic map'], image)


def test_each_map_has_a_title_a_sentence_and_a_scale(maps):
    html = maps_html(maps)
    titles = re.findall(r'<b>(.*?)\.</b>', html)
    assert titles == [f'Stage {i}: {what}' for what in ('attention', 'Δ') for i in (3, 4)] + [
        f'Stage {i}: features' for i in (1, 2, 3, 4)]
    assert html.count('<img') + html.count('class="flat"') == 8
    assert html.count('class="numbers"') == 4 - html.count('class="flat"')
    low, *_, high = map(float, re.findall(r'<span>(.*?)</span>', html)[:5])
    values = maps.attention(3)
    assert low == pytest.approx(values.min(), rel=0.01) and high == pytest.approx(values.max(), rel=0.01)


def test_maps_of_a_point(maps):
    assert maps_html(maps, (10, 20)) != maps_html(maps)
    assert 'the marked place' in maps_html(maps, (10, 20)) and '<span>0</span>' in maps_html(maps, (10, 20))
    with pytest.raises(ConfigError, match='outside the image'):
        maps_html(maps, (80, 20))


def test_flat_maps_say_so(maps, monkeypatch):
    monkeypatch.setattr(maps, 'delta', lambda stage: np.full((64, 80), 0.6953, np.float32))
    assert maps_html(maps).count('flat: 0.695 everywhere') == 2
