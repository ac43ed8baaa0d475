"""Train variants of a model for the same short time and compare them.

Prints a table, and writes it to OUT/ablation.md and every run to OUT/ablation.json. A second call goes on where the
first one stopped.
"""
import argparse
from pathlib import Path

from ..configs import config_names, find_config
from ..errors import ConfigError
from ..printable import shown
from ..work_dirs import hold, make_work_dir
from .options import add_cfg_options


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('configs', nargs='*', metavar='CONFIG',
                        help='configs of the variants; the first is the one that the others are compared with; '
                        'default: ablations/baseline and the other ablations that come with this package')
    parser.add_argument('--out', type=Path, default=Path('work_dirs/ablation'), help='folder; default: %(default)s')
    parser.add_argument('--iters', type=int, help="iterations of each run; default: the config's")
    parser.add_argument('--seeds', type=int, nargs='+', default=[0],
                        help='one run of each variant per seed; default: 0')
    add_cfg_options(parser)


def run(args: argparse.Namespace) -> None:
    from ..preflight.read import read_config
    from .steps import ablation
    from .steps.prepare import prepare_data, prepare_device

    _check_options(args)
    configs = {}
    for path in _config_paths(args.configs):
        cfg = read_config(path, args.cfg_options, ('model', 'train_dataloader', 'val_dataloader'))
        prepare_device(cfg)
        prepare_data(cfg, ('train', 'val'), skip_bad_images=False)
        configs[path.stem] = ablation.shorten(cfg, args.iters)
    make_work_dir(args.out, '--out')
    with hold(args.out, way_out='--out DIR'):
        rows = ablation.run_variants(configs, args.seeds, args.out, lambda line: print(line, flush=True))
    print(f'\n{ablation.as_markdown(rows)}\n{shown(args.out / ablation.RESULTS)}, {shown(args.out / ablation.TABLE)}')


def _check_options(args: argparse.Namespace) -> None:
    if args.iters is not None and args.iters < 2:
        raise ConfigError(f'--iters: at least 2, got {args.iters}')
    if len(set(args.seeds)) < len(args.seeds) or min(args.seeds) < 0:
        raise ConfigError('--seeds: numbers from 0 up, none of them twice')


def _config_paths(configs: list[str]) -> list[Path]:
    """Paths of `configs`, or, without any, of this package's ablations with their baseline first."""
    names = configs or sorted((name for name in config_names() if name.startswith('ablations/')),
                              key=lambda name: (name != 'ablations/baseline', name))
    paths = [find_config(name) for name in names]
    for i, path in enumerate(paths):
        if path.stem in [earlier.stem for earlier in paths[:i]]:
            raise ConfigError(f'{path}: two variants are named {path.stem}')
    return paths
