"""A run that is interrupted and resumed ends bit for bit like one that wasn't, from whatever checkpoint is intact."""
import os
import random
import shutil
import zipfile

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DATA_SAMPLERS, OPTIMIZERS
from mmengine.runner import Runner, load_checkpoint
from torch.utils.data import BatchSampler

from mmvision_mamba.checkpoints import newest
from mmvision_mamba.checkpoints import resuming as resume
from mmvision_mamba.checkpoints.writing import why_broken
from mmvision_mamba.errors import CheckpointError, ConfigError

from ..helpers.tiny_training import Interrupt, InterruptAt, TinyModel, config, equal, loader, runner, weights

EMA = dict(type='EMAHook')


def interrupted(work_dir, at, **options):
    run = runner(work_dir, **options)
    run.register_hook(InterruptAt(at))
    with pytest.raises(Interrupt):
        run.train()


@pytest.mark.parametrize(('at', 'options'), [
    (13, {}),
    (3, {}),  # before the first checkpoint
    (23, dict(hooks=[EMA])),
    (23, dict(by_epoch=True)),
    (23, dict(by_epoch=True, hooks=[EMA], checkpoint=dict(by_epoch=False, interval=4))),  # in the middle of an epoch
    (17, dict(optim_wrapper=dict(type='OptimWrapper', accumulative_counts=3, optimizer=dict(type='SGD', lr=0.1)))),
    (17, dict(optim_wrapper=dict(type='CPUAmpOptimWrapper', optimizer=dict(type='AdamW', lr=0.01)))),
    (17, dict(train_cfg=dict(by_epoch=False, max_iters=20, val_interval=10))),
    (13, dict(train_dataloader=dict(batch_size=4, num_workers=0, dataset=dict(type='NoisyPoints'),  # in the second pass
                                    sampler=dict(type='DefaultSampler', shuffle=True)))),
], ids=['iterations', 'start', 'ema', 'epochs', 'mid-epoch', 'accumulation', 'amp', 'by_epoch', 'passes'])
def test_resumed_run_ends_with_the_same_weights(tmp_path, at, options):
    whole = runner(tmp_path / 'whole', **options)
    whole.train()
    interrupted(tmp_path / 'parts', at, **options)
    resumed = runner(tmp_path / 'parts', resume=True, **options)
    resumed.train()
    assert equal(weights(whole.model), weights(resumed.model))
    for a, b in zip(whole.optim_wrapper.state_dict()['state'].values(),
                    resumed.optim_wrapper.state_dict()['state'].values()):
        assert equal({k: v for k, v in a.items() if v is not None}, {k: v for k, v in b.items() if v is not None})
    assert whole.optim_wrapper.get_lr() == resumed.optim_wrapper.get_lr()
    assert whole.model.seen[-len(resumed.model.seen):] == resumed.model.seen, 'batches'
    assert len(resumed.model.seen) < len(whole.model.seen) or at == 3, 'nothing was trained twice that was saved'
    best = [sorted(path.name for path in (tmp_path / part).glob('*.pth')) for part in ('whole', 'parts')]
    assert best[0] == best[1]


def test_a_seed_of_its_own_is_resumed_too(tmp_path):
    """Without a seed in the config, that of the first start goes on, in the sampler as well."""
    interrupted(tmp_path, 13, randomness=dict(seed=None))
    first = torch.load(tmp_path / 'iter_10.pth', weights_only=False)['resume_state']['loader']
    resumed = runner(tmp_path, resume=True, randomness=dict(seed=None))
    resumed.train()
    last = torch.load(tmp_path / 'iter_40.pth', weights_only=False)['resume_state']['loader']
    assert (first['seed'], first['sampler_seed']) == (last['seed'], last['sampler_seed']) and last['batches'] == 40


@pytest.mark.parametrize(('change', 'message'), [
    (lambda averages: averages.pop('module.net.5.weight'), r"1 of its averaged weights .* module\.net\.5\.weight"),
    (lambda averages: averages.update({'module.net.5.weight': torch.zeros(3)}), 'of another shape'),
    (lambda averages: averages.update(other=torch.zeros(3)), 'such as other'),
    (lambda averages: averages.clear(), 'averaged weights'), (None, None)])
