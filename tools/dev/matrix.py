#!/usr/bin/env python3
"""Run a fast part of the tests on old and new versions; write docs/compatibility.md and its results/*.json.

    tools/dev/matrix.py [ROW ...] [--list] [--environment ROW=DIR] [--keep] [--folder DIR] [--tests PATH ...]

Each row is an environment, made anew with pip (4 to 7 GB with CUDA's libraries, one at a time) and removed afterwards.
Rows that are not run keep the results that they have. Exit code 1: a test failed, or an environment could not be made.
"""
import argparse
import datetime
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # run from anywhere, installed or not

from mmvision_mamba.checkout import ROOT
from mmvision_mamba.files import replace

ORIGINALS = ('mmengine==0.10.7', 'mmcv-lite==2.1.0', 'mmdet==3.3.0', 'mmsegmentation==1.2.2', 'ftfy', 'regex')
FORKS = ('onedl-mmengine', 'onedl-mmcv', 'onedl-mmdetection', 'onedl-mmsegmentation', 'ftfy', 'regex')
FOR_TESTS = ('pytest', 'pytest-timeout', 'hypothesis', 'psutil', 'tensorboard', 'onnx', 'onnxruntime')
TESTS = (
    'tests/test_bridges.py', 'tests/ops/test_selective_scan.py', 'tests/backbones/test_classifier.py',
    'tests/backbones/test_golden.py::test_features_are_the_published_ones[features_t_win14-7_1x128x160-MambaVision]',
    'tests/checkpoints', 'tests/mmcv_ops/test_against_mmcv.py',
    'tests/commands/test_train_test.py::test_train_resume_test',
)
SHOWN = {  # column -> distributions, of which a row has one
    'torch': ('torch',), 'torchvision': ('torchvision',), 'NumPy': ('numpy',), 'timm': ('timm',),
    'mmengine': ('mmengine', 'onedl-mmengine'), 'mmcv': ('mmcv', 'mmcv-lite', 'onedl-mmcv'),
    'mmdet': ('mmdet', 'onedl-mmdetection'), 'mmseg': ('mmsegmentation', 'onedl-mmsegmentation'),
}
BEGIN, END = '<!-- tools/dev/matrix.py writes from here -->\n', '<!-- to here -->\n'


@dataclass(frozen=True)
class Row:
    """One environment: a Python, and what pip installs for it."""
    python: str
    packages: tuple[str, ...]
    note: str

    @staticmethod
    def of(python: str, note: str, stack: tuple[str, ...] = ORIGINALS, **versions: str) -> 'Row':
        return Row(python, (*(f'{name}{version}' for name, version in versions.items()), *stack), note)


ROWS = {
    'oldest': Row.of('3.10', 'the oldest of everything',
                     torch='==2.4.*', torchvision='==0.19.*', numpy='==1.26.*', timm='==1.0.3'),
    'torch2.5': Row.of('3.11', '', torch='==2.5.*', torchvision='==0.20.*', numpy='==1.26.*', timm='==1.0.9'),
    'torch2.6': Row.of('3.12', '', torch='==2.6.*', torchvision='==0.21.*', numpy='==2.1.*', timm='==1.0.15'),
    'torch2.7': Row.of('3.13', 'the oldest torch whose Triton the kernels take',
                       torch='==2.7.*', torchvision='==0.22.*', numpy='==2.2.*', timm='==1.0.20'),
    'compiled': Row.of('3.11', 'compiled mmcv: `make env MMCV=compiled`, and `--environment compiled=.venv`',
                       torch='==2.11.*', torchvision='==0.26.*', numpy='==2.2.*', timm='==1.0.26'),
    'oldest Python': Row.of('3.10', 'the newest that take Python 3.10',
                            torch='==2.14.*', torchvision='==0.29.*', numpy='>=2', timm='>=1.0.31'),
    'newest': Row.of('3.13', 'the newest of everything',
                     torch='==2.14.*', torchvision='==0.29.*', numpy='>=2.5', timm='>=1.0.31'),
    'onedl': Row.of('3.12', 'the maintained forks', FORKS,
                    torch='==2.14.*', torchvision='==0.29.*', numpy='>=2', timm='>=1.0.31'),
}


def find_python(version: str) -> str:
    """Path of a Python of that version: on PATH, or pyenv's.

    Raises:
        SystemExit: there is none.
    """
    found = shutil.which(f'python{version}')
    if found and subprocess.run([found, '-c', ''], capture_output=True).returncode == 0:  # not pyenv's empty shims
        return found
    pyenv = sorted(Path.home().glob(f'.pyenv/versions/{version}.*/bin/python'))
    if not pyenv:
        raise SystemExit(f'error: no Python {version}: install it, or name other rows')
    return str(pyenv[-1])


def build(row: Row, folder: Path) -> str | None:
    """Make the environment of `row` in `folder`; returns why it failed, or None."""
    python = folder / 'bin/python'
    commands = ([find_python(row.python), '-m', 'venv', str(folder)],
                [str(python), '-m', 'pip', 'install', '--quiet', '--no-cache-dir', '--disable-pip-version-check',
                 *row.packages, *FOR_TESTS])
    for command in commands:
        # The forks' mmcv is a source distribution; without operators nothing of it is compiled.
        run = subprocess.run(command, env={**os.environ, 'MMCV_WITH_OPS': '0'}, capture_output=True, text=True)
        if run.returncode:
            return (run.stderr.strip().splitlines() or ['no reason given'])[-1]
    return None


