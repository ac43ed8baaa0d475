"""A data loader that resumes in the middle of an epoch and replaces workers that die."""
import contextlib
import inspect
import logging
import multiprocessing.connection
import random
import signal
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice
from multiprocessing.queues import Queue
from typing import Any

import numpy as np
import torch
from mmengine.dataset import InfiniteSampler
from mmengine.dist import get_rank, get_world_size
from mmengine.logging import print_log
from torch._utils import ExceptionWrapper
from torch.utils.data import DataLoader, Dataset, IterableDataset, get_worker_info
from torch.utils.data._utils import signal_handling

from ..errors import ConfigError
from ..printable import shown


class ResumableDataLoader(DataLoader):
    """`DataLoader` whose n-th batch depends on the seed, the rank and n alone, not on the number of workers.

    Loading batch n seeds the random generators with (seed, rank, n), in whichever process it happens, and restores
    those of the training process afterwards. So a resumed run goes on in the middle of an epoch without loading earlier
    batches again, and replacing a dead worker changes no batch. Only transforms that keep results from batch to batch
    (mmdet's CachedMosaic) are an exception.

    A plain `DataLoader` inside loads the batches, from a batch sampler that numbers them and a data set that seeds the
    generators for each. `dataset`, `sampler`, `batch_sampler` and `batch_size` of this object stay those that it was
    given: hooks read them, and mmdet's change the data set's pipeline.

    Args:
        *args, **kwargs: those of `DataLoader`, except `generator`; batches must not be switched off. `in_order` has no
            effect.
        seed: seed of the random numbers drawn while loading. Default: 0.

    Attributes:
        images_per_batch: images in a full batch of this process, also where a batch sampler makes the batches.
        batches: batches delivered since the training began.
        position: batches delivered in this pass over the data.
        passes: completed passes over the data.
        start: batches that the next pass skips. Default: 0.
    """
    batches = position = passes = start = 0
    _max_restarts = 3  # of the workers, for one batch

    @classmethod
    def from_loader(cls, loader: DataLoader, seed: int | None, batch_size: int | None = None) -> DataLoader:
        """A resumable loader with the settings of `loader`.

        Returns `loader` itself where that is impossible: a subclass, no batches, or an `IterableDataset`.

        Args:
            loader: the loader.
            seed: see above.
            batch_size: images in a batch where a batch sampler makes them. Default: its `batch_size`.
        """
        stream = isinstance(loader.dataset, IterableDataset)
        if type(loader) is not DataLoader or loader.batch_sampler is None or stream:
            return loader
        batches = dict(batch_size=loader.batch_size, sampler=loader.sampler, drop_last=loader.drop_last) \
            if loader.batch_size is not None else dict(batch_sampler=loader.batch_sampler)
        resumable = cls(loader.dataset, **batches, **_settings(loader), seed=seed or 0)
        if resumable.batch_size is None and isinstance(batch_size, int):
            resumable.images_per_batch = batch_size
        return resumable

    def __init__(self, *args, seed: int = 0, **kwargs):
        # With its own generator: torch would draw the workers' seeds from the one that the model's dropout draws from.
        super().__init__(*args, generator=torch.Generator(), **kwargs)
        self.seed = seed
        size = getattr(self.batch_sampler, 'batch_size', None) if self.batch_size is None else self.batch_size
        self.images_per_batch = size if isinstance(size, int) else 1
        self._numbered = _NumberedBatches(self.batch_sampler)
        self._inside: DataLoader | None = None

    def __iter__(self) -> Iterator:
        # A generator function: workers start at the first `next`, and by then a resumed run has set `start`.
        skipped, self.start = self.start, 0
        self.position = skipped
        self._numbered.begin_pass(skipped, self.batches, (self.seed, get_rank()))
        restarts = 0
        while True:
            iterator = self._start_workers()
            try:
                for batch in iterator:
                    self._numbered.delivered()
                    self.position += 1
                    self.batches += 1
                    restarts = 0
                    yield batch
                break
            except (RuntimeError, OSError, EOFError) as error:
                if restarts == self._max_restarts or not _worker_died(iterator, error):
                    raise
                restarts += 1
                reason = str(error) or 'A DataLoader worker died'
                print_log(f'{reason}. Its batches are loaded again by new workers.', 'current', logging.WARNING)
            # torch ends the workers that are left, persistent ones too, only when nothing refers to the iterator.
            iterator = self._inside = self._iterator = None
        self.position = 0
        self.passes += 1

    def _start_workers(self) -> Iterator:
        """Iterator over the remaining batches of this pass, loaded by new workers or by running persistent ones."""
        # torch 2.11 has no seam here: mmdet's hooks that switch pipelines end persistent workers by `_iterator = None`.
        if self._iterator is None:
            self._inside = DataLoader(_SeededDataset(self.dataset), batch_sampler=self._numbered,
                                      generator=self.generator, **_settings(self))
        iterator = iter(self._inside)
        _take_out_torch_handler()
        if self.persistent_workers:
            self._iterator = iterator
        return iterator

    @property
    def _sampler(self):
        """The sampler that orders the images: `sampler`, or that of a batch sampler the caller built; else None."""
        return self.sampler if hasattr(self.sampler, 'set_epoch') else getattr(self.batch_sampler, 'sampler', None)

    def state_dict(self) -> dict:
        """The position in the data, the same in all processes.

        `images` counts an iteration's, over all processes; `batch` this process's; `length` the data set's.
        """
        return dict(batches=self.batches, position=self.position, passes=self.passes, seed=self.seed,
                    sampler_seed=getattr(self._sampler, 'seed', None), images=self.images_per_batch * get_world_size(),
                    batch=self.images_per_batch, length=len(self.dataset))

    def load_state_dict(self, state: dict) -> None:
        """Start the next pass at the saved position: the same image, also with another batch size or world size."""
        scale = self.images_of(state) / (self.images_per_batch * get_world_size())
        self.batches, self.passes, self.seed = state['batches'], state['passes'], state['seed']
        self.start = self.position = int(state['position'] * scale)
        if state['sampler_seed'] is not None:
            # mmengine 0.10.7 has no seam here: a sampler is told its seed only when it is built.
            self._sampler.seed = state['sampler_seed']
        self.set_epoch()

    def images_of(self, state: dict) -> int:
        """Images of an iteration in a saved position; this loader's where an earlier version didn't count them."""
        counted = self.batch_size is not None or 'batch' in state
        return state['images'] if counted else self.images_per_batch * get_world_size()

    def skip(self, iterations: int) -> None:
        """Start the next pass after `iterations` batches of training, for checkpoints that hold no position."""
        self.batches = iterations
        self.passes, self.start = (0, iterations) if isinstance(self._sampler, InfiniteSampler) \
            else divmod(iterations, len(self))
        self.position = self.start
        self.set_epoch()

    def set_epoch(self) -> None:
        """Tell the sampler the number of completed passes, from which it draws the order of the next."""
        if hasattr(self._sampler, 'set_epoch'):
            self._sampler.set_epoch(self.passes)


