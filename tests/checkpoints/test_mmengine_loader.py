"""mmengine's own ways to a checkpoint: all of them read as `read_checkpoint` does."""
import os

import pytest
import torch
from mmengine.runner import CheckpointLoader

from mmvision_mamba.checkpoints import mmengine_loader
from mmvision_mamba.checkpoints.mmengine_loader import without_code
from mmvision_mamba.errors import CheckpointError

from ..helpers.calls import Calls


def test_model_zoos_and_s3(tmp_path):
    """mmengine's other loaders end in `torch.load`, its fork's with the check switched off."""
    torch.save(dict(meta=Calls(os.mkdir, str(tmp_path / 'run'))), tmp_path / 'w.pth')
    torch.save(dict(a=torch.ones(2)), tmp_path / 'good.pth')
    loader = without_code(lambda filename, map_location: torch.load(filename, map_location, weights_only=False))
    with pytest.raises(CheckpointError, match=r'object of posix\.mkdir'):
        loader(str(tmp_path / 'w.pth'))
    assert loader(str(tmp_path / 'good.pth'))['a'].sum() == 2
    assert not (tmp_path / 'run').exists() and 'TORCH_FORCE_WEIGHTS_ONLY_LOAD' not in os.environ
    safe = {prefix: hasattr(f, '__wrapped__') or f.__module__.startswith('mmvision_mamba')
            for prefix, f in CheckpointLoader._schemes.items()}
    assert all(safe.values()) and len(safe) > 5, safe


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
