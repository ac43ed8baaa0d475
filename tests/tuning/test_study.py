"""Databases of studies that are damaged, or made to harm: two lines that name them, and nothing outside is touched."""
import json
import sqlite3

import pytest

pytest.importorskip('optuna', reason="pip install 'mmvision_mamba[tune]'")

from mmengine.config import Config

from mmvision_mamba.errors import UserError
from mmvision_mamba.tuning.study import DATABASE, Goal, Study


class Rate:
    """A parameter, as of a search space."""

    name = 'lr'

    def record(self):
        return ['lr', 0, 1]

    def baseline(self):
        return 0.5

    def suggest(self, trial):
        return trial.suggest_float('lr', 0, 1)


def study(folder):
    return Study(folder, Config(dict(a=1)), [Rate()], Goal('mIoU', True), {})


def use(folder):
    """All that is asked of a study; returns the trials that it had."""
    found = study(folder)
    before = found.trials()
    found.best()
    found.importances()
    for trial in before:
        found.values_of(trial)
    found.finish(found.next(9), 0.5)
    return before


@pytest.fixture
def folder(tmp_path):
    """Of a study with a trial."""
    (tmp_path / 'study').mkdir()
    found = study(tmp_path / 'study')
    found.finish(found.next(9), 0.3)
    return tmp_path / 'study'


def change(folder, *lines):
    with sqlite3.connect(folder / DATABASE) as connection:
        for line in lines:
            connection.execute(line)
    connection.close()


IDENTITY = "update study_user_attributes set value_json='{}'"
SAVED = dict(config={}, space=[['lr', 0, 1]], goal=['mIoU', True], settings={})
TRIAL = 'update trials set '
OWNER = "update trial_user_attributes set value_json='{}' where key='process'"
WAITING = ("insert into trials(number, study_id, state) values (5, 1, 'WAITING')",
           "insert into trial_system_attributes(trial_id, key, value_json) values (2, 'fixed_params', '{}')")


@pytest.mark.parametrize('lines', [
    (IDENTITY.format('[1,2'),), (IDENTITY.format('"\x1b[2J"'),),
    *((IDENTITY.format(json.dumps(dict(SAVED, **odd))),) for odd in (
        dict(space=5), dict(space=[5, [[]]]), dict(goal=5), dict(goal=[]), dict(config=7), dict(settings=[]))),
    (TRIAL + "state='EVIL'",), (TRIAL + 'number=null',), (TRIAL + "state='RUNNING'", OWNER.format('[1')),
    ("update trial_params set distribution_json='{\"name\":\"os.system\",\"attributes\":{}}'",),
    ("update trial_params set distribution_json='x'",), ("update trial_params set param_name='other'",),
    ('update trial_values set value=null',), ("update trial_values set value_type='X'",),
    ('delete from trial_params',), ('create trigger t after insert on trials begin delete from studies; end',),
    (WAITING[0], WAITING[1].format('{"lr":"evil"}')), (WAITING[0], WAITING[1].format('5'))])
def test_a_damaged_database_is_named(lines, folder):
    change(folder, *lines)
    with pytest.raises(UserError) as error:
        use(folder)
    message = str(error.value)
    assert str(folder) in message and len(message.splitlines()) == 2 and len(message) < 700 and '\x1b' not in message


def test_a_complete_trial_without_a_value_is_never_the_best(folder):
    change(folder, 'delete from trial_values')
    assert study(folder).best() is None
    assert len(use(folder)) == 1


@pytest.mark.parametrize('owner', ['../../outside', '/{outside}', 'x' * 5000, 'a\\u0000b', '.', ''])
def test_no_folder_but_that_of_a_process_is_removed(owner, folder):
    """A trial that seems to run names its process; the folder of one that is no more is removed."""
    outside = folder.parent / 'outside'
    outside.mkdir()
    name = json.dumps(owner.format(outside=outside)).replace('\\\\', '\\')
    change(folder, TRIAL + "state='RUNNING'", OWNER.format(name))
    (folder / 'processes').mkdir(exist_ok=True)
    use(folder)
    assert outside.is_dir() and not [*outside.iterdir()] and not (folder / 'processes/.lock').exists()
