"""The stock hook's options do what they do there; a disk that fails costs nothing but the checkpoint at hand."""
import contextlib
import errno
import os
import subprocess
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.evaluator import BaseMetric
from mmengine.hooks import CheckpointHook
from mmengine.registry import METRICS
from mmengine.runner import Runner

from mmvision_mamba.checkpoints import writing as safe_files
from mmvision_mamba.engine import SafeCheckpointHook, checkpointed_runner
from mmvision_mamba.errors import CheckpointError

from ...helpers.tiny_training import config, runner


@METRICS.register_module(force=True)
class Scripted(BaseMetric):
    """Scores as given, one a validation."""

    def __init__(self, **scores):
        super().__init__()
        self.scores = {key: iter(values) for key, values in scores.items()}

    def process(self, data_batch, data_samples):
        self.results.append(0)

    def compute_metrics(self, results):
        return {key: next(values) for key, values in self.scores.items()}


SCORES = dict(type='Scripted', acc=[0.1, 0.4, 0.3, 0.5, 0.2, 0.9, 0.6], loss=[5, 7, 3, 2, 9, 1, 0])


@pytest.mark.parametrize('options', [
    dict(by_epoch=True, interval=2, max_keep_ckpts=-1),
    dict(by_epoch=True, interval=1, max_keep_ckpts=1, save_best=['acc', 'loss'], rule=['greater', 'less']),
    dict(by_epoch=True, interval=3, save_last=False, save_best='loss', max_keep_ckpts=3),
    dict(by_epoch=True, interval=1, save_begin=4, filename_tmpl='ckpt_{}_x.pth', save_best='acc', rule='less'),
    dict(by_epoch=True, interval=-1, save_last=False, save_best='auto'),
    dict(by_epoch=True, interval=2, save_optimizer=False, save_param_scheduler=False, published_keys=['state_dict']),
    dict(by_epoch=True, interval=4, out_dir='OUT', save_best='acc', published_keys=['meta', 'state_dict']),
    dict(by_epoch=False, interval=9, max_keep_ckpts=2, save_best=None),
])
def test_options_are_those_of_the_stock_hook(tmp_path, options):
    found = []
    for kind in ('stock', 'safe'):
        work_dir = tmp_path / kind / 'run'
        given = {k: str(tmp_path / kind / 'out') if v == 'OUT' else v for k, v in options.items()}
        given = {**dict(type='CheckpointHook', max_keep_ckpts=2, save_best='auto'), **given}
        if options.get('save_best', 0) is None:
            given.pop('save_best')
        settings = config(work_dir, by_epoch=True, val_evaluator=SCORES)
        settings['train_cfg']['val_interval'] = 1
        settings['default_hooks'] = dict(logger=dict(type='LoggerHook'), checkpoint=given)
        settings['experiment_name'] = f'{kind}{tmp_path.name}'
        if kind == 'stock':
            Runner.from_cfg(Config(settings)).train()
        else:
            runner(work_dir, by_epoch=True, **{key: settings[key] for key in (
                'val_evaluator', 'train_cfg', 'default_hooks')}).train()
        files = {str(path.relative_to(tmp_path / kind)): torch.load(path, weights_only=False)
                 for path in (tmp_path / kind).rglob('*.pth')}
        pointer = work_dir / 'last_checkpoint'
        found.append((
            {name.rsplit('-', 1)[0]: sorted(set(content) - {'resume_state'}) for name, content in files.items()},
            {name: (content['meta']['epoch'], content['meta']['iter']) for name, content in files.items()
             if 'meta' in content and '-' not in name},
            os.path.relpath(pointer.read_text(), tmp_path / kind) if pointer.exists() else None))
    assert found[0] == found[1]
    assert found[0][0]


