"""Studies: gone on with, shared, ended early, failed and damaged; by workers that train nothing."""
import itertools
import os
import signal
import subprocess
import sys
import time
from functools import partial

import pytest
from mmengine.config import Config

from mmvision_mamba.errors import ConfigError, DataError
from mmvision_mamba.tuning import loop, report
from mmvision_mamba.tuning.loop import Plan, WorkerDied, run_trials
from mmvision_mamba.tuning.space import LR, space_of
from mmvision_mamba.tuning.study import DATABASE, Goal, Study, goal_of
from mmvision_mamba.tuning.training import Progress

from ..helpers import ROOT

pytest.importorskip('optuna')


@pytest.fixture
def cfg(tmp_path) -> Config:
    path = tmp_path / 'mine.py'
    path.write_text(f'''
model = dict(type='A')
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.01, weight_decay=0.1))
search_space = {{'{LR}': dict(low=1e-4, high=1., log=True), 'weight_decay': [0.1, 0.01, 0.001]}}
train_dataloader = dict(batch_size=2)
default_scope = 'mmengine'
''')
    return Config.fromfile(path)


@pytest.fixture(autouse=True)
def _fast(monkeypatch):
    monkeypatch.setattr(loop, 'wait', lambda: None)


class Trainer:
    """A worker whose trainings give one value a poll: `of(config)` says which; an exception or a code ends it."""

    def __init__(self, of):
        self.of, self.seen, self.stopped = of, [], 0

    def start(self, job):
        cfg = Config.fromfile(job.arguments[0])
        self.seen.append(cfg)
        self.values, self.told, self.code = list(self.of(cfg)), [], None

    def poll(self):
        if self.values:
            value = self.values.pop(0)
            if isinstance(value, Exception):
                raise value
            if isinstance(value, Progress):
                return value
            self.told.append(value)
        return Progress({'mAP': self.told} if self.told else {}, None if self.values else 0)

    def stop(self):
        self.stopped += 1


def study(cfg, folder, metric='mAP', **options) -> Study:
    folder.mkdir(exist_ok=True)
    return Study(folder, cfg, space_of(cfg), Goal(metric, True), {}, **{'seed': 0, **options})


def tune(cfg, folder, of, trials=5, workers=1, **options):
    """(study, lines, workers) after so many trials."""
    opened, lines = study(cfg, folder, **options), []
    trainers = {i: Trainer(of) for i in range(workers)}
    run_trials(opened, Plan(cfg, space_of(cfg), trials), trainers, lambda i: {}, lines.append)
    return opened, lines, trainers


def value(cfg) -> list[float]:
    """Best at a learning rate of 0.1."""
    return [1 / (1 + abs(cfg.optim_wrapper.optimizer.lr - 0.1))]


def test_the_config_comes_first_trials_differ_and_the_best_is_a_config(cfg, tmp_path):
    opened, lines, trainers = tune(cfg, tmp_path / 'wd', value, 12)
    seen = trainers[0].seen
    assert seen[0].optim_wrapper == cfg.optim_wrapper
    assert len({(c.optim_wrapper.optimizer.lr, c.optim_wrapper.optimizer.weight_decay) for c in seen}) == 12
    best = Config.fromfile(tmp_path / 'wd/best.py')
    assert value(best)[0] == max(value(c)[0] for c in seen) == opened.best().value
    assert 'search_space' not in best and 'work_dir' not in best
    assert best.default_hooks if 'default_hooks' in cfg else 'default_hooks' not in best
    assert len(lines) == 12 and lines[0] == f'trial 0: mAP {value(cfg)[0]:.4g}'
    table = (tmp_path / 'wd/trials.csv').read_text().splitlines()
    assert len(table) == 13 and table[0] == f'trial,state,mAP,validations,minutes,{LR},weight_decay,problem'
    assert report.draw(opened, space_of(cfg)) == tmp_path / 'wd/importance.png'
    importances = opened.importances()
    assert importances[LR] > importances['weight_decay']
    assert f'The best of 12 trials is number {opened.best().number}' in report.summary(opened, space_of(cfg), (), None)


def test_a_study_goes_on_to_so_many_trials_in_all(cfg, tmp_path):
    tune(cfg, tmp_path / 'wd', value, 3)
    opened, lines, trainers = tune(cfg, tmp_path / 'wd', value, 5)
    assert opened.count() == 5 and len(lines) == 2 and trainers[0].seen[0].optim_wrapper != cfg.optim_wrapper
    assert tune(cfg, tmp_path / 'wd', value, 5)[1] == []


