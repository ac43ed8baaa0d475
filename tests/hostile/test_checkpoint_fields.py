"""Every field of a checkpoint, changed: the run that resumes from it works, or stops in two lines before it trains."""
import copy
import os
import random
import traceback

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer

from mmvision_mamba.errors import UserError

from ..helpers.tiny_training import runner

EXAMPLES = int(os.environ.get('FUZZ_EXAMPLES', 0))  # 0: the whole list
BAD_TENSORS = [lambda t: t[:0], lambda t: torch.cat([t.reshape(-1)] * 2), lambda t: t.to(torch.float16),
               lambda t: t.to(torch.int64), lambda t: torch.full_like(t, -1) if t.dtype != torch.uint8 else ~t,
               lambda t: torch.full_like(t, 2**40) if t.dtype == torch.int64 else t * 0]
BAD = [None, True, -1, 0, 2.5, 10**30, 2**53, float('nan'), float('inf'), 'text', '', b'x', [], {}, [None], {'a': None},
       {1: 2}, (1, 2), torch.ones(2), np.ones(2), np.float64(2), [[[]]]]
MISSING = object()


def leaves(tree, path=()):
    """Paths of everything in a checkpoint, but of lists' and tensors' dictionaries of weights only some."""
    yield path
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list | tuple) else ()
    for i, (key, value) in enumerate(items):
        if i < 3 or path[:1] not in (('state_dict',), ('optimizer',)) or len(path) < 2:
            yield from leaves(value, (*path, key))


def changed(tree, path, value):
    """A copy of `tree` with `value` at a path, or nothing at all."""
    if not path:
        return value
    key, *rest = path
    new = copy.copy(tree) if not isinstance(tree, tuple) else list(tree)
    if value is MISSING and not rest:
        del new[key]
    else:
        new[key] = changed(tree[key], rest, value)
    return new


def cases(content):
    for path in leaves(content):
        if not path or (path[0] == 'meta' and path[1:2] in (('mmengine_version',), ('time',), ('experiment_name',))):
            continue
        old = content
        for key in path:
            old = old[key]
        yield path, MISSING
        for value in [*(make(old) for make in BAD_TENSORS)] if isinstance(old, torch.Tensor) and old.ndim else []:
            yield path, value
        for value in BAD:
            yield path, value


@pytest.fixture(scope='module')
def begun(tmp_path_factory):
    """A checkpoint in the middle of an epoch and of an accumulation, as a tree."""
    folder = tmp_path_factory.mktemp('begun')
    runner(folder, **SETTINGS | dict(train_cfg=dict(by_epoch=False, max_iters=9))).train()
    return torch.load(folder / 'iter_9.pth', weights_only=False)


SETTINGS = dict(hooks=[dict(type='DivergenceHook')], val_cfg=None, val_dataloader=None, val_evaluator=None,
                checkpoint=dict(save_best=None, interval=9),
                train_cfg=dict(by_epoch=False, max_iters=11),
                optim_wrapper=dict(type='OptimWrapper', accumulative_counts=2, optimizer=dict(type='AdamW', lr=0.01)))


def outcome(content, folder):
    """'done', the lines of the refusal, or the traceback."""
    path = folder / 'theirs.pth'
    torch.save(content, path)
    try:
        runner(folder / 'mine', resume=True, load_from=str(path), **SETTINGS).train()
    except UserError as error:
        return str(error)
    except Exception:
        return traceback.format_exc()
    return 'done'


def wrong(path, value, result):
    """What is wrong with an outcome; None: the run worked, or was refused as it should."""
    lines = result.splitlines()
    if result == 'done' or (len(lines) <= 2 and not lines[0].startswith('Traceback') and len(result) < 1000):
        return None
    return f'{path} = {"nothing" if value is MISSING else repr(value)[:80]}: {result[-1500:]}'


def refusals(content, some, folder):
    """How many of the changed checkpoints were refused; all are tried before one that was handled wrongly fails."""
    outcomes = [(path, value, outcome(changed(content, path, value), folder)) for path, value in some]
    found = [text for case in outcomes if (text := wrong(*case)) is not None]
    assert not found, f'{len(found)} of {len(outcomes)}:\n' + '\n'.join(found)
    return sum(result != 'done' for *_, result in outcomes)


@pytest.mark.filterwarnings('ignore')
def test_some_fields_changed(begun, tmp_path):
    generator, everything = random.Random(0), list(cases(begun))
    assert outcome(begun, tmp_path) == 'done'
    assert 10 < refusals(begun, generator.sample(everything, 25), tmp_path) < 25


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.filterwarnings('ignore')
def test_every_field_changed(begun, tmp_path):
    everything = list(cases(begun))
    if EXAMPLES:
        everything = random.Random(int(os.environ.get('FUZZ_SEED', 0))).sample(everything, EXAMPLES)
    print(f'\n{len(everything)} changed checkpoints: {refusals(begun, everything, tmp_path)} refused')


def test_a_history_without_numbers_is_refused(begun, tmp_path):
    for change in (dict(max_length=0), dict(_log_history=np.ones((2, 2))), dict(_count_history=np.ones(1)),
                   dict(_log_history='abc'), dict(_log_history=np.ones(2, complex))):
        history = HistoryBuffer([1., 2.], [1, 1])
        vars(history).update(change)
        content = changed(begun, ('message_hub', 'log_scalars', 'train/loss'), history)
        assert 'a history without numbers' in outcome(content, tmp_path)


@pytest.mark.parametrize(('path', 'value', 'words'), [
    (('meta', 'iter'), 10**15, 'meta.iter must be a whole number, 0 to 200 million'),
    (('resume_state', 'loader', 'position'), 10**12, 'loader.position must be a whole number, 0 to 200 million'),
    (('meta', 'dataset_meta'), dict(classes=('a', 'b' * 10**6)), 'names of 1000 characters'),
    (('meta', 'dataset_meta'), dict(classes=('a',) * 100_001), 'at most 100000 names'),
    (('message_hub', 'log_scalars'), {'train/a\nFORGED': HistoryBuffer([1.], [1])}, 'names that can be printed')])
def test_what_would_take_for_ever_is_refused(path, value, words, begun, tmp_path):
    result = outcome(changed(begun, path, value), tmp_path)
    assert words in result and len(result.splitlines()) == 2 and len(result) < 500, result


@pytest.mark.parametrize('settings', [dict(capturable=True), dict(lr=1e300)])
def test_settings_that_no_step_can_be_made_with_are_refused(settings, begun, tmp_path):
    groups = [{**group, **settings} for group in begun['optimizer']['param_groups']]
    result = outcome(changed(begun, ('optimizer', 'param_groups'), groups), tmp_path)
    assert 'optimizer.param_groups.0 can not be: no step can be made with its settings' in result, result


@pytest.mark.parametrize('value', ['text', [], (1, 2)])
def test_a_schedule_that_has_no_next_step_is_refused(value, begun, tmp_path):
    result = outcome(changed(begun, ('param_schedulers', 1, 'eta_min_ratio'), value), tmp_path)
    assert 'param_schedulers.1 can not be: there is no next step with its settings' in result, result
