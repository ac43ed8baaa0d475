"""What a model is and what it was trained on, in a few lines, as far as its config, checkpoint and run tell."""
from __future__ import annotations

from pathlib import Path

from ..errors import DataError
from ..inference import Inferencer
from ..inference.exported import ExportedModel
from ..preflight.datasets import datasets_of
from ..text import class_name, shortened
from ..visualization.curves import read_run

METRICS = ('mAP', 'mIoU', 'PQ')  # the endings of the metrics that are shown


def model_facts(model: Inferencer) -> list[tuple[str, str]]:
    """(what, text) of the model's name, training data, length of the training, and validation at its end.

    Folders of this machine are named by their last part alone.
    """
    cfg, weights, meta = model.toolbox.cfg, model.toolbox.weights, model.toolbox.meta
    classes = ('classes', f'{len(model.classes)}: {shortened(model.classes)}')
    if isinstance(model.model, ExportedModel):
        return [('model', f'{Path(model.model.path).name}, exported; run by {model.model.runs_on}'), classes]
    head = cfg.model.get('decode_head')
    if isinstance(head, (list, tuple)):
        head = head[-1]
    kind = class_name((head or cfg.model).get('type', ''))
    backbone = cfg.model.get('backbone') or {}
    size = backbone.get('arch') or backbone.get('variant')
    backbone = ' '.join(filter(None, (class_name(backbone.get('type', '')), size if isinstance(size, str) else '')))
    config = Path(cfg.filename).stem if cfg.filename else ''
    facts = [('model', ', '.join(filter(None, (kind, backbone, config)))),
             ('weights', 'random: the predictions mean nothing' if weights is None else Path(weights).name),
             classes]
    if weights is None:
        return facts
    steps = [f'{count} {unit}{"s" * (count != 1)}' for key, unit in (('epoch', 'epoch'), ('iter', 'iteration'))
             if (count := meta.get(key))]
    facts.insert(2, ('trained', ' '.join(filter(None, (
        f'on {data}' if (data := _data(cfg)) else '', f'for {" = ".join(steps)}' if steps else ''))) or 'unknown'))
    if metrics := _metrics(weights, meta):
        facts.insert(3, ('validation', ', '.join(f'{key} {value:.4g}' for key, value in metrics.items())))
    return facts


def _data(cfg) -> str:
    """The config's training data, such as 'CocoDataset coco'; '' where it names none."""
    names = dict.fromkeys(' '.join(filter(None, (
        class_name(dataset['type']), Path(str(dataset.get('data_root') or '')).name)))
        for _, dataset, _ in datasets_of(cfg, 'train'))
    return ' and '.join(names)


def _metrics(weights: str, meta: dict) -> dict[str, float]:
    """The metrics of the validation at the checkpoint's iteration or epoch, from the log beside it; else none."""
    if '://' in weights:
        return {}
    try:
        curves = read_run(Path(weights).resolve().parent).val
    except (DataError, OSError):
        return {}
    steps = {meta.get('iter'), meta.get('epoch')} - {None, 0}
    return {key: value for key, points in curves.items() if key.endswith(METRICS)
            for step, value in points[-1:] if step in steps}
