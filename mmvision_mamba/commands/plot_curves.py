"""Draw loss, learning rate and metrics of one or several runs into one figure.

Detectors and segmentors may be mixed.
"""
import argparse
from pathlib import Path

from ..errors import ConfigError
from ..printable import shown


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('logs', nargs='+', metavar='LOG',
                        help="a run's work directory (a resumed run is drawn as one), or one scalars.json")
    parser.add_argument('--keys', nargs='+', metavar='KEY',
                        help='draw these keys, such as "loss_rpn_cls coco/bbox_mAP_50"')
    parser.add_argument('--legend', nargs='+', metavar='NAME', help="names of the runs; default: their folders'")
    parser.add_argument('--title', help='default: the names of the runs')
    parser.add_argument('--out', type=Path, default=Path('curves.png'),
                        help='.png, .svg, .pdf or .jpg (default: %(default)s)')


def run(args: argparse.Namespace) -> None:
    from ..visualization.curves import draw_curves, read_run
    from ..visualization.figures import check_picture

    check_picture(args.out)
    if args.legend and len(args.legend) != len(args.logs):
        raise ConfigError(f'--legend: {len(args.legend)} names for {len(args.logs)} logs')
    runs = [read_run(log, name) for log, name in zip(args.logs, args.legend or [None] * len(args.logs))]
    names = [run.name for run in runs]
    for drawn in runs:
        if names.count(drawn.name) > 1 and not args.legend:
            drawn.name = str(drawn.path)
    draw_curves(args.out, runs, args.keys, args.title)
    print(f'curves: {shown(args.out)}')