def installed(python: Path) -> dict[str, str]:
    """Versions of Python and of the packages that the table shows, in the environment of `python`."""
    names = [name for distributions in SHOWN.values() for name in distributions]
    code = ('import importlib.metadata as m, json, platform\n'
            'found = {d.metadata["Name"].lower().replace("_", "-"): d.version for d in m.distributions()}\n'
            f'found = {{name: found[name] for name in {names} if name in found}}\n'
            'print(json.dumps(dict(python=platform.python_version(), **found)))')
    return json.loads(subprocess.run([str(python), '-c', code], capture_output=True, text=True, check=True).stdout)


def run_tests(python: Path, tests: list[str]) -> dict:
    """Run `tests` in the environment of `python`; returns counts, names of failures and seconds."""
    report = Path(tempfile.mkdtemp()) / 'report.xml'
    environment = {**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'}
    begun = time.monotonic()
    subprocess.run([str(python), '-m', 'pytest', '-W', 'ignore', '-p', 'no:cacheprovider', '--tb=short',
                    f'--junitxml={report}', *tests], cwd=ROOT, env=environment)
    result = dict(passed=0, skipped=0, failed=[], seconds=round(time.monotonic() - begun))
    cases = list(ElementTree.parse(report).iter('testcase')) if report.exists() else []
    for case in cases:
        if case.find('failure') is not None or case.find('error') is not None:
            result['failed'].append(f'{case.get("classname")}.{case.get("name")}')
        else:
            result['passed' if case.find('skipped') is None else 'skipped'] += 1
    if not cases:
        result['failed'].append('pytest itself')
    shutil.rmtree(report.parent)
    return result


def table(results: dict[str, dict]) -> str:
    """The results as a table in Markdown, in the order of `ROWS`."""
    columns = ['row', 'Python', *SHOWN, 'passed', 'skipped', 'failed', 'run on']
    lines = [f'| {" | ".join(columns)} |', '|---' * len(columns) + '|']
    for name in ROWS:
        if name not in results:
            continue
        result = results[name]
        versions = result['versions']
        cells = [name, versions['python']]
        for names in SHOWN.values():
            found = [(distribution, versions[distribution]) for distribution in names if distribution in versions]
            cells.append(', '.join(f'{version} (lite)' if distribution == 'mmcv-lite' else version
                                   for distribution, version in found) or '-')
        cells += [result['passed'], result['skipped'], len(result['failed']), result['date']]
        lines.append(f'| {" | ".join(map(str, cells))} |')
    return '\n'.join(lines) + '\n'


def fill(page: str, results: dict[str, dict]) -> str:
    """`page` with the table of `results` between its two marks."""
    before, _, rest = page.partition(BEGIN)
    return before + BEGIN + '\n' + table(results) + '\n' + END + rest.partition(END)[2]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('rows', nargs='*', metavar='ROW', help='rows to run (default: all but compiled)')
    parser.add_argument('--list', action='store_true', help='list the rows and what they install')
    parser.add_argument('--environment', action='append', default=[], metavar='ROW=DIR',
                        help='an environment that is there already, for a row; it is not changed')
    parser.add_argument('--keep', action='store_true', help='keep the environments that are built')
    parser.add_argument('--folder', type=Path, help='where to build them (default: a temporary folder)')
    parser.add_argument('--tests', nargs='+', metavar='PATH', default=list(TESTS),
                        help='other tests; nothing is written')
    args = parser.parse_args(argv)
    if args.list:
        for name, row in ROWS.items():
            print(f'{name:14} Python {row.python}  {" ".join(row.packages)}' + (f'  # {row.note}' if row.note else ''))
        return 0
    there = dict(part.split('=', 1) for part in args.environment if '=' in part)
    rows = args.rows or [name for name in ROWS if name != 'compiled' or name in there]
    if unknown := sorted({*rows, *there} - {*ROWS}):
        parser.error(f'no row {unknown[0]!r}; there are: {", ".join(ROWS)}')
    if 'compiled' in rows and 'compiled' not in there:
        parser.error('the row compiled takes an environment that is there: --environment compiled=DIR')

    failed = False
    folder = args.folder or Path(tempfile.mkdtemp(prefix='matrix-'))
    for name in rows:
        place = Path(there[name]).resolve() if name in there else folder.resolve() / name.replace(' ', '-')
        try:
            if name not in there and (problem := build(ROWS[name], place)):
                print(f'{name}: no environment: {problem}')
                failed = True
                continue
            result = dict(date=datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
                          versions=installed(place / 'bin/python'), **run_tests(place / 'bin/python', args.tests))
        finally:
            if name not in there and not args.keep:
                shutil.rmtree(place, ignore_errors=True)
        print(f'{name}: {result["passed"]} passed, {result["skipped"]} skipped, {len(result["failed"])} failed '
              f'in {result["seconds"]} s', *result['failed'], sep='\n  ')
        failed = failed or bool(result['failed'])
        if args.tests == list(TESTS):
            record(name, result)
    if not args.folder and not args.keep:
        shutil.rmtree(folder, ignore_errors=True)
    return int(failed)


def record(name: str, result: dict) -> None:
    """Put the result of one row in the place of its earlier one, in both files."""
    page, results = ROOT / 'docs/compatibility.md', ROOT / 'docs/results/compatibility.json'
    found = {**(json.loads(results.read_text()) if results.exists() else {}), name: result}
    replace(results, lambda part: part.write_text(json.dumps(found, indent=1) + '\n'))
    text = fill(page.read_text(), found)
    replace(page, lambda part: part.write_text(text))


if __name__ == '__main__':
    sys.exit(main())
