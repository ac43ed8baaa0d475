"""Makes a config ready to run: checks its data and model, chooses its device, adds hooks, builds its runner."""
import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.device import get_device
from mmengine.hooks import Hook
from mmengine.registry import RUNNERS

from ...allocator import keep_freed_memory
from ...datasets.coco_files import drop_kept
from ...engine import MambaVisionRunner
from ...engine.hooks.checked_loading import CheckedLoadingHook
from ...evaluation.empty_results import ExplainEmptyResults
from ...inference.uper import speed_up_on_cpus
from ...preflight.bad_images import leave_out_bad_images
from ...preflight.band_pipelines import check_band_pipelines
from ...preflight.check_data import CheckedData, check_datasets
from ...preflight.check_loops import check_loaders, check_sizes, check_training
from ...preflight.check_masks import check_masks_stay
from ...preflight.check_model import check_model
from ...preflight.read import read_config
from ...preflight.usage import check_usage
from ...preflight.value_types import check_argument_types, check_containers
from ...processes import print_once
from ..options import check_outputs, check_work_dir


def load_config(args: argparse.Namespace, dataloader: str, model_classes: Sequence[str] | None = None) -> Config:
    """The config of `args.config` with the command line's overrides, scope, launcher and work_dir set.

    Args:
        args: the parsed command line.
        dataloader: key of the data loader that the command needs, such as 'train_dataloader'.
        model_classes: of an exported file that is tested, which those of data of one's own become. Default: none.

    Raises:
        ConfigError: the file is missing, is no valid config, or an override can't be applied.
    """
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    cfg = read_config(args.config, args.cfg_options, ('model', dataloader),
                      refuse_broken=not getattr(args, 'skip_bad_images', False),
                      trained=getattr(args, 'checkpoint', None) is not None,
                      tests=dataloader == 'test_dataloader', model_classes=model_classes)
    check_outputs(args, cfg)
    check_containers(cfg)
    cfg.launcher = args.launcher
    cfg.work_dir = next(path for path in (args.work_dir, cfg.get('work_dir'), str(
        Path('work_dirs') / Path(args.config).stem)) if path is not None)
    check_work_dir(cfg)
    return cfg


def prepare_data(cfg: Config, splits: tuple[str, ...], skip_bad_images: bool) -> None:
    """Check the loops, the data sets of `splits`, and the model against them, before anything is written."""
    if 'train' in splits:
        check_training(cfg)
    else:
        check_argument_types(cfg)
    check_band_pipelines(cfg)
    check_loaders(cfg, splits)
    checked = check_datasets(cfg, splits, skip_missing=skip_bad_images)
    check_model(cfg, splits)
    if skip_bad_images:
        bad = leave_out_bad_images(cfg, splits, _built(checked))
        print_once(f'--skip-bad-images: {len(bad)} left out' + ''.join(f'\n  {path}: {why}' for path, why in bad))
        for data in checked if bad else ():
            data.count_again(cfg)
    check_usage(cfg, checked, splits)
    check_sizes(cfg, splits, _built(checked))
    check_masks_stay(cfg, splits, _built(checked))


def _built(checked: Sequence[CheckedData]) -> dict[str, BaseDataset]:
    return {data.where: data.built for data in checked if data.built is not None}


def prepare_device(cfg: Config, amp: bool = False, trains: bool = True) -> None:
    """Print the device of the run, and choose the optimiser wrapper for mixed precision on it.

    Args:
        cfg: changed in place.
        amp: whether mixed precision was asked for on the command line.
        trains: whether the run trains, else the config's mixed precision is nothing to it. Default: True.
    """
    device = get_device()
    wrapper = cfg.get('optim_wrapper')
    note = ''
    if device == 'cpu' and wrapper and (amp or wrapper.get('type') == 'AmpOptimWrapper'):
        if trains:
            note = '; mixed precision: bfloat16 autocast' if amp else '; the config asks for mixed precision, which ' \
                'needs a GPU: training in float32'
        wrapper.type = 'CPUAmpOptimWrapper' if amp else 'OptimWrapper'
        for key in ('loss_scale', 'dtype', 'use_fsdp'):
            wrapper.pop(key, None)
    elif amp and wrapper:
        wrapper.type = 'AmpOptimWrapper'
        wrapper.setdefault('loss_scale', 'dynamic')
    kept = '; freed memory is kept for reuse' if keep_freed_memory(device) else ''
    print_once(f'Device: {device}{" (no GPU found)" if device == "cpu" else ""}{note}{kept}')


def make_deterministic(cfg: Config) -> None:
    """Have two runs of this config compute the same bits; on a GPU, unless an operator can't: PyTorch names it."""
    os.environ.setdefault('CUBLAS_WORKSPACE_CONFIG', ':4096:8')  # read when CUDA starts
    cfg.setdefault('env_cfg', {})['cudnn_benchmark'] = False
    # Without this, DDP reorders the gradients after the first iteration of each start. Three or more processes then sum
    # them in another order, and a resumed run would differ in the last bits.
    cfg.setdefault('find_unused_parameters', True)
    cfg.randomness = {'seed': 0, **{k: v for k, v in (cfg.get('randomness') or {}).items() if v is not None},
                      'deterministic': True}


def add_hooks(cfg: Config, *hooks: dict) -> None:
    """Append to cfg.custom_hooks those hooks whose type is not there yet."""
    present = list(cfg.get('custom_hooks') or [])
    cfg.custom_hooks = present + [hook for hook in hooks if hook['type'] not in [h['type'] for h in present]]


class _DropKeptHook(Hook):
    """Frees what `reading_once` keeps of annotations once a run has built its data sets."""

    def before_run(self, runner) -> None:
        drop_kept()


def build_runner(cfg: Config):
    """Build the config's runner: a MambaVisionRunner, or the `runner_type` that it names."""
    runner = RUNNERS.build(cfg) if 'runner_type' in cfg else MambaVisionRunner.from_cfg(cfg)
    if not isinstance(runner, MambaVisionRunner):
        runner.register_hook(CheckedLoadingHook())
    speed_up_on_cpus(runner.model)
    runner.logger.addFilter(ExplainEmptyResults(runner))
    runner.register_hook(_DropKeptHook())
    return runner
