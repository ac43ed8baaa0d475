import json

import pytest


@pytest.mark.slow
def test_small_pictures_are_measured(tool, tmp_path):
    pytest.importorskip('tifffile')
    pytest.importorskip('mmseg')
    result = tool('dev/measure_tile_loading', tmp_path / 'out.json', '--side', 256, '--tile', 64, '--tiles', 4)
    assert result.code == 0, result.err
    found = json.loads((tmp_path / 'out.json').read_text())
    assert len(found['tiles_per_second']) == 5 and min(found['tiles_per_second'].values()) > 0
