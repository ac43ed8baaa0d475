"""The study in a work directory: opened by several processes at once, and gone on with after any end."""
import contextlib
import hashlib
import json
import logging
import os
import re
import secrets
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from mmengine.config import Config
from mmengine.hooks import CheckpointHook

from ..errors import ConfigError, DataError, MissingExtraError, UserError
from ..printable import shown
from ..text import class_name, shortened
from ..work_dirs import hold
from .space import Parameter

DATABASE = 'study.db'  # in the work directory
_NAME, _ATTRIBUTE, _OWNER, _WHY = 'tune', 'mmvision_mamba', 'process', 'why'
_GIVEN = 'fixed_params'  # optuna's name for the values that a trial was enqueued with
_PROCESSES = 'processes'  # a folder for each process that works on the study, which it holds
_IS_OWNER = re.compile(r'\d+_[0-9a-f]{8}')  # the name of such a folder: no other is touched, whatever a database says
_SQLITE = b'SQLite format 3\0'
_SECONDS = 60  # that other processes may take to write to the database
PRUNERS = ('median', 'halving', 'none')


class Goal(NamedTuple):
    """What a study searches the best value of.

    Attributes:
        metric: its name in the log; 'auto': the first one of a validation.
        greater: whether more is better.
    """
    metric: str
    greater: bool

    def best_of(self, values: Sequence[float]) -> float:
        return max(values) if self.greater else min(values)


def goal_of(cfg: Config, metric: str | None = None) -> Goal:
    """The metric of a config by which its best checkpoint is chosen, or the one named.

    Args:
        cfg: of the training.
        metric: its name. Default: the `save_best` of the checkpoint hook.

    Raises:
        ConfigError: there are several.
    """
    hook = (cfg.get('default_hooks') or {}).get('checkpoint') or {}
    chosen, rule = hook.get('save_best'), hook.get('rule')
    if metric is None and isinstance(chosen, list | tuple):
        if len(chosen) != 1:
            raise ConfigError(f'default_hooks.checkpoint.save_best names {shortened([*map(str, chosen)])}: choose one '
                              'by --metric NAME')
        chosen = chosen[0]
    name = metric or chosen or 'auto'
    rule = rule[0] if isinstance(rule, list | tuple) and len(rule) == 1 else rule
    if rule in ('greater', 'less') and metric in (None, chosen):
        return Goal(name, rule == 'greater')
    return goal_of_name(name)


def goal_of_name(metric: str) -> Goal:
    """The goal of a metric as mmengine takes it: less is better of losses."""
    return Goal(metric, not any(key in metric.lower() for key in CheckpointHook._default_less_keys))


