#!/usr/bin/env python
"""Make a Shapes data set: annotated pictures for detection, segmentation or classification."""
import argparse
import signal
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from mmvision_mamba.datasets.shapes import CLASSES, KINDS, make_shapes  # noqa: E402
from mmvision_mamba.errors import UserError  # noqa: E402


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, epilog=f'Classes: {", ".join(CLASSES)}.')
    parser.add_argument('out', type=Path, metavar='OUT', help='folder to make')
    parser.add_argument('--kind', choices=list(KINDS), default='scenes',
                        help='scenes: several shapes, for detection and segmentation; objects: one shape, in a folder '
                        'per class, for classification (default: %(default)s)')
    parser.add_argument('--seed', type=int, default=0, help='another seed, other pictures (default: %(default)s)')
    parser.add_argument('--train', type=int, default=2000, help='number of training images (default: %(default)s)')
    parser.add_argument('--val', type=int, default=200, help='number of validation images (default: %(default)s)')
    parser.add_argument('--size', type=int, nargs='+', default=[128], metavar='PX',
                        help='height and width of the images, or one number for both (default: 128)')
    args = parser.parse_args()
    if len(args.size) > 2:
        parser.error(f'argument --size: expected one or two numbers, got {len(args.size)}')
    args.size = (args.size[0], args.size[-1])
    return args


def main() -> int:
    args = parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the temporary folder goes
    start = time.perf_counter()

    def progress(split: str, done: int, count: int) -> None:
        if done % 500 == 0 or done == count:
            print(f'{split}: {done}/{count} images, {time.perf_counter() - start:.0f} s', flush=True)

    try:
        made = make_shapes(args.out, args.train, args.val, args.seed, args.size, progress, args.kind)
    except UserError as e:
        print(f'error: {e}', file=sys.stderr)
        return 2
    print(f'{args.out}: {args.train} + {args.val} images' + ('' if made else ', there already'))
    return 0


if __name__ == '__main__':
    sys.exit(main())