@pytest.mark.parametrize(('scores', 'rule', 'best'), [
    ([-1., float('nan'), 0.3, -1., 0.2, float('nan'), 0.1], 'greater', 0.3),
    ([-1., float('nan'), None, -1., -1., float('inf'), -1.], 'greater', None),
    ([float('nan'), float('-inf'), 3., -1., 2., 5., 4.], 'less', -1.)])
def test_a_score_that_means_nothing_is_never_the_best(scores, rule, best, tmp_path):
    """-1 is COCO's for a set without objects; a loss may be -1."""
    checkpoint = dict(type='CheckpointHook', by_epoch=True, interval=1, max_keep_ckpts=1, save_best='acc', rule=rule)
    run = runner(tmp_path, by_epoch=True, val_evaluator=dict(type='Scripted', acc=scores),
                 train_cfg=dict(by_epoch=True, max_epochs=6, val_interval=1),
                 default_hooks=dict(logger=dict(type='LoggerHook'), checkpoint=checkpoint))
    run.train()
    assert run.message_hub.runtime_info.get('best_score') == best
    assert len(list(tmp_path.glob('best_*'))) == (best is not None)
    log = next(tmp_path.glob('*/*.log')).read_text()
    assert 'acc is nan, which means that there is nothing to measure' in log


def test_a_validation_that_finds_nothing_gives_no_metrics(tmp_path):
    checkpoint = dict(type='CheckpointHook', by_epoch=True, interval=1, save_best='auto')
    run = runner(tmp_path, by_epoch=True, val_evaluator=dict(type='Scripted'),
                 train_cfg=dict(by_epoch=True, max_epochs=2, val_interval=1),
                 default_hooks=dict(logger=dict(type='LoggerHook'), checkpoint=checkpoint))
    run.train()
    assert not list(tmp_path.glob('best_*')) and list(tmp_path.glob('epoch_2.pth'))


def test_a_metric_that_is_not_measured_ends_no_training(tmp_path):
    checkpoint = dict(type='CheckpointHook', by_epoch=True, interval=1, save_best='coco/mAP', rule='greater')
    run = runner(tmp_path, by_epoch=True, val_evaluator=dict(type='Scripted', acc=[0.1, 0.2]),
                 train_cfg=dict(by_epoch=True, max_epochs=2, val_interval=1),
                 default_hooks=dict(logger=dict(type='LoggerHook'), checkpoint=checkpoint))
    run.train()
    assert not list(tmp_path.glob('best_*')) and list(tmp_path.glob('epoch_2.pth'))
    assert 'save_best is coco/mAP, which validation does not measure' in next(tmp_path.glob('*/*.log')).read_text()


def test_stands_in_for_the_stock_hook(tmp_path):
    built = runner(tmp_path)
    for type_ in ('CheckpointHook', 'mmengine.CheckpointHook', CheckpointHook):
        built._hooks = []
        built.register_hook(dict(type=type_, interval=7, max_keep_ckpts=3))
        assert type(built.checkpoint_hook) is SafeCheckpointHook
        assert (built.checkpoint_hook.interval, built.checkpoint_hook.max_keep_ckpts) == (7, 3)


def test_order_of_a_save(tmp_path, monkeypatch):
    """Written and read back, then named, then pointed to; only then is anything removed."""
    events = []

    def record(module, name, shown):
        original = getattr(module, name)

        def recorded(*args, **kwargs):
            result = original(*args, **kwargs)
            events.append(shown(*args))
            return result
        monkeypatch.setattr(module, name, recorded)

    record(safe_files.os, 'fsync', lambda handle: 'sync')
    record(safe_files, 'why_broken', lambda path: f'read {os.path.basename(path)}')
    record(safe_files.os, 'replace', lambda part, path: f'name {os.path.basename(path)}')
    record(safe_files.os, 'remove', lambda path: f'remove {os.path.basename(path)}')
    runner(tmp_path, checkpoint=dict(max_keep_ckpts=1), val_evaluator=SCORES,
           train_cfg=dict(by_epoch=False, max_iters=15, val_interval=5)).train()
    removed = [i for i, event in enumerate(events) if event.startswith('remove')]
    assert [events[i] for i in removed] == ['remove iter_5.pth', 'remove best_acc_iter_5.pth', 'remove iter_10.pth']
    def last(text, before):
        return max(i for i, event in enumerate(events[:before]) if event == text)
    for i, step in zip(removed, (10, 10, 15)):
        order = [last(text, i) for text in (f'read iter_{step}.pth.part', f'name iter_{step}.pth',
                                            'name last_checkpoint')]
        assert order == sorted(order)
        assert events[order[0] - 1] == events[order[1] + 1] == 'sync'
    assert last('name best_acc_iter_10.pth', removed[1]) < removed[1]
    assert not list(tmp_path.glob('*.part'))


