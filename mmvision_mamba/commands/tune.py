"""Search the best settings of a config: trials, which are whole trainings, by optuna.

Trials go to WORK_DIR/trial_0000, …; the first is the config as it is. The best comes out as WORK_DIR/best.py, a config
that train takes. In the place of a config a folder of data will do, as for train. The same command goes on with a study
that was stopped, and, at the same time, helps with one that runs: each process trains trials of the study in WORK_DIR
until that has as many as --trials says.
"""
import argparse
import contextlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..errors import ConfigError
from ..limits import check_workers
from ..printable import shown
from ..work_dirs import make_work_dir
from .options import add_cfg_options, add_task, is_data

_OWN = ('--work-dir', '--cfg-options', '--resume', '--launcher', '--local-rank', '--local_rank', '--task')


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('config', metavar='CONFIG|FOLDER', help='config file, or a folder of data; the search_space '
                        'of a config, if it has one, says what is varied: {KEY: [VALUE, …]} or {KEY: dict(low=…, '
                        'high=…, log=True)}')
    add_task(parser)
    parser.add_argument('--trials', type=int, default=30, metavar='N', help='that the study is to have in all, those '
                        'of earlier calls among them; default: %(default)s')
    parser.add_argument('--work-dir', metavar='DIR', help='of the study; default: work_dirs/NAME_tune, of the config '
                        'or folder')
    parser.add_argument('--params', nargs='+', metavar='NAME', help='vary these of the search space alone; default: '
                        'all of it. Without a search_space in the config there are lr, weight_decay, layer_decay, '
                        'drop_path, scale and batch, as far as the config has them')
    parser.add_argument('--metric', metavar='NAME', help="of the validations, as the log has it; default: the config's "
                        'save_best, or else the first')
    parser.add_argument('--length', type=int, metavar='N', help='epochs or iterations of a trial, whichever the config '
                        "counts; its schedules shrink alike. best.py has the config's. Default: the config's")
    parser.add_argument('--pruner', choices=['median', 'halving', 'none'], default='median',
                        help='which trials end early: those worse than half of the others at the same validation; '
                        'those that successive halving drops; none. Default: %(default)s')
    parser.add_argument('--seed', type=int, metavar='N', help='of the choice of values; default: another one each time')
    parser.add_argument('--engine', choices=['local', 'ray'], default='local',
                        help='where trials run: on this machine, or on a Ray cluster, whose machines all see the work '
                        'directory and the data. Default: %(default)s')
    parser.add_argument('--ray-address', metavar='ADDRESS', help='with --engine ray; auto: the cluster that this '
                        'machine is part of; default: RAY_ADDRESS, or else a cluster on this machine alone')
    parser.add_argument('--workers', type=int, metavar='N', help='trials at a time, each with a GPU of its own where '
                        'there are some; default: 1')
    parser.add_argument('--keep-checkpoints', action='store_true', help="keep each trial's best checkpoint; default: "
                        "the best trial's alone")
    parser.add_argument('--dry-run', action='store_true', help='print what would be varied and how a trial is trained, '
                        'and write nothing')
    add_cfg_options(parser)
    parser.add_argument('--train-options', nargs=argparse.REMAINDER, metavar='OPTION',
                        help='the last one: all behind it are options of `mmvision-mamba train` for each trial, as in '
                        'mmvision-mamba tune CONFIG --trials 30 --train-options --amp')


def run(args: argparse.Namespace) -> None:
    from ..preflight.read import read_config
    from ..preflight.schedule import set_length, unit_of
    from ..tuning import report
    from ..tuning.loop import Plan, run_trials
    from ..tuning.space import space_of
    from ..tuning.study import Study, goal_of, optuna

    train_options = list(args.train_options or ())
    _check_options(args, train_options)
    with _folder_in_place(args, train_options):
        cfg = read_config(args.config, args.cfg_options, ('model', 'train_dataloader', 'val_dataloader', 'train_cfg',
                                                          'optim_wrapper'), refuse_broken=True)
    without = {'batch': '--auto-batch'} if _has_option(train_options, '--auto-batch') else {}
    space, goal = space_of(cfg, args.params, without), goal_of(cfg, args.metric)
    if args.length is not None:
        unit_of(cfg)
    options = (*train_options, *([] if any(option.startswith('--vis') for option in train_options)
                                 else ['--vis', 'local']))
    work_dir = Path(args.work_dir if args.work_dir is not None else
                    Path('work_dirs') / f'{Path(args.config).stem}_tune')
    if args.dry_run:
        _print_plan(args, space, goal, work_dir, options)
        return
    optuna()

    def shorten(trial_cfg) -> None:
        if args.length is not None:
            set_length(trial_cfg, args.length)
            interval = trial_cfg.train_cfg.get('val_interval')
            if isinstance(interval, int) and interval > args.length:
                trial_cfg.train_cfg.val_interval = args.length

    make_work_dir(work_dir)
    study = Study(work_dir, cfg, space, goal, dict(length=args.length, options=' '.join(train_options)),
                  args.pruner, args.seed)
    _print_space(space)
    if begun := study.count():
        print(f'The study in {shown(work_dir)} has {begun} trials; it goes on', flush=True)
    plan = Plan(cfg, space, args.trials, options, shorten, args.keep_checkpoints)
    with _workers(args) as (workers, environment):
        run_trials(study, plan, workers, environment, lambda line: print(line, flush=True))
    report.write(study, cfg, space)
    print(report.summary(study, space, train_options, report.draw(study, space)))


