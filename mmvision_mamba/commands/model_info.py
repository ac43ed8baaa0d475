"""Show what a model costs: parameters, FLOPs, activations and memory, part by part.

Takes a config or, with --arch, a classifier. Prints a table, and with --out draws it, with the four stages above.
Weights are random, nothing is loaded.

FLOPs: convolutions, matrix products, attention and selective scans; a MAC, a multiplication and an addition, is two.
Activations: bytes that a forward keeps for the backward. Peak memory: the most that an inference allocates while it
passes through the part, beyond what it had before.
"""
import argparse
import os
from pathlib import Path

from ..backbones.family import FAMILY, PADDINGS
from ..errors import ConfigError, UserError
from ..printable import shown
from ..text import did_you_mean
from .options import add_cfg_options, check_sides

IMAGE_SIZE = {'large3': 256}  # side in pixels that an arch was published at; of the others: 224


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('config', nargs='?', help='config file of a detector or segmentor, or an arch as for --arch')
    parser.add_argument('--arch', choices=FAMILY, metavar='NAME',
                        help=f'instead of a config: an ImageNet classifier, of {", ".join(FAMILY)}')
    parser.add_argument('--size', nargs='+', type=int, metavar='PIXELS',
                        help="of the image: height and width, or one side; default: with a config its test pipeline's "
                        'resize, with an arch the size that it was published at')
    parser.add_argument('--window-size', nargs='+', type=int, metavar='N',
                        help="with --arch: windows of stages 3 and 4; default: the arch's")
    parser.add_argument('--window-padding', choices=PADDINGS, help='with --arch; default: fit')
    parser.add_argument('--no-memory', action='store_true', help='FLOPs and parameters alone, in a third of the time')
    parser.add_argument('--gpus', type=int, metavar='N',
                        help='count what training on N GPUs takes on each, replicated and sharded, too')
    parser.add_argument('--images', type=int, default=1, metavar='N', help='with --gpus: per GPU; default: 1')
    parser.add_argument('--out', type=Path, metavar='FILE.png', help='draw a picture too')
    parser.add_argument('--device', help='cpu, cuda or cuda:N; default: a GPU where there is one')
    add_cfg_options(parser)


def run(args: argparse.Namespace) -> None:
    # Read when torch is imported. Without it the profiler, which counts bytes, complains where there is no GPU.
    os.environ.setdefault('KINETO_LOG_LEVEL', '99')
    from ..costs.devices import parse_device
    from ..costs.model_info import as_table, model_info, training_memory

    _check_options(args)
    if args.out:
        from ..visualization.figures import check_picture
        check_picture(args.out)
    device = parse_device(args.device)
    title, model, call, (height, width) = (_from_arch if args.arch else _from_config)(args, device)
    try:
        parts = model_info(model, call, device, not args.no_memory)
    except Exception as error:
        from ..inference.failures import is_memory_error
        if args.arch or isinstance(error, UserError) or is_memory_error(error):
            raise
        raise ConfigError(f"{shown(args.config)}: its model can not be run on an image of {height} × {width}: "
                          f'{type(error).__name__}: {shown(" ".join(str(error).split()), 300)}') from error
    title = f'{title}, one image of {height} × {width}'
    print(f'{title}, {device}\n{as_table(parts)}')
    if args.gpus:
        print(f'\n{training_memory(parts, model, args.gpus, args.images)}')
    if args.out:
        from ..visualization.figures import save
        from ..visualization.model_figure import draw_model
        save(draw_model(parts, title), args.out)
        print(shown(args.out))


def _check_options(args: argparse.Namespace) -> None:
    if args.arch is None and args.config in FAMILY:
        args.arch, args.config = args.config, None
    if args.config and not Path(args.config).exists() and (meant := did_you_mean(args.config, FAMILY)):
        raise ConfigError(f'{shown(args.config)} is neither a config nor an arch{meant}')
    if (args.config is None) == (args.arch is None):
        raise ConfigError('name a config file or --arch, one of the two')
    if args.size is not None:
        if len(args.size) > 2:
            raise ConfigError(f'--size: height and width, or one side, got {len(args.size)} numbers')
        args.size = (args.size * 2)[:2]
        check_sides('--size', args.size, 32)
    if args.window_size is not None:
        if len(args.window_size) > 2 or min(args.window_size) < 1:
            raise ConfigError('--window-size: windows of stages 3 and 4, or one for both, of 1 or more, got '
                              f'{args.window_size}')
        args.window_size = (args.window_size * 2)[:2]
    if (args.gpus is not None and args.gpus < 1) or args.images < 1:
        raise ConfigError(f'--gpus and --images: positive numbers, got {args.gpus} and {args.images}')
    if args.gpus and args.no_memory:
        raise ConfigError('--gpus needs the memory that --no-memory leaves out')


def _from_arch(args: argparse.Namespace, device):
    """(title, model, call, size) of an ImageNet classifier."""
    import torch

    from ..backbones import MambaVisionClassifier
    if args.cfg_options:
        raise ConfigError('--cfg-options goes with a config file, and --arch has none')
    side = IMAGE_SIZE.get(args.arch, 224)
    height, width = args.size or (side, side)
    windows = {} if args.window_size is None else dict(window_size=args.window_size)
    model = MambaVisionClassifier(args.arch, window_padding=args.window_padding or 'fit', **windows)
    x = torch.rand(1, 3, height, width, device=device)
    return args.arch, model.to(device).eval(), lambda: model(x), (height, width)


def _from_config(args: argparse.Namespace, device):
    """(title, model, call, size) of a detector or segmentor: features and heads, without post-processing."""
    from ..benchmark.experiments import build_forward
    for option in ('window_size', 'window_padding'):
        if getattr(args, option) is not None:
            raise ConfigError(f'--{option.replace("_", "-")} goes with --arch; for a config use --cfg-options '
                              f'model.backbone.{option}=…')
    model, call, size = build_forward(args.config, args.cfg_options, args.size, device)
    return Path(args.config).stem, model, call, size
