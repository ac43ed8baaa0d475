"""Batch inference by many processes or machines, with Ray Data. Needs the extra `ray`."""
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..errors import DataError, MissingExtraError
from .batch import BatchJob, infer_shard

ROOT = Path(__file__).resolve().parents[2]


def run_on_ray(job: BatchJob, model: dict, shards: Sequence[int], batch_size: int, workers: int,
               gpus: float = 0., address: str = 'local') -> Iterator[tuple[int, int]]:
    """Do the shards on a Ray cluster; yields the numbers of images done and failed as each is done.

    A worker that dies is started again, and its shard done again; on a cluster of several machines inputs and output
    lie on storage that all of them see.

    Args:
        job: has been started.
        model: arguments of `Inferencer`.
        shards: numbers.
        batch_size: images per forward.
        workers: processes, each with a model of its own.
        gpus: GPUs of each. Default: none, the CPU.
        address: of the cluster; 'local' starts one on this machine, for as long as this takes. Default: 'local'.

    Raises:
        MissingExtraError: Ray is not installed.
        DataError: there is no cluster at `address`.
    """
    try:
        os.environ['RAY_USAGE_STATS_ENABLED'] = '0'  # no reports to Ray's authors; before the import
        os.environ.setdefault('RAY_worker_niceness', '0')  # Ray's default, 15, yields to whatever else runs here
        import ray
        import ray.data
    except ImportError:
        raise MissingExtraError('--ray', 'ray') from None

    class Worker:
        """A model in a process of its own."""

        def __init__(self):
            from mmvision_mamba import Inferencer
            self.inferencer = Inferencer(**model, device='cuda:0' if gpus else 'cpu', show_progress=False)

        def __call__(self, batch: dict) -> dict:
            done, failed = zip(*(infer_shard(self.inferencer, job, int(i), batch_size) for i in batch['shard']))
            return dict(shard=batch['shard'], done=list(done), failed=list(failed))

    paths = [str(ROOT), *filter(None, os.environ.get('PYTHONPATH', '').split(os.pathsep))]
    options = dict(runtime_env=dict(env_vars=dict(PYTHONPATH=os.pathsep.join(paths), RAY_USAGE_STATS_ENABLED='0')),
                   log_to_driver=False, logging_level='ERROR', configure_logging=True)
    if address == 'local':  # one CPU more: Ray Data's own tasks; little memory: numbers alone travel
        options.update(num_cpus=workers + 1, include_dashboard=False, object_store_memory=128 * 2**20)
    try:
        ray.init(address=address, **options)
    except (ConnectionError, ValueError) as error:
        raise DataError(f'--ray {address}: no cluster there ({str(error).splitlines()[0]})') from None
    try:
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        rows = ray.data.from_items([dict(shard=i) for i in shards], override_num_blocks=len(shards))
        results = rows.map_batches(Worker, batch_size=1, num_cpus=1, num_gpus=gpus or None,
                                   compute=ray.data.ActorPoolStrategy(size=workers))
        for row in results.iter_rows():
            yield int(row['done']), int(row['failed'])
    finally:
        ray.shutdown()
