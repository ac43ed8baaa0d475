"""Make the report of a run, or compare several: WORK_DIR/report/index.html, one file that needs no server.

It tells in words which class is the worst and why, which score threshold to use, and whether the model still learns;
with metrics, thresholds, errors, images, curves, data and config. `train` and `test` make it by themselves.
"""
import argparse
from pathlib import Path

from ..errors import ConfigError
from ..printable import shown


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('work_dirs', nargs='+', metavar='WORK_DIR', help='the work directory of a run; of several runs '
                        'a comparison is made')
    parser.add_argument('--out-dir', type=Path, metavar='DIR', help='where index.html and report.json go; default: '
                        'WORK_DIR/report, and comparison for several runs')


def run(args: argparse.Namespace) -> None:
    from ..report.making import make_comparison, make_report

    folders = [Path(name) for name in args.work_dirs]
    several = len(folders) > 1
    try:
        if several:
            path = make_comparison(folders, args.out_dir or Path('comparison'))
        else:
            path = make_report(folders[0], args.out_dir)
    except OSError as error:
        raise ConfigError(f'{shown(error.filename or args.out_dir)}: the report can not be written there: '
                          f'{error.strerror or error}') from error
    print(f'{"comparison" if several else "report"}: {shown(path)}')
