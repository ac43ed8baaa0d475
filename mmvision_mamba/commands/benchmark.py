"""Time the scan, the mixer, the backbone, and whole detectors and segmentors, several settings side by side.

Settings take turns within one run, round after round, so that other load on the machine slows all of them alike.
Prints medians with quartiles, and ratios to the first setting of a group. Don't compare times of different runs.
"""
import argparse
import gc
import os
import re
import shlex
import sys
from pathlib import Path

from ..benchmark.plan import PLAN
from ..errors import ConfigError, MissingExtraError, UserError
from ..text import as_text
from .benchmark_options import add_options, parse, prepare

__all__ = ['add_options', 'run']


def run(args: argparse.Namespace) -> int:
    """Returns the exit code: 1 where a part of `all` or every setting failed, else 0."""
    # Read when torch is imported. Without it the profiler, which counts bytes, complains where there is no GPU.
    os.environ.setdefault('KINETO_LOG_LEVEL', '99')
    from ..benchmark.report import write

    prepare(args)
    if args.what == 'all':
        return run_all(args)
    results = _measure(args, [args.what, *args.words])
    if args.out:
        write(args.out, results)
    return int(bool(results['rows']) and all(row['error'] for row in results['rows']))


def _measure(args: argparse.Namespace, words: list[str]) -> dict:
    """Measure, print the tables, and return the results for `benchmark.report.write`.

    Args:
        args: options that `prepare` has completed.
        words: the command line, quoted in the results.
    """
    import torch

    from ..benchmark.best import best_columns
    from ..benchmark.plot import plot_sweep
    from ..benchmark.report import clocks, columns, machine, roofline_columns, share_columns
    from ..benchmark.timing import measure, summarize
    if args.device.type == 'cuda':
        torch.cuda.set_device(args.device)
    facts = machine(args.device)
    print(', '.join(f'{key} {value}' for key, value in facts.items() if value is not None))
    torch.manual_seed(0)
    settings = _settings(args)
    if getattr(args, 'baseline', None):
        _check_baseline(settings, args.baseline)
    roofline = _roofline(args)
    rows = measure(settings, args.device, args.rounds, getattr(args, 'training', False))
    if rows:  # measured again: a shared machine may have been slow the first time
        roofline = _best(roofline, _roofline(args))
    print(as_text(*roofline_columns(roofline)), end='\n\n', flush=True)
    summarize(rows, roofline['matmul_flops_per_second'], roofline['copy_bytes_per_second'],
              getattr(args, 'baseline', None))
    if rows:
        print(as_text(*columns(rows)))
    if best := best_columns(rows):
        print('\neach model in its best setting, beside the best of each peer\n' + as_text(*best))
    if getattr(args, 'profile', False):
        for setting, row in zip(settings, rows):
            row['shares'] = _shares(args, setting) if 'forward' in row else None
        print('\nshare of an inference\n' + as_text(*share_columns(rows)))
    if getattr(args, 'plot', None):
        plot_sweep(args.plot, rows, args.sweep, facts)
    facts |= clocks(args.device)
    return dict(command=shlex.join(['mmvision-mamba', 'benchmark', *words]), machine=facts, roofline=roofline,
                rows=rows)


def _settings(args: argparse.Namespace) -> list:
    from ..benchmark.workloads import backbone_settings, mixer_settings, scan_settings
    if args.what == 'roofline':
        return []
    if args.what in ('detector', 'segmentor'):
        from ..benchmark.experiments import experiment_settings
        settings = list(experiment_settings(args))
    elif args.what == 'export':
        from ..benchmark.exported import export_settings
        settings = list(export_settings(args))
    else:
        settings = list(dict(scan=scan_settings, mixer=mixer_settings, backbone=backbone_settings)[args.what](args))
    if not settings:
        raise ConfigError('nothing is left to measure')
    return settings


def _shares(args: argparse.Namespace, setting) -> dict[str, float]:
    """Of a whole model's inference by part, of a backbone's by kind of operator."""
    if args.what in ('detector', 'segmentor'):
        from ..benchmark.parts import shares
    else:
        from ..benchmark.operators import shares
    return shares(setting, args.device)


def _check_baseline(settings: list, name: str) -> None:
    names = list(dict.fromkeys(setting.name for setting in settings))
    if name not in names:
        raise ConfigError(f'--baseline: no setting is called {name!r}; there are: {"; ".join(names)}')


def _roofline(args: argparse.Namespace) -> dict:
    import torch

    from ..benchmark.roofline import copy_rate, matmul_rates
    from ..benchmark.variants import autocast_dtype
    dtypes = getattr(args, 'dtypes', None) or [autocast_dtype(amp) or torch.float32 for amp in args.amp]
    libraries = {str(dtype).removeprefix('torch.'): matmul_rates(args.device, dtype) for dtype in dtypes}
    return dict(copy_bytes_per_second=copy_rate(args.device), matmul_libraries=libraries,
                matmul_flops_per_second={dtype: max(rates.values()) for dtype, rates in libraries.items()})


def _best(first: dict, second: dict) -> dict:
    """The larger of each rate of two rooflines."""
    return {key: _best(rate, second[key]) if isinstance(rate, dict) else max(rate, second[key])
            for key, rate in first.items()}


def run_all(args: argparse.Namespace) -> int:
    """Run every part of the plan, each into a file of its own, and return the exit code.

    A part that fails does not stop the others.
    """
    from ..benchmark.report import machine_name
    plan = PLAN[args.device.type]
    if unknown := [part for part in args.only or () if part not in plan]:
        raise ConfigError(f'--only: unknown part {unknown[0]!r}; valid ones: {", ".join(plan)}')
    name = args.name or machine_name(args.device)
    if not re.fullmatch(r'[\w.-]+', name):
        raise ConfigError(f'--name: letters, digits, dots and hyphens, got {name!r}')
    failed = False
    for part, command in plan.items():
        if args.only and part not in args.only:
            continue
        words = [*without_missing_backend(command.split(), args.device), '--device', str(args.device)]
        if '--rounds' not in words:
            words += ['--rounds', str(args.rounds)]
        print(f'\n[{part}] mmvision-mamba benchmark {shlex.join(words)}', flush=True)
        try:
            run_part(words, args.out_dir / name / f'{part}.json')
        except MissingExtraError as error:
            print(f'left out: {error}')
        except UserError as error:
            print(f'error: {error}', file=sys.stderr)
            failed = True
        _free_memory(args.device)
    return int(failed)


def run_part(words: list[str], out: Path) -> None:
    """Run a command of the plan, given by the words of its command line, and write its results to a .json file."""
    from ..benchmark.report import write
    args = parse(words + (['--plot', str(out.with_suffix('.png'))] if '--sweep' in words else []))
    write(out, _measure(args, words))
    print(f'-> {out}')


def _free_memory(device) -> None:
    import torch
    gc.collect()
    if device.type == 'cuda':
        torch.cuda.empty_cache()


def without_missing_backend(words: list[str], device) -> list[str]:
    """A command of the plan, less the backend mamba_ssm where that does not run on the device."""
    if 'mamba_ssm' in words:
        from ..benchmark.workloads import usable_backends
        try:
            usable_backends(['mamba_ssm'], device)
        except UserError as error:
            print(f'left out: {error}')
            words = [word for word in words if word != 'mamba_ssm']
    return words
