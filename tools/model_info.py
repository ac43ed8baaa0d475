#!/usr/bin/env python3
"""What a model costs: tools/model_info.py CONFIG [--size H W], or tools/model_info.py --arch tiny [--size H W].

Prints a table of parameters, FLOPs, activations and memory, part by part, and with --out draws it, with the four stages
above. Weights are random, nothing is loaded.

FLOPs: convolutions, matrix products, attention and selective scans; a MAC, a multiplication and an addition, is two.
Activations: what a forward keeps for the backward. Peak memory: allocated at most during an inference's pass through
the part, beyond what was before.
"""
import argparse
import os
import sys
from importlib.util import find_spec
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # run from anywhere, installed or not
os.environ.setdefault('KINETO_LOG_LEVEL', '99')  # the profiler, which counts bytes, complains where there is no GPU

import torch

from mmvision_mamba.backbones.classifier import MambaVisionClassifier
from mmvision_mamba.backbones.family import FAMILY
from mmvision_mamba.backbones.windows import PADDINGS
from mmvision_mamba.benchmark.model_info import as_table, model_info, training_memory
from mmvision_mamba.benchmark.options import parse_device
from mmvision_mamba.errors import ConfigError, UserError

IMAGE_SIZE = {'large3': 256}  # what the others are published at: 224


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', nargs='?', help='config file of a detector or segmentor')
    parser.add_argument('--arch', choices=FAMILY, metavar='NAME',
                        help=f'instead of a config: an ImageNet classifier, of {", ".join(FAMILY)}')
    parser.add_argument('--size', nargs='+', type=int, metavar='PIXELS',
                        help="of the image: height and width, or one side; default: with a config its test pipeline's "
                        'resize, with an arch what it was published at')
    parser.add_argument('--window-size', nargs='+', type=int, metavar='N',
                        help="with --arch: windows of stages 3 and 4; default: the arch's")
    parser.add_argument('--window-padding', choices=PADDINGS, help='with --arch; default: fit')
    parser.add_argument('--no-memory', action='store_true', help='FLOPs and parameters alone, in a third of the time')
    parser.add_argument('--gpus', type=int, metavar='N',
                        help='count what training on N GPUs takes on each, replicated and sharded, too')
    parser.add_argument('--images', type=int, default=1, metavar='N', help='with --gpus: per GPU; default: 1')
    parser.add_argument('--out', type=Path, metavar='FILE.png', help='draw a picture too')
    parser.add_argument('--device', help='cpu, cuda or cuda:N; default: a GPU where there is one')
    if find_spec('mmengine'):  # without it no config can be read, but --arch does
        from mmvision_mamba.engine.launch import add_cfg_options
        add_cfg_options(parser)
    else:
        parser.set_defaults(cfg_options=None)
    return parser.parse_args()


def from_arch(args):
    """(title, model, call, size) of an ImageNet classifier."""
    if args.cfg_options:
        raise ConfigError('--cfg-options goes with a config file, and --arch has none')
    side = IMAGE_SIZE.get(args.arch, 224)
    height, width = args.size or (side, side)
    windows = {} if args.window_size is None else dict(window_size=(args.window_size * 2)[:2])
    model = MambaVisionClassifier(args.arch, window_padding=args.window_padding or 'fit', **windows)
    x = torch.rand(1, 3, height, width, device=args.device)
    return args.arch, model.to(args.device).eval(), lambda: model(x), (height, width)


def from_config(args):
    """(title, model, call, size) of a detector or segmentor: features and heads, without the picking of boxes."""
    from mmvision_mamba.benchmark.experiments import build_forward
    for option in ('window_size', 'window_padding'):
        if getattr(args, option) is not None:
            raise ConfigError(f'--{option.replace("_", "-")} goes with --arch; for a config use --cfg-options '
                              f'model.backbone.{option}=…')
    model, call, size = build_forward(args.config, args.cfg_options, args.size, args.device)
    return Path(args.config).stem, model, call, size


def main() -> int:
    args = parse_args()
    try:
        if (args.config is None) == (args.arch is None):
            raise ConfigError('name a config file or --arch, one of the two')
        if args.size is not None:
            if len(args.size) > 2 or min(args.size) < 32:
                raise ConfigError(f'--size: height and width, or one side, of 32 pixels or more, got {args.size}')
            args.size = (args.size * 2)[:2]
        if args.out:
            from mmvision_mamba.visualization.figures import check_picture, save
            check_picture(args.out)
        if (args.gpus is not None and args.gpus < 1) or args.images < 1:
            raise ConfigError(f'--gpus and --images: positive numbers, got {args.gpus} and {args.images}')
        if args.gpus and args.no_memory:
            raise ConfigError('--gpus needs the memory that --no-memory leaves out')
        args.device = parse_device(args.device)
        title, model, call, (height, width) = from_arch(args) if args.arch else from_config(args)
        parts = model_info(model, call, args.device, not args.no_memory)
        title = f'{title}, one image of {height} × {width}'
        print(f'{title}, {args.device}\n{as_table(parts)}')
        if args.gpus:
            print(f'\n{training_memory(parts, model, args.gpus, args.images)}')
        if args.out:
            from mmvision_mamba.visualization.model_figure import draw_model
            save(draw_model(parts, title), args.out)
            print(args.out)
    except UserError as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    return 0


if __name__ == '__main__':
    sys.exit(main())
