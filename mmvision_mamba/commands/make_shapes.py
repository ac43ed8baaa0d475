"""Make a Shapes data set: annotated pictures for detection, segmentation or classification."""
import argparse
import signal
import sys
import time
from pathlib import Path

from ..datasets import CLASSES, KINDS
from ..errors import ConfigError
from ..printable import shown

MOST = 10_000_000  # images of a split


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.epilog = f'Classes: {", ".join(CLASSES)}.'
    parser.add_argument('out', type=Path, metavar='OUT', help='folder to make')
    parser.add_argument('--kind', choices=KINDS, default='scenes',
                        help='scenes: several shapes, for detection and segmentation; objects: one shape, in a folder '
                        'per class, for classification (default: %(default)s)')
    parser.add_argument('--seed', type=int, default=0, help='another seed, other pictures (default: %(default)s)')
    parser.add_argument('--train', type=int, default=2000, help='number of training images (default: %(default)s)')
    parser.add_argument('--val', type=int, default=200, help='number of validation images (default: %(default)s)')
    parser.add_argument('--size', type=int, nargs='+', default=[128], metavar='PX',
                        help='height and width of the images, or one number for both (default: 128)')


def run(args: argparse.Namespace) -> None:
    from ..datasets.shapes import make_shapes

    if len(args.size) > 2:
        raise ConfigError(f'--size: expected one or two numbers, got {len(args.size)}')
    for option, count in (('--train', args.train), ('--val', args.val)):
        if count > MOST:
            raise ConfigError(f'{option}: expected at most {MOST} images, got {count}')
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # a normal exit, which removes the temporary folder
    start = time.perf_counter()

    def progress(split: str, done: int, count: int) -> None:
        if done % 500 == 0 or done == count:
            print(f'{split}: {done}/{count} images, {time.perf_counter() - start:.0f} s', flush=True)

    size = (args.size[0], args.size[-1])
    made = make_shapes(args.out, args.train, args.val, args.seed, size, progress, args.kind)
    print(f'{shown(args.out)}: {args.train} + {args.val} images' + ('' if made else ', there already'))
