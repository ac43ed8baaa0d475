"""Draw images and annotations as a config's pipeline feeds them to the model.

Draws augmented images as they leave the data preprocessor, normalisation undone and padding included, with their boxes,
masks and semantic maps.
"""
import argparse
from pathlib import Path

from ..errors import ConfigError
from ..printable import shown
from .options import add_cfg_options, add_font, check_outputs, use_font

MOST, MOST_COLUMNS, MOST_ROWS = 300, 20, 150  # of images; Matplotlib draws no more than 2¹⁶ pixels a side


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('config', help='config file')
    parser.add_argument('--split', '--phase', choices=['train', 'val', 'test'], default='train',
                        help='default: %(default)s')
    parser.add_argument('-n', '--show-number', type=positive, default=12, metavar='N',
                        help='how many images, chosen at random (default: %(default)s)')
    parser.add_argument('--columns', type=positive, default=3, help='images in a row (default: %(default)s)')
    parser.add_argument('--seed', type=seed, default=0,
                        help='another seed, other images and other augmentation (default: %(default)s)')
    parser.add_argument('--out', type=Path, default=Path('browse_dataset.png'),
                        help='.png, .jpg, .svg or .pdf (default: %(default)s)')
    add_font(parser)
    add_cfg_options(parser)


def positive(text: str) -> int:  # argparse's errors quote this name
    if int(text) < 1:
        raise ValueError
    return int(text)


def seed(text: str) -> int:
    if not 0 <= int(text) < 2 ** 32:
        raise ValueError
    return int(text)


def run(args: argparse.Namespace) -> None:
    from ..preflight.read import read_config
    from ..visualization.browse import draw_samples, model_inputs
    from ..visualization.figures import check_picture
    from .steps.prepare import prepare_data

    check_picture(args.out)
    use_font(args)
    if args.show_number > MOST or args.columns > MOST_COLUMNS or args.show_number > args.columns * MOST_ROWS:
        raise ConfigError(f'-n {args.show_number} --columns {args.columns}: a picture has room for {MOST} images in at '
                          f'most {MOST_COLUMNS} columns and {MOST_ROWS} rows')
    cfg = read_config(args.config, args.cfg_options, ('model', f'{args.split}_dataloader'))
    check_outputs(args, cfg)
    prepare_data(cfg, (args.split,), skip_bad_images=False)
    samples, metainfo = model_inputs(cfg, args.split, args.show_number, args.seed)
    draw_samples(args.out, samples, metainfo, args.columns, f'{Path(args.config).name}, {args.split}, seed {args.seed}')
    print(f'{len(samples)} images: {shown(args.out)}')
