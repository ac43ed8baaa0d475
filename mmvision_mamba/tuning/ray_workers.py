"""Trials on the machines of a Ray cluster. Needs the extra `ray`."""
from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from ..inference.ray_cluster import cluster, gone
from .loop import WorkerDied
from .training import Job, Progress, Training

_SECONDS = 120  # that a machine may take to answer


class RayWorker:
    """A `Training` in an actor, with a GPU of its own where the cluster has some; another one where that died."""

    def __init__(self, gpus: float):
        import ray
        self._ray = ray
        self._class = ray.remote(Training).options(num_cpus=1, num_gpus=gpus, max_concurrency=2)
        self._actor: Any = None

    def start(self, job: Job) -> None:
        if self._actor is None:
            self._actor = self._class.remote()
        self._call('start', job)

    def poll(self) -> Progress:
        return self._call('poll')

    def stop(self) -> None:
        with contextlib.suppress(WorkerDied):
            if self._actor is not None:
                self._call('stop')

    def _call(self, method: str, *arguments: Any) -> Any:
        errors = self._ray.exceptions
        try:
            return self._ray.get(getattr(self._actor, method).remote(*arguments), timeout=_SECONDS)
        except (*gone(), errors.GetTimeoutError, errors.RaySystemError) as error:
            with contextlib.suppress(Exception):
                self._ray.kill(self._actor)
            self._actor = None
            what = f'no answer within {_SECONDS} s, as where the cluster has no place for it' if isinstance(
                error, errors.GetTimeoutError) else 'its machine or process is no more'
            raise WorkerDied(f'{what} ({type(error).__name__})') from None


@contextlib.contextmanager
def workers_on_ray(number: int, address: str) -> Iterator[tuple[dict[int, RayWorker], Callable[[int], dict[str, str]]]]:
    """So many trainings at a time, each with a GPU where the cluster has any.

    Args:
        number: of trainings.
        address: of the cluster; 'local' starts one on this machine.

    Yields:
        The workers by their numbers, and a function that gives the environment of one's trainings.

    Raises:
        MissingExtraError: Ray is not installed.
        DataError: there is no cluster at `address`.
    """
    with cluster(address, number, 'tuning on Ray') as ray:
        gpus = 1. if ray.cluster_resources().get('GPU') else 0.
        workers = {i: RayWorker(gpus) for i in range(number)}
        try:
            yield workers, lambda i: {}
        finally:
            for worker in workers.values():
                worker.stop()