@contextlib.contextmanager
def _folder_in_place(args: argparse.Namespace, train_options: list[str]) -> Iterator[None]:
    """Put what a folder of data stands for in the place of it, and print that.

    Within it, the files are there that a dry run leaves none of: those of a validation split.

    Args:
        args: changed where `args.config` is a folder.
        train_options: gets those that the trainings need for the folder.
    """
    if not is_data(args):
        yield
        return
    from ..tuning.report import BEST
    from ..tuning.study import DATABASE
    from .steps.folder import plan, tell
    folder = args.config
    work_dir = args.work_dir or os.path.join('work_dirs', f'{os.path.basename(os.path.abspath(folder))}_tune')
    with tempfile.TemporaryDirectory() as scratch:
        planned = plan(folder, args.cfg_options, args.task, scratch if args.dry_run else work_dir,
                       resume=os.path.isfile(os.path.join(work_dir, DATABASE)), beside=Path(BEST).stem)
        args.config, args.cfg_options, args.work_dir, args.task = planned.config, planned.options, work_dir, None
        varied = args.params is not None and 'batch' in args.params
        if planned.most_per_batch is not None and not varied and not _has_option(train_options, '--auto-batch'):
            train_options += ['--auto-batch', str(planned.most_per_batch)]
        if args.dry_run:
            real = os.path.abspath(work_dir)
            planned = planned._replace(work_dir=work_dir, found=planned.found.replace(scratch, work_dir), options={
                key: value.replace(scratch, real) if isinstance(value, str) else value
                for key, value in planned.options.items()})
        parser = argparse.ArgumentParser()
        add_options(parser)
        given = {name: value for name, value in vars(args).items() if value != parser.get_default(name)
                 and name not in ('config', 'cfg_options', 'work_dir', 'dry_run', 'train_options')}
        tell(planned, folder, given, 'tune', train_options)
        yield


def _has_option(options: Sequence[str], name: str) -> bool:
    return any(option.partition('=')[0] == name for option in options)


def _check_options(args: argparse.Namespace, train_options: list[str]) -> None:
    for name in ('trials', 'length', 'workers'):
        value = getattr(args, name)
        if value is not None and value < 1:
            raise ConfigError(f'--{name}: a number above 0, got {value}')
    if args.seed is not None and not 0 <= args.seed < 2**32:
        raise ConfigError(f'--seed: 0 to 4294967295, got {args.seed}')
    if args.engine == 'local':
        if args.ray_address is not None:
            raise ConfigError('--ray-address needs --engine ray')
        check_workers(args.workers or 1, '--workers')
    for option in train_options:
        if option.partition('=')[0] in _OWN:
            raise ConfigError(f'--train-options {shown(option)}: each trial has its own; give it to tune itself')
    if _has_option(train_options, '--monitor'):
        raise ConfigError('--train-options --monitor: a study and its checkpoints go by one metric: give it to '
                          'tune itself, as --metric')
    if ('none' in train_options and '--vis' in train_options) or '--vis=none' in train_options:
        raise ConfigError('--train-options --vis none: a study reads the curves of its trials; leave it out')


def _workers(args: argparse.Namespace):
    """A context with the workers by their numbers, and the environment of each one's trainings."""
    if args.engine == 'ray':
        from ..tuning.ray_workers import workers_on_ray
        return workers_on_ray(args.workers or 1, args.ray_address or os.environ.get('RAY_ADDRESS') or 'local')
    from ..tuning.local_workers import workers_here
    return workers_here(args.workers or 1)


def _print_space(space) -> None:
    for parameter in space:
        now = '' if parameter.now is None else f'; the config: {parameter.now}'
        print(f'  {shown(parameter.name)}: {shown(str(parameter))}{shown(now)}', flush=True)


def _print_plan(args: argparse.Namespace, space, goal, work_dir: Path, options) -> None:
    import shlex

    from ..tuning.loop import trial_folder
    from ..tuning.training import command_of
    what = 'the first metric of a validation' if goal.metric == 'auto' else shown(goal.metric)
    print(f'{args.trials} trials for the {"highest" if goal.greater else "lowest"} {what} vary')
    _print_space(space)
    folder = trial_folder(work_dir, 0)
    config = folder / f'{Path(args.config).stem}.py'
    print('Each trains as\n  ' + shown(shlex.join(command_of(config, ['--work-dir', str(folder), *options])), 2000))
