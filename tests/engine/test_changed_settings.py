"""A resumed run says what its config has otherwise than its checkpoint, and nothing where they agree."""
import pytest
import torch

from mmvision_mamba.engine.changed_settings import changes, lines
from mmvision_mamba.errors import CheckpointError

from ..helpers.tiny_training import config, runner

COSINE = dict(type='CosineAnnealingLR', by_epoch=False, begin=10, end=40)


@pytest.fixture(scope='module', params=['iterations', 'epochs'])
def finished(tmp_path_factory, request):
    """A checkpoint in the middle of a run, and the options of that run."""
    work_dir, options = tmp_path_factory.mktemp('finished'), dict(by_epoch=request.param == 'epochs')
    runner(work_dir, checkpoint=dict(max_keep_ckpts=-1), **options).train()
    return work_dir / ('epoch_4.pth' if options['by_epoch'] else 'iter_20.pth'), options


@pytest.fixture
def resumed(finished, tmp_path, monkeypatch):
    """resumed(**options): what a run with those options says that resumes from the checkpoint, and the run."""
    path, usual = finished

    def run(path=path, **options):
        resuming = runner(tmp_path / 'wd', **{**usual, 'resume': True, 'load_from': str(path), **options})
        said = []
        monkeypatch.setattr(resuming.logger, 'warning', said.append)
        resuming.train()
        return '\n'.join(said), resuming
    return run


def optimizer(**options):
    return dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=0.01) | options)


def without_text(path, tmp_path):
    checkpoint = torch.load(path, weights_only=False)
    del checkpoint['meta']['cfg']
    torch.save(checkpoint, tmp_path / 'bare.pth')
    return tmp_path / 'bare.pth'


def test_nothing_changed(resumed, finished, tmp_path):
    assert resumed()[0] == ''
    assert resumed(path=without_text(finished[0], tmp_path))[0] == ''


@pytest.mark.parametrize(('options', 'message'), [
    (dict(optim_wrapper=optimizer(lr=0.5)),
     "optim_wrapper.optimizer.lr: 0.01 in the checkpoint, 0.5 in the config; the checkpoint's is in force"),
    (dict(optim_wrapper=optimizer(weight_decay=0.3, betas=(0.8, 0.9))),
     'optim_wrapper.optimizer.betas: (0.9, 0.999) in the checkpoint, (0.8, 0.9) in the config'),
    (dict(param_scheduler=[dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=10),
                           COSINE | dict(end=30, eta_min=1e-3)]),
     'param_scheduler.1.eta_min: 0 in the checkpoint, 0.001 in the config'),
    (dict(param_scheduler=[]), 'param_scheduler: 2 parts in the checkpoint, 0 parts in the config')])
def test_what_the_checkpoint_keeps_in_force(options, message, resumed, finished, tmp_path):
    """And how the config's is had; also where the checkpoint doesn't hold the text of its config."""
    for path in (finished[0], without_text(finished[0], tmp_path)):
        said, run = resumed(path=path, **options)
        assert message in said and f'load_from={path} without resume' in said
    if 'lr: ' in message:
        assert run.optim_wrapper.param_groups[0]['initial_lr'] == 0.01


def test_groups_of_parameters_with_a_rate_of_their_own(tmp_path, monkeypatch):
    def run(lr, **options):
        wrapper = optimizer(lr=lr) | dict(paramwise_cfg=dict(custom_keys={'net.0': dict(lr_mult=0.1)}))
        return runner(tmp_path, optim_wrapper=wrapper, **options)

    run(0.01).train()
    for lr, expected in ((0.01, ''), (0.02, 'optimizer.lr: 0.001 in the checkpoint, 0.002 in the config')):
        again, said = run(lr, resume=True), []
        monkeypatch.setattr(again.logger, 'warning', said.append)
        again.train()
        assert 'this training is finished' in said.pop()
        assert expected in '\n'.join(said) if expected else not said


