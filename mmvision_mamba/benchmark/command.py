"""What tools/benchmark.py does."""
import argparse
import gc
import re
import shlex
import sys

import torch

from ..errors import ConfigError, MissingExtraError, UserError
from ..ops.mamba_ssm import package_scan
from .operators import shares
from .options import parse_args
from .plot import plot_sweep
from .report import ROOT, as_text, clocks, columns, machine, roofline_columns, share_columns, write
from .roofline import copy_rate, matmul_rate
from .timing import measure, summarize
from .variants import AMP
from .workloads import backbone_settings, mixer_settings, scan_settings

_DETECTORS = ' '.join(f'configs/cascade_mask_rcnn_mambavision_{name}_coco.py' for name in ('t', 't_fit'))
_SEGMENTORS = ' '.join(f'configs/upernet_mambavision_{name}_ade20k.py' for name in ('t', 't_fit'))
_LARGE3 = 'configs/upernet_mambavision_l3_ade20k-640x640.py --sizes 640,640 --train-batch 1'

# What docs/performance.md quotes, by the name of its results. Paths of configs are relative to the project's folder.
PLAN = dict(
    cpu={
        'roofline': 'roofline --dtypes float32 bfloat16',
        'scan': 'scan',
        'scan_tokens': 'scan --backends chunked --sweep tokens --values 256 1024 4200 16384 65536',
        'mixer': 'mixer',
        'backbone': 'backbone --sizes 224,224 512,512 --batch 1',
        'backbone_detection': 'backbone --sizes 800,1344 --windows 14,7 112,56 --no-training',
        'side': 'backbone --sweep side --values 512 1024 2048 --paddings fit --windows 14,7 --no-training',
        'peers': 'backbone --sizes 512,512 800,1344 --paddings fit --windows 14,7 112,56 --peers --fuse '
                 '--no-training',
        'peers_training': 'backbone --sizes 512,512 --paddings fit --windows 14,7 --peers',
        'variants': 'backbone --sizes 512,512 --paddings fit --channels-last --compile --amp none bf16 --no-training',
        'profile': 'backbone --sizes 512,512 800,1344 --paddings fit --windows 112,56 --profile --no-training',
        'detector': 'detector --rounds 3',
        'segmentor': 'segmentor --rounds 3',
        'export': 'export',
        'export_modes': 'export configs/upernet_mambavision_t_shapes.py --sizes 128,128 --rounds 15 --inductor '
                        '--modes default reduce-overhead max-autotune max-autotune-no-cudagraphs',
    },
    cuda={
        'roofline': 'roofline --dtypes float32 bfloat16 float16',
        'scan': 'scan --shapes 128,196,160 128,49,320 2,4200,160 1,12544,160 1,65536,160 --dtypes float32 bfloat16',
        'scan_tokens': 'scan --dtypes bfloat16 --sweep tokens --values 256 1024 4200 16384 65536',
        'mixer': 'mixer --amp none bf16',
        # Against what the published code does: its padding, mamba-ssm's scan, nothing fused.
        'backbone': 'backbone --sizes 224,224 --batch 1 128 --paddings zeros fit --backends mamba_ssm auto --amp bf16',
        'backbone_base': 'backbone --archs base --sizes 224,224 --batch 128 --paddings zeros fit '
                         '--backends mamba_ssm auto --amp bf16',
        'backbone_detection': 'backbone --sizes 800,1344 --batch 2 --windows 112,56 --paddings zeros fit '
                              '--backends mamba_ssm auto --amp bf16',
        'backbone_detection_base': 'backbone --archs base --sizes 800,1344 --batch 2 --windows 112,56 '
                                   '--paddings zeros fit --backends mamba_ssm auto --amp bf16',
        'peers': 'backbone --sizes 224,224 --batch 128 --paddings fit --amp none bf16 --peers',
        'peers_detection': 'backbone --sizes 800,1344 --batch 2 --paddings fit --windows 14,7 112,56 --amp bf16 '
                           '--peers',
        'variants': 'backbone --sizes 224,224 --batch 1 128 --paddings fit --amp bf16 --channels-last --fuse --compile '
                    '--cuda-graphs --no-training',
        'profile': 'backbone --sizes 224,224 --batch 128 --paddings fit --amp bf16 --profile --no-training',
        'detector': f'detector {_DETECTORS} --amp none fp16 bf16',
        'segmentor': f'segmentor {_SEGMENTORS} --train-batch 1 --amp none fp16 bf16 --compile',
        'segmentor_4': f'segmentor {_SEGMENTORS} --train-batch 4 --amp fp16 bf16',
        'large3': f'segmentor {_LARGE3} --amp none bf16',
        'large3_checkpointing': f'segmentor {_LARGE3} --amp none bf16 --cfg-options model.backbone.with_cp=True',
    })


