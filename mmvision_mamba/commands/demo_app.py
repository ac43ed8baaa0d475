"""Serve a web page to try models on.

Drop an image; see the prediction, a table of instances or areas, the backbone's attention, and the time it took.
Without arguments it serves the models that `mmvision-mamba demo` trained in this folder.
"""
import argparse
from collections.abc import Container, Sequence
from itertools import chain, count, islice
from pathlib import Path

from ..allocator import keep_freed_memory
from ..configs import is_exported
from ..errors import ConfigError
from .options import add_cfg_options, add_dtype

DEMO = Path('work_dirs/demo')
TASKS = {'mmdet': 'Instances', 'mmseg': 'Semantic map'}
IMAGES = ('.png', '.jpg', '.jpeg', '.bmp', '.webp')


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('models', nargs='*', metavar='CONFIG CHECKPOINT|FILE',
                        help='config file and checkpoint, or an exported file; several of them are several tasks. '
                        'Default: what `mmvision-mamba demo` trained')
    parser.add_argument('--host', default='127.0.0.1',
                        help='address to listen at; 0.0.0.0 serves other machines too (default: %(default)s)')
    parser.add_argument('--port', type=int, default=7860, help='0: any that is free (default: %(default)s)')
    parser.add_argument('--examples', nargs='+', type=Path, metavar='PATH',
                        help="images, or folders of them, to pick from. Default: some of the demo's")
    parser.add_argument('--score-thr', type=float, default=0.3, help='default: %(default)s')
    parser.add_argument('--device', help='such as cpu or cuda:0; default: a GPU where there is one')
    add_dtype(parser)
    parser.add_argument('--max-megabytes', type=float, default=20, help='size of an upload (default: %(default)s)')
    parser.add_argument('--max-megapixels', type=float, default=40, help='of an upload (default: %(default)s)')
    add_cfg_options(parser)


def run(args: argparse.Namespace) -> None:
    from ..app.page import build_page, serve

    for name, least, most in (('score_thr', 0, 1), ('port', 0, 65535), ('max_megabytes', 0.001, 1e6),
                              ('max_megapixels', 0.001, 1e6)):
        if not least <= getattr(args, name) <= most:
            raise ConfigError(f'--{name.replace("_", "-")}: expected a number from {least} to {most:g}, got '
                              f'{getattr(args, name):g}')
    page = build_page(_load_models(args), _find_examples(args), int(args.max_megapixels * 1e6),
                      score_thr=args.score_thr)
    try:
        address = serve(page, args.host, args.port, int(args.max_megabytes * 2**20))
    except OSError as error:
        raise ConfigError(f'--host {args.host} --port {args.port}: can not listen there ({error}); choose another '
                          'port') from error
    print(f'serving {address}  (Ctrl-C ends it)', flush=True)
    page.block_thread()


def _load_models(args: argparse.Namespace) -> dict:
    """The Inferencers by name: the task, with the config's name where a task has several."""
    from ..app.answers import trained_by_demo
    from ..inference import Inferencer
    from ..inference.toolboxes import check_dense
    pairs = _pairs(args.models) if args.models else trained_by_demo(DEMO)
    models = {}
    for config, checkpoint in pairs:
        model = Inferencer(config, checkpoint, args.device, args.cfg_options, show_progress=False,
                           dtype=args.dtype)
        check_dense(model.scope, 'demo-app')
        keep_freed_memory(model.device)
        models[_name(TASKS[model.scope], Path(config), models)] = model
    return models


def _name(task: str, path: Path, taken: Container[str]) -> str:
    """What a model is called beside those that have names: a task may have several, of files that are called alike."""
    names = chain([task, f'{task}: {path.stem}', f'{task}: {path.name}'],
                  (f'{task}: {path.name} ({number})' for number in count(2)))
    return next(name for name in names if name not in taken)


def _pairs(words: Sequence[str]) -> list[tuple[str, str | None]]:
    """(config, checkpoint) of each model; of an exported file (file, None)."""
    pairs: list[tuple[str, str | None]] = []
    left = list(words)
    while left:
        first = left.pop(0)
        if is_exported(first):
            pairs.append((first, None))
        elif left:
            pairs.append((first, left.pop(0)))
        else:
            raise ConfigError(f'{first}: expected its checkpoint after it: mmvision-mamba demo-app CONFIG CHECKPOINT')
    return pairs


def _find_examples(args: argparse.Namespace) -> list[Path]:
    from ..datasets.image_files import image_problem
    paths = args.examples
    if paths is None:
        paths = [] if args.models else sorted(DEMO.glob('shapes_seed*/val'))[:1]
    examples = []
    for path in paths:
        if not path.exists():
            raise ConfigError(f'--examples: {path}: no such file or folder')
        if path.is_dir():  # what is no picture is left out: visitors get the files as they are, whatever links name
            images = (p for p in sorted(path.iterdir()) if p.suffix.lower() in IMAGES and not image_problem(p))
            examples += islice(images, 6)
        elif problem := image_problem(path):
            raise ConfigError(f'--examples: {path}: {problem}')
        else:
            examples.append(path)
    return examples
