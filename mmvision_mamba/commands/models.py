"""List the models whose weights are published, and where these are.

    mmvision-mamba models cascade
    mmvision-mamba infer cascade_mask_rcnn_mambavision_t_coco published photo.jpg

Results are those of the paper and its repositories; none was measured here. A name is what commands take for a CONFIG,
with the word published for its CHECKPOINT. A name with a dot is for create_model and timm, as there is no config of it.
"""
import argparse
from fnmatch import fnmatch

from ..errors import ConfigError
from ..published import LICENCE, MODELS, Published
from ..text import as_text, did_you_mean


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('pattern', nargs='?', default='', help="part of a name or kind, or a pattern such as '*_t_*'; "
                        'default: all')


def run(args: argparse.Namespace) -> None:
    found = [model for model in MODELS if _matches(model, args.pattern)]
    if not found:
        names = [model.name for model in MODELS]
        raise ConfigError(f'no published model matches {args.pattern!r}{did_you_mean(args.pattern, names)}; '
                          '`mmvision-mamba models` lists all, `mmvision-mamba config --list` all configs')
    rows = [[model.name, model.task, f'hf://{model.repo}', f'{model.parameters:g}', _side(model),
             ', '.join(f'{name} {value:.1f}' for name, value in model.results.items())] for model in found]
    print(as_text(['name', 'kind', 'weights', 'parameters (M)', 'image', 'published'], rows, left=3))
    print(f'\nLicence of all these weights: {LICENCE}.')


def _matches(model: Published, pattern: str) -> bool:
    texts = [text.lower() for text in (model.name, model.task, model.repo, model.timm or '')]
    pattern = pattern.lower()
    return any(pattern in text or fnmatch(text, pattern) for text in texts)


def _side(model: Published) -> str:
    return str(model.image) if isinstance(model.image, int) else ' × '.join(map(str, model.image))
