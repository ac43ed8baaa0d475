#!/usr/bin/env python3
"""Draw what a config's pipeline feeds the model: tools/browse_dataset.py CONFIG. Augmented images as they come out of
the data preprocessor, normalisation undone and padding included, beside them the boxes, masks and semantic maps."""
import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # run from anywhere, installed or not

from mmvision_mamba.errors import MissingExtraError

try:
    from mmvision_mamba.engine import launch  # importing the package registers what configs name
except MissingExtraError as error:
    print(f'error: {error}', file=sys.stderr)
    sys.exit(2)

from mmvision_mamba.visualization.browse import draw_samples, model_inputs
from mmvision_mamba.visualization.figures import check_picture


def positive(text):
    if int(text) < 1:
        raise ValueError
    return int(text)


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file')
    parser.add_argument('--split', '--phase', choices=['train', 'val', 'test'], default='train',
                        help='default: %(default)s')
    parser.add_argument('-n', '--show-number', type=positive, default=12, metavar='N',
                        help='how many images, chosen at random (default: %(default)s)')
    parser.add_argument('--columns', type=positive, default=3, help='images in a row (default: %(default)s)')
    parser.add_argument('--seed', type=int, default=0,
                        help='another seed, other images and other augmentation (default: %(default)s)')
    parser.add_argument('--out', type=Path, default=Path('browse_dataset.png'),
                        help='.png, .jpg, .svg or .pdf (default: %(default)s)')
    launch.add_cfg_options(parser)
    return launch.parse_args(parser)


def main():
    args = parse_args()
    with launch.user_errors():
        check_picture(args.out)
        cfg = launch.read_config(args.config, args.cfg_options, ('model', f'{args.split}_dataloader'))
        launch.prepare_data(cfg, (args.split,), skip_bad_images=False)
        samples, metainfo = model_inputs(cfg, args.split, args.show_number, args.seed)
        draw_samples(args.out, samples, metainfo, args.columns,
                     f'{Path(args.config).name}, {args.split}, seed {args.seed}')
        print(f'{len(samples)} images: {args.out}')


if __name__ == '__main__':
    main()
