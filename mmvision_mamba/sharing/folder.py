"""The folder of a shared model: written whole or not at all, and read back as data that has passed all checks."""
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine import Config

from ..datasets.json_numbers import is_number
from ..errors import ConfigError, DataError, UserError
from ..export.pipeline import input_channels, pipeline_settings
from ..files import read_text
from ..inference.inferencer import Inferencer
from ..limits import CATEGORIES, NAME
from ..made_beside import OLD, made_beside
from ..preflight.datasets import SPLITS, datasets_of
from ..printable import is_name, shown
from ..version import __version__
from . import card, classifier
from .allowed import CLASSIFIERS, KEYS, check_allowed
from .licence import Licence, licence_of
from .plain import from_data, to_data
from .shared import Shared

CONFIG, WEIGHTS, CARD, PICTURE = 'config.json', 'model.safetensors', 'README.md', 'example.jpg'
PREPROCESSOR = 'preprocessor_config.json'  # of classifiers, for transformers
FILES = (CONFIG, WEIGHTS, CARD, PICTURE)
LIBRARY = 'mmvision_mamba'  # the folder's `library_name`
FORMAT = 1
_METRICS = 10_000  # at most
LARGEST = 2**22  # bytes of config.json, of which that of the largest published model has 40,000, or of the card
_LARGEST_WEIGHTS = 5 * 2**30  # bytes that the Hub's storage takes at once; the largest published model has 3.1e9
_LARGEST_PICTURE = 2**24
MOST = {CONFIG: LARGEST, CARD: LARGEST, WEIGHTS: _LARGEST_WEIGHTS, PICTURE: _LARGEST_PICTURE,
        PREPROCESSOR: LARGEST}  # bytes, to be pushed


def save(folder: str | os.PathLike, inferencer: Inferencer, name: str,
         metrics: Mapping[str, float | None] | None = None,
         licence: str | Licence | None = None, picture: np.ndarray | None = None) -> Path:
    """Write a model to a folder that anyone can load without running code: weights, config, card.

    Args:
        folder: the new folder. One that this function wrote earlier is replaced.
        inferencer: the model with its weights and config.
        name: of the model.
        metrics: as a test measured them. Default: none.
        licence: of the weights, as the Hub writes licences. Default: see `licence_of`.
        picture: for the card: uint8 ``(H, W, 3)``, RGB. Default: none.

    Returns:
        The folder.

    Raises:
        ConfigError: something in the config is no data, or a type that nobody else has, named by its key; the folder
            holds something else. DataError: it can't be written.
    """
    target = Path(folder).absolute()
    check_target(target)
    shared = describe(inferencer, name, metrics or {}, licence)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with made_beside(target) as new:
            _write(new, shared, inferencer.model, picture)
            _put(new, target)
    except OSError as error:
        raise DataError(f"'{shown(folder)}' can not be written: {error.strerror or error}") from error
    return target


def check_target(target: Path) -> None:
    """Raise ConfigError where a folder holds something that `save` did not write, which replaces the whole folder."""
    if not os.path.lexists(target) or (target.is_dir() and not any(target.iterdir())):
        return
    if target.is_dir() and _is_ours(target):
        if others := sorted(path.name for path in target.iterdir() if path.name not in MOST):
            raise ConfigError(f"'{shown(target)}' holds a saved model, and {shown(others[0])} besides, which would be "
                              'lost: name another folder, or move it away')
        return
    raise ConfigError(f"'{shown(target)}' is there already, and no folder of a saved model: name another")


def _is_ours(folder: Path) -> bool:
    try:
        return _object(folder / CONFIG).get('library_name') == LIBRARY
    except UserError:
        return False