def test_several_workers_share_the_trials(cfg, tmp_path):
    _, lines, trainers = tune(cfg, tmp_path / 'wd', value, 7, workers=3)
    assert len(lines) == 7 and sorted(len(t.seen) for t in trainers.values()) == [2, 2, 3]


def test_a_trial_that_is_worse_ends_early(cfg, tmp_path):
    counts = iter([0, 0, 0, 0, 0, 0, 1])

    def of(cfg):
        return [0.1, 0.1, 0.9] if next(counts) else [0.5, 0.6, 0.7]
    opened, lines, trainers = tune(cfg, tmp_path / 'wd', of, 7)
    assert lines[-1] == 'trial 6: ended early after validation 1, mAP 0.1' and trainers[0].stopped == 7
    assert [trial.state.name for trial in opened.trials()] == ['COMPLETE'] * 6 + ['PRUNED']
    counts = iter([0, 0, 0, 0, 0, 0, 1])
    assert 'early' not in ''.join(tune(cfg, tmp_path / 'other', of, 7, pruner='none')[1])


def test_a_crash_is_a_failed_trial_and_not_the_end(cfg, tmp_path):
    killed, full = 'its process was ended by SIGKILL', 'there is too little memory'
    codes = iter([None, Progress({}, -9, killed), Progress({}, 2, full), None])

    def of(cfg):
        code = next(codes)
        return value(cfg) if code is None else [code]
    opened, lines, _ = tune(cfg, tmp_path / 'wd', of, 4)
    assert [trial.state.name for trial in opened.trials()] == ['COMPLETE', 'FAIL', 'FAIL', 'COMPLETE']
    assert lines[1:3] == [f'trial 1: failed: {killed}', f'trial 2: failed: {full}']
    assert 'too little memory' in (tmp_path / 'wd/trials.csv').read_text()


def test_a_config_that_can_not_be_trained_ends_the_study_with_its_error(cfg, tmp_path):
    with pytest.raises(ConfigError, match='no such folder') as error:
        tune(cfg, tmp_path / 'wd', lambda cfg: [Progress({}, 2, 'data: no such folder')])
    assert len(str(error.value).splitlines()) == 2
    assert tune(cfg, tmp_path / 'wd', value, 2)[2][0].seen[0].optim_wrapper == cfg.optim_wrapper, 'is tried again'


def test_failures_one_after_the_other_end_the_study(cfg, tmp_path):
    with pytest.raises(DataError, match=r'5 trials have failed one after the other.*SIGSEGV'):
        tune(cfg, tmp_path / 'wd', lambda cfg: [Progress({}, -11, 'its process was ended by SIGSEGV')], 30)


def test_values_of_a_machine_that_died_are_tried_again(cfg, tmp_path):
    died = iter([WorkerDied('its machine is gone')])

    def of(cfg):
        return [next(died, None) or value(cfg)[0]]
    _, lines, trainers = tune(cfg, tmp_path / 'wd', of, 3)
    assert lines[0] == 'trial 0: failed: its machine is gone; its values are tried again'
    assert trainers[0].seen[0].optim_wrapper == trainers[0].seen[1].optim_wrapper == cfg.optim_wrapper


def test_a_worker_that_dies_at_its_start_costs_that_trial_alone(cfg, tmp_path):
    class Late(Trainer):
        def start(self, job):
            super().start(job)
            if len(self.seen) == 1:
                raise WorkerDied('no answer within 120 s')

    opened, lines, late = study(cfg, tmp_path / 'wd'), [], Late(value)
    run_trials(opened, Plan(cfg, space_of(cfg), 3), {0: late}, lambda i: {}, lines.append)
    assert lines[0] == 'trial 0: failed: no answer within 120 s; its values are tried again' and len(lines) == 3
    assert late.seen[1].optim_wrapper == cfg.optim_wrapper


def test_a_loss_is_not_taken_for_a_metric_of_which_more_is_better(cfg, tmp_path):
    of = [Progress({'val/loss': [1.], 'mAP': [0.5]}, None)]
    with pytest.raises(ConfigError, match=r'val/loss, of which less is better: .* --metric: val/loss, mAP'):
        tune(cfg, tmp_path / 'wd', lambda cfg: list(of), metric='auto')