def test_what_the_config_sets(resumed, finished):
    usual = finished[1]
    key, length = ('max_epochs', 9) if usual['by_epoch'] else ('max_iters', 44)
    train_cfg = config('', **usual)['train_cfg'] | {key: length}
    said, _ = resumed(train_cfg=train_cfg, optim_wrapper=optimizer() | dict(clip_grad=dict(max_norm=3)))
    before = 7 if usual['by_epoch'] else 40
    assert f"train_cfg.{key}: {before} in the checkpoint, {length} in the config; the config's is in force" in said
    assert "optim_wrapper.clip_grad: nothing in the checkpoint, {'max_norm': 3} in the config; the config's" in said
    assert 'without resume' not in said, 'advice for what is in force anyway'


def test_configs_may_hold_any_keys():
    saved = 'train_cfg = dict(max_iters=4)\ncolours = {(0, 0, 0): 1, f(x): [2]}\n'
    assert changes({'meta': {'cfg': saved}}, 'a.pth', saved, None, None) == []
    found, = changes({'meta': {'cfg': saved}}, 'a.pth', saved.replace('4', '5'), None, None)
    assert (found.key, found.saved, found.now) == ('train_cfg.max_iters', 4, 5)


def test_settings_of_the_model_that_leave_its_weights_alone(resumed, finished):
    said, _ = resumed(model=dict(type='TinyModel', nan_at=99))
    assert "model.nan_at: nothing in the checkpoint, 99 in the config; the config's is in force" in said
    assert 'without resume' not in said


def test_each_setting_of_a_model_is_compared():
    saved = '''model = dict(
        type='mmseg.EncoderDecoder', init_cfg=dict(checkpoint='a.pth'),
        data_preprocessor=dict(mean=[1.0, 2.0], size=f(x)),
        decode_head=[dict(type='FCNHead', channels=8), dict(type=FCNHead)], test_cfg=dict(mode='whole'))'''
    now = saved
    for old, new in (("'mmseg.E", "'E"), ("'a.pth'", "'b.pth'"), ('[1.0', '[1.5'), ('f(x)', '3'), ("'FCN", "'UPer"),
                     ("'whole'", "'slide', stride=2")):
        now = now.replace(old, new)
    found = changes({'meta': {'cfg': saved}}, 'a.pth', now, None, None)
    assert [(change.key, change.saved, change.now, change.restored) for change in found] == [
        ('model.data_preprocessor.mean', [1., 2.], [1.5, 2.], False),
        ('model.decode_head.0.type', 'FCNHead', 'UPerHead', False),
        ('model.test_cfg.mode', 'whole', 'slide', False), ('model.test_cfg.stride', None, 2, False)]
    assert len(lines(found * 10)) == 21 and lines(found * 10)[-1] == '  … (40 in all)'
    assert changes({'meta': {'cfg': 'a = 1'}}, 'a.pth', now, None, None) == []


def test_another_kind_of_schedule(resumed):
    said, _ = resumed(param_scheduler=[dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=10),
                                       dict(type='PolyLR', by_epoch=False, begin=10, end=40)])
    assert 'param_scheduler.1.type, which are mixed: CosineAnnealingLR in the checkpoint, PolyLR in the config' in said


def test_more_images_and_a_shorter_training(resumed, finished):
    loader = config('', **finished[1])['train_dataloader']
    said, _ = resumed(train_dataloader=loader | dict(dataset=dict(type='NoisyPoints', length=26)))
    assert 'The checkpoint was trained on 22 images, this run has 26' in said
    key, length = ('max_epochs', 2) if finished[1]['by_epoch'] else ('max_iters', 10)
    said, _ = resumed(train_cfg=config('', **finished[1])['train_cfg'] | {key: length})
    assert 'nothing is left to train' in said


@pytest.mark.parametrize('named', [True, False])
def test_another_optimizer_is_refused(named, resumed, finished, tmp_path):
    path = finished[0] if named else without_text(finished[0], tmp_path)
    with pytest.raises(CheckpointError, match=r'holds the state of another optimizer.*SGD.*\n.*load_from='):
        resumed(path=path, optim_wrapper=optimizer(type='SGD'))
    bare = r'its parameters in 1 groups, the config in \d+.*\n.*load_from='
    with pytest.raises(CheckpointError, match=bare):
        resumed(path=path, optim_wrapper=optimizer() | dict(paramwise_cfg=dict(bias_lr_mult=2.)))
