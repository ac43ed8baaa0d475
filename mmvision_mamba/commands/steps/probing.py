"""Imports tried in a process of their own, which may fail, crash or hang, and what works once they are done."""
import contextlib
import json
import subprocess
import sys
import warnings
from collections.abc import Callable, Sequence
from importlib import import_module

from ...installation import explain

# What is imported, in this order. This package comes first, so that its operators are there for mmcv.
MODULES = ('numpy', 'torch', 'torchvision', 'timm', 'mmengine', 'mmcv', 'mmcv.ops', 'mmdet.models', 'mmseg.models')
SECONDS = 180  # for all imports of one process
_MARK = 'mmvision-mamba probe: '  # what the libraries print has other beginnings
_CODE = 'import sys; sys.path[:] = {path!r}; from {module} import answer; answer({steps!r})'


def probe(modules: Sequence[str]) -> dict[str, dict]:
    """Import modules one after the other, elsewhere.

    Returns:
        Module, and 'devices', 'operators' and 'scans' -> `problem`, None or a text with the way out; `warnings` of this
        package, texts; `found`, for the last three what works. A step that can't be made is left out.
    """
    steps, results = [*modules, *_FINDINGS], {}
    while left := [step for step in steps if step not in results]:
        before = len(results)
        code = _CODE.format(path=sys.path, module=__name__, steps=left)
        try:
            done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, errors='replace',
                                  timeout=SECONDS)
            output, ended = done.stdout, f'ends the process with code {done.returncode}{_last_line(done.stderr)}'
        except subprocess.TimeoutExpired as expired:
            output, ended = (expired.stdout or b'').decode(errors='replace'), f'takes more than {SECONDS} s'
        for line in output.splitlines():
            if _MARK in line:
                with contextlib.suppress(ValueError):  # cut off as the process ended, or a package's own output
                    results.update(_answers(json.loads(line.partition(_MARK)[2]), left))
        if left := [step for step in steps if step not in results]:
            results[left[0]] = dict(problem=f'import {left[0]} {ended}', warnings=[])
        if len(results) == before:
            break
    return results


def _answers(content: object, steps: Sequence[str]) -> dict[str, dict]:
    """What of a line's content `answer` has printed of `steps`."""
    return {step: result for step, result in (content.items() if isinstance(content, dict) else ())
            if step in steps and isinstance(result, dict) and {'problem', 'warnings'} <= result.keys()}


def answer(steps: Sequence[str]) -> None:
    """Make `steps` in this process, and print what comes of each."""
    warnings.simplefilter('always')
    import_module('mmvision_mamba')
    for step in steps:
        result = dict(problem=None, warnings=[])
        with warnings.catch_warnings(record=True) as caught:
            try:
                if step in _FINDINGS:
                    result['found'] = _FINDINGS[step]()
                else:
                    import_module(step)
            except Exception as error:
                result['problem'] = explain(error)
        result['warnings'] = [str(warning.message) for warning in caught if 'mmvision_mamba' in str(warning.message)]
        print(f'\n{_MARK}{json.dumps({step: result})}', flush=True)


def _devices() -> list[str]:
    import torch

    from ...ops import onednn
    gpus = [f'{torch.cuda.get_device_name(i)}, {torch.cuda.get_device_properties(i).total_memory / 2**30:.0f} GiB'
            for i in range(torch.cuda.device_count())]
    products = 'oneDNN' if onednn.chosen() else 'PyTorch'
    return [f'CPU, {torch.get_num_threads()} threads, linear layers by {products}', *gpus,
            *(['MPS'] if torch.backends.mps.is_available() else []),
            f'torch built for {"CUDA " + torch.version.cuda if torch.version.cuda else "no CUDA"}']


def _operators() -> str:
    from ...mmcv_ops import source
    return source().kind


def _scans() -> dict[str, str]:
    """Backend -> why it doesn't work, '' if it does."""
    from ...ops.selective_scan import BACKENDS, why_not
    return {name: why_not(name).removeprefix(f'scan backend {name!r}').lstrip(': ')
            for name in BACKENDS if name != 'auto'}


_FINDINGS: dict[str, Callable] = dict(devices=_devices, operators=_operators, scans=_scans)


def _last_line(stderr: str) -> str:
    lines = [line for line in stderr.splitlines() if line.strip()]
    return f' ({lines[-1][:160]})' if lines else ''