def test_averages_of_other_weights_are_not_resumed(change, message, tmp_path):
    runner(tmp_path, hooks=[EMA]).train()
    path = max(tmp_path.glob('iter_*.pth'), key=os.path.getmtime)
    checkpoint = torch.load(path, weights_only=False)
    if change is None:
        del checkpoint['ema_state_dict']
    else:
        change(checkpoint['ema_state_dict'])
    torch.save(checkpoint, path)
    run = runner(tmp_path, hooks=[EMA], resume=True, load_from=str(path))
    if message:
        with pytest.raises(CheckpointError, match=message):
            run.train()
    else:
        run.train()
        assert any('There is no `ema_state_dict`' in log.read_text() for log in tmp_path.rglob('*.log'))


@pytest.mark.parametrize('left', [0, 1])
def test_parameters_without_a_state_of_the_optimizer_are_said(left, tmp_path):
    options = dict(optim_wrapper=dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=0.01)))
    runner(tmp_path, **options).train()
    path = max(tmp_path.glob('iter_*.pth'), key=os.path.getmtime)
    checkpoint = torch.load(path, weights_only=False)
    state = checkpoint['optimizer']['state']
    count = len(state)
    assert count > 1
    checkpoint['optimizer']['state'] = dict(list(state.items())[:left])
    torch.save(checkpoint, path)
    runner(tmp_path, resume=True, load_from=str(path), **options).train()
    said = f'no state of the optimizer for {count - left} parameters, for which it begins anew'
    assert any(said in log.read_text() for log in tmp_path.rglob('*.log'))


@OPTIMIZERS.register_module(force=True)
class ByShape(torch.optim.SGD):
    """Its states of matrices and of vectors differ, as Adafactor's do."""

    def step(self, closure=None):
        super().step(closure)
        for group in self.param_groups:
            for parameter in group['params']:
                self.state[parameter].update({f'side {i}': torch.zeros(n) for i, n in enumerate(parameter.shape)})


@pytest.mark.parametrize(('optimizer', 'change', 'message'), [
    ('AdamW', lambda state: state.update(exp_avg=state['exp_avg'].half()),
     r'state\.\d+\.exp_avg must be float32 of shape \(.*\), got float16'),
    ('AdamW', lambda state: state.update(exp_avg_sq=state['exp_avg_sq'].bfloat16()), 'got bfloat16'),
    ('SGD', lambda state: state.update(exp_avg=torch.zeros(3)), "has exp_avg, which SGD does not keep"),
    ('AdamW', lambda state: state.update(exp_avg=state['exp_avg'].double()), None),
    ('ByShape', lambda state: None, None)])
def test_states_that_no_run_writes_are_refused(optimizer, change, message, tmp_path):
    options = dict(optim_wrapper=dict(type='OptimWrapper', optimizer=dict(type=optimizer, lr=0.01)))
    short = dict(type='IterBasedTrainLoop', max_iters=5)
    runner(tmp_path, train_cfg=short, **options).train()
    path = tmp_path / 'iter_5.pth'
    checkpoint = torch.load(path, weights_only=False)
    state = checkpoint['optimizer']['state']
    change(state.setdefault(list(state)[-1] if state else 0, {}))
    torch.save(checkpoint, path)
    run = runner(tmp_path, resume=True, load_from=str(path), train_cfg=dict(short, max_iters=6), **options)
    if message:
        with pytest.raises(CheckpointError, match=message):
            run.train()
    else:
        run.train()
        assert run.iter == 6


def damage(path, how):
    data = bytearray(path.read_bytes())
    if how == 'truncated':
        del data[len(data) // 2:]
    elif how == 'empty':
        data.clear()
    else:
        with zipfile.ZipFile(path) as archive:  # elsewhere may be padding between its records
            record = archive.read(max(archive.infolist(), key=lambda record: record.file_size))
        data[data.index(record) + len(record) // 2] ^= 1
    path.write_bytes(data)


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
    work_dir = tmp_path_factory.mktemp('finished')
    runner(work_dir, checkpoint=dict(max_keep_ckpts=-1)).train()
    return work_dir


@pytest.fixture
def work_dir(finished, tmp_path):
    for path in finished.glob('*.pth'):
        shutil.copy2(path, tmp_path)
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'iter_40.pth'))
    return tmp_path


