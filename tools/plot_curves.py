#!/usr/bin/env python3
"""Draw loss, learning rate and metrics of one or several runs into one figure: tools/plot_curves.py LOG [LOG …]."""
import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # run from anywhere, installed or not

from mmvision_mamba.errors import MissingExtraError

try:
    from mmvision_mamba.engine import launch
except MissingExtraError as error:
    print(f'error: {error}', file=sys.stderr)
    sys.exit(2)

from mmvision_mamba.errors import ConfigError
from mmvision_mamba.visualization.curves import draw_curves, read_run
from mmvision_mamba.visualization.figures import check_picture


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__, epilog='Detectors and segmentors may be mixed.')
    parser.add_argument('logs', nargs='+', metavar='LOG',
                        help="a run's work directory (a resumed run is drawn as one), or one scalars.json")
    parser.add_argument('--keys', nargs='+', metavar='KEY', help='draw these, as "loss_rpn_cls coco/bbox_mAP_50"')
    parser.add_argument('--legend', nargs='+', metavar='NAME', help="names of the runs; default: their folders'")
    parser.add_argument('--title', help='default: the names of the runs')
    parser.add_argument('--out', type=Path, default=Path('curves.png'),
                        help='.png, .svg, .pdf or .jpg (default: %(default)s)')
    return parser.parse_args()


def main():
    args = parse_args()
    with launch.user_errors():
        check_picture(args.out)
        if args.legend and len(args.legend) != len(args.logs):
            raise ConfigError(f'--legend: {len(args.legend)} names for {len(args.logs)} logs')
        runs = [read_run(log, name) for log, name in zip(args.logs, args.legend or [None] * len(args.logs))]
        names = [run.name for run in runs]
        for run in runs:
            if names.count(run.name) > 1 and not args.legend:
                run.name = str(run.path)
        draw_curves(args.out, runs, args.keys, args.title)
        print(f'curves: {args.out}')


if __name__ == '__main__':
    main()
