#!/usr/bin/env python3
"""Report all problems of a config's data sets before a long run: tools/check_dataset.py CONFIG [options]."""
import argparse
import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # run from anywhere, installed or not

from mmvision_mamba.errors import ConfigError, MissingExtraError
from mmvision_mamba.files import replace

try:
    from mmvision_mamba.engine import dataset_report, launch
    from mmvision_mamba.engine.dataset_configs import SPLITS
except (MissingExtraError, ModuleNotFoundError) as error:
    print(f'error: {error}', file=sys.stderr)
    sys.exit(2)


def parse_args():
    parser = argparse.ArgumentParser(
        description="Report all problems of a config's data sets before a long run: COCO annotations, images, "
        'segmentation maps; and what they hold.', epilog='Exit code: 0 no problems, 1 problems, 2 wrong usage.')
    parser.add_argument('config', help='config file')
    parser.add_argument('--split', default='train,val', metavar='NAMES',
                        help='of train,val,test (default: %(default)s)')
    parser.add_argument('--json', type=Path, metavar='OUT', help='write the full report there')
    parser.add_argument('--workers', type=int, default=os.cpu_count(), metavar='N',
                        help='processes that decode images (default: one per core, %(default)s)')
    parser.add_argument('--show', type=int, default=5, metavar='N',
                        help='names shown of each kind of problem (default: %(default)s)')
    parser.add_argument('--annotations-only', action='store_true', help='leave images and segmentation maps unread')
    launch.add_cfg_options(parser)
    return launch.parse_args(parser)


def main() -> int:
    args = parse_args()
    with launch.user_errors():
        splits = [name.strip() for name in args.split.split(',')]
        if not set(splits) <= set(SPLITS):
            raise ConfigError(f'--split takes {", ".join(SPLITS)}, separated by commas; got {args.split!r}')
        if args.workers < 0 or args.show < 0:
            raise ConfigError('--workers and --show take numbers from 0 up')
        cfg = launch.read_config(args.config, args.cfg_options, ())
        reports = dataset_report.check_config(cfg, splits, args.workers, files=not args.annotations_only)
        for report in reports:
            print('\n'.join(report.lines(args.show)))
        errors, warnings = (sum(report.count(level) for report in reports) for level in ('error', 'warning'))
        print(f'{errors} errors, {warnings} warnings')
        if args.json:
            content = dict(config=args.config, errors=errors, warnings=warnings,
                           datasets=[report.as_dict() for report in reports])
            replace(args.json, lambda path: path.write_text(json.dumps(content, indent=1) + '\n'))
            print(f'report: {args.json}')
        return int(bool(errors + warnings))


if __name__ == '__main__':
    sys.exit(main())
