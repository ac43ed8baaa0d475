"""The Makefile's and .ci/run's logic, with stand-ins for what they call."""
import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def clean_environment() -> dict[str, str]:
    """Without what a `make test` around this test leaves there."""
    ours = ('MAKEFLAGS', 'MAKELEVEL', 'MFLAGS', 'STACK', 'MMCV', 'TORCH', 'ARGS')
    return {name: value for name, value in os.environ.items() if name not in ours}


def make(*arguments):
    return subprocess.run(['make', *arguments], cwd=ROOT, env=clean_environment(), capture_output=True, text=True)


@pytest.mark.parametrize(('arguments', 'commands'), [
    (['test'], ['tools/setup_env.sh --stack openmmlab --mmcv lite --venv .venv', '.venv/bin/python -m pytest -n 2']),
    (['test', 'STACK=onedl', 'ARGS=-x'], ['tools/setup_env.sh --stack onedl --mmcv lite --venv .venv-onedl',
                                          '.venv-onedl/bin/python -m pytest -n 2 -x']),
    (['lint'], ['tools/setup_env.sh --stack openmmlab --mmcv lite --venv .venv', '.venv/bin/python -m ruff check .',
                '.venv/bin/lint-imports --no-logo', '.venv/bin/python -m mypy']),
    (['audit'], ['tools/setup_env.sh --stack openmmlab --mmcv lite --venv .venv',
                 '.venv/bin/python tools/dev/audit.py']),
    (['docs'], ['tools/setup_env.sh --stack openmmlab --mmcv lite --venv .venv',
                'NO_MKDOCS_2_WARNING=1 .venv/bin/python -m mkdocs build --strict --quiet']),
    (['demo'], ['tools/setup_env.sh --stack openmmlab --mmcv lite --venv .venv', '.venv/bin/python tools/demo.py']),
])
def test_every_target_makes_its_environment_first(arguments, commands):
    assert [line.strip() for line in make('--dry-run', *arguments).stdout.splitlines()] == commands


@pytest.mark.parametrize(('variables', 'options', 'venv'), [
    (['MMCV=compiled'], '--stack openmmlab --mmcv compiled', '.venv-compiled'),
    (['MMCV=compiled', 'STACK=onedl'], '--stack onedl --mmcv compiled', '.venv-onedl-compiled')])
def test_mmcv_compiled_has_an_environment_of_its_own(variables, options, venv):
    command, program = make('--dry-run', 'test', *variables).stdout.splitlines()
    assert command.strip() == f'tools/setup_env.sh {options} --venv {venv}'
    assert program.startswith(f'{venv}/bin/python')


def test_the_kind_of_torch_is_handed_on_where_it_is_named():
    assert make('--dry-run', 'env', 'TORCH=cpu').stdout.split()[-2:] == ['--torch', 'cpu']


def test_help_lists_every_target():
    listed = {line.split()[1] for line in make().stdout.splitlines()}
    assert listed == {'help', 'env', 'demo', 'test', 'lint', 'audit', 'docs'}


@pytest.fixture
def ci(tmp_path):
    """.ci/run in a folder where `make` notes what it is asked for and fails where told to."""
    (tmp_path / '.ci').mkdir()
    shutil.copy(ROOT / '.ci/run', tmp_path / '.ci/run')
    (tmp_path / 'Makefile').write_text('lint test:\n\t@echo $@ $(STACK) $(ARGS); [ "$$FAIL" != "$@$(STACK)" ]\n')

    def run(fail=''):
        return subprocess.run([tmp_path / '.ci/run'], cwd='/', env=clean_environment() | {'FAIL': fail},
                              capture_output=True, text=True)
    return run


def calls(result) -> list[list[str]]:
    return [line.split() for line in result.stdout.splitlines() if not line.startswith('[ci]')]


def test_ci_runs_everything_and_on_the_second_stack_what_depends_on_it(ci):
    result = ci()
    assert result.returncode == 0
    lint, tests, (target, stack, *paths) = calls(result)
    assert (lint, tests, target, stack) == (['lint'], ['test'], 'test', 'onedl')
    assert len(paths) > 3 and all((ROOT / path).exists() for path in paths)


@pytest.mark.parametrize('fail', ['lint', 'test', 'testonedl'])
def test_ci_fails_if_any_part_does_and_still_runs_the_rest(ci, fail):
    result = ci(fail=fail)
    assert result.returncode == 1 and 'FAILED' in result.stderr
    assert len(calls(result)) == 3
