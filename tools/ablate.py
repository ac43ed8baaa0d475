#!/usr/bin/env python3
"""Train variants of a model for the same short time and compare them: tools/ablate.py [CONFIG …] [options].

Prints a table, and writes it to OUT/ablation.md and every run to OUT/ablation.json. A second call goes on where the
first one stopped.
"""
import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # run from anywhere, installed or not

from mmvision_mamba.errors import ConfigError, MissingExtraError  # noqa: E402

try:
    from mmvision_mamba.engine import ablation, launch  # importing the package registers what configs name
except (MissingExtraError, ImportError) as error:
    print(f'error: {error}', file=sys.stderr)
    sys.exit(2)

CONFIGS = ROOT / 'configs' / 'ablations'


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('configs', nargs='*', metavar='CONFIG',
                        help='config files of the variants, the first the one that the others are compared with; '
                        'default: all of configs/ablations')
    parser.add_argument('--out', type=Path, default=Path('work_dirs/ablation'), help='folder; default: %(default)s')
    parser.add_argument('--iters', type=int, help="iterations of each run; default: the config's")
    parser.add_argument('--seeds', type=int, nargs='+', default=[0],
                        help='one run of each variant per seed; default: 0')
    launch.add_cfg_options(parser)
    args = launch.parse_args(parser)
    if args.iters is not None and args.iters < 2:
        parser.error(f'argument --iters: at least 2, got {args.iters}')
    if len(set(args.seeds)) < len(args.seeds) or min(args.seeds) < 0:
        parser.error('argument --seeds: numbers from 0 up, none of them twice')
    return args


def main():
    args = parse_args()
    with launch.user_errors():
        paths = [Path(path) for path in args.configs] or [
            CONFIGS / 'baseline.py', *sorted(set(CONFIGS.glob('*.py')) - {CONFIGS / 'baseline.py'})]
        if twice := [path for i, path in enumerate(paths) if path.stem in [p.stem for p in paths[:i]]]:
            raise ConfigError(f'{twice[0]}: two variants are named {twice[0].stem}')
        configs = {}
        for path in paths:
            cfg = launch.read_config(path, args.cfg_options, ('model', 'train_dataloader', 'val_dataloader'))
            launch.prepare_device(cfg)
            launch.prepare_data(cfg, ('train', 'val'), skip_bad_images=False)
            configs[path.stem] = ablation.shorten(cfg, args.iters)
        rows = ablation.run_variants(configs, args.seeds, args.out, lambda line: print(line, flush=True))
        print(f'\n{ablation.as_markdown(rows)}\n{args.out / ablation.RESULTS}, {args.out / ablation.TABLE}')


if __name__ == '__main__':
    main()
