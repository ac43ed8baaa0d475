"""The options of the command `benchmark`, by subcommand, and the checks of their values."""
import argparse
from collections.abc import Callable
from pathlib import Path

from ..allocator import keep_freed_memory
from ..backbones.family import PADDINGS, resolve_arch
from ..benchmark import AMP, DTYPES, PEERS, PEERS_WITH_HEADS
from ..checkout import ROOT
from ..errors import ConfigError
from ..text import check_names
from .options import add_cfg_options, check_sides

SCANS = [(1, 4200, 160), (1, 65536, 160)]
MIXERS = dict(cpu=[(4, 196, 320), (4, 49, 640), (1, 4200, 320)],
              cuda=[(128, 196, 320), (128, 49, 640), (2, 4200, 320), (1, 12544, 320)])
EXPERIMENTS = dict(detector=('cascade_mask_rcnn_mambavision_t_coco', (800, 1344)),
                   segmentor=('upernet_mambavision_t_ade20k', (512, 512)))
COMPILE_MODES = ('default', 'reduce-overhead', 'max-autotune', 'max-autotune-no-cudagraphs')
SWEEPS = dict(tokens=[256, 1024, 4096, 16384, 65536], side=[224, 320, 448, 640, 896], batch=[1, 2, 4, 8, 16])


class Subcommand(argparse.ArgumentParser):
    """Parser of a subcommand. It keeps the words that it parsed as `args.words`, since the results quote them.

    Its errors are ConfigErrors, so that one command of the plan of `all` does not end the others.
    """

    def parse_known_args(self, args=None, namespace=None):
        parsed, unknown = super().parse_known_args(args, namespace)
        parsed.words = args
        return parsed, unknown

    def error(self, message):
        raise ConfigError(f'{message} (see {self.prog} --help)')


def add_options(parser: argparse.ArgumentParser) -> None:
    subparsers = parser.add_subparsers(dest='what', required=True, parser_class=Subcommand)
    subs = {name: subparsers.add_parser(name, help=text, description=text) for name, text in dict(
        scan='selective_scan, backend against backend', mixer='MambaVisionMixer, backend against backend',
        backbone='MambaVision: variant, padding, windows and size against each other, and other backbones',
        detector="a config's detector, whole, with random weights",
        segmentor="a config's segmentor, whole, with random weights",
        export="a config's segmentor in PyTorch, compiled, and exported and run by onnxruntime and OpenVINO, on the "
               'CPU; or exported files',
        roofline='the best rates of this machine: a copy and matrix products',
        all='everything that docs/performance.md quotes, for the device it is run on').items()}
    for name, sub in subs.items():
        sub.add_argument('--device', help='cpu, cuda or cuda:N; default: cuda where there is one')
        sub.add_argument('--rounds', type=int, default=5, help='how many turns each setting takes; default: 5')
        if name == 'all':
            continue
        sub.add_argument('--out', type=Path, help='.json (with every sample) or .csv file for the results')
        if name not in ('roofline', 'export'):
            sub.add_argument('--no-training', '--no-backward', action='store_false', dest='training',
                             help='inference alone')
            sub.add_argument('--baseline', metavar='NAME',
                             help='the setting to take ratios to, as the table names it; default: the first of a group')
            sub.add_argument('--compile', action='store_true', help='beside each setting, the same through '
                             'torch.compile; of whole models the backbone')
    for name in ('scan', 'mixer'):
        sub = subs[name]
        sub.add_argument('--shapes', nargs='+', type=_numbers(3), default=SCANS if name == 'scan' else None,
                         metavar='BATCH,LENGTH,CHANNELS', help='default: 1,4200,160 1,65536,160' if name == 'scan' else
                         "default: tiny's, of 224 × 224 and of 800 × 1344 pixels; fewer images on a CPU")
        sub.add_argument('--state', type=_positive, default=8, help='states per channel; default: 8')
    for name in ('scan', 'mixer', 'backbone'):
        sub = subs[name]
        sub.add_argument('--backends', nargs='+', metavar='BACKEND', help='default: auto' if name == 'backbone' else
                         'default: all that run here. reference, step by step, is left out past 8192 tokens')
        sub.add_argument('--cuda-graphs', action='store_true',
                         help='beside each setting, its inference as a CUDA graph')
        sub.add_argument('--sweep', choices=['side', 'batch'] if name == 'backbone' else ['tokens', 'batch'],
                         help='measure a curve instead of the sizes given; all else is as in the first of them')
        sub.add_argument('--values', nargs='+', type=_positive, help='values of the sweep')
        sub.add_argument('--plot', type=Path, metavar='FILE.png', help="draw the sweep's curves")
    for name in ('scan', 'roofline'):
        subs[name].add_argument('--dtypes', nargs='+', type=_dtype, default=['float32'],
                                metavar='DTYPE', help=f'any of {", ".join(DTYPES)}; default: float32')
    for name in ('mixer', 'backbone', *EXPERIMENTS):
        subs[name].add_argument('--amp', nargs='+', choices=list(AMP), default=['none'], help='autocast; default: none')
    for name in ('backbone', *EXPERIMENTS):
        sub = subs[name]
        default = [(224, 224), (512, 512)] if name == 'backbone' else [EXPERIMENTS[name][1]]
        sub.add_argument('--sizes', nargs='+', type=_numbers(2), default=default, metavar='HEIGHT,WIDTH',
                         help='default: ' + ' '.join(f'{h},{w}' for h, w in default))
        sub.add_argument('--batch', nargs='+', type=_positive, default=[1],
                         help='images at a time' + (', in inference' if name != 'backbone' else '') + '; default: 1')
        sub.add_argument('--channels-last', action='store_true',
                         help='beside each setting, the same in channels-last memory format')
        sub.add_argument('--fuse', action='store_true', help='beside each setting, its inference fused: MambaVision by '
                         "its fuse(), a peer's BatchNorm folded into its convolutions")
        where = 'on the same input' if name == 'backbone' else 'under the same neck and heads'
        sub.add_argument('--peers', nargs='*', metavar='PEER', help=f'other backbones {where}, in the same settings: '
                         f'{", ".join(_peers(name))}; without a value all of them')
        sub.add_argument('--profile', action='store_true', help="the share of an inference's time by " + (
            'kind of operator' if name == 'backbone' else 'part of the model'))
    _add_backbone_options(subs['backbone'])
    _add_export_options(subs['export'])
    for name, (config, _) in EXPERIMENTS.items():
        _add_experiment_options(subs[name], config)
    subs['all'].add_argument('--name', help='name of this machine; default: made of its GPU or the number of its cores')
    subs['all'].add_argument('--only', nargs='+', metavar='PART', help='some parts only, such as scan mixer')
    folder = ROOT / 'docs/results' if ROOT else Path('work_dirs/benchmark')
    subs['all'].add_argument('--out-dir', type=Path, default=folder,
                             help='results go to OUT_DIR/NAME/*.json; default: work_dirs/benchmark, in a checkout '
                             'docs/results')