@pytest.mark.parametrize('what', ['iter_10', 'best', 'rotten', 'last_checkpoint'])
def test_a_checkpoint_that_can_not_be_saved_costs_nothing_else(tmp_path, monkeypatch, what, capfd):
    original = safe_files.commit

    def failing(part, path, **options):
        name = os.path.basename(path)
        if training.iter < 15 and name.startswith(target) and (
                what != 'last_checkpoint' or (tmp_path / 'iter_10.pth').exists()):
            if what != 'rotten':
                raise OSError(errno.ENOSPC, 'No space left on device')
            data = bytearray(Path(part).read_bytes())
            data[len(data) // 2] ^= 1
            Path(part).write_bytes(data)
        original(part, path, **options)
    target = 'iter_10' if what == 'rotten' else what
    monkeypatch.setattr(checkpointed_runner, 'commit', failing)
    monkeypatch.setattr(safe_files, 'commit', failing)
    kept = {}

    def look(runner, step):
        kept[step] = (sorted(path.name for path in tmp_path.glob('*.pth')),
                      os.path.basename((tmp_path / 'last_checkpoint').read_text()))
    training = runner(tmp_path, val_evaluator=SCORES, checkpoint=dict(max_keep_ckpts=1),
                      train_cfg=dict(by_epoch=False, max_iters=20, val_interval=10), log_level='ERROR')
    original_hook = training.checkpoint_hook.after_train_iter

    def after(runner, *args, **kwargs):
        original_hook(runner, *args, **kwargs)
        if (runner.iter + 1) % 5 == 0:
            look(runner, runner.iter + 1)
    training.checkpoint_hook.after_train_iter = after
    training.train()
    assert training.iter == 20
    out = ''.join(capfd.readouterr())
    assert 'could not be saved: ' + ('bit-rotten' if what == 'rotten' else 'No space left on device') in out
    assert kept[5] == (['iter_5.pth'], 'iter_5.pth')
    if what in ('iter_10', 'rotten'):
        assert kept[10] == kept[5]
        assert 'the last good checkpoint is ' + str(tmp_path / 'iter_5.pth') in out
    elif what == 'last_checkpoint':
        assert kept[10] == (['iter_10.pth', 'iter_5.pth'], 'iter_5.pth')
    assert kept[20][1] == 'iter_20.pth' and 'iter_20.pth' in kept[20][0]
    # what was not saved is not said to be: the score counts again next time
    hub = torch.load(tmp_path / 'iter_20.pth', weights_only=False)['message_hub']['runtime_info']
    assert os.path.exists(hub['best_ckpt']) and hub['best_score'] == 0.4
    assert not list(tmp_path.glob('*.part'))


@pytest.mark.parametrize('again', [True, False], ids=['room by then', 'no room'])
def test_a_training_whose_end_can_not_be_saved_is_an_error(tmp_path, monkeypatch, again):
    original, failed = safe_files.commit, []

    def failing(part, path, **options):
        if os.path.basename(path) == 'iter_10.pth' and not (again and failed):
            failed.append(path)
            raise OSError(errno.ENOSPC, 'No space left on device')
        original(part, path, **options)
    monkeypatch.setattr(checkpointed_runner, 'commit', failing)
    training = runner(tmp_path, train_cfg=dict(by_epoch=False, max_iters=10), checkpoint=dict(
        max_keep_ckpts=1, save_best=None))
    if again:
        training.train()
        assert [path.name for path in tmp_path.glob('*.pth')] == ['iter_10.pth'] and len(failed) == 1
        return
    with pytest.raises(CheckpointError, match=r'training has ended.*No space left on device(.|\n)*iter_5\.pth'):
        training.train()
    assert len(failed) == 2 and [path.name for path in tmp_path.glob('*.pth')] == ['iter_5.pth']


@pytest.mark.parametrize('error', [errno.EINVAL, errno.EIO])
def test_a_file_system_that_syncs_no_folders(tmp_path, monkeypatch, error):
    """Some network file systems say EINVAL; that is no reason to call a checkpoint not saved. A disk that fails is."""
    sync = os.fsync

    def fsync(handle):
        if os.path.isdir(f'/proc/self/fd/{handle}'):
            raise OSError(error, os.strerror(error))
        sync(handle)
    monkeypatch.setattr(safe_files.os, 'fsync', fsync)
    if error == errno.EINVAL:
        safe_files.write_text(tmp_path / 'pointer', 'x')
    else:
        with pytest.raises(OSError, match='Input/output'):
            safe_files.write_text(tmp_path / 'pointer', 'x')
    assert (tmp_path / 'pointer').read_text() == 'x'


@pytest.fixture
def disk(tmp_path):
    """A file system of 6 MB, which two checkpoints of 2.5 MB fit in, and not three."""
    disk = tmp_path / 'disk'
    disk.mkdir()
    mounted = subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=6m', 'tmpfs', disk], capture_output=True)
    if mounted.returncode:
        pytest.skip(f'needs the right to mount a tmpfs: {mounted.stderr.decode().strip()}')
    yield disk
    subprocess.run(['umount', '-l', disk], check=True)


def fill(path):
    with open(path, 'wb', buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))


