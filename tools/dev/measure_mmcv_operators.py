#!/usr/bin/env python3
"""Time RoIAlign and NMS beside compiled mmcv's, which must be installed: tools/dev/measure_mmcv_operators.py OUT.json.

Both take turns, so that other load on the machine slows both alike. OUT.json is a table of docs/performance.md.
"""
import argparse
import shlex
import statistics
import sys
import time
from importlib import import_module
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # run from anywhere, installed or not

from mmvision_mamba import mmcv_ops
from mmvision_mamba.benchmark.report import machine, write
from mmvision_mamba.benchmark.timing import quartiles
from mmvision_mamba.mmcv_ops import extension
from tests.helpers.mmcv_operators import operators_from


def calls():
    """Name of the work -> the call that is timed."""
    from mmcv.ops import nms, roi_align, soft_nms
    torch.manual_seed(0)
    corners, sizes = torch.rand(5000, 2) * 200, 10 + torch.rand(5000, 2) * 100
    boxes, scores = torch.cat([corners, corners + sizes], dim=1), torch.rand(5000)
    maps = torch.rand(4, 256, 56, 56, requires_grad=True)
    regions = torch.cat([torch.arange(1000)[:, None] % 4, boxes[:1000]], dim=1)
    gradient = torch.rand(1000, 256, 7, 7)

    def align():
        return roi_align(maps, regions, 7, 0.25, 0)
    return {'RoIAlign 7 × 7, 4 × 256 × 56 × 56, 1,000 boxes': align,
            'the same and its backward': lambda: torch.autograd.grad(align(), maps, gradient),
            'NMS, 5,000 boxes': lambda: nms(boxes, scores, 0.5),
            'soft NMS, 2,000 boxes': lambda: soft_nms(boxes[:2000], scores[:2000])}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('out', type=Path)
    parser.add_argument('--rounds', type=int, default=7, help='turns of each; default %(default)s')
    args = parser.parse_args(argv)
    kinds = {'compiled mmcv': import_module(mmcv_ops.NAME), 'PyTorch': extension}
    if mmcv_ops.in_use():
        print('error: no compiled mmcv is installed here', file=sys.stderr)
        return 2
    rows, raw = [], {}
    for name, call in calls().items():
        samples = {kind: [] for kind in kinds}
        for turn in range(args.rounds + 1):  # the first warms up
            for kind, operators in kinds.items():
                with operators_from(operators):
                    begin = time.perf_counter()
                    call()
                if turn:
                    samples[kind].append(1000 * (time.perf_counter() - begin))
        raw[name] = samples
        ratios = [ours / theirs for theirs, ours in zip(*samples.values())]
        rows.append([name, *(spread(times) for times in samples.values()), f'{statistics.median(ratios):.2f}'])
        print(' | '.join(rows[-1]))
    write(args.out, dict(command=shlex.join(['tools/dev/measure_mmcv_operators.py', str(args.out)]),
                         machine=machine(torch.device('cpu')), table=[['work', *kinds, 'ratio'], rows],
                         milliseconds=raw))
    return 0


def spread(times: list[float]) -> str:
    low, middle, high = quartiles(times)
    return f'{middle:,.0f} ms ({low:,.0f}–{high:,.0f})'


if __name__ == '__main__':
    sys.exit(main())