@pytest.mark.parametrize('how', ['truncated', 'empty', 'bit-rotten'])
def test_damaged_checkpoints_are_skipped_and_named(work_dir, how):
    said = []
    path = work_dir / 'iter_40.pth'
    assert newest.newest_intact(str(work_dir), str(work_dir), 'iter_{}.pth', said.append) == str(path) and not said
    damage(path, how)
    assert how in why_broken(path)
    assert newest.newest_intact(str(work_dir), str(work_dir), 'iter_{}.pth', said.append).endswith('iter_35.pth')
    assert len(said) == 1 and 'iter_40.pth' in said[0] and how in said[0]
    for other in work_dir.glob('iter_*.pth'):
        if other != path:
            damage(other, how)
    with pytest.raises(CheckpointError, match='no checkpoint is intact'):
        newest.newest_intact(str(work_dir), str(work_dir), 'iter_{}.pth', said.append)


def test_every_flipped_bit_of_a_tensor_is_found(work_dir):
    path = work_dir / 'iter_40.pth'
    whole = path.read_bytes()
    start = whole.index(torch.load(path, weights_only=False)['state_dict']['net.0.weight'].numpy().tobytes())
    for offset in range(start, start + 864, 31):
        path.write_bytes(whole[:offset] + bytes([whole[offset] ^ 4]) + whole[offset + 1:])
        assert 'bit-rotten' in why_broken(path)


def test_resume_from_nothing_and_from_a_damaged_file(work_dir, tmp_path_factory):
    empty = runner(tmp_path_factory.mktemp('empty'), resume=True)
    empty.train()
    assert empty.iter == 40
    damage(work_dir / 'iter_35.pth', 'bit-rotten')
    damage(work_dir / 'iter_40.pth', 'truncated')
    for step, why in ((35, 'bit-rotten'), (40, 'is truncated')):
        with pytest.raises(CheckpointError, match=rf'iter_{step}.pth.* {why}'):
            runner(work_dir, resume=True, load_from=str(work_dir / f'iter_{step}.pth')).train()


def test_mmengine_reads_the_checkpoints(finished, tmp_path):
    model = TinyModel()
    load_checkpoint(model, str(finished / 'iter_40.pth'), strict=True)
    stock = Runner.from_cfg(Config(config(tmp_path, resume=True, load_from=str(
        finished / 'iter_35.pth'), experiment_name='stock')))
    stock.train()
    assert stock.iter == 40
    # and those of mmengine's own Runner are resumed from
    ours = runner(tmp_path, resume=True, train_cfg=dict(type='IterBasedTrainLoop', max_iters=45))
    ours.train()
    assert ours.iter == 45 and len(ours.model.seen) == 5


@pytest.mark.parametrize('gauss', [False, True])
def test_random_states(gauss):
    if gauss:
        random.gauss(0, 1), np.random.normal()
    state = resume.random_state()
    draw = random.gauss(0, 1), random.random(), np.random.normal(), np.random.rand(), torch.rand(3).tolist()
    resume.set_random_state(state)
    assert draw == (random.gauss(0, 1), random.random(), np.random.normal(), np.random.rand(), torch.rand(3).tolist())


def test_another_number_of_processes_goes_on_at_the_same_image(finished):
    state = torch.load(finished / 'iter_20.pth', weights_only=False)['resume_state']['loader']
    half = loader()
    half.load_state_dict(dict(state, images=2 * state['images']))  # two processes before, one now
    assert half.start == 2 * state['position']


@DATA_SAMPLERS.register_module(force=True)
class PlainBatches(BatchSampler):
    pass


