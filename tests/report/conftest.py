"""Folders of runs, made once."""
import pytest

pytest.importorskip('mmdet')

from ..helpers.evaluations import write_run


@pytest.fixture(scope='package')
def runs(tmp_path_factory):
    """{kind: folder of a run}."""
    folder = tmp_path_factory.mktemp('runs')
    return {kind: write_run(folder / kind, kind) for kind in ('detection', 'segmentation', 'classification')}
