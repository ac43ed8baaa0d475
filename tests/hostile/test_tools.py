"""Hostile inputs of every kind through whole commands; what one of them may break is in tools.py and forks.py."""
import gc
import os
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

import pytest

from ..helpers import ROOT

if os.name != 'posix':
    pytest.skip('inputs are tried in forked processes', allow_module_level=True)

from . import forks
from .hostile_options import options
from .tools import KINDS, fuzz

EXAMPLES = int(os.environ.get('FUZZ_EXAMPLES', 0))  # 0: as many as the test is made for
SEED = int(os.environ.get('FUZZ_SEED', 0))


def tried(kinds: list[str], examples: int, folder: Path) -> None:
    """Try inputs in a process that has imported nothing else; `-s` prints their numbers and exit codes."""
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-m', 'tests.hostile.tools', *kinds, '--examples', str(EXAMPLES or examples),
         '--seed', str(SEED), '--folder', folder], cwd=ROOT, env={**os.environ, 'PYTHONPATH': str(ROOT)},
        capture_output=True, text=True)
    print(done.stdout)
    assert done.returncode == 0, f'{done.stdout}\n{done.stderr[-2000:]}'


@pytest.mark.timeout(900)
def test_a_hundred_inputs_of_each_kind(tmp_path):
    tried([*KINDS], 100, tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize('kind', KINDS)
def test_a_thousand_inputs(kind, tmp_path):
    tried([kind], 1000, tmp_path)


def leaves_a_child():
    if not os.fork():
        time.sleep(60)
        os._exit(0)


def fails_in_lines(text: str):
    print(text, file=sys.stderr)
    return 2


PLANTED = {
    'a traceback': lambda: 1 / 0, 'exit code 1': lambda: 1, 'exit code -9': lambda: os.kill(os.getpid(), 9),
    'a forged line': lambda: print(f'a\n{forks.FORGED}'), "'\\x1b' in the output": lambda: print('\x1b[31mred'),
    'no UTF-8': lambda: os.write(1, b'\xff') and 0, 'processes left behind': leaves_a_child,
    'written': lambda: Path('../outside').write_text('a') and 0, 'removed': lambda: Path('../input').unlink(),
    'changed': lambda: Path('../input').write_text('other') and 0, '/tmp': lambda: tempfile.mkdtemp() and 0,
    'half-written': lambda: Path('.report.123.json').write_text('{') and 0,
    'MB of memory': lambda: len(b'x' * 2**29) and 0, 'exit code 99': lambda: bytearray(2**35) and 0,
    'still running': lambda: time.sleep(60), '0 lines of errors': lambda: 2,
    'an error of 3 lines': lambda: fails_in_lines('error: a\nb\nc'),
    '2 lines of errors': lambda: fails_in_lines('error: a\nerror: b'), 'characters': lambda: fails_in_lines(
        f'error: {"a" * 5000}')}


@pytest.mark.parametrize('promise', PLANTED)
def test_what_a_command_breaks_is_seen(promise, tmp_path, monkeypatch):
    monkeypatch.setattr(forks, 'MEGABYTES', 100)
    monkeypatch.setattr(forks, 'SECONDS', 2 if promise == 'still running' else 30)
    (tmp_path / 'input').write_text('input')
    outcome = forks.attempt(PLANTED[promise], tmp_path)
    assert any(promise in broken for broken in outcome.broken), outcome


def test_memory_that_waits_to_be_collected_is_not_a_command_s(tmp_path, monkeypatch):
    monkeypatch.setattr(forks, 'MEGABYTES', 100)
    garbage: list = [bytearray(b'x' * 2**28)]
    garbage.append(garbage)
    del garbage

    def collects_and_takes():
        gc.collect()
        bytearray(b'x' * 2**28)

    outcome = forks.attempt(collects_and_takes, tmp_path)
    assert any('MB of memory' in broken for broken in outcome.broken), outcome


def test_memory_that_is_free_is_not_a_command_s():
    done = subprocess.run([sys.executable, '-c', textwrap.dedent('''
        import pathlib, tempfile
        from mmvision_mamba.allocator import keep_freed_memory
        from tests.hostile import forks

        assert keep_freed_memory('cpu')
        b'x' * 2**29
        forks.MEGABYTES = 100
        with tempfile.TemporaryDirectory() as folder:
            print(forks.attempt(lambda: len(b'x' * 2**29) and 0, pathlib.Path(folder)))
    ''')], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert 'MB of memory' in done.stdout, done


def test_a_command_that_breaks_nothing(tmp_path):
    for call in (lambda: print('长城 👩‍👩‍👧'), lambda: fails_in_lines('error: a.jpg: broken\n  replace it'),
                 lambda: Path('results').mkdir(), lambda: sys.exit(2) if fails_in_lines('error: a') else None):
        assert not forks.attempt(call, tmp_path).broken


def test_inputs_are_the_same_again_and_a_planted_error_is_found(tmp_path, monkeypatch):
    """The whole way, with a command that fails for one kind of argument."""
    from mmvision_mamba.commands import make_shapes

    def run(args):
        if args.train < 2:
            raise RuntimeError('planted')

    monkeypatch.setattr(make_shapes, 'run', run)
    monkeypatch.setitem(KINDS, 'options', lambda base, root, rng: options(base, root, rng, 'make-shapes'))
    found = [fuzz('options', tmp_path, tmp_path / name, range(12), lambda text: None) for name in 'ab']
    assert found[0] and [broken['seed'] for broken in found[0]] == [broken['seed'] for broken in found[1]]
    for broken in found[0]:
        assert 'a traceback' in broken['broken'] and 'planted' in broken['err']  # and nothing else was found
        assert (tmp_path / f'a/options_{broken["seed"]}/broken.json').exists()