def describe(inferencer: Inferencer, name: str, metrics: Mapping[str, float | None],
             licence: str | Licence | None) -> Shared:
    """What there is to say of a model; raises as `save` does."""
    cfg = inferencer.cfg
    if cfg.get('default_scope') == CLASSIFIERS:
        preprocessing = classifier.preprocessing(cfg)
    else:
        try:
            preprocessing = pipeline_settings(cfg, input_channels(cfg))
        except (ConfigError, LookupError, TypeError, ValueError):  # a test pipeline that no exported file has
            preprocessing = None
    data = _data_name(cfg)
    licence = licence if isinstance(licence, Licence) else licence_of(cfg.model, licence)
    palette = [[int(value) for value in rgb] for rgb in inferencer.palette]
    _check_classes(list(inferencer.classes), palette)
    return Shared(card.slug(name), _settings(cfg, data), list(inferencer.classes), palette, dict(metrics), data,
                  licence, preprocessing)


def _data_name(cfg: Config) -> str:
    roots = [dataset.get('data_root') or '' for split in SPLITS for _, dataset, _ in datasets_of(cfg, split)]
    root = next(filter(None, [cfg.get('data_root'), *roots]), '')
    return os.path.basename(os.path.abspath(root)) if root else 'unknown'


def _settings(cfg: Config, data: str) -> dict[str, Any]:
    """The config's settings as data, without what belongs to this machine or to a run."""
    cfg = Config(cfg.to_dict(), filename=cfg.filename)
    for split in SPLITS:
        for _, dataset, _ in datasets_of(cfg, split):
            dataset.pop('metainfo', None)
    settings = {key: cfg[key] for key in KEYS if key in cfg and cfg[key] is not None}
    root = cfg.get('data_root')
    settings = _elsewhere(settings, root.rstrip('/') if isinstance(root, str) else None, f'data/{data}')
    plain = to_data(settings)
    check_allowed(from_data(plain))
    return plain


def _elsewhere(value: Any, root: str | None, new: str) -> Any:
    """Copy of settings with paths below `root` below `new`, without the weights that the model began with, and where
    files lie and go on this machine."""
    if isinstance(value, Mapping):
        return {key: _elsewhere(item, root, new) for key, item in value.items()
                if not (key == 'init_cfg' and isinstance(item, Mapping) and item.get('type') == 'Pretrained')
                and key not in ('pretrained', 'out_dir', 'outfile_prefix', 'output_dir', 'published_keys',
                                'backend_args', 'file_client_args')}
    if isinstance(value, list | tuple):
        return type(value)(_elsewhere(item, root, new) for item in value)
    if isinstance(value, str) and root and (value == root or value.startswith((f'{root}/', root + os.sep))):
        return new + value[len(root):].replace(os.sep, '/')
    return value


def _write(folder: Path, shared: Shared, model: torch.nn.Module, picture: np.ndarray | None) -> None:
    from safetensors.torch import save_file
    content = dict(library_name=LIBRARY, format=FORMAT, version=__version__, name=shared.name,
                   task=card.task_of(shared.config), classes=shared.classes, palette=shared.palette,
                   preprocessing=shared.preprocessing, metrics=shared.metrics, data=shared.data,
                   licence=shared.licence._asdict(), config=shared.config)
    weights = {key: value.detach().cpu().clone().contiguous() for key, value in model.state_dict().items()}
    if shared.config['default_scope'] == CLASSIFIERS:
        content = {**classifier.settings(shared), LIBRARY: content}
        weights = classifier.weights(weights)
        _write_json(folder / PREPROCESSOR, classifier.image_processor(shared))
    _write_json(folder / CONFIG, content)
    save_file(weights, str(folder / WEIGHTS), metadata=dict(format='pt'))
    (folder / WEIGHTS).chmod((folder / CONFIG).stat().st_mode)  # safetensors' own keeps others from reading it
    if picture is not None:
        (folder / PICTURE).write_bytes(card.jpeg(picture))
    number = sum(parameter.numel() for parameter in model.parameters())
    (folder / CARD).write_text(card.text(shared, number, PICTURE if picture is not None else None), encoding='utf-8')


