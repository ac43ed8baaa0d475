"""Show what is installed, what works and what doesn't, with the command that mends each problem.

Imports are tried in another process: a package that is broken, or crashes, is reported. Exit code 0: detectors and
segmentors can be trained and tested; 1: they can't.
"""
import argparse
import platform
import re
import sys
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from ..installation import (
    DISTRIBUTIONS,
    REQUIRED,
    WITHOUT_PARTS,
    compiled_operators,
    distributions,
    folder,
    install_command,
    installed,
    openmmlab_problem,
    with_mmcv_lite,
)
from ..version import __version__

PACKAGES = ('torch', 'torchvision', 'numpy', 'timm', *DISTRIBUTIONS)
NEEDED = ('torch', 'torchvision', 'timm', 'mmengine', 'mmcv', 'mmcv.ops', 'mmdet.models', 'mmseg.models')
OTHER_EXTRAS = ('openmmlab', 'onedl', 'dev', 'docs')  # told by the packages, or of no use without a checkout
WIDTH = 14  # of the first column


def add_options(parser: argparse.ArgumentParser) -> None:
    """It has none."""


def run(args: argparse.Namespace) -> int:
    from .steps.probing import MODULES, probe
    optional = [name for name in ('mmpretrain',) if installed(name)]
    results = probe([*(name for name in MODULES if folder(name.partition('.')[0]) or distributions(
        name.partition('.')[0])), *optional])
    _print_machine(results)
    _print_packages(results)
    _print_operators(results)
    _print_scans(results)
    _print_extras()
    problems = _problems(results)
    works = not any(name not in results or results[name]['problem'] for name in NEEDED)
    print(f'\n{"Problems" if problems else "No problems"}' + ('' if works else
          ': detectors and segmentors can not be trained or tested'))
    for number, text in enumerate(problems, 1):
        first, *others = text.strip().splitlines()
        print('\n'.join([f'  {number}. {first}', *(f'     {line}' for line in others)]))
    return 0 if works else 1


def _print_machine(results: dict) -> None:
    _line('mmvision_mamba', __version__, Path(__file__).resolve().parents[1])
    _line('Python', platform.python_version(), f'{sys.executable}, {platform.platform()}')
    for i, device in enumerate(results.get('devices', {}).get('found') or ['unknown, without torch']):
        _line('' if i else 'devices', device)
    _line('configs', _configs())


def _print_packages(results: dict) -> None:
    print('\nPackages')
    for name in PACKAGES:
        found = distributions(name)
        broken = any(result['problem'] for step, result in results.items() if step.partition('.')[0] == name)
        if not found and not broken and folder(name) is None:
            _line(name, 'not installed', indent=2)
            continue
        said = ' and '.join(f'{of} {number}' if len(found) > 1 else of for of, number in found.items())
        _line(name, next(iter(found.values())) if len(found) == 1 else '?', f'{"" if said == name else said:16}',
              'BROKEN, see below' if broken else '', indent=2)


def _print_operators(results: dict) -> None:
    from ..mmcv_ops.permanent import present
    print("\nOperators of mmcv")
    if folder('mmcv') is None:
        _line('none', 'mmcv is not installed', indent=2)
        return
    compiled, file = compiled_operators(), present()
    if (results.get('mmcv.ops') or {}).get('problem', True):
        _line('none', 'mmcv.ops can not be imported', indent=2)
    elif _kind(results) == 'compiled':
        _line('compiled', compiled, indent=2)
    else:
        _line('in PyTorch', "mmvision_mamba's, since mmcv has none" + (' that work' if compiled else ''), indent=2)
    if file:
        _line('setup-mmcv', f'done: {file}', indent=2)
    elif not compiled:
        _line('setup-mmcv', 'not done: programs that import mmdet or mmseg before mmvision_mamba find no operators;',
              indent=2)
        _line('', 'for them: mmvision-mamba setup-mmcv', indent=2)


def _kind(results: dict) -> str | None:
    return results.get('operators', {}).get('found')


def _print_scans(results: dict) -> None:
    print('\nSelective scan')
    scans = results.get('scans', {}).get('found') or {}
    for name, reason in scans.items():
        first, *others = (reason or 'works').splitlines()
        _line(name, first, indent=2)
        for line in others:
            _line('', line, indent=2)
    if scans:
        cpu = 'chunked' if scans['numba'] else 'numba'
        _line('auto', f'takes {cpu}' if scans['triton'] else f'triton on CUDA, {cpu} elsewhere', indent=2)
    else:
        _line('none', 'torch can not be imported', indent=2)


def _print_extras() -> None:
    print('\nExtras')
    extras: dict[str, dict[str, bool]] = {}
    for requirement in _requirements():
        match = re.match(r'([\w.-]+).*extra == [\'"](\w+)[\'"]', requirement)
        if match and match[2] not in OTHER_EXTRAS:
            extras.setdefault(match[2], {})[match[1]] = bool(_version(match[1]))
    for extra, packages in sorted(extras.items()):
        missing = [name for name, there in packages.items() if not there]
        _line(extra, f'without {", ".join(missing)}' if missing else 'installed', indent=2)
    if not extras:
        _line('unknown', 'mmvision_mamba is used without being installed', indent=2)


def _problems(results: dict) -> list[str]:
    """What is to be mended, each once."""
    unusable = openmmlab_problem('the training of detectors and segmentors')
    found = [str(unusable or '')]
    if unusable is None:
        found += [f'{name} is not installed.\n{install_command(name)}' for name in ('mmdet', 'mmseg')
                  if folder(name) is None]
    found += [f'{name} is not installed.\n{install_command(name)}' for name in REQUIRED if folder(name) is None]
    for step, result in results.items():
        text, packages = result['problem'], distributions(step.partition('.')[0])
        if text and packages and '\n' not in text and 'pip install ' not in text:
            name, number = next(iter(packages.items()))
            text = f'{name} {number} can not be imported ({text}).\npip install --force-reinstall {name}=={number}'
        found.append(text)
    if (compiled := compiled_operators()) and _kind(results) == 'pytorch':
        leftover = [*distributions('mmcv')] == ['mmcv-lite']  # which has no such file, so that pip would leave it
        found.append(f"{compiled} can't be loaded: it is for another torch, Python or CUDA. The operators of "
                     'mmvision_mamba are used instead.\n'
                     + ('Remove that file: mmcv-lite needs none.' if leftover else with_mmcv_lite()))
    if not any(found):
        found += [warning.partition(': ')[2] for result in results.values() for warning in result['warnings']
                  if warning.startswith(WITHOUT_PARTS)]
    kept: dict[str, str] = {}  # what follows from another problem has the same reason, or the same command
    for text in filter(None, found):
        reason = re.search(r'\((.*)\)', text)
        if text.splitlines()[-1] not in kept and (reason[1] if reason else text) not in '\n'.join(kept.values()):
            kept[text.splitlines()[-1]] = text
    return [*kept.values()]


def _configs() -> str:
    from ..checkout import CONFIGS
    from ..configs import config_names
    return f'{len(config_names())} in {CONFIGS}'


def _requirements() -> list[str]:
    try:
        return requires('mmvision-mamba') or []
    except PackageNotFoundError:
        return []


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ''


def _line(name: object, *values: object, indent: int = 0) -> None:
    first, *others = (str(value) for value in values)
    text = f'{" " * indent}{name!s:{WIDTH + 2 - indent}} '
    print((text + '  '.join([f'{first:13}' if others else first, *others])).rstrip())
