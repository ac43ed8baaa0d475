"""Starts in the folder of a run that is under way, or of an earlier one, take nothing from it."""
import multiprocessing
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mmvision_mamba.commands.steps import prepare
from mmvision_mamba.errors import ConfigError
from mmvision_mamba.work_dirs import hold

from ..helpers import ROOT
from ..helpers.tiny_training import runner

FORK = multiprocessing.get_context('fork')


def contents(folder):
    return {str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns) if path.is_file() else None
            for path in folder.rglob('*')}


@pytest.fixture
def earlier(tmp_path):
    """The folder of a run, as far as a start looks at it."""
    folder = tmp_path / 'wd'
    (folder / '20250101_000000').mkdir(parents=True)
    for name, text in (('iter_5.pth', 'x'), ('last_checkpoint', 'iter_5.pth'), ('detector.py', 'mine'),
                       ('segmentor.py', 'mine'), ('20250101_000000/20250101_000000.log', 'said'),
                       ('iter_10.pth.part', 'half')):
        (folder / name).write_text(text)
    return folder


def _hold(folder, pipe):
    with hold(folder):
        pipe.send(os.getpid())
        time.sleep(120)


@pytest.fixture
def running(earlier):
    """Number of a process that trains in `earlier`."""
    reader, writer = FORK.Pipe(duplex=False)
    process = FORK.Process(target=_hold, args=(earlier, writer))
    process.start()
    yield reader.recv()
    process.kill()
    process.join()


@pytest.mark.parametrize('options', [[], ['--resume'], ['--resume', 'x.pth'], ['--auto-batch']], ids=str)
def test_a_second_start_leaves_a_running_training_alone(tool, configs, shapes, earlier, running, options):
    before = contents(earlier)
    result = tool('train', configs.segmentor, '--work-dir', earlier, *options, '--cfg-options', f'data_root={shapes}')
    assert result.code == 2
    first, second = result.err[result.err.index('error: '):].splitlines()
    assert str(earlier) in first and f'process {running} on {os.uname().nodename}, since 20' in first
    assert '--work-dir DIR' in second
    assert contents(earlier) == before


def test_so_does_one_from_python(earlier, running):
    before = contents(earlier)
    run = runner(earlier)
    with pytest.raises(ConfigError, match=f'process {running} on'):
        run.train()
    logs = str(Path(run.log_dir).relative_to(earlier))
    assert {name: value for name, value in contents(earlier).items() if not name.startswith(logs)} == before


@pytest.mark.parametrize(('name', 'arguments', 'options'), [
    ('train', [], ['data_root=/nowhere']),
    ('train', [], ['load_from=/nowhere/x.pth']),
    ('train', ['--resume', '/nowhere/x.pth'], []),
    ('test', ['/nowhere/x.pth'], []),
    ('confusion', ['/nowhere/x.pth'], [])])
def test_a_start_that_fails_takes_away_its_own_files_alone(tool, configs, shapes, earlier, monkeypatch, name, arguments,
                                                           options):
    """Another process may write there meanwhile: a training whose checkpoint is tested as it goes on, say."""
    build = prepare.build_runner

    def meanwhile(cfg):
        (earlier / 'iter_10.pth').write_text('of another process')
        (earlier / '20250101_000001').mkdir()
        return build(cfg)
    monkeypatch.setattr(prepare, 'build_runner', meanwhile)
    before = contents(earlier)
    result = tool(name, configs.segmentor, *arguments, '--work-dir', earlier, '--cfg-options', f'data_root={shapes}',
                  *options)
    assert result.code == 2 and len(result.errors) == 1 and 'Traceback' not in result.err
    after = contents(earlier)
    added = {'iter_10.pth', '20250101_000001'} & after.keys()
    assert {path: value for path, value in after.items() if path not in added and path != '.lock'} == before
    assert name == 'train' or '.lock' not in after
    assert len(added) == (0 if 'data_root=/nowhere' in options else 2)


@pytest.mark.parametrize('name', ['train', 'test', 'confusion'])
@pytest.mark.parametrize('path', ['', 'file', 'link', 'x' * 300])
def test_a_folder_that_can_not_be(tool, configs, shapes, tmp_path, name, path):
    (tmp_path / 'file').touch()
    (tmp_path / 'link').symlink_to('gone')
    before = sorted(tmp_path.iterdir())
    result = tool(name, configs.segmentor, *['x.pth'] * (name != 'train'), '--work-dir', path, '--cfg-options',
                  f'data_root={shapes}')
    assert result.code == 2 and len(result.errors) == 1 and result.errors[0].startswith('error: --work-dir: ')
    assert 'Traceback' not in result.err and sorted(tmp_path.iterdir()) == before


def test_a_run_that_begins_anew_replaces_the_pointer_and_the_config_after_its_first_iteration(tmp_path):
    (tmp_path / 'last_checkpoint').write_text('iter_99.pth')
    run = runner(tmp_path)
    steps = []

    def look(moment):
        steps.append((moment, (tmp_path / 'last_checkpoint').exists(), len([*tmp_path.glob('*.py')])))
    hook = run.checkpoint_hook
    before, after = hook.before_train, hook.after_train_iter
    hook.before_train = lambda runner: (before(runner), look('before'))
    hook.after_train_iter = lambda runner, *args, **options: (look(runner.iter + 1), after(runner, *args, **options))
    run.train()
    assert steps[:2] == [('before', True, 0), (1, False, 1)]
    assert (tmp_path / 'last_checkpoint').read_text().endswith('iter_40.pth') and not (tmp_path / '.lock').exists()


def test_runs_that_share_a_folder_of_checkpoints_are_held_apart(tmp_path, earlier, running):
    run = runner(tmp_path / 'other/wd', checkpoint=dict(out_dir=str(tmp_path)))
    before = contents(earlier)
    with pytest.raises(ConfigError, match=f'process {running} on .*\n.*: out_dir'):
        run.train()
    assert contents(earlier) == before


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_second_start_then_a_kill_then_a_copy_that_goes_on(configs, shapes, tmp_path):
    def command(work_dir, *options):
        return [sys.executable, ROOT / 'tools/train.py', configs.segmentor, '--work-dir', work_dir, *options,
                '--cfg-options', f'data_root={shapes}', 'train_cfg.max_iters=100000', 'train_cfg.val_interval=100000',
                'default_hooks.checkpoint.interval=5']
    settings = dict(cwd=tmp_path, env={**os.environ, 'PYTHONPATH': str(ROOT)}, text=True)
    work_dir, copy = tmp_path / 'wd', tmp_path / 'copy'
    with open(tmp_path / 'log', 'w') as log:
        first = subprocess.Popen(command(work_dir), stdout=log, stderr=log, **settings)
    try:
        while not (work_dir / 'iter_5.pth').exists():
            assert first.poll() is None, (tmp_path / 'log').read_text()[-3000:]
            time.sleep(0.2)
        second = subprocess.run(command(work_dir), capture_output=True, **settings)
        assert second.returncode == 2 and f'process {first.pid} on' in second.stderr
        assert first.poll() is None and (work_dir / 'last_checkpoint').exists()
    finally:
        first.kill()
        first.wait()
    shutil.copytree(work_dir, copy)
    third = subprocess.run([*command(copy, '--resume'), 'train_cfg.max_iters=1'], capture_output=True, **settings)
    assert third.returncode == 0, third.stderr[-3000:]
    assert f'Auto resumed from the latest checkpoint {copy}/iter_' in third.stdout + third.stderr