@DATA_SAMPLERS.register_module(force=True)
class SecretBatches:
    """It doesn't tell the size of its batches."""

    def __init__(self, sampler, batch_size, drop_last=False):
        self._inside, self.sampler = BatchSampler(sampler, batch_size, drop_last), sampler

    def __iter__(self):
        return iter(self._inside)

    def __len__(self):
        return len(self._inside)


@pytest.mark.parametrize('batches', [None, 'PlainBatches', 'SecretBatches'])
@pytest.mark.parametrize('size', [4, 2])
def test_another_batch_size_is_said(finished, tmp_path, monkeypatch, size, batches):
    own = {} if batches is None else dict(
        sampler=dict(type='DefaultSampler', shuffle=True), batch_sampler=dict(type=batches, drop_last=False))
    loading = dict(config(tmp_path)['train_dataloader'], **own)
    start = finished / 'iter_20.pth'
    if own:
        short = dict(type='IterBasedTrainLoop', max_iters=3)
        runner(tmp_path / 'first', train_dataloader=loading, train_cfg=short).train()
        start = tmp_path / 'first/iter_3.pth'
    run = runner(tmp_path / 'second', resume=True, load_from=str(start),
                 train_dataloader=dict(loading, batch_size=size),
                 train_cfg=dict(type='IterBasedTrainLoop', max_iters=5 if own else 40))
    said = []
    monkeypatch.setattr(run.logger, 'warning', said.append)
    run.train()
    about = [text for text in said if 'images an iteration' in text]
    assert len(about) == (size != 4)
    assert size == 4 or '1 processes and 4 images an iteration, this run of 1 and 2: it goes on at the' in about[0]
    assert not own or run.train_dataloader.position == (5 if size == 4 else 3 * 2 + 2)


def test_another_number_of_images_is_said(finished, tmp_path, monkeypatch):
    loading = dict(config(tmp_path)['train_dataloader'], dataset=dict(type='NoisyPoints', length=23))
    run = runner(tmp_path, resume=True, load_from=str(finished / 'iter_35.pth'), train_dataloader=loading)
    said = []
    monkeypatch.setattr(run.logger, 'warning', said.append)
    run.train()
    assert ['was trained on 22 images, this run has 23' in text for text in said].count(True) == 1


def test_a_copied_folder_goes_on_by_itself(finished, tmp_path):
    """With its own last, best and outdated checkpoints; the original stays as it is."""
    copy = tmp_path / 'copy'
    shutil.copytree(finished, copy)
    before = {path: path.stat().st_mtime_ns for path in finished.rglob('*')}
    (copy / 'iter_40.pth').unlink()
    run = runner(copy, resume=True, train_cfg=dict(type='IterBasedTrainLoop', max_iters=38))
    run.train()
    assert len(run.model.seen) == 3 and (copy / 'last_checkpoint').read_text() == str(copy / 'iter_38.pth')
    assert {path: path.stat().st_mtime_ns for path in finished.rglob('*')} == before
    info = run.message_hub.runtime_info
    assert str(info['best_ckpt']).startswith(str(copy))


@pytest.mark.parametrize('template', ['iter_{:06d}.pth', 'n{:03}_x.ckpt'])
def test_other_names_of_checkpoints(tmp_path, template):
    named = dict(checkpoint=dict(filename_tmpl=template), log_level='ERROR')
    interrupted(tmp_path, 13, **named)
    (tmp_path / f'{template.format(15)}.part').touch()
    run = runner(tmp_path, resume=True, **named)
    run.train()
    assert run.iter == 40 and len(run.model.seen) == 30
    assert {template.format(35), template.format(40)} < {path.name for path in tmp_path.iterdir()}
    assert not list(tmp_path.glob('*.part')) and not (tmp_path / template.format(30)).exists()


@pytest.mark.parametrize(
    'template', ['iter.pth', 'sub/iter_{}.pth', '{}{}', '{', '{:x}', 'iter_{}.part', '{:0300d}', 5], ids=str)
def test_names_that_can_not_be(tmp_path, template):
    with pytest.raises(ConfigError, match='names no checkpoints'):
        runner(tmp_path, checkpoint=dict(filename_tmpl=template))
