"""Batch inference by many processes or machines, with Ray Data. Needs the extra `ray`."""
import logging
from collections.abc import Iterator, Sequence

from ..allocator import keep_freed_memory
from ..errors import DataError, MissingExtraError
from ..text import shortened
from .batch import BatchJob
from .inferencer import Inferencer
from .ray_cluster import cluster, gone

RETRIES = 3  # of a task whose worker died


class Worker:
    """A model in a process of its own, called by Ray with batches of tasks.

    Args:
        job: whose tasks they are.
        model: arguments of `Inferencer`.
        device: such as 'cpu' or 'cuda:0'.
        batch_size: images per forward.
    """

    def __init__(self, job: BatchJob, model: dict, device: str, batch_size: int):
        self.job, self.batch_size = job, batch_size
        self.inferencer = Inferencer(**model, device=device, show_progress=False)
        keep_freed_memory(device)

    def __call__(self, batch: dict) -> dict:
        done, failed = zip(*(self.job.infer(self.inferencer, int(i), self.batch_size) for i in batch['task']))
        return dict(task=batch['task'], done=list(done), failed=list(failed))


def run_on_ray(job: BatchJob, model: dict, tasks: Sequence[int], batch_size: int, workers: int,
               gpus: float = 0., address: str = 'local') -> Iterator[tuple[int, int, int]]:
    """Do tasks on a Ray cluster; yields (task, images done, images failed) of each as it is finished.

    A worker that dies is started again and its task repeated, up to `RETRIES` times. On a cluster of several machines
    inputs and output must lie on storage that all of them see.

    Args:
        job: a job that has been started.
        model: arguments of `Inferencer`.
        tasks: numbers of its tasks: shards, or pieces of pictures.
        batch_size: images per forward.
        workers: number of processes, each with a model.
        gpus: GPUs per worker. Default: none, inference on the CPU.
        address: of the cluster; 'local' starts one on this machine for this job alone. Default: 'local'.

    Raises:
        MissingExtraError: Ray is not installed.
        DataError: there is no cluster at `address`; workers died at one task each time.
    """
    with cluster(address, workers, 'inference on Ray') as ray:
        try:
            import ray.data
        except ImportError:
            raise MissingExtraError('inference on Ray', 'ray') from None
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        logging.getLogger('ray.data').setLevel('CRITICAL')  # it has tracebacks of each worker that died
        rows = ray.data.from_items([dict(task=i) for i in tasks], override_num_blocks=len(tasks))
        results = rows.map_batches(
            Worker, fn_constructor_args=(job, model, 'cuda:0' if gpus else 'cpu', batch_size), batch_size=1,
            num_cpus=1, num_gpus=gpus or None, compute=ray.data.ActorPoolStrategy(size=workers),
            max_task_retries=RETRIES)
        left = set(tasks)
        try:
            for row in results.iter_rows():
                left.discard(int(row['task']))
                yield int(row['task']), int(row['done']), int(row['failed'])
        except gone():
            raise DataError(f'a worker died {RETRIES + 1} times at one shard, as it does at an image that crashes a '
                            f'decoder, or where memory runs out; not done: {shortened(sorted(left))}.\nThe other parts '
                            'are kept. The same command goes on with these, without Ray in this process') from None
