"""A data loader that can be stopped anywhere and go on from there, and that survives its workers."""
import contextlib
import logging
import multiprocessing.connection
import random
import signal
import threading
from collections import deque
from collections.abc import Iterator
from itertools import islice

import numpy as np
import torch
from mmengine.dataset import InfiniteSampler
from mmengine.dist import get_rank, get_world_size
from mmengine.logging import print_log
from torch.utils.data import DataLoader, IterableDataset


class ResumableDataLoader(DataLoader):
    """`DataLoader` whose n-th batch depends on its seed and n alone, not on how many workers there are or were.

    What is random in loading batch n draws from (seed, rank, n), in whichever process that happens, and leaves the
    generators of the training process as they were. So a resumed run goes on in the middle of an epoch without loading
    what it has seen, and a worker that dies is replaced without a trace. Only transforms that keep results from batch
    to batch (mmdet's CachedMosaic) are beyond that.

    Attributes:
        batches: delivered since the training began.
        position: delivered in this pass over the data.
        passes: completed.
        start: where the next pass begins, in batches. Default: 0.
    """
    batches = position = passes = start = 0
    _restarts = 3  # of workers, for one batch

    @classmethod
    def adopt(cls, loader: DataLoader, seed: int | None) -> DataLoader:
        """Make `loader` resumable, in place. Without batches of its own, or over a stream, it stays what it is."""
        streams = isinstance(loader.dataset, IterableDataset)
        if type(loader) is not DataLoader or loader.batch_sampler is None or streams:
            return loader
        loader.__class__ = cls
        loader.generator = torch.Generator()  # for the workers' seeds, which would come from the model's generator
        loader.dataset.__getitems__ = _Seeded(loader.dataset, seed or 0, get_rank())
        return loader

    @property
    def _index_sampler(self):
        return _Drawing(self)

    def __iter__(self) -> Iterator:
        # A generator: workers start when the first batch is asked for, by which time a resumed run has said where.
        skipped, self.start = self.start, 0
        self.position = skipped
        self._source = islice(iter(self.batch_sampler), skipped, None)
        self._pending = deque()
        self._drawn = self.batches
        restarts = 0
        while True:
            iterator = self._start()
            try:
                for batch in iterator:
                    self._pending.popleft()
                    self.position += 1
                    self.batches += 1
                    restarts = 0
                    yield batch
                break
            except (RuntimeError, OSError, EOFError) as error:
                if restarts == self._restarts or not _worker_died(iterator, error):
                    raise
                restarts += 1
                why = str(error) or 'A DataLoader worker died'
                print_log(f'{why}. Its batches are loaded again by new workers.', 'current', logging.WARNING)
                iterator._shutdown_workers()
                self._iterator = None  # persistent workers
        self.position = 0
        self.passes += 1

    def _start(self):
        """New workers; torch's handler, which raises in the middle of whatever runs when one dies, is not left on.

        Without it their death is found when a batch is waited for, within five seconds.
        """
        if self.num_workers == 0 or threading.current_thread() is not threading.main_thread():
            return super().__iter__()
        handler = signal.getsignal(signal.SIGCHLD)
        iterator = super().__iter__()
        signal.signal(signal.SIGCHLD, handler or signal.SIG_DFL)
        return iterator

    def _draw(self) -> Iterator['_Batch']:
        yield from list(self._pending)  # drawn, but lost with a worker
        for indices in self._source:
            batch = _Batch(indices)
            batch.number = self._drawn
            self._drawn += 1
            self._pending.append(batch)
            yield batch

    @property
    def _sampler(self):
        return self.sampler if hasattr(self.sampler, 'set_epoch') else getattr(self.batch_sampler, 'sampler', None)

    def state_dict(self) -> dict:
        """Where it is. The same for all processes of a job."""
        return dict(batches=self.batches, position=self.position, passes=self.passes,
                    seed=self.dataset.__getitems__.seed, sampler_seed=getattr(self._sampler, 'seed', None),
                    images=(self.batch_size or 1) * get_world_size())

    def load_state_dict(self, state: dict) -> None:
        """Go on from there at the next pass. With another batch size or number of processes, at the same image."""
        scale = state['images'] / ((self.batch_size or 1) * get_world_size())
        self.batches, self.passes = state['batches'], state['passes']
        self.start = self.position = int(state['position'] * scale)
        self.dataset.__getitems__.seed = state['seed']
        if state['sampler_seed'] is not None:
            self._sampler.seed = state['sampler_seed']
        self._set_epoch()

    def skip(self, iterations: int) -> None:
        """Go on after so many iterations, where that is all a checkpoint tells."""
        self.batches = iterations
        self.passes, self.start = (0, iterations) if isinstance(self._sampler, InfiniteSampler) \
            else divmod(iterations, len(self))
        self.position = self.start
        self._set_epoch()

    def _set_epoch(self) -> None:
        if hasattr(self._sampler, 'set_epoch'):
            self._sampler.set_epoch(self.passes)


class _Batch(list):
    """The indices of a batch, and its number in the run."""
    number: int


def _worker_died(iterator, error: Exception) -> bool:
    """Whether that is what `error` comes from, and not something that a worker has raised."""
    if isinstance(error, RuntimeError):
        return str(error).startswith('DataLoader worker (pid')
    # A connection that ended while a tensor was handed over. What a worker raised begins with torch's "Caught".
    workers = getattr(iterator, '_workers', ())
    return bool(workers) and not str(error).startswith('Caught ') and bool(
        multiprocessing.connection.wait([worker.sentinel for worker in workers], timeout=5))


class _Drawing:
    """What torch takes for the sampler of batches; persistent workers keep it from pass to pass."""

    def __init__(self, loader: ResumableDataLoader):
        self._loader = loader

    def __iter__(self):
        return self._loader._draw()

    def __len__(self):
        return len(self._loader.batch_sampler)


class _Seeded:
    """A dataset's `__getitems__`, by which torch loads a batch: with generators seeded by the batch's number."""

    def __init__(self, dataset, seed: int, rank: int):
        own = getattr(dataset, '__getitems__', None)
        self._dataset, self.seed, self._rank = dataset, seed, rank
        self._own = own._own if isinstance(own, _Seeded) else own

    def __call__(self, batch: list) -> list:
        with seeded(self.seed, self._rank, getattr(batch, 'number', 0)):
            return self._own(batch) if self._own else [self._dataset[i] for i in batch]


@contextlib.contextmanager
def seeded(*key: int):
    """Python's, NumPy's and torch's (CPU) global generators seeded by `key`, and afterwards as they were."""
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()
    seeds = np.random.SeedSequence(key).generate_state(3)
    random.seed(int(seeds[0]))
    np.random.seed(seeds[1])
    torch.default_generator.manual_seed(int(seeds[2]))
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
        torch.set_rng_state(before[2])
