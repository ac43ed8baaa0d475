"""What tools/train.py and tools/test.py share: options, the config made ready, errors told in a line or two."""
import argparse
import contextlib
import inspect
import os
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from mmengine.config import Config, DictAction
from mmengine.device import get_device
from mmengine.registry import init_default_scope

from ..datasets.loading import use_checked_loading
from ..errors import ConfigError, UserError
from .config_keys import check_keys, unknown_argument
from .custom_data import use_custom_data
from .data_checks import check_datasets, leave_out_bad_images, override_data_root
from .model_checks import check_model


def add_common_options(parser: argparse.ArgumentParser) -> None:
    """The options both tools have, named as in mmdet and mmseg."""
    parser.add_argument('--work-dir', help='where logs, checkpoints and metrics go; default: work_dirs/CONFIG_NAME')
    add_cfg_options(parser)
    parser.add_argument('--skip-bad-images', action='store_true',
                        help='read every image first, and leave out and count those that are missing, truncated or not '
                        'images; without it the first such image stops the run')
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none', help='job launcher')
    # torch.distributed.launch passes it; torchrun sets the environment variable.
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)


def add_cfg_options(parser: argparse.ArgumentParser) -> None:
    """The option --cfg-options; see `read_config`."""
    parser.add_argument('--cfg-options', nargs='+', action=_Overrides, metavar='KEY=VALUE',
                        help='override settings of the config; data_root=DIR moves every path below the old data_root. '
                        'Lists: key="[a,b]" or key=a,b; nested: key="[(a,b),(c,d)]", without white space')


class _Overrides(DictAction):
    """mmengine's `DictAction`, which takes white space out of all values, and here not out of strings such as paths."""

    def __call__(self, parser, namespace, values, option_string=None):
        super().__call__(parser, namespace, values, option_string)
        options = getattr(namespace, self.dest)
        for key, _, value in (item.partition('=') for item in values):
            if isinstance(options[key], str):
                options[key] = value.strip('\'"')