def _add_backbone_options(sub: argparse.ArgumentParser) -> None:
    sub.add_argument('--archs', nargs='+', default=['tiny'], metavar='ARCH', help='default: tiny')
    sub.add_argument('--paddings', nargs='+', default=['fit', 'zeros'], choices=PADDINGS, help='default: fit zeros')
    sub.add_argument('--windows', nargs='+', type=_windows, metavar='STAGE3,STAGE4',
                     help="pairs of sides, none: the whole map; default: the arch's")


def _add_export_options(sub: argparse.ArgumentParser) -> None:
    config, size = EXPERIMENTS['segmentor']
    sub.set_defaults(training=False, amp=['none'])
    sub.add_argument('--sizes', nargs='+', type=_numbers(2), default=[size], metavar='HEIGHT,WIDTH',
                     help=f'default: {size[0]},{size[1]}')
    sub.add_argument('--modes', nargs='*', default=['default'], metavar='MODE', choices=COMPILE_MODES,
                     help=f'of torch.compile: {", ".join(COMPILE_MODES)}; without a value none. Default: default')
    sub.add_argument('--inductor', action='store_true', help='the AOTInductor package too')
    sub.add_argument('--archs', nargs='+', default=[], metavar='ARCH', help='backbones with random weights, such as '
                     'tiny, in the place of the default config')
    sub.add_argument('--peers', nargs='*', metavar='PEER', help='with --archs: other backbones on the same '
                     f'input: {", ".join(_peers("backbone"))}; without a value all of them')
    _add_config_options(sub, config)


def _add_experiment_options(sub: argparse.ArgumentParser, config: str) -> None:
    sub.add_argument('--train-batch', type=_positive, default=2, help='images in a training step; default: 2')
    _add_config_options(sub, config)


def _add_config_options(sub: argparse.ArgumentParser, config: str) -> None:
    sub.add_argument('configs', nargs='*', help='files or names, of export exported files, too; default: '
                     f'{config}')
    sub.set_defaults(default_config=config)
    add_cfg_options(sub)