def _settings(loader: DataLoader) -> dict:
    """The arguments of `DataLoader` that say how `loader` loads: all but its data set and batches."""
    names = ('num_workers', 'collate_fn', 'pin_memory', 'timeout', 'worker_init_fn', 'multiprocessing_context',
             'prefetch_factor', 'persistent_workers', 'pin_memory_device')
    return {name: getattr(loader, name) for name in names}


def _take_out_torch_handler() -> None:
    """Put back what answered SIGCHLD before torch's handler, which torch sets once, with a process's first workers.

    It raises in the middle of whatever code runs when a worker dies. Without it a loader notices a death while it waits
    for a batch, within five seconds.
    """
    handler = signal.getsignal(signal.SIGCHLD)
    # torch 2.11 has no seam here: what it replaced is known to its handler alone.
    ours = threading.current_thread() is threading.main_thread()
    if ours and inspect.isfunction(handler) and handler.__module__ == signal_handling.__name__:
        earlier = inspect.getclosurevars(handler).nonlocals.get('previous_handler')
        signal.signal(signal.SIGCHLD, earlier or signal.SIG_DFL)


def _worker_died(iterator: Iterator, error: Exception) -> bool:
    """Whether `error` comes from the death of a worker, and not from an exception inside one."""
    if isinstance(error, RuntimeError):
        return str(error).startswith('DataLoader worker (pid')
    # A worker died while it handed over a tensor. The text of an exception inside a worker begins with "Caught".
    # torch 2.11 has no seam here: an iterator does not tell its workers.
    workers = getattr(iterator, '_workers', ())
    return bool(workers) and not str(error).startswith('Caught ') and bool(
        multiprocessing.connection.wait([worker.sentinel for worker in workers], timeout=5))