def test_nothing_measured_is_no_value_and_no_failure(cfg, tmp_path):
    found = iter([[float('nan')], [Progress({}, 0)]])
    opened, lines, _ = tune(cfg, tmp_path / 'wd', lambda cfg: next(found, None) or value(cfg), 3)
    assert lines[:2] == [f'trial {i}: no value: its validations found nothing to measure' for i in range(2)]
    assert opened.best().number == 2


def test_another_metric_than_is_logged_is_named(cfg, tmp_path):
    with pytest.raises(ConfigError, match=r"no metric 'mAp' \(did you mean 'mAP'\?\)") as error:
        tune(cfg, tmp_path / 'wd', value, metric='mAp')
    assert '--metric' in str(error.value)


def test_interrupted_trials_are_failed_and_tried_again(cfg, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        tune(cfg, tmp_path / 'wd', lambda cfg: [interrupt()])
    opened, _, trainers = tune(cfg, tmp_path / 'wd', value, 2)
    assert [trial.state.name for trial in opened.trials()] == ['FAIL', 'COMPLETE']
    assert trainers[0].seen[0].optim_wrapper == cfg.optim_wrapper


def interrupt():
    raise KeyboardInterrupt


def test_the_trial_of_a_killed_process_is_failed_and_that_of_a_living_one_is_not(cfg, tmp_path):
    program = f'''
import sys, time
sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
from mmengine.config import Config
from mmvision_mamba.tuning.space import space_of
from mmvision_mamba.tuning.study import Goal, Study
cfg = Config.fromfile({cfg.filename!r})
study = Study(Path({str(tmp_path / "wd")!r}), cfg, space_of(cfg), Goal('mAP', True), {{}})
with study.at_work():
    study.next(9)
    print('begun', flush=True)
    time.sleep(300)
'''
    (tmp_path / 'wd').mkdir()
    process = subprocess.Popen([sys.executable, '-c', program], stdout=subprocess.PIPE)
    try:
        assert process.stdout.readline() == b'begun\n'
        opened, _, _ = tune(cfg, tmp_path / 'wd', value, 2)
        assert [trial.state.name for trial in opened.trials()] == ['RUNNING', 'COMPLETE']
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    time.sleep(0.1)
    opened, _, trainers = tune(cfg, tmp_path / 'wd', value, 4)
    assert [trial.state.name for trial in opened.trials()] == ['FAIL', 'COMPLETE', 'COMPLETE', 'COMPLETE']
    assert trainers[0].seen[0].optim_wrapper == cfg.optim_wrapper, 'what it tried is tried again'
    assert not (tmp_path / 'wd/processes').exists()


@pytest.mark.skipif(not hasattr(os, 'fork'), reason='forks')
@pytest.mark.parametrize('steps', [
    ['Study.set_user_attr'], ['Study.enqueue_trial'], ['Study.ask'], ['Trial.set_user_attr'], ['Trial._suggest'],
    ['Study.tell'], ['Trial.set_user_attr', 'Study.enqueue_trial'], ['Trial.set_user_attr', 'Study.tell'],
    ['Trial.set_user_attr', 'Study.ask', 'Study.ask']], ids=', '.join)
def test_a_kill_behind_any_step_loses_no_values_and_tries_none_twice(steps, cfg, tmp_path):
    """Of one process after the other, each behind its first such step."""
    folder = tmp_path / 'wd'
    for step in steps:
        killed_behind(step, lambda: tune(cfg, folder, value, 3))
    check_goes_on(cfg, folder)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, 'fork'), reason='forks')
def test_a_kill_behind_any_entry_of_the_database_loses_no_values_and_tries_none_twice(cfg, tmp_path):
    """Every second time, the process that goes on is killed too."""
    for number in itertools.count():
        folder = tmp_path / str(number)
        if not killed_at_entry(number, partial(tune, cfg, folder, value, 3)):
            break
        if number % 2:
            killed_at_entry(number % 7, partial(tune, cfg, folder, value, 6))
        check_goes_on(cfg, folder)
    print(f'{number} entries')
    assert number > 30


def check_goes_on(cfg, folder):
    opened, _, _ = tune(cfg, folder, value, 9)
    done = [tuple(trial.params.values()) for trial in opened.trials() if trial.state.name == 'COMPLETE']
    assert (0.01, 0.1) in done, 'the config as it is'
    assert len(set(done)) == len(done)
    assert not (folder / 'processes').exists() and not [*folder.rglob('.lock')]


