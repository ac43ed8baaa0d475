import json
import sys

import pytest

from mmvision_mamba.benchmark.page import fill_page


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == 'win32', reason='no peak memory')
def test_a_small_picture_is_measured(tool, tmp_path):
    pytest.importorskip('tifffile')
    out = tmp_path / 'docs/results/box/large_pictures.json'
    out.parent.mkdir(parents=True)
    result = tool('dev/measure_large_pictures', out, '--sizes', 300, '--tile', 256)
    assert result.code == 0, result.err
    found, = json.loads(out.read_text())['large_pictures']
    assert found['windows'] == 4 and found['peak_bytes'] > 2**26 and found['map_bytes'] > 500
    page = fill_page('<!-- results: large_pictures -->\n<!-- end -->\n', tmp_path / 'docs/results', tmp_path)
    assert '| 300 × 300 | 264 KiB | 4 |' in page
