"""The command line of tools/benchmark.py."""
import argparse
from importlib.util import find_spec
from pathlib import Path

import torch

from ..backbones.family import did_you_mean, resolve_arch
from ..backbones.windows import PADDINGS
from ..errors import ConfigError
from .plot import check_matplotlib
from .report import ROOT
from .variants import AMP
from .workloads import PEERS, usable_backends

DTYPES = dict(float32=torch.float32, bfloat16=torch.bfloat16, float16=torch.float16)
SCANS = [(1, 4200, 160), (1, 65536, 160)]
MIXERS = dict(cpu=[(4, 196, 320), (4, 49, 640), (1, 4200, 320)],
              cuda=[(128, 196, 320), (128, 49, 640), (2, 4200, 320), (1, 12544, 320)])
EXPERIMENTS = dict(detector=('cascade_mask_rcnn_mambavision_t_coco.py', (800, 1344)),
                   segmentor=('upernet_mambavision_t_ade20k.py', (512, 512)))
COMPILE_MODES = ('default', 'reduce-overhead', 'max-autotune', 'max-autotune-no-cudagraphs')
SWEEPS = dict(tokens=[256, 1024, 4096, 16384, 65536], side=[224, 320, 448, 640, 896], batch=[1, 2, 4, 8, 16])


