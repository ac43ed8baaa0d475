"""Trials one after the other, or several at once: begun, followed, ended early, counted."""
from __future__ import annotations

import contextlib
import math
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from mmengine.config import Config

from ..engine.config_files import write_config
from ..errors import ConfigError, DataError, UserError
from ..files import replace
from ..printable import shown
from ..text import did_you_mean, shortened
from . import report
from .space import Parameter, apply
from .study import Study, goal_of_name
from .training import Job, Progress, wait

MOST_FAILURES = 5  # one after the other, after which a study ends


class Worker(Protocol):
    """What trains a trial: `Training` here, or an actor of Ray's elsewhere."""

    def start(self, job: Job) -> None: ...
    def poll(self) -> Progress: ...
    def stop(self) -> None: ...


class WorkerDied(Exception):
    """A worker, or its machine, is no more; its trial is to be tried elsewhere."""


@dataclass
class Plan:
    """What a study trains.

    Attributes:
        cfg: the config to tune.
        space: what is varied.
        trials: how many the study is to have, those of earlier calls and of other processes among them.
        options: of each training, besides its config and folder.
        shorten: sets the length of a trial in its config.
        keep_checkpoints: whether all trials keep theirs; else the best alone does.
    """
    cfg: Config
    space: Sequence[Parameter]
    trials: int
    options: Sequence[str] = ()
    shorten: Callable[[Config], None] = lambda cfg: None
    keep_checkpoints: bool = False


@dataclass
class _Running:
    trial: Any
    folder: Path
    told: int = 0  # validations that the study knows
    values: list[float] = field(default_factory=list)
    lost: WorkerDied | None = None  # already at its start


def run_trials(study: Study, plan: Plan, workers: Mapping[int, Worker], environment: Callable[[int], dict[str, str]],
               say: Callable[[str], None]) -> None:
    """Train until the study has its trials.

    Args:
        study: in the work directory.
        plan: what to train.
        workers: each trains one trial at a time.
        environment: variables for the trainings of a worker, by its number.
        say: called with a line for each trial.

    Raises:
        UserError: the first trial's training says that the config or the data can't be used, or `MOST_FAILURES`
            trials have failed one after the other.
    """
    running: dict[int, _Running] = {}
    failures = 0
    try:
        with study.at_work():
            while True:
                for number, worker in workers.items():
                    if number not in running and (trial := study.next(plan.trials)) is not None:
                        running[number] = _begin(study, plan, trial, worker, environment(number))
                if not running:
                    return
                wait()
                for number, current in [*running.items()]:
                    try:
                        outcome = _follow(study, plan, current, workers[number])
                    except WorkerDied as error:
                        study.fail(current.trial, str(error), again=True)
                        outcome = f'failed: {error}; its values are tried again'
                    if outcome is None:
                        continue
                    del running[number]
                    failures = failures + 1 if outcome.startswith('failed') else 0
                    say(f'trial {current.trial.number}: {outcome}')
                    _tidy(study, plan)
                    if failures == MOST_FAILURES:
                        raise DataError(f'{failures} trials have failed one after the other, the last one in '
                                        f'{shown(current.folder)}: {outcome.removeprefix("failed: ")}')
    except BaseException as error:
        for number, current in running.items():
            workers[number].stop()
            with contextlib.suppress(DataError):  # the database may be what has failed
                study.fail(current.trial, str(error) or 'interrupted', again=True)
        raise


def trial_folder(folder: Path, number: int) -> Path:
    return folder / f'trial_{number:04d}'


def _begin(study: Study, plan: Plan, trial: Any, worker: Worker, environment: dict[str, str]) -> _Running:
    folder = trial_folder(study.folder, trial.number).absolute()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    cfg = apply(plan.cfg, plan.space, study.values_of(trial))
    plan.shorten(cfg)
    _save_best_alone(cfg, study.goal.metric)
    cfg.work_dir = str(folder)
    config = folder / f'{Path(plan.cfg.filename).stem}.py'
    replace(config, lambda path: write_config(cfg, path))
    arguments = (str(config), '--work-dir', str(folder), *plan.options)
    begun = _Running(trial, folder)
    try:
        worker.start(Job(arguments, str(folder), os.getcwd(), environment))
    except WorkerDied as error:
        begun.lost = error
    return begun


def _save_best_alone(cfg: Config, metric: str) -> None:
    """Keep a trial's best checkpoint and no other: it is not resumed."""
    hook = cfg.setdefault('default_hooks', {}).setdefault('checkpoint', dict(type='CheckpointHook'))
    hook.update(save_best=metric, interval=-1, save_last=False, save_optimizer=False, save_param_scheduler=False)
    if cfg.get('randomness') is None or cfg.randomness.get('seed') is None:  # trials differ by their settings alone
        cfg.randomness = {**(cfg.get('randomness') or {}), 'seed': 0}


def _follow(study: Study, plan: Plan, current: _Running, worker: Worker) -> str | None:
    """Note what is new of a trial; returns its outcome where it has ended. Raises WorkerDied, of its start too."""
    if current.lost is not None:
        raise current.lost
    progress = worker.poll()
    new = _values(study, progress)[current.told:]
    for value in new:
        current.told += 1
        if not math.isfinite(value):
            continue
        current.values.append(value)
        if study.report(current.trial, value, current.told) and progress.code is None:
            worker.stop()
            study.prune(current.trial)
            return f'ended early after validation {current.told}, {_shown(study, current.values)}'
    if progress.code is None:
        return None
    worker.stop()
    if progress.code or progress.problem:
        if progress.code == UserError.exit_code and not current.values and all(
                trial.number == current.trial.number or trial.state.name in ('FAIL', 'RUNNING')
                for trial in study.trials()):
            raise ConfigError(f'{progress.problem}\nThis is what the training of {shown(current.folder)} says')
        study.fail(current.trial, progress.problem)
        return f'failed: {progress.problem.splitlines()[0]}'
    if not current.values:
        study.prune(current.trial)
        return 'no value: its validations found nothing to measure'
    study.finish(current.trial, study.goal.best_of(current.values))
    return _shown(study, current.values)


def _values(study: Study, progress: Progress) -> list[float]:
    """The metric's values so far.

    Raises:
        ConfigError: other metrics are logged, and this one is not; or the first one is a loss where none is named.
    """
    known = progress.validations
    if study.goal.metric == 'auto':
        first = next(iter(known), '')
        if study.goal.greater and not goal_of_name(first).greater:
            raise ConfigError(f'the first metric of the validations is {shown(first)}, of which less is better: name a '
                              f'metric by --metric: {shortened([*known], 20)}')
        return known.get(first, [])
    if known and study.goal.metric not in known:
        raise ConfigError(f'the validations have no metric {shown(study.goal.metric)!r}'
                          f'{did_you_mean(study.goal.metric, known)}. Name one of theirs by --metric: '
                          f'{shortened([*known], 20)}')
    return known.get(study.goal.metric, [])


def _shown(study: Study, values: list[float]) -> str:
    return f'{study.goal.metric if study.goal.metric != "auto" else "its metric"} {study.goal.best_of(values):.4g}'


def _tidy(study: Study, plan: Plan) -> None:
    """Write what is to be seen of the study so far, and remove checkpoints of trials that aren't the best."""
    best = study.best()
    report.write(study, plan.cfg, plan.space)
    if plan.keep_checkpoints:
        return
    for trial in study.trials():
        if trial.state.is_finished() and (best is None or trial.number != best.number):
            for path in trial_folder(study.folder, trial.number).glob('*.pth'):
                path.unlink(missing_ok=True)
