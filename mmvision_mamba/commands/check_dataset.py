"""Report all problems of a config's data sets before a long run.

Checks COCO annotations, images and segmentation maps, and counts what they hold. Exit code: 0 no problems, 1 problems,
2 wrong usage.
"""
import argparse
import json
import os
from pathlib import Path

from ..errors import ConfigError
from ..files import check_output, replace
from ..limits import WORKERS, check_workers
from ..printable import shown
from .options import add_cfg_options, check_outputs


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('config', help='config file')
    parser.add_argument('--split', default='train,val', metavar='NAMES',
                        help='any of train,val,test (default: %(default)s)')
    parser.add_argument('--json', type=Path, metavar='OUT', help='write the full report there')
    parser.add_argument('--workers', type=int, default=min(os.cpu_count() or 1, WORKERS.default), metavar='N',
                        help='processes that decode images (default: one per core, %(default)s)')
    parser.add_argument('--show', type=int, default=5, metavar='N',
                        help='names to show for each kind of problem (default: %(default)s)')
    parser.add_argument('--annotations-only', action='store_true', help='leave images and segmentation maps unread')
    add_cfg_options(parser)


def run(args: argparse.Namespace) -> int:
    from ..datasets.coco_files import reading_once
    from ..preflight.datasets import SPLITS
    from ..preflight.read import read_config
    from ..preflight.report import check_config

    splits = [name.strip() for name in args.split.split(',')]
    if not set(splits) <= set(SPLITS):
        raise ConfigError(f'--split takes {", ".join(SPLITS)}, separated by commas; got {args.split!r}')
    if args.workers < 0 or args.show < 0:
        raise ConfigError('--workers and --show take numbers from 0 up')
    check_workers(args.workers, '--workers')
    if args.json:
        check_output(args.json, '--json')
    with reading_once():
        cfg = read_config(args.config, args.cfg_options, ())
        check_outputs(args, cfg)
        reports = check_config(cfg, splits, args.workers, files=not args.annotations_only)
    for report in reports:
        print('\n'.join(report.lines(args.show)))
    errors, warnings = (sum(report.count(level) for report in reports) for level in ('error', 'warning'))
    print(f'{errors} errors, {warnings} warnings')
    if args.json:
        content = dict(config=args.config, errors=errors, warnings=warnings,
                       datasets=[report.as_dict() for report in reports])
        replace(args.json, lambda path: path.write_text(json.dumps(content, indent=1) + '\n'))
        print(f'report: {shown(args.json)}')
    return int(bool(errors + warnings))