def _positive(text: str) -> int:
    return _numbers(1)(text)[0]


def _numbers(count: int) -> Callable[[str], tuple[int, ...]]:
    def parse(text):
        try:
            values = tuple(int(v) for v in text.split(','))
        except ValueError:
            values = ()
        if len(values) != count or min(values) < 1:
            raise argparse.ArgumentTypeError(
                'a positive whole number' * (count == 1) +
                f'{count} positive whole numbers with commas between them' * (count > 1) + f', got {text!r}')
        return values
    return parse


def _windows(text: str) -> tuple[int | None, int | None]:
    parts = text.split(',')
    if len(parts) != 2:
        raise argparse.ArgumentTypeError(f'two sides with a comma between them, got {text!r}')
    return tuple(None if part == 'none' else _positive(part) for part in parts)


def _dtype(text: str) -> str:
    if text not in DTYPES:
        raise argparse.ArgumentTypeError(f'unknown dtype {text!r}; valid ones: {", ".join(DTYPES)}')
    return text


def prepare(args: argparse.Namespace) -> None:
    """Turn names of devices and dtypes into objects, fill in defaults, and check the options against each other.

    Raises:
        ConfigError: an option that does not fit the others or this machine.
    """
    from ..costs.devices import parse_device
    args.device = parse_device(args.device)
    keep_freed_memory(args.device.type)
    if args.rounds < 1:
        raise ConfigError(f'--rounds must be at least 1, got {args.rounds}')
    if args.what == 'all':
        return
    if args.out and args.out.suffix not in ('.json', '.csv'):
        raise ConfigError(f'--out: a .json or .csv file, got {args.out}')
    if getattr(args, 'cuda_graphs', False) and args.device.type != 'cuda':
        raise ConfigError('--cuda-graphs needs a CUDA device')
    for size in getattr(args, 'sizes', ()):
        check_sides('--sizes', size, 32 if args.what == 'export' else 1)  # pictures of scenes are drawn
    for arch in getattr(args, 'archs', ()):
        resolve_arch(arch)
    if getattr(args, 'peers', None) == []:
        args.peers = list(_peers(args.what))
    check_names(getattr(args, 'peers', None) or (), _peers(args.what), 'unknown peer')
    if args.what == 'export' and args.peers and not args.archs:
        raise ConfigError('--peers goes with --archs: other backbones beside these')
    if hasattr(args, 'dtypes'):
        import torch
        args.dtypes = [getattr(torch, dtype) for dtype in args.dtypes]
    if hasattr(args, 'configs'):
        args.configs = args.configs or ([] if getattr(args, 'archs', None) else [args.default_config])
    if hasattr(args, 'backends'):
        args.backends = _backends(args)
    if args.what == 'mixer':
        args.shapes = args.shapes or MIXERS[args.device.type]
        if any(dim % 2 for *_, dim in args.shapes):
            raise ConfigError('--shapes: a mixer needs an even number of channels')
    _plan_sweep(args)


def parse(words: list[str]) -> argparse.Namespace:
    """Parse and prepare the options of a command of the plan of `all`; raises ConfigError."""
    parser = argparse.ArgumentParser('benchmark')
    add_options(parser)
    args = parser.parse_args(words)
    prepare(args)
    return args


def _peers(what: str) -> tuple[str, ...]:
    return PEERS if what in ('backbone', 'export') else PEERS_WITH_HEADS


def _backends(args: argparse.Namespace) -> list[str]:
    if args.what == 'backbone' and args.backends is None:
        return ['auto']
    from ..benchmark.workloads import usable_backends
    return usable_backends(args.backends, args.device)


def _plan_sweep(args: argparse.Namespace) -> None:
    sweep = getattr(args, 'sweep', None)
    if not sweep:
        if getattr(args, 'plot', None) or getattr(args, 'values', None):
            raise ConfigError('--plot and --values belong to a --sweep')
        return
    if args.plot:
        if args.plot.suffix != '.png':
            raise ConfigError(f'--plot: a .png file, got {args.plot}')
        from ..benchmark.plot import check_matplotlib
        check_matplotlib()
    values = args.values or SWEEPS[sweep]
    if args.what == 'backbone':
        args.sizes = [(v, v) for v in values] if sweep == 'side' else args.sizes[:1]
        args.batch = values if sweep == 'batch' else args.batch[:1]
    else:
        batch, length, channels = args.shapes[0]
        args.shapes = [(batch, v, channels) if sweep == 'tokens' else (v, length, channels) for v in values]
