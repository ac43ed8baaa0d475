"""The largest training batch that fits into memory: `mmvision-mamba train --auto-batch`."""
import contextlib
import copy
import gc
import logging
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.dist import all_reduce, broadcast_object_list, get_rank, get_world_size, is_distributed
from mmengine.model import revert_sync_batchnorm
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DATASETS, FUNCTIONS, HOOKS, MODELS

from ...checkpoints.newest import newest_checkpoint
from ...checkpoints.resuming import KEY
from ...checkpoints.writing import peek
from ...costs.memory import peak_memory
from ...datasets.loading import known_labels, use_checked_loading
from ...engine.hooks.small_batches import let_single_values_train
from ...engine.sharding import sharding_options
from ...errors import ConfigError
from ...preflight.pretrained import drop_pretrained
from ...processes import join_processes

SAMPLED = 16  # images that are read; the trial batches repeat the largest of them
SHARE = 0.9  # of the free memory; the rest is for fragmentation, libraries and images with more objects


def use_largest_batch(cfg: Config, limit: int | None = None) -> int:
    """Set `train_dataloader.batch_size` to the largest batch that fits, and have the learning rate scaled to it.

    Real training steps at two batch sizes give the memory of one more image. The largest size that this predicts is
    tried, and taken if it fits. In a distributed job the process with the least memory decides. Where mixup pairs the
    images, the size is even. A resumed run keeps the batch size of its checkpoint, without measuring.

    Args:
        cfg: changed in place. The learning rate is scaled as by --auto-scale-lr; where the config has no
            base_batch_size, that is its batch size times the processes.
        limit: the largest size to consider. Default: the number of images.

    Returns:
        Images per process.

    Raises:
        ConfigError: not even the smallest batch fits; the run is sharded; or the checkpoint that it resumes from does
            not hold its batch size.
    """
    if sharding_options(cfg.get('model_wrapper_cfg')) is not None:
        raise ConfigError('--auto-batch measures whole models, and this config shards its own: set '
                          'train_dataloader.batch_size instead')
    if limit is not None and limit < 1:
        raise ConfigError(f'--auto-batch takes a positive number of images, got {limit}')
    if cfg.get('launcher', 'none') != 'none':
        join_processes(cfg.launcher, cfg.get('env_cfg', {}).get('dist_cfg') or {})
    configured, processes = cfg.train_dataloader.batch_size, get_world_size()
    size, reason = (_checkpoint_batch(cfg) if cfg.get('resume') else None) or _measured_batch(cfg, limit)
    if get_rank() == 0:
        print(f'--auto-batch: {size} images per process (the config: {configured}); {reason}', flush=True)
    cfg.train_dataloader.batch_size = size
    scale = cfg.get('auto_scale_lr') or {}
    cfg.auto_scale_lr = {'base_batch_size': configured * processes, **scale, 'enable': True}
    return size