class Parser(argparse.ArgumentParser):
    def error(self, message):
        raise ConfigError(f'{message} (see {self.prog} --help)')


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line, checked.

    Raises:
        ConfigError: it can't be used.
    """
    parser = _parser()
    try:
        args = parser.parse_args(argv)
    except (ValueError, AssertionError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f'--cfg-options takes KEY=VALUE pairs ({error})') from error
    args.device = parse_device(args.device)
    if args.rounds < 1:
        raise ConfigError(f'--rounds must be at least 1, got {args.rounds}')
    if args.what == 'all':
        return args
    if args.out and args.out.suffix not in ('.json', '.csv'):
        raise ConfigError(f'--out: a .json or .csv file, got {args.out}')
    if getattr(args, 'cuda_graphs', False) and args.device.type != 'cuda':
        raise ConfigError('--cuda-graphs needs a CUDA device')
    for arch in getattr(args, 'archs', ()):
        resolve_arch(arch)
    if getattr(args, 'peers', None) == []:
        args.peers = list(PEERS)
    for peer in getattr(args, 'peers', None) or ():
        if peer not in PEERS:
            raise ConfigError(f'unknown peer {peer!r}{did_you_mean(peer, PEERS)}; valid ones: {", ".join(PEERS)}')
    if hasattr(args, 'backends'):
        args.backends = ['auto'] if args.what == 'backbone' and args.backends is None else \
            usable_backends(args.backends, args.device)
    if args.what == 'mixer':
        args.shapes = args.shapes or MIXERS[args.device.type]
        if any(dim % 2 for *_, dim in args.shapes):
            raise ConfigError('--shapes: a mixer needs an even number of channels')
    _plan_sweep(args)
    return args


def _parser() -> Parser:
    parser = Parser(prog='tools/benchmark.py', description='Time the scan, the mixer, the backbone and whole models.')
    what = parser.add_subparsers(dest='what', required=True, parser_class=Parser)
    subs = {name: what.add_parser(name, help=text, description=text) for name, text in dict(
        scan='selective_scan, backend against backend', mixer='MambaVisionMixer, backend against backend',
        backbone='MambaVision: variant, padding, windows and size against each other, and other backbones',
        detector="a config's detector, whole, with random weights",
        segmentor="a config's segmentor, whole, with random weights",
        export="a config's segmentor in PyTorch, compiled, and exported and run by onnxruntime, on the CPU",
        roofline='what this machine can do: a copy and matrix products',
        all='everything that docs/performance.md quotes, for the device it is run on').items()}
    for name, sub in subs.items():
        sub.add_argument('--device', help='cpu, cuda or cuda:N; default: cuda where there is one')
        sub.add_argument('--rounds', type=int, default=5, help='turns that each setting takes; default: 5')
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
                         help='a curve instead of the sizes given; the rest is that of the first of them')
        sub.add_argument('--values', nargs='+', type=_positive, help='of the sweep')
        sub.add_argument('--plot', type=Path, metavar='FILE.png', help="draw the sweep's curves")
    for name in ('scan', 'roofline'):
        subs[name].add_argument('--dtypes', nargs='+', type=_choice('dtype', DTYPES), default=[torch.float32],
                                metavar='DTYPE', help=f'of {", ".join(DTYPES)}; default: float32')
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
        sub.add_argument('--fuse', action='store_true',
                         help="beside each setting, its inference with the backbone's fuse()")
    _add_backbone_options(subs['backbone'])
    _add_export_options(subs['export'])
    for name, (config, _) in EXPERIMENTS.items():
        _add_experiment_options(subs[name], config)
    subs['all'].add_argument('--name', help='of this machine; default: made of its GPU or the number of its cores')
    subs['all'].add_argument('--only', nargs='+', metavar='PART', help='some parts only, such as scan mixer')
    subs['all'].add_argument('--out-dir', type=Path, default=ROOT / 'docs' / 'results',
                             help='results go to OUT_DIR/NAME/*.json; default: docs/results')
    return parser


def _add_backbone_options(sub: Parser) -> None:
    sub.add_argument('--archs', nargs='+', default=['tiny'], metavar='ARCH', help='default: tiny')
    sub.add_argument('--paddings', nargs='+', default=['fit', 'zeros'], choices=PADDINGS, help='default: fit zeros')
    sub.add_argument('--windows', nargs='+', type=_windows, metavar='STAGE3,STAGE4',
                     help="pairs of sides, none: the whole map; default: the arch's")
    sub.add_argument('--peers', nargs='*', metavar='PEER',
                     help=f'other backbones on the same input: {", ".join(PEERS)}; without a value all of them')
    sub.add_argument('--profile', action='store_true', help="the share of an inference's time by kind of operator")


def _add_export_options(sub: Parser) -> None:
    config, size = EXPERIMENTS['segmentor']
    sub.set_defaults(what='export', training=False, amp=['none'])
    sub.add_argument('--sizes', nargs='+', type=_numbers(2), default=[size], metavar='HEIGHT,WIDTH',
                     help=f'default: {size[0]},{size[1]}')
    sub.add_argument('--modes', nargs='*', default=['default'], metavar='MODE', choices=COMPILE_MODES,
                     help=f'of torch.compile, of {", ".join(COMPILE_MODES)}; without a value none. Default: default')
    sub.add_argument('--inductor', action='store_true', help='the AOTInductor package too')
    _add_config_options(sub, config)


def _add_experiment_options(sub: Parser, config: str) -> None:
    sub.add_argument('--train-batch', type=_positive, default=2, help='images in a training step; default: 2')
    _add_config_options(sub, config)


def _add_config_options(sub: Parser, config: str) -> None:
    sub.add_argument('configs', nargs='*', default=[ROOT / 'configs' / config], help=f'default: configs/{config}')
    if find_spec('mmengine'):  # without it no config can be read, but the other subcommands run
        from ..engine.launch import add_cfg_options
        add_cfg_options(sub)


def _plan_sweep(args: argparse.Namespace) -> None:
    sweep = getattr(args, 'sweep', None)
    if not sweep:
        if getattr(args, 'plot', None) or getattr(args, 'values', None):
            raise ConfigError('--plot and --values belong to a --sweep')
        return
    if args.plot:
        if args.plot.suffix != '.png':
            raise ConfigError(f'--plot: a .png file, got {args.plot}')
        check_matplotlib()
    values = args.values or SWEEPS[sweep]
    if args.what == 'backbone':
        args.sizes = [(v, v) for v in values] if sweep == 'side' else args.sizes[:1]
        args.batch = values if sweep == 'batch' else args.batch[:1]
    else:
        batch, length, channels = args.shapes[0]
        args.shapes = [(batch, v, channels) if sweep == 'tokens' else (v, length, channels) for v in values]


def parse_device(name: str | None) -> torch.device:
    """The device of that name, by default the best there is; raises ConfigError where it isn't there."""
    name = name or ('cuda' if torch.cuda.is_available() else 'cpu')
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ('cpu', 'cuda'):
        raise ConfigError(f'--device: cpu, cuda or cuda:N, got {name!r}')
    if device.type == 'cuda' and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(f'--device {name}: this machine has {torch.cuda.device_count() or "no"} CUDA devices that '
                          'PyTorch can use')
    return device


def _positive(text: str) -> int:
    return _numbers(1)(text)[0]


def _numbers(count: int):
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


def _choice(what: str, valid: dict):
    def parse(text):
        if text not in valid:
            raise argparse.ArgumentTypeError(f'unknown {what} {text!r}; valid ones: {", ".join(valid)}')
        return valid[text]
    return parse
