"""The data that the losses of validation are computed on: the validation set, with annotations as training has them."""
import copy
from collections.abc import Mapping, Sequence
from typing import Any

from mmengine import Config

from ..datasets.tile_grid import DEFAULT_OVERLAP
from ..errors import ConfigError
from ..text import class_name
from .datasets import datasets_of, innermost
from .keys import arguments_of
from .tiles import KEYS as TILING
from .tiles import tile_of

_VIEWS = 'TestTimeAug', 'MultiScaleFlipAug'
_OF_LABELS = 'GenerateEdge', 'SegRescale'  # what models learn from maps besides their classes
_OWN_PIPELINE = "custom_hooks=[dict(type='ValLossHook', pipeline=[…])]"


def loss_dataloader(cfg: Config, pipeline: Sequence[dict] | None = None) -> dict[str, Any]:
    """The config of a data loader of the validation set for a model's losses.

    Images are those of validation. Annotations are loaded by the training pipeline's steps, right after the image, so
    that they go through what the test pipeline does to it, such as `Resize`. A set that is evaluated by tiles is cut
    to tiles as the training set is.

    Args:
        cfg: of the run; it stays as it is.
        pipeline: to take in the place of that. Default: None.

    Raises:
        ConfigError: there is no validation set, or its pipeline makes several views of an image.
    """
    if not isinstance(cfg.get('val_dataloader'), Mapping) or cfg.get('val_cfg') is None:
        raise ConfigError('the loss of validation needs a validation set: set val_dataloader, val_cfg and '
                          'val_evaluator, or leave out --val-loss and ValLossHook')
    loader = copy.deepcopy(dict(cfg.val_dataloader))
    if not isinstance(loader.get('dataset'), Mapping):
        raise ConfigError('the loss of validation needs val_dataloader.dataset as a config, of which it makes another')
    for key in ('batch_sampler', 'persistent_workers', 'drop_last', 'shuffle'):
        loader.pop(key, None)
    loader['sampler'] = dict(type='DefaultSampler', shuffle=False)
    loader.setdefault('batch_size', 1)
    trained = [dataset for _, dataset, _ in datasets_of(cfg, 'train')]
    steps = next((found for dataset in trained if (found := _annotation_steps(dataset.get('pipeline')))), [])
    for where, dataset, cls in datasets_of(Config(dict(val_dataloader=loader,
                                                       default_scope=cfg.get('default_scope'))), 'val'):
        dataset['pipeline'] = list(pipeline) if pipeline is not None else _with_annotations(
            dataset.get('pipeline') or [], steps, f'{where}.pipeline')
        if (side := tile_of(cfg, 'val')) is not None and 'tile' in arguments_of(cls):
            overlap = cfg.val_cfg.get('overlap', DEFAULT_OVERLAP)
            dataset.update(dict(tile=side, tile_overlap=overlap) | next(
                ({key: tiled[key] for key in TILING if key in tiled} for tiled in trained if tiled.get('tile')), {}))
    return loader


def learns_from_empty(cfg: Config) -> bool:
    """Whether training has images without objects: `filter_empty_gt` of the (first) training set is not set."""
    dataset = (cfg.get('train_dataloader') or {}).get('dataset')
    filters = innermost(dataset).get('filter_cfg') if isinstance(dataset, Mapping) else None
    return not (filters or {}).get('filter_empty_gt')


def _is_annotation(step: Mapping) -> bool:
    name = class_name(step.get('type'))
    return name.startswith(('Load', 'Checked')) and 'Annotation' in name


def _annotation_steps(pipeline: Sequence[Mapping] | None) -> list[Mapping]:
    """The steps of a training pipeline that load annotations, or make others of them."""
    steps = [step for step in pipeline or [] if isinstance(step, Mapping)]
    found = [step for step in steps if _is_annotation(step)]
    return found + [step for step in steps if class_name(step.get('type')) in _OF_LABELS] if found else []


def _with_annotations(pipeline: Sequence[Mapping], annotations: Sequence[Mapping], place: str) -> list[dict]:
    """A test pipeline whose annotations are loaded right after the image, and derived ones made at the end."""
    steps = [dict(step) for step in pipeline]
    names = [class_name(step.get('type')) for step in steps]
    if any(name in _VIEWS for name in names):
        raise ConfigError(f'{place} makes several views of an image, of which a model has no loss: name a pipeline '
                          f'that makes one, {_OWN_PIPELINE}')
    if not annotations:  # such as a classifier's
        return steps
    steps = [step for step in steps if not _is_annotation(step)]
    names = [class_name(step.get('type')) for step in steps]
    first = max((i + 1 for i, name in enumerate(names) if name.startswith(('Load', 'Checked'))), default=0)
    last = next((i for i, name in enumerate(names) if name.startswith('Pack')), len(steps))
    made = [dict(step) for step in annotations if class_name(step.get('type')) in _OF_LABELS]
    loaded = [dict(step) for step in annotations if class_name(step.get('type')) not in _OF_LABELS]
    return [*steps[:first], *loaded, *steps[first:last], *made, *steps[last:]]