def parse_args(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """`parser.parse_args()`; an override that is no KEY=VALUE is an error of usage, exit code 2."""
    try:
        return parser.parse_args()
    except (ValueError, AssertionError) as error:  # what mmengine's DictAction raises
        parser.error(f'--cfg-options takes KEY=VALUE pairs ({error})')


def load_config(args: argparse.Namespace, dataloader: str) -> Config:
    """The config of `args.config` with the command line's overrides, scope, launcher and work_dir set.

    Args:
        args: the command line.
        dataloader: the key of the one that the tool needs.

    Raises:
        ConfigError: the file is missing, is no valid config, or an override can't be applied.
    """
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    cfg = read_config(args.config, args.cfg_options, ('model', dataloader))
    cfg.launcher = args.launcher
    cfg.work_dir = args.work_dir or cfg.get('work_dir') or str(Path('work_dirs') / Path(args.config).stem)
    return cfg


def read_config(path: str | os.PathLike, options: Mapping | None = None, needs: Sequence[str] = ('model',)) -> Config:
    """The config of an experiment, and its toolbox imported.

    Args:
        path: config file.
        options: settings to override, by dotted keys; `data_root` moves every path below the old one. Default: none.
        needs: top-level keys that must be there. Default: ('model',).

    Raises:
        ConfigError: the file is missing, is no valid config, lacks a key, or an override can't be applied.
    """
    if not Path(path).is_file():
        raise ConfigError(f'config file not found: {path}')
    try:
        cfg = Config.fromfile(path)
    except SyntaxError as error:  # mmengine executes a copy: name the file as the user knows it
        raise ConfigError(f'{path}: syntax error in line {error.lineno}: {error.msg}: '
                          f'{(error.text or "").strip()}') from error
    except UserError:
        raise
    except Exception as error:
        raise ConfigError(f'{path} can not be read as a config: {type(error).__name__}: {error}') from error
    options = dict(options or {})
    data_root = options.pop('data_root', None)
    try:
        cfg.merge_from_dict(options)
    except (KeyError, TypeError, AssertionError, IndexError) as error:
        raise ConfigError(f'--cfg-options {" ".join(options)} can not be applied: {error}') from error
    check_keys(cfg, path)
    if not cfg.get('default_scope'):
        raise ConfigError(f"{path} has no default_scope: add default_scope = 'mmdet' or 'mmseg'")
    for key in needs:
        if not cfg.get(key):
            raise ConfigError(f"{path} has no '{key}': it is not the config of an experiment")
    if data_root is not None and cfg.get('custom_data'):
        cfg.data_root = str(data_root)
    elif data_root is not None:
        override_data_root(cfg, str(data_root))
    try:
        init_default_scope(cfg.default_scope)
    except ImportError as error:
        raise ConfigError(f'{path} needs {cfg.default_scope}: {error}') from error
    if found := use_custom_data(cfg):
        _say(found)
    return cfg


def prepare_data(cfg: Config, splits: tuple[str, ...], skip_bad_images: bool) -> None:
    """Check the data sets of `splits`, and the model against them, before anything is written, and have every image
    checked as it is loaded."""
    check_datasets(cfg, splits)
    check_model(cfg, splits)
    if skip_bad_images:
        bad = leave_out_bad_images(cfg, splits)
        _say(f'--skip-bad-images: {len(bad)} left out' + ''.join(f'\n  {path}: {why}' for path, why in bad))
    use_checked_loading(cfg)


def prepare_device(cfg: Config, amp: bool = False) -> None:
    """Say what the run computes on, and choose the optimiser wrapper that device has for mixed precision.

    Args:
        cfg: changed in place.
        amp: whether mixed precision was asked for on the command line.
    """
    device = get_device()
    wrapper = cfg.get('optim_wrapper')
    note = ''
    if device == 'cpu' and wrapper and (amp or wrapper.get('type') == 'AmpOptimWrapper'):
        note = '; mixed precision: bfloat16 autocast' if amp else '; the config asks for mixed precision, which needs '\
            'a GPU: training in float32'
        wrapper.type = 'CPUAmpOptimWrapper' if amp else 'OptimWrapper'
        for key in ('loss_scale', 'dtype', 'use_fsdp'):
            wrapper.pop(key, None)
    elif amp and wrapper:
        wrapper.type = 'AmpOptimWrapper'
        wrapper.setdefault('loss_scale', 'dynamic')
    _say(f'Device: {device}{" (no GPU found)" if device == "cpu" else ""}{note}')


def make_deterministic(cfg: Config) -> None:
    """Have two runs of this config compute the same bits; on a GPU, as far as its operators can (they are named)."""
    os.environ.setdefault('CUBLAS_WORKSPACE_CONFIG', ':4096:8')  # read when CUDA starts
    cfg.setdefault('env_cfg', {})['cudnn_benchmark'] = False
    # DDP else orders the gradients anew after the first iteration of each start, and three or more processes then sum
    # them in another order: a resumed run would differ in the last bits.
    cfg.setdefault('find_unused_parameters', True)
    cfg.randomness = {'seed': 0, **{k: v for k, v in (cfg.get('randomness') or {}).items() if v is not None},
                      'deterministic': True}


def is_first_process() -> bool:
    """Whether this is the only process, or the first of a distributed job, whose processes aren't joined yet."""
    return int(os.environ.get('RANK', os.environ.get('SLURM_PROCID', 0))) == 0


def _say(text: str) -> None:
    if is_first_process():
        print(text, flush=True)


def add_hooks(cfg: Config, *hooks: dict) -> None:
    """Append hooks to cfg.custom_hooks, each unless its type is there already."""
    present = list(cfg.get('custom_hooks') or [])
    cfg.custom_hooks = present + [hook for hook in hooks if hook['type'] not in [h['type'] for h in present]]


def build_runner(cfg: Config):
    """The config's runner; its own `runner_type` where it names one."""
    from mmengine.registry import RUNNERS

    from .runner import MambaVisionRunner
    return RUNNERS.build(cfg) if 'runner_type' in cfg else MambaVisionRunner.from_cfg(cfg)


@contextlib.contextmanager
def user_errors():
    """Turn errors of the input into a line or two on stderr and exit code 2; what a failed start wrote is removed.

    Yields an object to report progress to: set its `work_dir` before anything is written there, and its `runner` once
    built. Output of a run that got past its first iteration is kept.
    """
    job = _Job()
    try:
        yield job
    except Exception as error:
        message = _user_message(error)
        if message is None:
            raise
        job.clean_up()
        print(f'error: {message}', file=sys.stderr, flush=True)
        sys.exit(2)
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        # Left to the interpreter's exit, gloo's threads now and then end a finished process with a signal.
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()


class _Job:
    runner = None
    _work_dir = None

    @property
    def work_dir(self):
        return self._work_dir

    @work_dir.setter
    def work_dir(self, path):
        self._work_dir = Path(path)
        self._missing = [p for p in (self._work_dir, *self._work_dir.parents) if not p.exists()]
        self._before = set(self._work_dir.iterdir()) if self._work_dir.exists() else set()

    def clean_up(self):
        # `runner.iter` would build the loop, which may be just what failed.
        loop = getattr(self.runner, '_train_loop', None)
        if self._work_dir is None or not self._work_dir.exists() or getattr(loop, 'iter', 0):
            return
        for path in set(self._work_dir.iterdir()) - self._before:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        for path in self._missing:
            with contextlib.suppress(OSError):  # not empty: another job writes there
                path.rmdir()


def _user_message(error: Exception) -> str | None:
    """The lines to print for an error of the input; None for a bug."""
    if isinstance(error, UserError):
        # A DataLoader worker's error comes with its traceback as text; the message is behind the class's name.
        return re.split(rf'{type(error).__module__}\.{type(error).__qualname__}: ', str(error))[-1].strip()
    if isinstance(error, RuntimeError) and 'BFloat16' in str(error) and get_device() == 'cpu':
        return (f'--amp: an operator of this model has no bfloat16 kernel for CPUs ({error}).\n'
                'Train in float32, without --amp.')
    if isinstance(error, ImportError | RuntimeError) and 'is not installed' in str(error):
        return str(error).strip()  # lvis, panopticapi and the like, each with the way to get it
    built = _class_being_built(error.__traceback__)
    if isinstance(error, KeyError) and 'is not in the' in str(error):
        return str(error.args[0]).split('. Please check')[0]
    if isinstance(error, TypeError):
        return unknown_argument(error, built)
    return None


def _class_being_built(traceback):
    """The class whose construction from a config failed, or None."""
    built = None
    while traceback is not None:
        if traceback.tb_frame.f_code.co_name == 'build_from_cfg':
            built = traceback.tb_frame.f_locals.get('obj_cls', built)
        traceback = traceback.tb_next
    return built if inspect.isclass(built) else None


