"""Published checkpoints: the weights alone, under a name that tells their hash."""
import hashlib
import re

import pytest
import torch

from mmvision_mamba.checkpoints.publishing import publish
from mmvision_mamba.checkpoints.reading import read_checkpoint
from mmvision_mamba.errors import CheckpointError


@pytest.fixture
def run(tmp_path):
    """A run's checkpoint: weights, which are a view of something larger, and all that resuming needs."""
    path = tmp_path / 'epoch_12.pth'
    torch.save(dict(
        state_dict={'backbone.w': torch.rand(1000, 7)[:3], 'head.b': torch.rand(5)},
        ema_state_dict={'backbone.w': torch.rand(3, 7)}, optimizer=dict(state={0: torch.rand(3, 7)}),
        message_hub=dict(), resume_state=dict(x=1),
        meta=dict(epoch=12, iter=340, cfg="work_dir = '/home/me/secret'", dataset_meta=dict(classes=('a', 'b')))), path)
    return path


def test_the_weights_are_kept_and_all_else_is_dropped(run):
    before, after = read_checkpoint(run), read_checkpoint(publish(run))
    assert set(after) == {'state_dict', 'meta'}
    assert after['meta'] == dict(epoch=12, iter=340, dataset_meta=dict(classes=('a', 'b')))
    assert list(after['state_dict']) == ['backbone.w', 'head.b']  # whole models, not their backbone alone
    assert all(torch.equal(after['state_dict'][key], before['state_dict'][key]) for key in after['state_dict'])


def test_the_name_tells_the_hash_and_the_same_weights_give_the_same_file(run, tmp_path):
    published, again = publish(run), publish(run, tmp_path / 'other folder/model.pth')
    digest = re.fullmatch(r'epoch_12-([0-9a-f]{8})\.pth', published.name)[1]
    assert hashlib.sha256(published.read_bytes()).hexdigest().startswith(digest)
    assert published.parent == run.parent and again == tmp_path / f'other folder/model-{digest}.pth'
    assert published.read_bytes() == again.read_bytes() and published.stat().st_size < 5000  # nothing of the larger one
    assert {path.name for path in again.parent.iterdir()} == {again.name}


def test_bare_weights_are_published_too(tmp_path):
    torch.save({'module.w': torch.ones(3)}, tmp_path / 'bare.pth')
    assert list(read_checkpoint(publish(tmp_path / 'bare.pth'))['state_dict']) == ['w']


def test_a_file_that_could_run_code_or_has_no_weights_is_refused(tmp_path):
    torch.save(dict(state_dict={'w': torch.ones(1)}, x=print), tmp_path / 'code.pth')
    torch.save(dict(epoch=3), tmp_path / 'empty.pth')
    for name, words in dict(code='an object of .*print', empty='no weights', nowhere='not found').items():
        with pytest.raises(CheckpointError, match=words):
            publish(tmp_path / f'{name}.pth')
    assert len([*tmp_path.iterdir()]) == 2


def test_a_folder_that_can_not_be_written_to_is_named(run, tmp_path):
    (tmp_path / 'file').touch()
    with pytest.raises(CheckpointError, match=r'file: can not be written to'):
        publish(run, tmp_path / 'file' / 'model.pth')


def test_the_command_prints_the_new_file(run, tool):
    done = tool('publish', run, 'mine.pth')
    assert done.code == 0 and re.fullmatch(r'mine-[0-9a-f]{8}\.pth\n', done.out)
    assert tool('publish', 'nowhere.pth').errors == ['error: checkpoint not found: nowhere.pth']
