"""Batches depend on seed and number alone, whoever loads them, and workers that die are replaced."""
import gc
import multiprocessing
import os
import pickle
import random
import signal
from copy import copy

import numpy as np
import pytest
import torch
from mmengine.runner import Runner
from torch.utils.data import BatchSampler, DataLoader, IterableDataset, get_worker_info

from mmvision_mamba.engine.data_loader import ResumableDataLoader, _SeededDataset
from mmvision_mamba.errors import ConfigError

from ..helpers.tiny_training import NoisyPoints, loader


@pytest.fixture(autouse=True, scope='module')
def _workers_of_earlier_tests_have_ended():
    gc.unfreeze()
    gc.collect()


def batches(loader, n):
    iterator = iter(loader)
    return [next(iterator)['inputs'] for _ in range(n)]


def same(a, b):
    return all(torch.equal(x, y) for p, q in zip(a, b) for x, y in zip(p, q))


def test_batches_depend_on_seed_and_number_alone():
    before = random.getstate(), torch.get_rng_state(), np.random.get_state()[1]
    alone = batches(loader(), 9)
    after = random.getstate(), torch.get_rng_state(), np.random.get_state()[1]
    assert before[0] == after[0] and torch.equal(before[1], after[1]) and (before[2] == after[2]).all()
    assert same(alone, batches(loader(2), 9))
    assert not same(alone[:1], alone[1:2])
    first = loader(2)
    batches(first, 4)
    second = loader()
    second.load_state_dict(first.state_dict())
    assert same(alone[4:], batches(second, 5))


def test_what_others_read_of_a_loader_is_what_it_was_given():
    for options in (dict(drop_last=True), dict(batch_sampler=dict(type=BatchSampler, drop_last=False))):
        stock = Runner.build_dataloader(dict(
            dataset=dict(type='NoisyPoints'), num_workers=0, batch_size=4,
            sampler=dict(type='DefaultSampler', shuffle=True), **options))
        ours = ResumableDataLoader.from_loader(stock, 1)
        assert ours.dataset is stock.dataset
        assert (ours.batch_size, ours.drop_last, len(ours)) == (stock.batch_size, stock.drop_last, len(stock))
        assert type(ours.sampler) is type(stock.sampler) and type(ours.batch_sampler) is type(stock.batch_sampler)
        assert ours.batch_sampler.sampler is stock.batch_sampler.sampler


class Stream(IterableDataset):
    def __iter__(self):
        return iter(range(3))


class OtherLoader(DataLoader):
    pass


@pytest.mark.parametrize('other', [DataLoader(Stream()), DataLoader(NoisyPoints(), batch_size=None),
                                   OtherLoader(NoisyPoints())], ids=['stream', 'no batches', 'class'])
def test_other_loaders_stay_what_they_are(other):
    assert ResumableDataLoader.from_loader(other, 1) is other


@pytest.mark.parametrize('workers', [0, 2])
def test_a_data_set_that_is_switched_between_passes(workers):
    """As mmdet's PipelineSwitchHook and YOLOXModeSwitchHook do it, who end persistent workers by torch's privates."""
    switched = loader(workers, sampler='DefaultSampler', persistent_workers=workers > 0)
    before = list(switched)
    running = set(multiprocessing.active_children())
    assert len(list(switched)) == len(before) == 6
    assert set(multiprocessing.active_children()) == running and len(running) == workers, 'they persist'
    switched.dataset.augment = False
    if workers:
        switched._DataLoader__initialized = False
        switched._iterator = None
    for batch in switched:
        for inputs, path in zip(batch['inputs'], batch['img_path']):
            assert (inputs == int(path[6:-4]) / 22).all()
    assert len(multiprocessing.active_children()) == workers


def test_a_worker_sees_the_data_set():
    """`get_worker_info().dataset` reads and sets the data set's attributes, also where a worker is spawned."""
    data = NoisyPoints(length=7)
    seen = pickle.loads(pickle.dumps(_SeededDataset(data)))
    assert seen.dataset is not data and seen.length == 7 and len(seen) == 7 and not hasattr(seen, 'other')
    seen.length = 8
    assert seen.dataset.length == 8 and len(seen) == 8 and data.length == 7


def stop_augmenting(worker_id):
    get_worker_info().dataset.augment = False


def test_worker_init_fn():
    plain = loader(2, sampler='DefaultSampler', worker_init_fn=dict(type=stop_augmenting))
    assert all((inputs == inputs[0, 0, 0]).all() for batch in plain for inputs in batch['inputs'])


class Fragile(NoisyPoints):
    """Its worker is killed the first time that image is loaded."""

    def __init__(self, mark, **options):
        super().__init__(**options)
        self.mark = mark

    def __getitem__(self, i):
        if i == 7 and not self.mark.exists() and torch.utils.data.get_worker_info():
            self.mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__getitem__(i)