@pytest.mark.slow
def test_full_disk(disk, capfd):
    training = runner(disk / 'run', model=dict(type='TinyModel', ballast=2),
                      checkpoint=dict(max_keep_ckpts=1, save_best=None))
    saved = training.checkpoint_hook.after_train_iter

    def after(runner, *args, **kwargs):
        if runner.iter + 1 == 13:
            fill(disk / 'filler')
        if runner.iter + 1 == 33:
            (disk / 'filler').unlink()
        saved(runner, *args, **kwargs)
        if runner.iter + 1 == 30:
            assert safe_files.why_broken(disk / 'run' / 'iter_10.pth') is None
            assert (disk / 'run' / 'last_checkpoint').read_text().endswith('iter_10.pth')
    training.checkpoint_hook.after_train_iter = after
    training.train()
    out = ''.join(capfd.readouterr())
    assert out.count('could not be saved: No space left on device') >= 4  # iterations 15, 20, 25, 30
    assert sorted(path.name for path in (disk / 'run').glob('*.pth*')) == ['iter_40.pth']
    assert safe_files.why_broken(disk / 'run' / 'iter_40.pth') is None


@pytest.mark.slow
def test_full_disk_when_the_model_is_published(disk, capfd):
    training = runner(disk / 'run', model=dict(type='TinyModel', ballast=2), checkpoint=dict(
        max_keep_ckpts=1, save_best=None, published_keys=['state_dict']))
    publish = training.checkpoint_hook._publish_model

    def when_full(runner, path):
        fill(disk / 'filler')
        publish(runner, path)
    training.checkpoint_hook._publish_model = when_full
    training.train()
    assert 'could not be saved: No space left on device' in ''.join(capfd.readouterr())
    assert sorted(path.name for path in (disk / 'run').glob('*.pth*')) == ['iter_40.pth']
