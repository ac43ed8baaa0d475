"""tools/dev/measure_evaluation.py and measure_loading.py, on a few images: they write tables of docs/performance.md."""
import importlib.util
import json

import pytest

from mmvision_mamba.benchmark.page import fill_page

FAST = [f'faster-coco-eval, {kind}' for kind in ('boxes', 'masks') if importlib.util.find_spec('faster_coco_eval')]


@pytest.mark.parametrize(('name', 'rows', 'columns'), [
    ('evaluation', ['pasting', 'encoding', 'COCOeval, boxes', 'COCOeval, masks', *FAST,
                    'together, without faster-coco-eval'], 3),
    ('loading', ['cascade_mask_rcnn_mambavision_t_coco', 'upernet_mambavision_t_ade20k'], 5)])
def test_the_table(name, rows, columns, tool, tmp_path):
    out = tmp_path / 'docs/results/box' / f'{name}.json'
    out.parent.mkdir(parents=True)
    result = tool(f'dev/measure_{name}', out, '--images', 2)
    assert result.code == 0, result.err
    found = json.loads(out.read_text())
    titles, cells = found['table']
    assert [row[0] for row in cells] == rows and {len(row) for row in cells} == {len(titles)} == {columns}
    page = fill_page(f'<!-- results: {name} -->\n<!-- end -->\n', tmp_path / 'docs/results', tmp_path)
    assert f'| {rows[0]} |' in page and f'tools/dev/measure_{name}.py' in page
    if name == 'loading':
        detector, segmentor = found['loading'].values()
        # At most a crop of three channels and its labels of eight bytes; masks are arrays, which the pipe takes.
        assert 1e6 < segmentor['shared_bytes'] <= 512 * 512 * (3 + 8) and segmentor['piped_bytes'] < 10_000
        assert detector['piped_bytes'] > 100_000


def test_detections_that_are_the_objects_have_an_ap(tool, tmp_path, capfd):
    """What is timed is a real evaluation: objects are found among its detections."""
    out = tool('dev/measure_evaluation', tmp_path / 'out.json', '--images', 2, '--detections', 7).out
    maps = [float(line.split()[-1]) for line in out.splitlines() if 'Average Recall' in line and 'area=   all' in line]
    assert len(maps) == 6 + 3 * len(FAST) and min(maps) > 0.5
