"""Facts about a run: versions, data, time and memory."""
import platform
import sys
import time
from itertools import islice
from typing import Any

import torch
from mmengine.dist import get_world_size

from ..preflight.datasets import innermost, value_at
from ..printable import shown
from ..processes import peak_memory
from ..text import class_name
from ..version import __version__

COUNTED = 30_000  # most images of a split whose objects are counted by class
_PACKAGES = ('torch', 'mmengine', 'mmcv', 'mmdet', 'mmseg', 'numpy')


def versions() -> dict[str, str]:
    """Names and versions of what the run is made of."""
    found = dict(mmvision_mamba=__version__, python=platform.python_version())
    for name in _PACKAGES:
        if name in sys.modules and (version := getattr(sys.modules[name], '__version__', None)):
            found[name] = str(version)
    if torch.cuda.is_available():
        found['device'] = torch.cuda.get_device_name()
    else:
        found['device'] = f'CPU, {(count := torch.get_num_threads())} thread{"s" * (count != 1)}'
    return found


class RunFacts:
    """What is known of a training at its start and its end.

    Args:
        runner: at the start.
    """

    def __init__(self, runner):
        self._start, self._first = time.perf_counter(), runner.iter
        self._settings = settings_of(runner.cfg, get_world_size())
        self._data = {split: data_facts(loop.dataloader.dataset) for split, loop in (
            ('train', runner.train_loop), ('val', runner.val_loop)) if loop is not None}

    def content(self, runner) -> dict[str, Any]:
        """At the end, as plain values."""
        return dict(seconds=time.perf_counter() - self._start, iterations=runner.iter - self._first,
                    iteration=runner.iter, epochs=runner.epoch, peak_memory=_peak_memory(), versions=versions(),
                    data=self._data, time=time.time(), settings=self._settings)


def settings_of(cfg, processes: int) -> dict[str, str]:
    """What a config says that a reader of a run asks for first, each in words; what it does not have is left out.

    Args:
        cfg: the run's.
        processes: that train together.
    """
    def named(place: str, *keys: str) -> str:
        part = value_at(cfg, place)
        if not isinstance(part, dict):
            return ''
        values = [f'{key} {part[key]}' for key in keys if part.get(key) is not None]
        return ', '.join(filter(None, [class_name(part.get('type', '')), *values]))

    batch = value_at(cfg, 'train_dataloader.batch_size')
    batches = [f'{batch} image{"s" * (batch != 1)}', f'{processes} processes' * (processes > 1)]
    if (steps := value_at(cfg, 'optim_wrapper.accumulative_counts') or 1) != 1:
        batches.append(f'summed over {steps} iterations')
    weights = [value_at(cfg, place) for place in (
        'load_from', 'model.backbone.pretrained', 'model.backbone.init_cfg.checkpoint', 'model.init_cfg.checkpoint')]
    found = {
        'model': named('model'), 'backbone': named('model.backbone', 'arch'),
        'starts from': next((str(one) for one in weights if one), 'random weights'),
        'training data': _place_of_data(cfg),
        'batch': ' × '.join(filter(None, batches)) if batch else '',
        'optimizer': named('optim_wrapper.optimizer', 'lr', 'weight_decay'),
        'precision': named('optim_wrapper', 'dtype') if 'Amp' in named('optim_wrapper') else 'float32',
        'schedule': named('train_cfg', 'max_epochs', 'max_iters'),
        'seed': '' if (seed := value_at(cfg, 'randomness.seed')) is None else str(seed)}
    return {name: shown(value, 300) for name, value in found.items() if value}


def _place_of_data(cfg) -> str:
    dataset = value_at(cfg, 'train_dataloader.dataset')
    if not isinstance(dataset, dict):
        return ''
    dataset = innermost(dataset)
    return ' '.join(str(part) for part in (class_name(dataset.get('type', '')), dataset.get('data_root')) if part)


def data_facts(dataset) -> dict[str, Any]:
    """Numbers of a data set: images, and, where it tells objects or labels without loading images, those by class.

    Returns:
        'images'; 'counted', how many of these; 'classes', a dict(name, objects, images) each; None where they are not
        known.
    """
    number = len(dataset)
    classes = [str(name) for name in (getattr(dataset, 'metainfo', None) or {}).get('classes') or ()]
    objects, images, counted = [0] * len(classes), [0] * len(classes), 0
    if hasattr(dataset, 'get_data_info'):
        for i in islice(range(number), COUNTED):
            info = dataset.get_data_info(i)
            if 'instances' in info:
                labels = [one['bbox_label'] for one in info['instances'] if not one.get('ignore_flag')]
            elif 'gt_label' in info:
                labels = [int(info['gt_label'])]
            else:
                break
            counted += 1
            for label in labels:
                if 0 <= label < len(classes):
                    objects[label] += 1
            for label in {*labels}:
                if 0 <= label < len(classes):
                    images[label] += 1
    return dict(images=number, counted=counted, classes=[
        dict(name=name, objects=objects[i], images=images[i]) for i, name in enumerate(classes)] if counted else None)


def _peak_memory() -> dict[str, int]:
    """Most bytes, of this process and of its GPU's tensors."""
    found = {}
    if torch.cuda.is_available():
        found['gpu'] = torch.cuda.max_memory_allocated()
    if (process := peak_memory()) is not None:
        found['process'] = process
    return found