# Python 3.13 and torch 2.14 have no seam here: a queue prints the error of what it can't send, and torch waits for it.
def _answer_with_the_error(queue: Queue, error: Exception, answer: Any) -> None:
    """In a worker: send, in the place of a batch that can't be sent, why."""
    if any(said in str(error) for said in _NO_ROOM):
        error = ConfigError(
            f'a DataLoader worker could not hand over a batch: {shown(error)}.\nGive shared memory more room (`docker '
            'run --shm-size=8g`, /dev/shm elsewhere), allow more open files (`ulimit -n`), or load without workers, '
            '`--cfg-options train_dataloader.num_workers=0`.')
    queue.put((answer[0], ExceptionWrapper((type(error), error, error.__traceback__), 'in a DataLoader worker')))


_NO_ROOM = 'No space left on device', 'Too many open files', 'Cannot allocate memory'


class _Batch(list):
    """The indices of a batch, with the seed for the random generators while it is loaded."""
    seed: tuple[int, ...]


class _NumberedBatches:
    """Batch sampler that ends each batch's seed with its number in the run.

    A new iteration repeats first the batches that were drawn and not delivered, because a worker died with them.
    Persistent workers keep one such object for all passes, so `begin_pass` resets it.
    """

    def __init__(self, batch_sampler: Iterable):
        self._batch_sampler = batch_sampler

    def begin_pass(self, skipped: int, number: int, seed: tuple[int, ...]) -> None:
        """Begin a pass over the data.

        Args:
            skipped: batches to leave out at its beginning.
            number: number in the run of the next batch.
            seed: beginning of the batches' seeds.
        """
        self._source = islice(iter(self._batch_sampler), skipped, None)
        self._pending: deque[_Batch] = deque()
        self._number, self._seed = number, seed

    def delivered(self) -> None:
        """Forget the oldest batch drawn: it has been loaded."""
        self._pending.popleft()

    def __iter__(self) -> Iterator[_Batch]:
        yield from list(self._pending)
        for indices in self._source:
            batch = _Batch(indices)
            batch.seed = *self._seed, self._number
            self._number += 1
            self._pending.append(batch)
            yield batch

    def __len__(self) -> int:
        return len(self._batch_sampler)


class _SeededDataset(Dataset):
    """Wraps `dataset` for the workers, and seeds the random generators for each `_Batch`.

    Attributes are read from and set on `dataset`, for code that meets this object in a worker (a `worker_init_fn`, by
    torch's `get_worker_info().dataset`).
    """

    def __init__(self, dataset: Dataset):
        vars(self)['dataset'] = dataset

    def __getitems__(self, batch: _Batch) -> list:
        if get_worker_info() is not None:
            Queue._on_queue_feeder_error = _answer_with_the_error  # type: ignore[assignment]
        with seeded(*batch.seed):
            if (load := getattr(self.dataset, '__getitems__', None)) is not None:
                return load(batch)
            return [self.dataset[i] for i in batch]

    def __getitem__(self, index: int) -> Any:
        return self.dataset[index]

    def __len__(self) -> int:
        return len(self.dataset)

    def __getattr__(self, name: str) -> Any:
        return getattr(vars(self)['dataset'], name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.dataset, name, value)

    def __reduce__(self):  # the default looks for `__setstate__`, by `__getattr__`, before there is a data set
        return type(self), (self.dataset,)


@contextlib.contextmanager
def seeded(*key: int):
    """Context with Python's, NumPy's and torch's (CPU) global generators seeded by `key`, restored at its end."""
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
