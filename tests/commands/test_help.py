"""Help and completion: they name everything, and answer without importing anything heavy."""
import json
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from mmvision_mamba.commands import COMMANDS
from mmvision_mamba.version import __version__

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = [name.replace('-', '_') for name in COMMANDS]
SUBCOMMANDS = ('scan', 'mixer', 'backbone', 'detector', 'segmentor', 'export', 'roofline', 'all')
HEAVY = {'torch', 'numpy', 'mmengine', 'mmcv', 'mmdet', 'mmseg', 'timm', 'cv2', 'PIL', 'matplotlib', 'onnx', 'ray',
         'gradio'}
MOST_MODULES = 250  # about 150 are needed, most of them by Python itself and argparse; NumPy alone brings 100 more
PRINT_AND_COUNT = '''
import json, sys
from mmvision_mamba.commands import main
try:
    code = main(None, sys.argv[1:])
except SystemExit as stop:
    code = stop.code
print(json.dumps([code, sorted(sys.modules)]))
'''


def call(*command, **environment):
    """Run a command in a folder that is not the checkout."""
    return subprocess.run([str(part) for part in command], cwd='/', capture_output=True, text=True, timeout=120,
                          env=os.environ | {'PYTHONPATH': str(ROOT), 'COLUMNS': '120'} | environment)


def module(*arguments):
    return call(sys.executable, '-m', 'mmvision_mamba', *arguments)


def options(text: str) -> set[str]:
    return set(re.findall(r'(?<![\w-])--?[a-z][\w-]*', text))


@pytest.mark.parametrize('words', [
    ['--help'], *([command, '--help'] for command in COMMANDS), *(['benchmark', sub, '--help'] for sub in SUBCOMMANDS)],
    ids=lambda words: '-'.join(words[:-1]) or 'listing')
def test_help_imports_nothing_heavy(words):
    result = call(sys.executable, '-c', PRINT_AND_COUNT, *words)
    assert result.returncode == 0, result.stderr
    text, counted = result.stdout.rstrip().rsplit('\n', 1)
    code, modules = json.loads(counted)
    assert not code and text.startswith('usage: ')
    assert not HEAVY & set(modules)
    assert len(modules) < MOST_MODULES


def test_the_listing_names_every_command_with_its_summary():
    text = module('--help').stdout
    for command in COMMANDS:
        assert re.search(rf'^    {command}\s+[A-Z][a-z]+ \w', text, re.MULTILINE), command
    assert module().stdout == text and module().returncode == 0


@pytest.mark.parametrize(('name', 'meant'), [
    ('trian', 'train'), ('check_dataset', 'check-dataset'), ('model_info', 'model-info'), ('demoapp', 'demo-app')])
def test_an_unknown_command_is_an_error_with_a_suggestion(name, meant):
    result = module(name, '--help')
    assert result.returncode == 2 and result.stdout == ''
    assert f"unknown command {name!r} (did you mean {meant!r}?)" in result.stderr
    assert all(command in result.stderr for command in COMMANDS)


def test_version():
    assert module('--version').stdout.strip() == __version__


def test_the_installed_program_is_the_same():
    program = Path(sys.executable).with_name('mmvision-mamba')
    if not program.exists():
        pytest.skip('the package is not installed')
    assert call(program, 'train', '--help').stdout == module('train', '--help').stdout


@pytest.mark.parametrize('name', SCRIPTS)
def test_a_script_in_tools_lists_the_options_of_its_command(name):
    path = ROOT / 'tools' / f'{name}.py'
    result = call(path, '--help')
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(f'usage: {name}.py ')
    assert options(result.stdout) == options(module(name.replace('_', '-'), '--help').stdout) >= {'-h', '--help'}


def test_there_is_a_script_for_every_command_and_for_nothing_else():
    moved = {'gpu_check', 'pack_wheels'}  # to tools/dev
    assert {path.stem for path in (ROOT / 'tools').glob('*.py')} == {*SCRIPTS, *moved}


def complete(line: str) -> list[str]:
    """What the shell offers at the end of `line`: argcomplete writes it to the file descriptor 8."""
    result = call('sh', '-c', 'exec "$@" 8>&1 9>/dev/null', 'sh', sys.executable, '-m', 'mmvision_mamba',
                  _ARGCOMPLETE='1', _ARGCOMPLETE_IFS='\n', COMP_LINE=line, COMP_POINT=str(len(line)), COMP_TYPE='9')
    assert result.returncode == 0, result.stderr
    return [word.strip() for word in result.stdout.splitlines()]


@pytest.mark.skipif(find_spec('argcomplete') is None, reason='needs the extra completion')
def test_completion():
    assert set(COMMANDS) <= set(complete('mmvision-mamba '))
    assert complete('mmvision-mamba chec') == ['check-dataset']
    assert {'--amp', '--auto-batch', '--cfg-options'} <= set(complete('mmvision-mamba train --'))
    assert complete('mmvision-mamba train --on-divergence ') == ['stop', 'rollback', 'skip']
    assert set(SUBCOMMANDS) <= set(complete('mmvision-mamba benchmark '))
    assert '--backends' in complete('mmvision-mamba benchmark scan --')
