"""The Makefile's and .ci/run's logic, with stand-ins for what they call."""
import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def clean_environment() -> dict[str, str]:
    """Without what a `make test` around this test leaves there."""
    return {k: v for k, v in os.environ.items() if k not in ('MAKEFLAGS', 'MAKELEVEL', 'MFLAGS', 'STACK', 'ARGS')}


def make(*arguments):
    return subprocess.run(['make', *arguments], cwd=ROOT, env=clean_environment(), capture_output=True, text=True)


@pytest.mark.parametrize(('arguments', 'commands'), [
    (['test'], ['tools/setup_env.sh --stack openmmlab --venv .venv', '.venv/bin/python -m pytest -n 2']),
    (['test', 'STACK=onedl', 'ARGS=-x'], ['tools/setup_env.sh --stack onedl --venv .venv-onedl',
                                         '.venv-onedl/bin/python -m pytest -n 2 -x']),
    (['lint'], ['tools/setup_env.sh --stack openmmlab --venv .venv', '.venv/bin/python -m ruff check .',
                '.venv/bin/lint-imports --no-logo', '.venv/bin/python -m mypy']),
    (['audit'], ['tools/setup_env.sh --stack openmmlab --venv .venv', '.venv/bin/python tools/dev/audit.py']),
    (['docs'], ['tools/setup_env.sh --stack openmmlab --venv .venv',
                'NO_MKDOCS_2_WARNING=1 .venv/bin/python -m mkdocs build --strict --quiet']),
    (['demo'], ['tools/setup_env.sh --stack openmmlab --venv .venv', '.venv/bin/python tools/demo.py']),
])
def test_every_target_makes_its_environment_first(arguments, commands):
    assert [line.strip() for line in make('--dry-run', *arguments).stdout.splitlines()] == commands


def test_help_lists_every_target():
    listed = {line.split()[1] for line in make().stdout.splitlines()}
    assert listed == {'help', 'env', 'demo', 'test', 'lint', 'audit', 'docs'}


@pytest.fixture
def ci(tmp_path):
    """.ci/run in a folder where `make` notes what it is asked for and fails where told to."""
    (tmp_path / '.ci').mkdir()
    (tmp_path / 'tools').mkdir()
    shutil.copy(ROOT / '.ci/run', tmp_path / '.ci/run')
    (tmp_path / 'Makefile').write_text('lint test:\n\t@echo $@ $(STACK); [ "$$FAIL" != "$@$(STACK)" ]\n')
    script = tmp_path / 'tools/setup_env.sh'

    def run(cached=True, fail=''):
        script.write_text(f'#!/bin/sh\nexit {int(not cached)}\n')
        script.chmod(0o755)
        return subprocess.run([tmp_path / '.ci/run'], cwd='/', env=clean_environment() | {'FAIL': fail},
                              capture_output=True, text=True)
    return run


def calls(result) -> list[str]:
    return [line.strip() for line in result.stdout.splitlines() if not line.startswith('[ci]')]


def test_ci_runs_everything(ci):
    result = ci()
    assert result.returncode == 0
    assert calls(result) == ['lint', 'test openmmlab', 'test onedl']


def test_ci_says_that_it_skips_the_second_stack(ci):
    result = ci(cached=False)
    assert result.returncode == 0
    assert calls(result) == ['lint', 'test openmmlab']
    assert '[ci] SKIPPED: the tests on the onedl stack' in result.stdout


@pytest.mark.parametrize('fail', ['lint', 'testopenmmlab', 'testonedl'])
def test_ci_fails_if_any_part_does_and_still_runs_the_rest(ci, fail):
    result = ci(fail=fail)
    assert result.returncode == 1 and 'FAILED' in result.stderr
    assert calls(result) == ['lint', 'test openmmlab', 'test onedl']
