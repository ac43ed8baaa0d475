#!/usr/bin/env python3
"""Time the scan and the backbone, several settings side by side in one run: tools/benchmark.py {scan,backbone}.

Settings take turns, round after round, so that whatever else the machine does falls on all of them; medians are
printed, and ratios to the first setting of a group. Times of different runs are not to be compared.
"""
import argparse
import csv
import json
import platform
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # run from anywhere, installed or not

import torch

from mmvision_mamba import MambaVision
from mmvision_mamba.backbones import FAMILY
from mmvision_mamba.ops import selective_scan


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    what = parser.add_subparsers(dest='what', required=True)
    scan = what.add_parser('scan', help='selective_scan, backend against backend')
    scan.add_argument('--shapes', nargs='+', type=_numbers(3), default=[(1, 4200, 160), (1, 65536, 160)],
                      metavar='BATCH,LENGTH,CHANNELS', help='default: 1,4200,160 1,65536,160')
    scan.add_argument('--state', type=int, default=8, help='states per channel; default: 8')
    scan.add_argument('--backends', nargs='+', default=['reference', 'chunked'],
                      help='default: reference chunked. reference, step by step, is left out past 8192 steps')
    backbone = what.add_parser('backbone', help='MambaVision, variant, padding, windows and size against each other')
    backbone.add_argument('--archs', nargs='+', default=['tiny'], choices=list(FAMILY), metavar='ARCH')
    backbone.add_argument('--paddings', nargs='+', default=['fit', 'zeros'], choices=['fit', 'zeros'])
    backbone.add_argument('--windows', type=_numbers(2), metavar='STAGE3,STAGE4', help="default: the arch's")
    backbone.add_argument('--sizes', nargs='+', type=_numbers(2), default=[(224, 224), (512, 512)],
                          metavar='HEIGHT,WIDTH', help='default: 224,224 512,512')
    backbone.add_argument('--batch', type=int, default=1)
    for sub in (scan, backbone):
        sub.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
        sub.add_argument('--rounds', type=int, default=5, help='measurements of each setting; default: 5')
        sub.add_argument('--no-backward', action='store_true', help='the forward alone')
        sub.add_argument('--out', type=Path, help='.json or .csv file for the results')
    args = parser.parse_args()
    if args.out and args.out.suffix not in ('.json', '.csv'):
        parser.error(f'--out: a .json or .csv file, got {args.out}')
    return args


def _numbers(count):
    def parse(text):
        values = tuple(int(v) for v in text.split(','))
        if len(values) != count or min(values) < 1:
            raise argparse.ArgumentTypeError(f'{count} positive numbers with commas between them, got {text!r}')
        return values
    return parse


def scan_settings(args):
    """(group, name, function) of every setting, and what it keeps for the backward beside its inputs, in their size."""
    for batch, length, channels in args.shapes:
        def random(*shape):
            return torch.randn(*shape, device=args.device, requires_grad=not args.no_backward)
        inputs = [random(batch, length, channels), random(batch, length, channels), random(channels, args.state),
                  random(batch, length, args.state), random(batch, length, args.state), random(channels),
                  random(channels)]
        group = f'{batch} × {length} × {channels}'
        for backend in args.backends:
            if backend == 'reference' and length > 8192:
                continue

            def forward(inputs=inputs, backend=backend):
                u, delta, A, *rest = inputs
                return selective_scan(u, delta, -A.exp(), *rest, delta_softplus=True, backend=backend)
            yield group, backend, forward, inputs, batch * length


def backbone_settings(args):
    for size in args.sizes:
        x = torch.randn(args.batch, 3, *size, device=args.device)
        for arch in args.archs:
            for padding in args.paddings:
                options = dict(window_size=args.windows) if args.windows else {}
                model = MambaVision(arch, window_padding=padding, **options).to(args.device)
                model.train(not args.no_backward)
                yield f'{args.batch} × 3 × {size[0]} × {size[1]}', f'{arch}, {padding}', \
                    lambda model=model, x=x: model(x), list(model.parameters()), args.batch * size[0] * size[1]


def timed(function, device):
    if device == 'cuda':
        torch.cuda.synchronize()
    start = time.perf_counter()
    out = function()
    if device == 'cuda':
        torch.cuda.synchronize()
    return out, 1e3 * (time.perf_counter() - start)


def total(outputs):
    return sum(y.float().sum() for y in (outputs if isinstance(outputs, tuple) else (outputs,)))


def measure(settings, args):
    """Rows of medians in milliseconds. Every setting is run once beforehand, unmeasured."""
    rows = []
    for group, name, forward, leaves, units in settings:
        rows.append(dict(group=group, name=name, forward=forward, leaves=leaves, units=units, forward_ms=[],
                         training_ms=[]))
    for round_ in range(args.rounds + 1):
        for row in rows:
            with torch.no_grad():
                _, forward_ms = timed(row['forward'], args.device)
            training_ms = None
            if not args.no_backward:
                _, training_ms = timed(lambda row=row: total(row['forward']()).backward(), args.device)
                for leaf in row['leaves']:
                    leaf.grad = None
            if round_:
                row['forward_ms'].append(forward_ms)
                row['training_ms'].append(training_ms)
    for row in rows:
        row['kept'] = None if args.no_backward else kept_for_backward(row['forward'], row['leaves'])
        row['forward_ms'] = statistics.median(row['forward_ms'])
        row['training_ms'] = None if args.no_backward else statistics.median(row['training_ms'])
        row['ns_per_unit'] = 1e6 * row['forward_ms'] / row.pop('units')
        del row['forward'], row['leaves']
    return rows


def kept_for_backward(forward, leaves):
    """Bytes that the forward keeps for the backward beside `leaves`."""
    kept = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        out = forward()
    del out
    own = {leaf.untyped_storage().data_ptr() for leaf in leaves}
    return sum(size for pointer, size in kept.items() if pointer not in own)


def report(rows, unit):
    print(f'{"":24}{"":16}{"forward":>12}{"ratio":>8}{"with backward":>16}{"ratio":>8}{"forward per " + unit:>22}'
          f'{"kept for backward":>20}')
    first = {}
    for row in rows:
        base = first.setdefault(row['group'], row)
        ratios = [f'{base[key] / row[key]:.1f}×' if row[key] else '' for key in ('forward_ms', 'training_ms')]
        training = '' if row['training_ms'] is None else f'{row["training_ms"]:.1f} ms'
        kept = '' if row['kept'] is None else f'{row["kept"] / 2**20:.1f} MiB'
        print(f'{row["group"]:24}{row["name"]:16}{row["forward_ms"]:>9.1f} ms{ratios[0]:>8}{training:>16}{ratios[1]:>8}'
              f'{row["ns_per_unit"]:>19.1f} ns{kept:>20}')


def main():
    args = parse_args()
    machine = dict(device=torch.cuda.get_device_name() if args.device == 'cuda' else platform.processor() or 'CPU',
                   threads=torch.get_num_threads(), torch=torch.__version__)
    print(', '.join(f'{key} {value}' for key, value in machine.items()))
    torch.manual_seed(0)
    rows = measure((scan_settings if args.what == 'scan' else backbone_settings)(args), args)
    report(rows, 'token' if args.what == 'scan' else 'pixel')
    if args.out and args.out.suffix == '.json':
        args.out.write_text(json.dumps(dict(machine=machine, results=rows), indent=2) + '\n')
    elif args.out:
        with args.out.open('w', newline='') as file:
            writer = csv.DictWriter(file, fieldnames=list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)


if __name__ == '__main__':
    main()
