#!/usr/bin/env python3
"""Serve a web page on which models are tried out: tools/demo_app.py [CONFIG CHECKPOINT]… [options].

Drop an image; see the prediction, the table of instances or areas, what the backbone attends to, and the time it took.
Without arguments it serves the models that `make demo` trained.
"""
import argparse
import sys
from itertools import islice
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # run from anywhere, installed or not

from mmvision_mamba.errors import ConfigError, MissingExtraError

try:
    from mmvision_mamba.app.page import build_page, serve
    from mmvision_mamba.engine import launch  # importing the package registers what configs name
    from mmvision_mamba.inference import Inferencer
except MissingExtraError as error:
    print(f'error: {error}', file=sys.stderr)
    sys.exit(2)

from mmvision_mamba.app.answers import trained_by_demo

DEMO = Path(__file__).resolve().parent.parent / 'work_dirs/demo'
TASKS = {'mmdet': 'Instances', 'mmseg': 'Semantic map'}
IMAGES = ('.png', '.jpg', '.jpeg', '.bmp', '.webp')


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('models', nargs='*', metavar='CONFIG CHECKPOINT',
                        help='config file and checkpoint; several pairs are several tasks. Default: what `make demo` '
                        'trained')
    parser.add_argument('--host', default='127.0.0.1',
                        help='address to listen at; 0.0.0.0 serves other machines too (default: %(default)s)')
    parser.add_argument('--port', type=int, default=7860, help='0: any that is free (default: %(default)s)')
    parser.add_argument('--examples', nargs='+', type=Path, metavar='PATH',
                        help="images, or folders of them, to pick from. Default: some of the demo's")
    parser.add_argument('--score-thr', type=float, default=0.3, help='default: %(default)s')
    parser.add_argument('--device', help='such as cpu or cuda:0; default: a GPU where there is one')
    parser.add_argument('--max-megabytes', type=float, default=20, help='size of an upload (default: %(default)s)')
    parser.add_argument('--max-megapixels', type=float, default=40, help='of an upload (default: %(default)s)')
    launch.add_cfg_options(parser)
    return launch.parse_args(parser)


def load_models(args):
    """The models by task."""
    pairs = [args.models[i:i + 2] for i in range(0, len(args.models), 2)] if args.models else trained_by_demo(DEMO)
    if len(args.models) % 2:
        raise ConfigError(f'{args.models[-1]}: expected its checkpoint after it: tools/demo_app.py CONFIG CHECKPOINT')
    models = {}
    for config, checkpoint in pairs:
        model = Inferencer(config, checkpoint, args.device, args.cfg_options, show_progress=False)
        name = TASKS[model.scope]
        models[name if name not in models else f'{name}: {Path(config).stem}'] = model
    return models


def find_examples(args):
    paths = args.examples
    if paths is None:
        paths = [] if args.models else sorted(DEMO.glob('shapes_seed*/val'))[:1]
    found = []
    for path in paths:
        if not path.exists():
            raise ConfigError(f'--examples: {path}: no such file or folder')
        images = (p for p in sorted(path.iterdir()) if p.suffix.lower() in IMAGES) if path.is_dir() else [path]
        found += islice(images, 6)
    return found


def main():
    args = parse_args()
    with launch.user_errors():
        if not 0 <= args.score_thr <= 1:
            raise ConfigError(f'--score-thr: expected a number from 0 to 1, got {args.score_thr:g}')
        page = build_page(load_models(args), find_examples(args), int(args.max_megapixels * 1e6),
                          score_thr=args.score_thr)
        try:
            address = serve(page, args.host, args.port, int(args.max_megabytes * 2**20))
        except OSError as error:
            raise ConfigError(f'--host {args.host} --port {args.port}: can not listen there ({error}); choose another '
                              'port') from error
        print(f'serving {address}  (Ctrl-C ends it)', flush=True)
        page.block_thread()


if __name__ == '__main__':
    main()