def killed_at_entry(number, call):
    """Calls in a fork that is killed behind entry `number` of its database, from 0; returns whether there were so many.
    """
    import sqlalchemy.event
    process, left = os.fork(), [number]
    if not process:
        def count(_):
            left[0] -= 1
            if left[0] < 0:
                os.kill(os.getpid(), signal.SIGKILL)
        sqlalchemy.event.listen(sqlalchemy.Engine, 'commit', count)
        try:
            call()
            os._exit(0)
        finally:
            os._exit(1)
    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    assert code in (0, -signal.SIGKILL)
    return code != 0


def killed_behind(step, call):
    """Calls in a fork that is killed behind the first call of a method of optuna's."""
    import optuna
    process = os.fork()
    if not process:
        kind, _, method = step.partition('.')
        holder = dict(Study=optuna.Study, Trial=optuna.Trial)[kind]
        real = getattr(holder, method)

        def killing(*args, **kwargs):
            real(*args, **kwargs)
            os.kill(os.getpid(), signal.SIGKILL)
        setattr(holder, method, killing)
        try:
            call()
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == -signal.SIGKILL


def test_a_study_with_a_seed_that_goes_on_draws_no_values_twice(cfg, tmp_path):
    for trials in (4, 8):
        opened, _, _ = tune(cfg, tmp_path / 'wd', value, trials)
    assert len({tuple(trial.params.values()) for trial in opened.trials()}) == 8
    whole, _, _ = tune(cfg, tmp_path / 'whole', value, 8)
    assert [trial.params for trial in whole.trials()] == [trial.params for trial in opened.trials()], 'as in one go'


@pytest.mark.parametrize(('changes', 'message'), [
    ({'model.type': 'B'}, 'a study of another config: model differs'),
    ({'search_space': {'lr': [0.1, 0.2]}}, f'another search space: {LR}, weight_decay, lr differ')])
def test_a_study_of_something_else_is_refused(cfg, tmp_path, changes, message):
    tune(cfg, tmp_path / 'wd', value, 1)
    other = Config.fromfile(cfg.filename)
    for key, item in changes.items():
        if key == 'search_space':
            other.search_space = item
        else:
            other.merge_from_dict({key: item})
    with pytest.raises(ConfigError, match=message) as error:
        study(other, tmp_path / 'wd')
    assert '--work-dir' in str(error.value) and len(str(error.value).splitlines()) == 2


def test_so_is_one_by_another_metric_or_of_other_lengths(cfg, tmp_path):
    tune(cfg, tmp_path / 'wd', value, 1)
    with pytest.raises(ConfigError, match='by the metric mAP, and mIoU is asked for'):
        study(cfg, tmp_path / 'wd', metric='mIoU')
    with pytest.raises(ConfigError, match='other settings: length differs'):
        Study(tmp_path / 'wd', cfg, space_of(cfg), Goal('mAP', True), dict(length=3))


@pytest.mark.parametrize('damage', ['text', 'cut', 'zeros', 'folder', 'other tables'])
def test_a_damaged_database_is_a_line(cfg, tmp_path, damage):
    tune(cfg, tmp_path / 'wd', value, 2)
    path = tmp_path / 'wd' / DATABASE
    content = path.read_bytes()
    path.unlink()
    if damage == 'text':
        path.write_text('no database')
    elif damage == 'cut':
        path.write_bytes(content[:5000])
    elif damage == 'zeros':
        path.write_bytes(content[:200] + bytes(len(content) - 200))
    elif damage == 'folder':
        path.mkdir()
    else:
        import sqlite3
        with sqlite3.connect(path) as database:
            database.execute('create table studies (a int)')
    with pytest.raises(DataError, match=DATABASE) as error:
        tune(cfg, tmp_path / 'wd', value, 4)
    assert len(str(error.value).splitlines()) <= 2 and '--work-dir' in str(error.value)


@pytest.mark.parametrize(('hook', 'metric', 'expected'), [
    (dict(save_best='coco/bbox_mAP'), None, Goal('coco/bbox_mAP', True)), (dict(), None, Goal('auto', True)),
    (dict(save_best='mIoU'), 'loss_val', Goal('loss_val', False)),
    (dict(save_best='distance', rule='less'), None, Goal('distance', False))])
def test_what_is_best(hook, metric, expected):
    assert goal_of(Config(dict(default_hooks=dict(checkpoint=dict(type='CheckpointHook', **hook)))), metric) == expected
