#!/usr/bin/env python3
"""Draw what the backbone does with an image: tools/attention_maps.py MODEL CHECKPOINT IMAGE [--point X Y] [options].

A grid: the features of each stage (principal components), self-attention and scan steps of stages 3 and 4 averaged over
all places, and for each --point what it looks at.
"""
import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # run from anywhere, installed or not

from mmvision_mamba.errors import ConfigError, MissingExtraError

try:
    from mmvision_mamba import MambaVision
    from mmvision_mamba.backbones.checkpoint import load_pretrained
    from mmvision_mamba.backbones.family import FAMILY
    from mmvision_mamba.backbones.windows import PADDINGS
    from mmvision_mamba.engine import launch  # importing the package registers what configs name
    from mmvision_mamba.inference import Inferencer
    from mmvision_mamba.inference.inferencer import check_device
    from mmvision_mamba.visualization.backbone_maps import BackboneMaps
    from mmvision_mamba.visualization.figures import check_picture, save
    from mmvision_mamba.visualization.maps_figure import draw_maps
except MissingExtraError as error:
    print(f'error: {error}', file=sys.stderr)
    sys.exit(2)


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('model', help=f'config file of a detector or segmentor, or an arch: {", ".join(FAMILY)}')
    parser.add_argument('checkpoint', help='checkpoint file or URL')
    parser.add_argument('image', help='file or http(s) URL')
    parser.add_argument('--point', nargs=2, type=float, action='append', default=[], metavar=('X', 'Y'),
                        help="draw what this place looks at, in the image's pixels from its upper left corner; several "
                        'times for several places')
    parser.add_argument('--out', type=Path, default=Path('attention_maps.png'),
                        help='picture to write, .png, .jpg, .pdf or .svg; default: attention_maps.png')
    parser.add_argument('--size', nargs=2, type=int, metavar=('H', 'W'),
                        help='with an arch: resize the image; default: as it is')
    parser.add_argument('--window-size', nargs='+', type=int, metavar='N',
                        help="with an arch: windows of stages 3 and 4; default: the arch's")
    parser.add_argument('--window-padding', choices=PADDINGS, help='with an arch; default: fit')
    parser.add_argument('--device', help='such as cpu or cuda:0; default: a GPU where there is one')
    launch.add_cfg_options(parser)
    return launch.parse_args(parser)


def build(args):
    """The Inferencer of a config, or the MambaVision of an arch."""
    bare = {'--size': args.size, '--window-size': args.window_size, '--window-padding': args.window_padding}
    if args.model not in FAMILY:
        for option, value in bare.items():
            if value is not None:
                raise ConfigError(f'{option} goes with an arch ({", ".join(FAMILY)}); {args.model} sets it itself: use '
                                  '--cfg-options')
        return Inferencer(args.model, args.checkpoint, args.device, args.cfg_options)
    if args.cfg_options:
        raise ConfigError(f'--cfg-options goes with a config file, and {args.model} is an arch')
    window = args.window_size and (args.window_size[0] if len(args.window_size) == 1 else args.window_size)
    backbone = MambaVision(args.model, window_size=window or 'arch', window_padding=args.window_padding or 'fit')
    load_pretrained(backbone, args.checkpoint)
    return backbone.to(check_device(args.device)).eval()


def main():
    args = parse_args()
    with launch.user_errors():
        check_picture(args.out)
        save(draw_maps(BackboneMaps(build(args), args.image, args.size), args.point), args.out)
        print(args.out)


if __name__ == '__main__':
    main()