@pytest.mark.parametrize('sampler', ['InfiniteSampler', 'DefaultSampler'])
def test_killed_workers_are_replaced(tmp_path, sampler):
    def images(workers, mark):
        fragile = ResumableDataLoader.from_loader(Runner.build_dataloader(dict(
            batch_size=4, num_workers=workers, persistent_workers=workers > 0, dataset=Fragile(mark),
            sampler=dict(type=sampler, shuffle=True)), seed=1), 1)
        iterator = iter(fragile)
        paths = [next(iterator)['img_path'] for _ in range(6)]
        assert len(multiprocessing.active_children()) == workers, 'none is left of those before'
        return paths
    assert images(2, tmp_path / 'mark') == images(0, tmp_path / 'other')
    assert (tmp_path / 'mark').exists()


def test_the_handler_of_an_earlier_loader_is_taken_out(tmp_path, monkeypatch):
    heard = []

    def own(signum, frame):
        heard.append(signum)
    before = signal.signal(signal.SIGCHLD, own)
    try:
        monkeypatch.setattr(torch.utils.data._utils.signal_handling, '_SIGCHLD_handler_set', False)
        next(iter(DataLoader(NoisyPoints(), num_workers=1, collate_fn=list)))
        assert signal.getsignal(signal.SIGCHLD) is not own, "torch's own is there first"
        test_killed_workers_are_replaced(tmp_path, 'DefaultSampler')
        assert heard and signal.getsignal(signal.SIGCHLD) is own
    finally:
        signal.signal(signal.SIGCHLD, before)


@pytest.mark.parametrize('error', [EOFError(), ConnectionResetError('reset by peer'), FileNotFoundError('socket')])
def test_a_worker_that_dies_while_it_hands_over_is_replaced_too(tmp_path, monkeypatch, error):
    fine = batches(loader(2), 5)
    iterator, raised = torch.utils.data.dataloader._MultiProcessingDataLoaderIter, []
    get = iterator._try_get_data

    def broken(self, *args, **options):
        if not raised and self._rcvd_idx >= 2:
            raised.append(error)
            os.kill(self._workers[0].pid, signal.SIGKILL)
            raise copy(error)  # what it was raised through is kept by nothing, and the workers end
        return get(self, *args, **options)
    monkeypatch.setattr(iterator, '_try_get_data', broken)
    before = set(multiprocessing.active_children())
    assert same(fine, batches(loader(2), 5))
    assert raised
    gc.collect()
    assert set(multiprocessing.active_children()) <= before


class Faulty(NoisyPoints):
    def __init__(self, error, log, **options):
        super().__init__(**options)
        self.error, self.log = error, log

    def __getitem__(self, i):
        if i == 7:
            with open(self.log, 'a') as file:
                file.write('x')
            raise self.error
        return super().__getitem__(i)


@pytest.mark.parametrize('error', [RuntimeError('a bug'), FileNotFoundError('no such image')])
def test_what_a_data_set_raises_is_raised_once(tmp_path, error):
    data = ResumableDataLoader.from_loader(Runner.build_dataloader(dict(
        batch_size=4, num_workers=2, dataset=Faulty(error, tmp_path / 'log'),
        sampler=dict(type='DefaultSampler', shuffle=False)), seed=1), 1)
    with pytest.raises(type(error), match=str(error)):
        list(data)
    assert (tmp_path / 'log').read_text() == 'x'


class Unsendable:
    """A sample whose tensors find no room when a worker hands it over, as in a container of little shared memory."""

    def __init__(self, error):
        self.error = error

    def __len__(self):
        return 8

    def __getitem__(self, index):
        return self

    def __reduce__(self):
        raise self.error


@pytest.mark.parametrize(('error', 'expected', 'message'), [
    (RuntimeError('unable to allocate shared memory(shm) for file </torch_1>: No space left on device (28)'),
     ConfigError, r'could not hand over a batch: unable .*\nGive shared memory more room .*num_workers=0'),
    (OSError(24, 'Too many open files'), ConfigError, 'ulimit -n'),
    (pickle.PicklingError('a lambda'), pickle.PicklingError, 'a lambda')])
def test_a_batch_that_can_not_be_handed_over_is_an_error(error, expected, message):
    data = ResumableDataLoader(Unsendable(error), batch_size=4, num_workers=1, multiprocessing_context='fork',
                               collate_fn=list)
    with pytest.raises(expected, match=message):
        next(iter(data))


def test_positions_of_earlier_versions_did_not_count_a_batch_sampler(tmp_path):
    first = loader(sampler='DefaultSampler', batch_sampler=dict(type=BatchSampler, drop_last=False))
    state = dict(first.state_dict(), images=1, position=3)
    del state['batch']
    first.load_state_dict(state)
    assert first.start == 3
