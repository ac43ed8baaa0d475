"""Odd values for the options of commands, and for settings of configs."""
import argparse
import random
from importlib import import_module
from pathlib import Path

from mmvision_mamba.commands import COMMANDS

from .hostile_files import Try, command
from .tool_material import NAMES, NOWHERE, NUMBERS, copied

_NEVER = ('--ray', '--launcher', '--show', '--local-rank', '--int8', '--help', '--hub')  # the last would reach out
_NO_OPTIONS = ('ablate', 'benchmark', 'demo', 'demo-app', 'serve', 'setup-mmcv', 'doctor')


def options(base: Path, root: Path, rng: random.Random, name: str | None = None) -> Try:
    """Odd values for one or two options of a command, of `name` or of one chosen."""
    name = name or rng.choice([name for name in COMMANDS if name not in _NO_OPTIONS])
    data = rng.choice(['det', 'seg'])
    if name != 'make-shapes':
        extra = dict(det=['det_run', 'det.pkl'], seg=['seg_run', 'seg_predictions'])[data]
        copied(base, root, [data, f'{data}.py', f'{data}.pth', *extra])
    if name == 'make-shapes':
        given = Try([name, root / 'run/made', '--train', '1', '--val', '1', '--size', '32'])
    elif name == 'export':
        given = Try([name, root / f'{data}.py', root / f'{data}.pth', '--shape', '32', '32', '--out',
                     root / 'run/made.onnx', '--part', 'backbone'], codes=(0, 1, 2))
    else:
        given = command(name, root, data, rng)
    argv = [*given.argv]
    parser = argparse.ArgumentParser()
    import_module(f'mmvision_mamba.commands.{name.replace("-", "_")}').add_options(parser)
    actions = [action for action in parser._actions
               if action.option_strings and not {*action.option_strings} & {*_NEVER}]
    for action in rng.sample(actions, min(len(actions), rng.choice([1, 1, 2]))):
        argv.append(max(action.option_strings, key=len))
        if action.option_strings[0] == '--cfg-options':
            argv += [_override(rng) for _ in range(rng.choice([1, 1, 2]))]
        elif action.nargs != 0:
            number = action.nargs if isinstance(action.nargs, int) else rng.choice([1, 1, 2, 3]) \
                if action.nargs in ('+', '*') else 1
            values = NUMBERS * 3 if action.type in (int, float) or getattr(action.type, '__name__', '') in (
                'positive', 'share') else [*NAMES, *map(str, action.choices or [])]
            argv += [_value(action, values, root, rng) for _ in range(number)]
    if rng.random() < 0.2 and len(argv) > 1:
        argv[1] = rng.choice([name for name in NAMES if name not in NOWHERE and '..' not in name])
    return given._replace(argv=[str(argument).replace('\0', '0') for argument in argv], what='options')


def _value(action: argparse.Action, values: list[str], root: Path, rng: random.Random) -> str:
    value = rng.choice(values)
    if action.dest in ('out', 'out_dir', 'work_dir', 'show_dir', 'json'):  # the working directory is root/run
        return '' if '..' in value or value in NOWHERE else value
    return value


_KEYS = [
    'train_dataloader.batch_size', 'train_dataloader.num_workers', 'train_cfg.max_epochs', 'train_cfg.max_iters',
    'optim_wrapper.optimizer.lr', 'default_hooks.checkpoint.interval', 'default_hooks.logger.interval', 'load_from',
    'model.backbone.window_size', 'model.backbone.arch.dim', 'model.backbone.drop_path_rate', 'data_root', 'work_dir',
    'train_cfg.val_interval', 'val_dataloader.batch_size', 'default_scope', 'log_level', 'resume', 'model.type',
    'val_evaluator.type', 'train_dataloader.dataset.ann_file', 'test_dataloader.dataset.data_prefix.img',
    'train_dataloader.sampler.type', 'visualizer.name', 'env_cfg.dist_cfg.backend', 'default_hooks.checkpoint.out_dir',
    'param_scheduler', 'model', 'classes', 'train_dataloader.dataset.metainfo.classes', 'test_pipeline', 'a.b.c', '',
    'default_hooks.checkpoint.max_keep_ckpts', 'model.data_preprocessor.mean', 'model.test_cfg', 'val_cfg', 'train_cfg',
    'default_hooks.checkpoint.save_best', 'train_dataloader.dataset.pipeline', 'randomness.seed', 'custom_data.boxes']


def _override(rng: random.Random) -> str:
    names = [name for name in NAMES if name not in NOWHERE and '..' not in name]
    value = rng.choice([*NUMBERS, *names, '[1,2]', '(1,2)', '[[', 'None', '{}', '[None]', '"a b"', '[1,[2,(3,4)]]'])
    return f'{rng.choice(_KEYS + NAMES)}={value}' if rng.random() < 0.9 else value

