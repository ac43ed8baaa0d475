"""mmengine's own ways to a checkpoint: all of them read as `read_checkpoint` does."""
import os
import pickle

import numpy as np
import pytest
import torch
from mmengine.runner import CheckpointLoader
from mmengine.runner.checkpoint import load_from_local

from mmvision_mamba import checkpoints
from mmvision_mamba.checkpoints import mmengine_loader
from mmvision_mamba.checkpoints.mmengine_loader import without_code
from mmvision_mamba.errors import CheckpointError

from ..helpers.calls import Calls
from ..helpers.new_process import call


@pytest.fixture(autouse=True)
def enforced():
    mmengine_loader.enforce()


def test_model_zoos_and_s3(tmp_path):
    """mmengine's other loaders end in `torch.load`, its fork's with the check switched off."""
    torch.save(dict(meta=Calls(os.mkdir, str(tmp_path / 'run'))), tmp_path / 'w.pth')
    torch.save(dict(a=torch.ones(2)), tmp_path / 'good.pth')
    loader = without_code(lambda filename, map_location: torch.load(filename, map_location, weights_only=False))
    with pytest.raises(CheckpointError, match=r'object of posix\.mkdir'):
        loader(str(tmp_path / 'w.pth'))
    assert loader(str(tmp_path / 'good.pth'))['a'].sum() == 2
    assert not (tmp_path / 'run').exists() and 'TORCH_FORCE_WEIGHTS_ONLY_LOAD' not in os.environ
    safe = {prefix: hasattr(f, 'reads_safely') for prefix, f in CheckpointLoader._schemes.items()}
    assert all(safe.values()) and len(safe) > 5, safe


def test_what_the_fork_of_mmengine_allows_is_not_allowed(tmp_path):
    """It has a list of its own of what is safe, which its loaders give to torch."""
    torch.save(dict(meta=slice(1)), tmp_path / 'w.pth')
    with pytest.raises(CheckpointError, match=r'object of (builtins\.)?slice'):
        without_code(load_from_local)(str(tmp_path / 'w.pth'), map_location='cpu')


def test_loaders_that_others_registered(tmp_path, monkeypatch):
    monkeypatch.setattr(CheckpointLoader, '_schemes', {**CheckpointLoader._schemes})
    CheckpointLoader.register_scheme('foo://', lambda filename, map_location: torch.load(
        filename.removeprefix('foo://'), map_location, weights_only=False))
    mmengine_loader.register()
    torch.save(dict(meta=Calls(os.mkdir, str(tmp_path / 'run'))), tmp_path / 'w.pth')
    with pytest.raises(CheckpointError, match=r'object of posix\.mkdir'):
        CheckpointLoader.load_checkpoint(f'foo://{tmp_path}/w.pth')
    assert not (tmp_path / 'run').exists()
    before = dict(CheckpointLoader._schemes)
    mmengine_loader.register()
    assert before == CheckpointLoader._schemes


@pytest.mark.parametrize('keep', [dict(config='raise SystemExit'), dict(config='raise SystemExit', cfg='text')])
def test_a_config_that_mmengine_would_run_is_taken_out(keep, tmp_path):
    torch.save(dict(state_dict={}, meta=keep), tmp_path / 'w.pth')
    found = CheckpointLoader.load_checkpoint(str(tmp_path / 'w.pth'))['meta']
    assert found == {key: value for key, value in keep.items() if key != 'config'}


# Where it is not enforced ------------------------------------------------------------------------------------------

def outcome(load, folder):
    """What `load` makes of a file that would make the folder `folder`: read or refused, and why; folder made or not."""
    try:
        found = sorted(load(f'{folder}.pth'))
    except pickle.UnpicklingError as error:
        found = str(error).splitlines()[:3]
    made = folder.exists()
    if made:
        folder.rmdir()
    return found, made


