"""Checkpoints that would run code, or have files removed, by every way that ends in the tools and in Python."""
import os
import pickle
from functools import partial

import pytest
import timm
import torch

from mmvision_mamba import Inferencer, create_model
from mmvision_mamba.errors import CheckpointError

from ..helpers.calls import Calls
from ..helpers.small_models import SMALL
from ..helpers.tiny_training import runner


def hostile(path, flag, place='state_dict'):
    """A checkpoint with all that a Runner writes, and a call of os.mkdir at `place`."""
    content = dict(state_dict=dict(a=torch.ones(1)), optimizer=dict(state={}, param_groups=[]), param_schedulers=[],
                   message_hub=dict(log_scalars={}, runtime_info={}, resumed_keys={}), meta=dict(epoch=1, iter=2),
                   resume_state=dict(loader={}))
    content[place]['call'] = Calls(os.mkdir, str(flag))
    torch.save(content, path)


def sharded(path, flag, place=None):
    """A folder as torch.distributed.checkpoint writes it: its metadata is a pickle."""
    path.mkdir()
    for name in ('.metadata', '__0_0.distcp'):
        (path / name).write_bytes(pickle.dumps(Calls(os.mkdir, str(flag))))


@pytest.mark.parametrize(('name', 'file'), [
    *[(name, hostile) for name in ('resume', 'export', 'infer', 'batch_infer', 'attention_maps', 'confusion')],
    ('test', sharded), ('resume', sharded)])
def test_tools(name, file, tool, configs, shapes, tmp_path):
    """Others than those of tests/commands/test_wrong_input.py: tools/test.py, load_from, init_cfg."""
    path, flag, image = tmp_path / 'w.pth', tmp_path / 'run', shapes / 'val/000000.png'
    file(path, flag, 'optimizer' if name == 'resume' else 'state_dict')
    command, *options = dict(
        test=['test', path], resume=['train', '--resume', path],
        export=['export', path, '--shape', 64, 64, '--format', 'torchscript', '--out', tmp_path / 'x.pt'],
        infer=['infer', path, image], batch_infer=['batch_infer', path, image, '--out', tmp_path / 'out'],
        attention_maps=['attention_maps', path, image], confusion=['confusion', path])[name]
    result = tool(command, configs.segmentor, *options, '--cfg-options', f'data_root={shapes}')
    assert result.code == 2 and len(result.errors) == 1, result.err[-2000:]
    assert 'holds an object of posix.mkdir' in result.err or 'is no checkpoint: it is a folder' in result.err
    assert str(path) in result.errors[0] and not flag.exists()


def test_python(configs, tmp_path):
    path, flag = tmp_path / 'w.pth', tmp_path / 'run'
    hostile(path, flag)
    ours = partial(create_model, dim=16, depths=(1, 1, 2, 2), num_heads=(1, 1, 2, 4))
    timms = partial(timm.create_model, 'mambavision_tiny', arch=SMALL)
    ways = [lambda: Inferencer(configs.segmentor, path, device='cpu'), lambda: ours(pretrained=path),
            lambda: ours(pretrained=str(path), features_only=True),
            lambda: timms(pretrained=True, pretrained_cfg_overlay=dict(file=str(path))),
            lambda: timms(pretrained=True, pretrained_cfg_overlay=dict(url=path.as_uri()))]
    for way in ways:
        with pytest.raises(CheckpointError, match=r'holds an object of posix\.mkdir'):
            way()
    with pytest.raises((RuntimeError, pickle.UnpicklingError), match=r'posix\.mkdir'):  # timm's own reader
        timms(checkpoint_path=str(path))
    assert not flag.exists()


@pytest.fixture
def begun(tmp_path):
    """A finished run, and a way to change what its last checkpoint says and to resume from that."""
    runner(tmp_path / 'begun', train_cfg=dict(by_epoch=False, max_iters=10), val_cfg=None, val_dataloader=None,
           val_evaluator=None, checkpoint=dict(save_best=None)).train()

    def resume(change, **options):
        content = torch.load(tmp_path / 'begun/iter_10.pth', weights_only=False)
        change(content)
        torch.save(content, tmp_path / 'theirs.pth')
        run = runner(tmp_path / 'mine', resume=True, load_from=str(tmp_path / 'theirs.pth'), **options)
        run.train()
        return run
    return resume


def test_a_config_in_a_checkpoint_is_not_executed(begun, tmp_path):
    """`Runner.resume` of mmengine reads `meta.config` as Python."""
    code = f'import os\nos.mkdir({str(tmp_path / "run")!r})\n'
    assert begun(lambda content: content['meta'].update(config=code)).iter == 40
    assert not (tmp_path / 'run').exists()


def test_what_a_checkpoint_calls_outdated_is_not_removed(begun, tmp_path):
    """It names the files to remove when the next one is safe; mmengine's hook would remove folders, too."""
    (tmp_path / 'home/mine').mkdir(parents=True)
    (tmp_path / 'mine').mkdir()
    files = [tmp_path / 'home/iter_1.pth', tmp_path / 'home/mine/letter.pth', tmp_path / 'mine/notes.txt']
    for file in files:
        file.touch()
    listed = [*map(str, files), str(tmp_path / 'home'), f'{tmp_path}/mine/../home/iter_1.pth']

    def change(content):
        content['message_hub']['runtime_info'].update(
            outdated_ckpts=listed, temporary_ckpts=listed, best_ckpt=listed[0], best_score=-1.,
            keep_ckpt_ids=[3])
        content['message_hub']['resumed_keys'].update(dict.fromkeys(
            ['outdated_ckpts', 'temporary_ckpts', 'best_ckpt', 'best_score', 'keep_ckpt_ids'], True))
    assert begun(change, checkpoint=dict(max_keep_ckpts=1)).iter == 40
    assert all(file.exists() for file in files)


@pytest.mark.parametrize(('change', 'message'), [
    (lambda c: c.pop('meta'), r'holds weights, and not how far.*\n.*load_from='),
    (lambda c: c.pop('message_hub'), 'holds weights'),
    (lambda c: c['resume_state']['random'][0].pop('numpy'), r'lacks resume_state\.random\.0\.numpy'),
    (lambda c: c['resume_state']['random'][0]['numpy'][-2:-1].fill_(10**6), r'its resume_state\.random\.0\.numpy must'),
    (lambda c: c['resume_state']['loader'].pop('batches'), r'lacks resume_state\.loader\.batches'),
    (lambda c: c['message_hub']['runtime_info'].update(keep_ckpt_ids=['/../../home/iter_1']), 'keep_ckpt_ids must be'),
    (lambda c: c.update(resume_state=dict(loader=1)), r'its resume_state\.loader must be a dictionary, got 1')], ids=[
        'weights', 'no history', 'no generator', 'a generator out of bounds', 'no batches', 'paths for numbers',
        'no loader'])
def test_what_can_not_be_resumed_from_is_refused(begun, change, message):
    with pytest.raises(CheckpointError, match=message) as error:
        begun(change)
    assert len(str(error.value).splitlines()) <= 2


def test_no_state_of_the_optimizer_is_said(begun, monkeypatch):
    said = []
    monkeypatch.setattr('logging.Logger.warning', lambda self, text, *args: said.append(text))
    begun(lambda content: content.pop('optimizer'))
    assert any('holds no state of the optimizer' in str(text) for text in said)
