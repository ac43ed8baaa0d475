"""Trials on this machine."""
import contextlib
import os
from collections.abc import Callable, Iterator

import torch

from .training import Training


@contextlib.contextmanager
def workers_here(number: int) -> Iterator[tuple[dict[int, Training], Callable[[int], dict[str, str]]]]:
    """So many trainings at a time; the GPUs that this process sees are dealt to them in turn.

    Yields:
        The workers by their numbers, and a function that gives the environment of one's trainings.
    """
    workers = {i: Training() for i in range(number)}
    visible = os.environ.get('CUDA_VISIBLE_DEVICES')
    devices = visible.split(',') if visible else [*map(str, range(torch.cuda.device_count()))]

    def environment(i: int) -> dict[str, str]:
        return dict(CUDA_VISIBLE_DEVICES=devices[i % len(devices)]) if number > 1 and len(devices) > 1 else {}
    try:
        yield workers, environment
    finally:
        for worker in workers.values():
            worker.stop()
