"""Draw the backbone's attention, scan steps and features for an image.

Draws a grid: principal components of each stage's features; self-attention and the scan's step Δ in stages 3 and 4,
averaged over all places; and for each --point the places that it attends to.
"""
import argparse
from pathlib import Path

from ..backbones.family import FAMILY, PADDINGS
from ..errors import ConfigError
from ..printable import shown
from .options import CHECKPOINT, add_cfg_options, check_sides


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('model', help=f'config file of a detector or segmentor, or an arch: {", ".join(FAMILY)}')
    parser.add_argument('checkpoint', help=CHECKPOINT)
    parser.add_argument('image', help='file or http(s) URL')
    parser.add_argument('--point', nargs=2, type=float, action='append', default=[], metavar=('X', 'Y'),
                        help="draw what the place X, Y attends to, in the image's pixels from its upper left corner; "
                        'several times for several places')
    parser.add_argument('--out', type=Path, default=Path('attention_maps.png'),
                        help='picture to write, .png, .jpg, .pdf or .svg; default: attention_maps.png')
    parser.add_argument('--size', nargs=2, type=int, metavar=('H', 'W'),
                        help='with an arch: resize the image; default: as it is')
    parser.add_argument('--window-size', nargs='+', type=int, metavar='N',
                        help="with an arch: windows of stages 3 and 4; default: the arch's")
    parser.add_argument('--window-padding', choices=PADDINGS, help='with an arch; default: fit')
    parser.add_argument('--device', help='such as cpu or cuda:0; default: a GPU where there is one')
    add_cfg_options(parser)


def run(args: argparse.Namespace) -> None:
    from ..visualization.backbone_maps import BackboneMaps
    from ..visualization.figures import check_picture, save
    from ..visualization.maps_figure import draw_maps

    check_picture(args.out)
    if args.size is not None:
        check_sides('--size', args.size)
    model = _load_backbone(args) if args.model in FAMILY else _load_inferencer(args)
    save(draw_maps(BackboneMaps(model, args.image, args.size), args.point), args.out)
    print(shown(args.out))


def _load_inferencer(args: argparse.Namespace):
    """The Inferencer of a config."""
    from ..inference import Inferencer
    from ..inference.toolboxes import CLASSIFIERS
    arch_options = {'--size': args.size, '--window-size': args.window_size, '--window-padding': args.window_padding}
    for option, value in arch_options.items():
        if value is not None:
            raise ConfigError(f'{option} goes with an arch ({", ".join(FAMILY)}); {args.model} sets it itself: use '
                              '--cfg-options')
    model = Inferencer(args.model, args.checkpoint, args.device, args.cfg_options)
    if model.scope == CLASSIFIERS:
        raise ConfigError(f'{shown(args.model)} is a classifier: name its arch in the place of the config, '
                          f'{", ".join(FAMILY)}')
    return model


def _load_backbone(args: argparse.Namespace):
    """The MambaVision of an arch, with the checkpoint's weights."""
    from ..backbones import MambaVision
    from ..backbones.weights import load_pretrained
    from ..inference.inferencer import check_device
    if args.cfg_options:
        raise ConfigError(f'--cfg-options goes with a config file, and {args.model} is an arch')
    window = args.window_size and (args.window_size[0] if len(args.window_size) == 1 else args.window_size)
    backbone = MambaVision(args.model, window_size=window or 'arch', window_padding=args.window_padding or 'fit')
    load_pretrained(backbone, args.checkpoint)
    return backbone.to(check_device(args.device)).eval()
