"""Metrics with all the digits that were computed: mmdet's round to three, mmseg's to two."""
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import chain
from threading import RLock
from types import ModuleType
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric

# The order of the values in `stats` of pycocotools' COCOeval, by the names that mmdet gives them.
_COCO = ('mAP', 'mAP_50', 'mAP_75', 'mAP_s', 'mAP_m', 'mAP_l', 'AR@100', 'AR@300', 'AR@1000', 'AR_s@1000', 'AR_m@1000',
         'AR_l@1000')
_LOCK = RLock()  # one evaluation at a time: what it records, it does through names of the toolboxes' modules
_ROUNDED = 0.0051  # most that rounding changes a value, of mmseg's percentages


def keep_digits(metric: BaseMetric) -> None:
    """Have a metric of mmdet (COCO, LVIS, VOC, Open Images) or mmseg (IoU) return what it computes, unrounded.

    What it logs stays rounded. Other metrics are left as they are.
    """
    metric.compute_metrics = partial(_compute, metric, metric.compute_metrics)  # type: ignore[method-assign]


def _compute(metric: BaseMetric, compute: Callable[[list], dict], results: list) -> dict:
    modules = dict.fromkeys(sys.modules[cls.__module__] for cls in type(metric).__mro__)
    with _LOCK, ExitStack() as stack:
        # mmdet 3.3.0 and mmsegmentation 1.2.2 have no seam here: they round within `compute_metrics`.
        evaluations = [stack.enter_context(_recorded(module, name)) for module in modules
                       for name in ('COCOeval', 'COCOevalMP', 'LVISEval') if hasattr(module, name)]
        areas = [stack.enter_context(_recorded(metric, name)) for name in ('total_area_to_metrics',)
                 if hasattr(metric, name)]
        for module in modules:
            if module.__name__.startswith('mmdet.') and not hasattr(module, 'COCOeval'):
                stack.enter_context(replaced(module, 'round', lambda value, digits=None: (
                    round(value) if digits is None else value)))
        values = compute(results)
    exact: dict[str, float] = {}
    measured = [name for name in getattr(metric, 'metrics', ()) if name != 'proposal_fast']
    for name, evaluation in zip(measured, chain.from_iterable(evaluations)):
        exact.update(_detection(name, evaluation, metric))
    for summary in chain.from_iterable(areas):
        exact.update((key if key == 'aAcc' else f'm{key}', 100 * float(np.nanmean(np.asarray(value, float))))
                     for key, value in summary.items())
    return {key: exact[key] if key in exact and abs(exact[key] - value) < _ROUNDED else value
            for key, value in values.items()}


def _detection(name: str, evaluation, metric) -> Iterator[tuple[str, float]]:
    """The values of one evaluation of pycocotools or lvis, by their names in mmdet's results."""
    stats = evaluation.get_results() if hasattr(evaluation, 'get_results') else dict(zip(_COCO, evaluation.stats))
    for key, value in stats.items():
        yield (key if name == 'proposal' else f'{name}_{key}'), float(value)
    precision = (evaluation.eval or {}).get('precision')  # (IoU, recall, class, area), pycocotools': (…, detections)
    if name != 'proposal' and precision is not None and hasattr(metric, '_coco_api'):
        for i, category in enumerate(metric.cat_ids):
            values = precision[:, :, i, 0]
            values = values[..., -1] if values.ndim > 2 else values
            if (values > -1).any():
                yield f'{metric._coco_api.cats[category]["name"]}_precision', float(values[values > -1].mean())


@contextmanager
def _recorded(place: Any, name: str) -> Iterator[list]:
    """Yields a list that gets what the function or class `name` of a module or object returns."""
    original, made = getattr(place, name), []

    def call(*args, **options):
        result = original(*args, **options)
        made.append(dict(result) if isinstance(result, dict) else result)
        return result
    with replaced(place, name, call):
        yield made


@contextmanager
def replaced(place: ModuleType | Any, name: str, value: Any) -> Iterator[None]:
    """Within it, `name` of a module or object is `value`."""
    missing = object()
    before = vars(place).get(name, missing)
    setattr(place, name, value)
    try:
        yield
    finally:
        if before is missing:
            delattr(place, name)
        else:
            setattr(place, name, before)