def optuna() -> Any:
    """The package, quiet.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import optuna
    except ImportError:
        raise MissingExtraError('mmvision-mamba tune', 'tune') from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings('ignore', category=optuna.exceptions.ExperimentalWarning)
    logging.getLogger('alembic').setLevel(logging.ERROR)
    return optuna


class Study:
    """A study in a folder. What several processes may do only one at a time, they do while they hold the folder.

    Args:
        folder: the work directory, which is there.
        cfg: the config that is tuned, as it is read.
        space: what is varied.
        goal: what is to be best.
        settings: further settings that all trials share, such as their length, by name: another study's differ.
        pruner: of `PRUNERS`. Default: 'median'.
        seed: of the sampler. Default: another one each time.

    Raises:
        ConfigError: the folder's study is of another config, space, metric or length.
        DataError: its database is damaged.
        MissingExtraError: optuna is not installed.
    """

    def __init__(self, folder: Path, cfg: Config, space: Sequence[Parameter], goal: Goal, settings: Mapping[str, Any],
                 pruner: str = 'median', seed: int | None = None):
        self.folder, self.space, self.goal, self._seed = folder, space, goal, seed
        self._process = f'{os.getpid()}_{secrets.token_hex(4)}'
        self._optuna = optuna()
        self._states = self._optuna.trial.TrialState
        identity = dict(config=_digests(cfg), space=[parameter.record() for parameter in space], goal=list(goal),
                        settings=dict(settings))
        with self._held(), self._reading():
            self._check_file()
            self._study = self._open(pruner)
            saved, begun = self._study.user_attrs.get(_ATTRIBUTE), self._study.get_trials(deepcopy=False)
            if saved is None and not begun:
                self._study.set_user_attr(_ATTRIBUTE, identity)
            else:
                self._check(saved, identity)
            known = {parameter.name: now for parameter in space if (now := parameter.baseline()) is not None}
            if known and not begun:  # the config as it is comes first
                self._study.enqueue_trial(known)

    def _open(self, pruner: str) -> Any:
        o = self._optuna
        path = (self.folder / DATABASE).absolute()
        try:
            storage = o.storages.RDBStorage(f'sqlite:///{path}', engine_kwargs=dict(connect_args=dict(
                timeout=_SECONDS)))
        except RuntimeError as error:  # of another version's tables
            raise DataError(f'{shown(path)} can not be used: {shown(error)}.\n{_way_out()}') from None
        return o.create_study(
            storage=storage, study_name=_NAME, load_if_exists=True,
            direction='maximize' if self.goal.greater else 'minimize',
            sampler=self._sampler(),
            pruner=dict(median=o.pruners.MedianPruner, halving=o.pruners.SuccessiveHalvingPruner,
                        none=o.pruners.NopPruner)[pruner]())

    def _sampler(self, number: int = 0) -> Any:
        """What chooses the values of a trial, by its number: a study that goes on would draw the first ones again."""
        seed = None if self._seed is None else np.random.SeedSequence([self._seed, number]).generate_state(1).item()
        # Trials that run elsewhere at the same time are taken for bad ones, so that others are tried.
        return self._optuna.samplers.TPESampler(seed=seed, constant_liar=True)

    def _check_file(self) -> None:
        path = self.folder / DATABASE
        try:
            with open(path, 'rb') as file:
                start = file.read(len(_SQLITE))
        except FileNotFoundError:
            return
        except OSError as error:
            raise DataError(f'{shown(path)} can not be read: {error.strerror}.\n{_way_out()}') from None
        if start not in (b'', _SQLITE):
            raise DataError(f'{shown(path)} is no database of a study.\n{_way_out()}')

    def _check(self, saved: Any, identity: dict) -> None:
        """Raise ConfigError where the study that is there is another one."""
        identity, where = json.loads(json.dumps(identity)), shown(self.folder)
        if not isinstance(saved, dict) or saved.keys() != identity.keys():
            raise ConfigError(f'{where}: {DATABASE} holds a study of another program or version.\n{_way_out()}')
        if saved['space'] != identity['space']:
            before, now = ({entry[0]: entry for entry in space} for space in (saved['space'], identity['space']))
            changed = [name for name in {**before, **now} if before.get(name) != now.get(name)]
            raise ConfigError(f'{where} holds a study of another search space: {shortened(changed)} '
                              f'{"differs" if len(changed) == 1 else "differ"}.\n{_way_out()}')
        if saved['goal'] != identity['goal']:
            raise ConfigError(f'{where} holds a study by the metric {shown(saved["goal"][0])}, and '
                              f'{shown(identity["goal"][0])} is asked for.\n{_way_out()}')
        for name, what in (('config', 'another config'), ('settings', 'other settings')):
            before, now = saved[name], identity[name]
            if before != now:
                changed = [key for key in {**before, **now} if before.get(key) != now.get(key)]
                raise ConfigError(f'{where} holds a study of {what}: {shortened(changed)} '
                                  f'{"differs" if len(changed) == 1 else "differ"}.\n{_way_out()}')

    # Trials ---------------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def at_work(self) -> Iterator[None]:
        """Within it, this process's trials are seen to be alive by other processes."""
        own = self.folder / _PROCESSES / self._process
        try:
            with contextlib.ExitStack() as stack:
                with self._held():  # or another one would take it for what a killed process left
                    own.mkdir(parents=True)
                    stack.enter_context(hold(own))
                yield
        finally:
            with contextlib.suppress(OSError):
                own.rmdir()
                own.parent.rmdir()

    def next(self, most: int) -> Any | None:
        """A new optuna trial with a value for each parameter; None where the study has `most` trials.

        Trials of processes that are no more count as failed; their values are tried again.
        """
        with self._held(), self._reading():
            self._fail_orphans()
            if (begun := self.count()) >= most:
                return None
            self._study.sampler = self._sampler(begun)
            trial = self._study.ask()
            trial.set_user_attr(_OWNER, self._process)
            for parameter in self.space:
                parameter.suggest(trial)
            return trial

    def values_of(self, trial: Any) -> dict[str, Any]:
        """{name: value}, of an optuna trial that `next` or `trials` returned."""
        with self._reading():
            fixed = self._optuna.trial.FixedTrial(trial.params)
            return {parameter.name: parameter.suggest(fixed) for parameter in self.space}

    def report(self, trial: Any, value: float, step: int) -> bool:
        """Note the value of a validation; returns whether the trial is worse than others were and should end."""
        with self._reading():
            trial.report(value, step)
            return trial.should_prune()

    def finish(self, trial: Any, value: float) -> None:
        """End a trial with its value."""
        with self._reading():
            self._study.tell(trial, value)

    def prune(self, trial: Any) -> None:
        """End a trial before its training has."""
        with self._reading():
            self._study.tell(trial, state=self._states.PRUNED)

    def fail(self, trial: Any, why: str, again: bool = False) -> None:
        """End a trial that has failed; `again`: its values are not to blame, and are tried once more."""
        with self._reading():
            trial.set_user_attr(_WHY, shown(why, 1000))
            if again:
                self._enqueue(trial.params)
            self._study.tell(trial, state=self._states.FAIL)

    def _fail_orphans(self) -> None:
        alive = {self._process, *self._others()}
        for trial in self._study.get_trials(deepcopy=False, states=(self._states.RUNNING,)):
            if str(trial.user_attrs.get(_OWNER)) in alive:
                continue
            given = trial.system_attrs.get(_GIVEN, {})  # its process may have been killed before it took them
            if given or len(trial.params) == len(self.space):
                self._enqueue({**given, **trial.params})
            self._study.tell(trial.number, state=self._states.FAIL)

    def _others(self) -> Iterator[str]:
        """Other processes that work on the study. The folders of those that are no more are removed."""
        for own in [*(self.folder / _PROCESSES).glob('*')]:
            if not _IS_OWNER.fullmatch(own.name) or own.name == self._process or own.is_symlink() or not own.is_dir():
                continue
            try:
                with hold(own, wait=0):
                    pass
            except ConfigError:
                yield own.name
                continue
            with contextlib.suppress(OSError):
                own.rmdir()

    def _enqueue(self, values: dict[str, Any]) -> None:
        """Have values tried once more, before the trial ends that they are of: a process may be killed in between."""
        waiting = self._study.get_trials(deepcopy=False, states=(self._states.WAITING,))
        if values not in [trial.system_attrs.get(_GIVEN) for trial in waiting]:
            self._study.enqueue_trial(values)

    def count(self) -> int:
        """Trials that have begun, whatever became of them."""
        return sum(trial.state != self._states.WAITING for trial in self._study.get_trials(deepcopy=False))

    def trials(self) -> list:
        """All that have begun, as optuna's frozen trials."""
        with self._reading():
            return [trial for trial in self._study.get_trials(deepcopy=False) if trial.state != self._states.WAITING]

    def _complete(self) -> list:
        return [trial for trial in self.trials() if trial.state == self._states.COMPLETE and trial.value is not None]

    def best(self) -> Any | None:
        """The finished trial with the best value; None without one."""
        done = self._complete()
        order = -1 if self.goal.greater else 1
        return min(done, key=lambda trial: (order * trial.value, trial.number), default=None)

    def importances(self) -> dict[str, float]:
        """How much each parameter matters for the metric, by PED-ANOVA; {} where too few trials tell."""
        o = self._optuna
        done = self._complete()
        if len(done) < 4 or len({trial.value for trial in done}) < 2:
            return {}
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            try:
                return dict(o.importance.get_param_importances(
                    self._study, evaluator=o.importance.PedAnovaImportanceEvaluator()))
            except (ValueError, RuntimeError, ZeroDivisionError):  # too few that differ
                return {}

    @contextlib.contextmanager
    def _held(self) -> Iterator[None]:
        with hold(self.folder, wait=5):
            yield

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        """Turn errors of the database into a line or two."""
        import sqlite3

        import sqlalchemy.exc
        try:
            yield
        except UserError:
            raise
        except (self._optuna.exceptions.StorageInternalError, sqlalchemy.exc.SQLAlchemyError, sqlite3.Error) as error:
            reason = str(getattr(error, 'orig', None) or error.__cause__ or error).splitlines()[0]
        # what optuna makes of rows that it did not write
        except (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError) as error:
            reason = f'a row of it is damaged ({type(error).__name__}: {shown(error, 100)})'
        else:
            return
        raise DataError(f'{shown(self.folder / DATABASE)} can not be used: {shown(reason)}.\n{_way_out()}')


def _way_out() -> str:
    return 'Give this one another folder: --work-dir DIR'


def _digests(cfg: Config) -> dict[str, str]:
    """A digest of each top-level setting of a config that a training reads."""
    return {key: hashlib.sha256(repr(_plain(value)).encode('utf-8', 'backslashreplace')).hexdigest()[:16]
            for key, value in cfg.to_dict().items() if key not in ('work_dir', 'search_space')}


def _plain(value: Any) -> Any:
    """A value whose text is the same each time: dicts in order, classes by their names."""
    if isinstance(value, Mapping):
        return sorted((str(key), _plain(item)) for key, item in value.items())
    if isinstance(value, list | tuple):
        return [*map(_plain, value)]
    return class_name(value) if isinstance(value, type) else value
