"""Files that are kept for reports: what is broken or foreign is an error in two lines."""
import contextlib
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


def keys_of_dicts(value, path=()):
    if isinstance(value, dict):
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value[:2]) if isinstance(value, list) else ()
    for key, item in items:
        yield from keys_of_dicts(item, (*path, key))


@pytest.mark.parametrize('kind', ['detection', 'segmentation', 'classification'])
@pytest.mark.parametrize('key', ['objects', 'iou', 'unheard'])
def test_keys_that_do_not_belong_there_are_refused_or_left_out(kind, key, tmp_path):
    """Another task's measure of another kind is taken for none of this one."""
    folder = write_run(tmp_path / 'run', kind)
    path, run = kept_at(folder, 'val'), folder / 'report/run.json'
    for file in filter(lambda file: file.exists(), (path, run)):
        sound = file.read_text()
        for where in keys_of_dicts(json.loads(sound)):
            for value in ({}, 'a', 10**400):
                place = content = json.loads(sound)
                for part in where:
                    place = place[part]
                if key not in place:
                    place[key] = value
                    file.write_text(json.dumps(content))
                    with contextlib.suppress(DataError):
                        make_report(folder)
        file.write_text(sound)


def test_memory_that_no_machine_has_is_refused(tmp_path):
    folder = write_run(tmp_path / 'run', 'detection')
    facts = dict(seconds=1., iterations=1, iteration=1, epochs=1, peak_memory={}, versions={}, data={}, time=1.)
    for odd in (dict(peak_memory=dict(gpu=10**400)), dict(versions=dict(torch=[])), dict(data=dict(train=5)),
                dict(settings=dict(model=5)), dict(settings=[]), dict(time=1e14), dict(time=-1)):
        (folder / 'report/run.json').write_text(json.dumps({**facts, **odd}))
        with pytest.raises(DataError, match='is not what this version keeps'):
            make_report(folder)
