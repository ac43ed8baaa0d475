"""What is found in a run's folder."""
import json

import pytest

from mmvision_mamba.errors import DataError
from mmvision_mamba.report.gathering import NO_EVALUATION, gather_run
from mmvision_mamba.report.making import make_report
from mmvision_mamba.report.recording import kept_at

from ..helpers.evaluations import write_run


def test_folders_without_a_run_are_refused(tmp_path):
    with pytest.raises(DataError, match='no such folder'):
        gather_run(tmp_path / 'nowhere')
    with pytest.raises(DataError, match='no work directory of a run'):
        gather_run(tmp_path)


def test_a_run_of_other_tools_has_curves_and_metrics(tmp_path):
    folder = write_run(tmp_path / 'run')
    for name in ('val', 'run'):
        kept_at(folder, name).unlink()
    (folder / 'metrics.json').write_text('{"coco/bbox_mAP": 0.25, "coco/bbox_mAP_s": null, "other": "text"}')
    run = gather_run(folder)
    assert run.metrics == {'coco/bbox_mAP': 0.25, 'coco/bbox_mAP_s': None} and run.analysis is None
    page = make_report(folder).read_text()
    assert 'No evaluation was recorded' in page and '0.250' in page and 'id="curves"' in page
    assert json.loads((folder / 'report/report.json').read_text())['findings'][0] == NO_EVALUATION


def test_the_latest_evaluation_is_taken(tmp_path):
    folder = write_run(tmp_path / 'run')
    content = json.loads(kept_at(folder, 'val').read_text())
    kept_at(folder, 'test').write_text(json.dumps(dict(content, split='test', time=2.)))
    assert gather_run(folder).evaluation['split'] == 'test'
    kept_at(folder, 'test').write_text(json.dumps(dict(content, split='test', time=0.)))
    assert gather_run(folder).evaluation['split'] == 'val'


def test_a_report_goes_through_no_link_of_the_runs_folder(tmp_path):
    """The folder may be someone else's, and its link lead to any page of the user's."""
    folder, site = write_run(tmp_path / 'run'), tmp_path / 'site'
    (folder / 'report').rename(site)
    (site / 'index.html').write_text('mine')
    (folder / 'report').symlink_to(site)
    with pytest.raises(DataError, match=r'is a link.*\n.*--out-dir'):
        make_report(folder)
    assert (site / 'index.html').read_text() == 'mine' and not (site / 'report.json').exists()
    assert make_report(folder, tmp_path / 'out').is_file()