def main(argv: list[str] | None = None) -> int:
    """The exit code: 0; 2 for wrong input, told in a line or two; 1 where a part of `all` or every setting failed."""
    argv = sys.argv[1:] if argv is None else [str(arg) for arg in argv]
    try:
        args = parse_args(argv)
        if args.what == 'all':
            return run_all(args)
        results = run(args, argv)
        if args.out:
            write(args.out, results)
        return 1 if results['rows'] and all(row['error'] for row in results['rows']) else 0
    except UserError as error:
        print(f'error: {error}', file=sys.stderr)
        return 2


def run(args: argparse.Namespace, argv: list[str]) -> dict:
    """Measure, and print the tables. Returns what is written to files."""
    if args.device.type == 'cuda':
        torch.cuda.set_device(args.device)
    about = machine(args.device)
    print(', '.join(f'{key} {value}' for key, value in about.items() if value is not None))
    torch.manual_seed(0)
    settings = _settings(args)
    if getattr(args, 'baseline', None):
        _check_baseline(settings, args.baseline)
    roofline = _roofline(args)
    rows = measure(settings, args.device, args.rounds, getattr(args, 'training', False))
    if rows:  # once more: a shared machine may have been slow in that one second
        roofline = _best(roofline, _roofline(args))
    print(as_text(*roofline_columns(roofline)), end='\n\n', flush=True)
    summarize(rows, roofline['matmul_flops_per_second'], roofline['copy_bytes_per_second'],
              getattr(args, 'baseline', None))
    if rows:
        print(as_text(*columns(rows)))
    if getattr(args, 'profile', False):
        for setting, row in zip(settings, rows):
            row['shares'] = shares(setting, args.device) if 'forward' in row else None
        print('\nshare of an inference\n' + as_text(*share_columns(rows)))
    if getattr(args, 'plot', None):
        plot_sweep(args.plot, rows, args.sweep, about)
    about |= clocks(args.device)
    return dict(command=shlex.join(['tools/benchmark.py', *argv]), machine=about, roofline=roofline, rows=rows)


def _settings(args: argparse.Namespace) -> list:
    if args.what == 'roofline':
        return []
    if args.what in ('detector', 'segmentor'):
        from .experiments import experiment_settings
        settings = list(experiment_settings(args))
    elif args.what == 'export':
        from .exported import export_settings
        settings = list(export_settings(args))
    else:
        settings = list(dict(scan=scan_settings, mixer=mixer_settings, backbone=backbone_settings)[args.what](args))
    if not settings:
        raise ConfigError('nothing is left to measure')
    return settings


def _check_baseline(settings: list, name: str) -> None:
    names = list(dict.fromkeys(setting.name for setting in settings))
    if name not in names:
        raise ConfigError(f'--baseline: no setting is called {name!r}; there are: {"; ".join(names)}')


def _roofline(args: argparse.Namespace) -> dict:
    dtypes = getattr(args, 'dtypes', None) or [AMP[amp] or torch.float32 for amp in args.amp]
    return dict(copy_bytes_per_second=copy_rate(args.device), matmul_flops_per_second={
        str(dtype).removeprefix('torch.'): matmul_rate(args.device, dtype) for dtype in dtypes})


def _best(one: dict, other: dict) -> dict:
    """The larger rates of two rooflines."""
    return {key: _best(rate, other[key]) if isinstance(rate, dict) else max(rate, other[key])
            for key, rate in one.items()}


def run_all(args: argparse.Namespace) -> int:
    """Every part of the plan, each into a file of its own; one that fails does not stop the others."""
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
        argv = [*_installed(command.split()), '--device', str(args.device)]
        if '--rounds' not in argv:
            argv += ['--rounds', str(args.rounds)]
        print(f'\n[{part}] tools/benchmark.py {shlex.join(argv)}', flush=True)
        path = args.out_dir / name / f'{part}.json'
        try:
            absolute = [str(ROOT / word) if word.startswith('configs/') else word for word in argv]
            part_args = parse_args(absolute + (['--plot', str(path.with_suffix('.png'))] if '--sweep' in argv else []))
            write(path, run(part_args, argv))
            print(f'-> {path}')
        except MissingExtraError as error:
            print(f'left out: {error}')
        except UserError as error:
            print(f'error: {error}', file=sys.stderr)
            failed = True
        gc.collect()
        if args.device.type == 'cuda':
            torch.cuda.empty_cache()
    return int(failed)


def _installed(words: list[str]) -> list[str]:
    """A command of the plan, without the backend mamba_ssm where that package is not there."""
    if 'mamba_ssm' in words:
        try:
            package_scan()
        except ImportError as error:
            print(f'left out: the backend mamba_ssm ({error})')
            words = [word for word in words if word != 'mamba_ssm']
    return words


def machine_name(device: torch.device) -> str:
    about = machine(device)
    return re.sub(r'\W+', '-', about['gpu'].lower()) if about['gpu'] else f'cpu-{about["cores"]}cores'