def _checkpoint_batch(cfg: Config) -> tuple[int, str] | None:
    """Images per process in the checkpoint to resume from, and that as text; None: no checkpoint yet."""
    answer = [None]
    if get_rank() == 0:  # other processes may not see the folder
        settings = dict(cfg.default_hooks.checkpoint, type='SafeCheckpointHook')
        settings.pop('priority', None)
        path = cfg.get('load_from') or newest_checkpoint(cfg.work_dir, HOOKS.build(settings), lambda skipped: None)
        if path is not None:
            state = (peek(path) if os.path.isfile(path) else {}).get(KEY) or {}
            if 'loader' not in state:
                raise ConfigError(f'--auto-batch: a resumed run keeps its batch size, and {path} does not tell it.\n'
                                  'Name it instead: --cfg-options train_dataloader.batch_size=N')
            loader = state['loader']
            answer = [(loader.get('batch') or loader['images'] // len(state['random']), f'that of {path}')]
    broadcast_object_list(answer)
    return answer[0]


def _measured_batch(cfg: Config, limit: int | None) -> tuple[int, str]:
    """Images per process of the largest batch that fits, and its memory as text."""
    device = torch.device(get_device())
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    use_checked_loading(dataset, known_labels(cfg))
    try:
        trial = _Trial(cfg, device, _largest_sample(dataset), get_world_size())
        size, needed, free = _largest(trial, device, min(limit or len(dataset), len(dataset)),
                                      2 if cfg.model.get('mixup') else 1)
    except ConfigError:
        if is_distributed():
            _min_of_processes(0, device)  # the other processes wait for an answer
        raise
    if is_distributed():
        size = _min_of_processes(size, device)
        if size < 1:
            raise ConfigError('--auto-batch: not even one image fits into the memory of one of the processes')
    return size, f'such a step takes {needed / 2**30:.2f} of {free / 2**30:.2f} GiB free'


def _min_of_processes(size: int, device: torch.device) -> int:
    """The smallest `size` of all processes."""
    smallest = torch.tensor(size, device=device)
    all_reduce(smallest, 'min')
    return int(smallest)


def _largest_sample(dataset) -> dict:
    """The largest of `SAMPLED` samples spread over the data set, as its pipeline makes them."""
    step = max(len(dataset) // SAMPLED, 1)
    samples = [sample for i in range(0, len(dataset), step)[:SAMPLED] if (sample := dataset[i]) is not None]

    def estimated_memory(sample):
        objects = getattr(sample.get('data_samples'), 'gt_instances', ())
        return sample['inputs'].numel() * (1 + len(objects) / 100)
    return max(samples, key=estimated_memory)


class _Trial:
    """Measures the memory of a training step with the config's model and optimiser."""

    def __init__(self, cfg: Config, device: torch.device, sample: dict, processes: int):
        model = copy.deepcopy(cfg.model)
        drop_pretrained(model)  # the values of the weights make no difference
        self.device, self.sample = device, sample
        self.model = revert_sync_batchnorm(MODELS.build(model)).to(device).train()
        logging.disable(logging.INFO)  # mmengine reports every parameter's settings
        try:
            self.optim_wrapper = build_optim_wrapper(self.model, copy.deepcopy(cfg.optim_wrapper))
        finally:
            logging.disable(logging.NOTSET)
        let_single_values_train(self.model, lambda text: None)  # as in training, which says so
        self.optim_wrapper.initialize_count_status(self.model, 0, 10**9)
        collate = dict(cfg.train_dataloader.get('collate_fn') or dict(type='pseudo_collate'))
        self.collate = partial(FUNCTIONS.get(collate.pop('type')), **collate)
        # Training also holds averaged weights, and gradients on their way to the other processes.
        averages = sum('EMAHook' in str(hook['type']) for hook in cfg.get('custom_hooks') or ())
        self.held = [[torch.ones_like(p) for p in self.model.parameters()] for _ in range(averages + (processes > 1))]

    def __call__(self, size: int) -> int | None:
        """Bytes that a step of `size` images takes beyond those in use before; None: it doesn't fit."""
        gc.collect()
        try:
            return peak_memory(lambda: self._step(size), self.device)
        except torch.OutOfMemoryError:
            return None
        finally:
            self.optim_wrapper.zero_grad()
            if self.device.type == 'cuda':
                torch.cuda.empty_cache()

    def _step(self, size: int) -> None:
        batch = self.collate([copy.deepcopy(self.sample) for _ in range(size)])
        self.model.train_step(batch, self.optim_wrapper)


def _largest(trial: Callable[[int], int | None], device: torch.device, limit: int,
             unit: int = 1) -> tuple[int, int, float]:
    """Search for the largest batch that fits.

    Args:
        trial: bytes of a step by batch size, see `_Trial`.
        limit: the largest size to consider.
        unit: the size is a multiple of it. Default: 1.

    Returns:
        (size, bytes that its step takes, bytes that it may take).
    """
    smallest, limit = unit, limit - limit % unit
    if limit < unit:
        raise ConfigError(f'--auto-batch: mixup pairs the images of a batch, so it takes {unit} or more')
    try:
        trial(unit)  # makes the optimiser's states
    except ValueError as error:  # a norm over a map of one pixel, which keeps no statistics
        if 'value per channel' not in str(error) or limit < 2:
            raise
        smallest = 2
        trial(2)
    free, first = SHARE * _free_memory(device), trial(smallest)
    if first is None or first > free:
        raise ConfigError(f'--auto-batch: not even {smallest} image{"s" * (smallest > 1)} in {free / 2**30:.2f} GiB: '
                          'set with_cp=True in the backbone, crop smaller, or use --amp')
    fits, needed, too_many, per_image = smallest, first, limit + unit, first / smallest
    while fits + unit < too_many:
        # Extrapolate from the smallest and the largest size that fit; at first try one step up.
        size = fits + unit if fits == smallest else smallest + int((free - first) / per_image)
        size -= size % unit
        if not fits < size < too_many:  # memory is not linear in the size: halve the gap
            size = (fits + too_many) // 2 // unit * unit
        # On a GPU, too large a batch raises an error. On a CPU the system ends the process, so it isn't tried.
        possible = device.type == 'cuda' or first + per_image * (size - smallest) <= free
        taken = trial(size) if possible else None
        if taken is None or taken > free:
            too_many = size
        else:
            fits, needed = size, taken
            per_image = max((needed - first) / (fits - smallest), 1)
    return fits, needed, free


def _free_memory(device: torch.device) -> int:
    """Bytes that training could still take on `device`."""
    if device.type == 'cuda':
        torch.cuda.empty_cache()
        return torch.cuda.mem_get_info(device)[0]
    free = [os.sysconf('SC_AVPHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')]
    with contextlib.suppress(OSError, StopIteration):  # MemAvailable includes caches, which the system can drop
        free = [1024 * next(int(line.split()[1]) for line in Path('/proc/meminfo').read_text().splitlines()
                            if line.startswith('MemAvailable'))]
    with contextlib.suppress(OSError, ValueError):  # a container's own limit; 'max' where there is none
        free.append(int(Path('/sys/fs/cgroup/memory.max').read_text())
                    - int(Path('/sys/fs/cgroup/memory.current').read_text()))
    return min(free)
