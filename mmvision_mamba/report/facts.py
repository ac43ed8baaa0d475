"""Facts about a run: versions, data, time and memory."""
import platform
import sys
import time
from itertools import islice
from typing import Any

import torch

from ..processes import peak_memory
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
        self._data = {split: data_facts(loop.dataloader.dataset) for split, loop in (
            ('train', runner.train_loop), ('val', runner.val_loop)) if loop is not None}

    def content(self, runner) -> dict[str, Any]:
        """At the end, as plain values."""
        return dict(seconds=time.perf_counter() - self._start, iterations=runner.iter - self._first,
                    iteration=runner.iter, epochs=runner.epoch, peak_memory=_peak_memory(), versions=versions(),
                    data=self._data, time=time.time())


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