def _write_json(path: Path, content: dict) -> None:
    path.write_text(json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False) + '\n', encoding='utf-8')


def _put(new: Path, target: Path) -> None:
    """Give the finished folder its name; an earlier one goes when the new one is there."""
    if target.exists():
        os.replace(target, new.with_name(OLD))
    os.replace(new, target)


def read(path: str | os.PathLike) -> Shared:
    """What the `config.json` of a shared model says, checked: nothing is built or imported for it.

    Raises:
        ConfigError: it is broken, or says what no shared model does; names the key.
    """
    try:
        return _shared(_object(path))
    except ConfigError as error:
        raise ConfigError(f"'{shown(path)}': {error}") from None


def _object(path: str | os.PathLike) -> dict:
    try:
        found = json.loads(read_text(path, LARGEST))
    except OSError as error:
        raise ConfigError(f'can not be read: {error.strerror or error}') from None
    except (ValueError, RecursionError) as error:
        reason = 'nested too deeply' if isinstance(error, RecursionError) else shown(error, 200)
        raise ConfigError(f'it is no JSON that can be read ({reason})') from None
    if not isinstance(found, dict):
        raise ConfigError(f'expected an object, got {type(found).__name__}')
    own = found.get(LIBRARY)  # a classifier's, beside what timm and transformers read
    return own if isinstance(own, dict) else found


def _shared(found: dict) -> Shared:
    if found.get('library_name') != LIBRARY:
        kind = next((shown(found[key], 80) for key in ('model_type', 'architecture', 'library_name')
                     if found.get(key)), 'another program')
        raise ConfigError(f'it is of {kind}, not of a model that Model.save saved.\nOf weights alone: '
                          'Model(CONFIG, CHECKPOINT), with the config that they are of')
    if found.get('format') != FORMAT:
        raise ConfigError(f"its format is {shown(found.get('format'))}, and this version reads {FORMAT}: update "
                          'mmvision_mamba')
    classes, palette, metrics = (found.get(key) for key in ('classes', 'palette', 'metrics'))
    _check_classes(classes, palette)
    if not isinstance(metrics, dict) or len(metrics) > _METRICS or not all(
            len(key) <= NAME and is_name(key) and (value is None or is_number(value))
            for key, value in metrics.items()):
        raise ConfigError('metrics: expected numbers by name')
    texts = {key: found.get(key) for key in ('name', 'data')}
    for key, text in texts.items():
        if not isinstance(text, str) or not 0 < len(text) <= NAME or not is_name(text):
            raise ConfigError(f'{key}: expected a line of text, got {shown(text)}')
    if texts['name'] != card.slug(texts['name']):
        raise ConfigError(f"name is '{shown(texts['name'])}': expected letters, digits, dots and hyphens")
    config = from_data(found.get('config'), 'config')
    if not isinstance(config, dict):
        raise ConfigError(f'config: expected an object, got {shown(config)}')
    return Shared(texts['name'], config, classes, palette, metrics, texts['data'], Licence.read(found.get('licence')))


def _check_classes(classes: Any, palette: Any) -> None:
    if braces := [name for name in classes if '{{' in str(name)] if isinstance(classes, list) else ():
        raise ConfigError(f"classes: '{shown(braces[0])}' is refused: a config would replace what begins with {{{{")
    if not isinstance(classes, list) or not 0 < len(classes) <= CATEGORIES.value or not all(
            isinstance(name, str) and len(name) <= NAME and is_name(name) for name in classes):
        raise ConfigError('classes: expected a list of names')
    if not isinstance(palette, list) or len(palette) != len(classes) or not all(
            isinstance(rgb, list) and len(rgb) == 3 and all(type(v) is int and 0 <= v < 256 for v in rgb)
            for rgb in palette):
        raise ConfigError('palette: expected [R, G, B] for each class, numbers from 0 to 255')