def test_mmengine_reads_as_ever_where_it_is_not_enforced(tmp_path, monkeypatch):
    """What the installed mmengine's own loader refuses is refused; what it reads, running code from it, is read so."""
    monkeypatch.setattr(checkpoints, '_enforced', False)
    folder = tmp_path / 'run'
    torch.save(dict(meta=Calls(os.mkdir, str(folder)), state_dict={}), f'{folder}.pth')
    assert outcome(CheckpointLoader.load_checkpoint, folder) == outcome(
        lambda path: load_from_local(path, None), folder)
    torch.save(dict(meta=slice(1, np.float64(2))), tmp_path / 'n.pth')  # mmengine's fork allows both
    assert outcome(CheckpointLoader.load_checkpoint, tmp_path / 'n') == outcome(
        lambda path: load_from_local(path, None), tmp_path / 'n')
    torch.save(dict(meta=dict(config='kept')), tmp_path / 'c.pth')
    assert CheckpointLoader.load_checkpoint(str(tmp_path / 'c.pth'))['meta'] == dict(config='kept')
    with pytest.raises(FileNotFoundError):  # not this package's error
        CheckpointLoader.load_checkpoint(str(tmp_path / 'missing.pth'))


def resume_in_a_stock_runner(folder: str) -> tuple[int, bool, float]:
    """mmengine's own Runner saves and resumes in a process that has the backbone alone from here."""
    import argparse

    from mmengine.model import BaseModel, BaseModule
    from mmengine.runner import Runner, load_checkpoint
    from torch.utils.data import DataLoader

    import mmvision_mamba  # noqa: F401

    class Model(BaseModel):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(2, 1)

        def forward(self, x, mode):
            return dict(loss=self.layer(x).mean())

    def run(epochs, resume):
        runner = Runner(
            Model(), folder, DataLoader([dict(x=torch.ones(2))] * 4, batch_size=2), resume=resume,
            experiment_name=f'e{epochs}',
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)), train_cfg=dict(by_epoch=True, max_epochs=epochs))
        runner.train()
        return runner.iter

    run(1, False)
    done = run(2, True)
    torch.save(dict(state_dict={'w': torch.ones(1)}, args=argparse.Namespace(lr=1)), f'{folder}/published.pth')
    module = BaseModule()
    module.w = torch.nn.Parameter(torch.zeros(1))
    load_checkpoint(module, f'{folder}/published.pth')
    from mmvision_mamba.checkpoints import safe_reading_enforced
    return done, safe_reading_enforced(), module.w.item()


def test_a_stock_runner_resumes_from_its_own_checkpoint(tmp_path):
    assert call(resume_in_a_stock_runner, str(tmp_path)) == (4, False, 1)


def what_enforces(folder: str) -> list[bool]:
    import mmvision_mamba
    from mmvision_mamba.checkpoints import safe_reading_enforced
    states = [safe_reading_enforced()]
    import mmdet.apis  # noqa: F401
    mmvision_mamba.register()
    states.append(safe_reading_enforced())
    from mmvision_mamba.engine import MambaVisionRunner
    MambaVisionRunner(torch.nn.Linear(1, 1), folder)
    return [*states, safe_reading_enforced()]


def test_the_runner_enforces_it_and_imports_do_not(tmp_path):
    pytest.importorskip('mmdet')
    assert call(what_enforces, str(tmp_path)) == [False, False, True]


def a_second_copy_is_asked() -> bool:
    import sys

    from mmengine.runner import CheckpointLoader

    from mmvision_mamba import engine
    for name in [name for name in sys.modules if name.startswith('mmvision_mamba')]:
        del sys.modules[name]
    from mmvision_mamba.checkpoints import mmengine_loader, safe_reading_enforced
    mmengine_loader.enforce()
    assert mmengine_loader is not engine.mmengine_loader
    return CheckpointLoader._schemes[''].reads_safely is safe_reading_enforced and safe_reading_enforced()


def test_loaders_ask_the_package_that_was_imported_last():
    assert call(a_second_copy_is_asked)


@pytest.mark.parametrize('url', ['https://user:secret@127.0.0.1:9/w.pth', 'http://secret@h/w.pth'])
def test_a_password_in_a_url_is_shown_nowhere(url, capfd):
    with pytest.raises(CheckpointError, match='a URL with a user name or password') as error:
        CheckpointLoader.load_checkpoint(url)
    assert 'secret' not in str(error.value) + ''.join(capfd.readouterr())


@pytest.mark.parametrize('name', ['nowhere\nFORGED.pth', 'http://127.0.0.1:9/a\nFORGED.pth'])
def test_no_line_of_a_name_is_taken_for_output(name, capfd):
    with pytest.raises(CheckpointError) as error:
        CheckpointLoader.load_checkpoint(name)
    assert not any(line.startswith('FORGED') for line in ''.join(capfd.readouterr()).splitlines())
    assert name.startswith('nowhere') or len(str(error.value).splitlines()) == 2
