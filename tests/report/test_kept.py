"""Files that are kept for reports: what is broken or foreign is an error in two lines."""
import json
import random

import pytest

from mmvision_mamba.errors import DataError
from mmvision_mamba.report.kept import read_evaluation
from mmvision_mamba.report.making import make_report
from mmvision_mamba.report.recording import kept_at

from ..helpers.evaluations import write_run

ODD = [None, True, -1, 10**30, 1e308, '\x1b[31m<script>alert(1)</script>', [], {}, [None], 'a' * 5000, 0.5, '']


@pytest.mark.parametrize('content', ['', '{', '[]', 'null', '{"version": 1}', '[' * 100_000, '{"time": NaN}', '\xff'])
def test_broken_files_are_refused(content, tmp_path):
    path = tmp_path / 'test.json'
    path.write_text(content, encoding='latin-1')
    with pytest.raises(DataError, match='is not what this version keeps') as error:
        read_evaluation(path)
    assert len(str(error.value).splitlines()) == 2


def test_no_file_is_no_evaluation_and_a_folder_is_an_error(tmp_path):
    assert read_evaluation(tmp_path / 'nowhere.json') is None
    with pytest.raises(DataError, match='can not be read'):
        read_evaluation(tmp_path)


def places(value, path=()):
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from places(item, (*path, key))


@pytest.mark.parametrize('kind', ['detection', 'segmentation', 'classification'])
def test_odd_values_at_any_place_are_refused_or_shown(kind, tmp_path):
    folder = write_run(tmp_path / 'run', kind)
    path, rng = kept_at(folder, 'val'), random.Random(0)
    sound = json.loads(path.read_text())
    every = [*places(sound)][1:]
    for where in rng.sample(every, min(len(every), 120)):
        content = json.loads(json.dumps(sound))
        place = content
        for key in where[:-1]:
            place = place[key]
        place[where[-1]] = rng.choice(ODD)
        path.write_text(json.dumps(content))
        try:
            page = make_report(folder).read_text()
        except DataError:
            continue
        assert '<script' not in page and '\x1b' not in page, where
