"""The score thresholds of instances: those that a run's report recommends, for `score_thr='auto'`, and others."""
import json
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
import torch
from mmengine.logging import print_log
from mmengine.structures import BaseDataElement
from torch import nn

from ..checkpoints.local_files import is_remote
from ..configs import is_exported
from ..errors import ConfigError
from ..files import read_text
from ..printable import shown

REPORT = Path('report', 'report.json')  # in a run's folder
AUTO = 'auto'
ScoreThr: TypeAlias = float | str
_MOST_BYTES = 2**26


def check_score_thr(score_thr: ScoreThr, model: nn.Module, scope: str | None, filters: bool = False) -> None:
    """Raise ConfigError where `score_thr` is no threshold, or would change nothing of what a model predicts.

    Args:
        score_thr: a number, or 'auto'.
        model: the one that predicts.
        scope: its toolbox, 'mmdet', 'mmseg' or, of a classifier, 'mmengine'.
        filters: whether instances are left out of results, not of pictures alone, in which a number may change nothing,
            as it has a default. Default: False.
    """
    if isinstance(score_thr, str) and score_thr != AUTO:
        raise ConfigError(f"score_thr is '{shown(score_thr)}': expected a number, or 'auto'")
    if score_thr != AUTO and not -np.inf < float(score_thr) < np.inf:
        raise ConfigError(f"score_thr is {score_thr}: expected a number, or 'auto'")
    if filters and score_thr != AUTO and not 0 <= float(score_thr) <= 1:
        raise ConfigError(f"score_thr is {score_thr}: expected a number from 0 to 1, as scores are, or 'auto'")
    if score_thr != AUTO and not filters:
        return
    reason = None
    if scope != 'mmdet':
        reason = "it is of detectors' instances, and this is a " + (
            'segmentor: its label maps have no scores' if scope == 'mmseg' else
            'classifier: each image gets the class of the highest score')
    elif (settings := _panoptic_settings(model)) is not None and (
            score_thr == AUTO or not settings.get('instance_on', False)):
        reason = 'it is of instances, and this is a panoptic model: its segments are chosen by the settings of its ' \
                 'test_cfg' + (', and no report recommends others' if score_thr == AUTO else '')
    if reason is not None:
        raise ConfigError(f"score_thr {score_thr if score_thr != AUTO else repr(AUTO)}: {reason}.\nLeave it out")


def _panoptic_settings(model: nn.Module) -> Mapping[str, Any] | None:
    """How an mmdet model makes panoptic maps; None where it makes none."""
    settings = getattr(getattr(model, 'panoptic_fusion_head', None), 'test_cfg', None)
    return settings if settings is not None and settings.get('panoptic_on', True) else None


def report_thresholds(checkpoint: str | os.PathLike | None, classes: Sequence[str],
                      meta: Mapping[str, Any] = MappingProxyType({})) -> list[float]:
    """The threshold of the best F1 of each class, by the report beside the checkpoint.

    A warning says so where the report is known to be of another checkpoint.

    Args:
        checkpoint: its path; its folder is the run's.
        classes: the model's. One that the report has no threshold for, has that of all classes together.
        meta: the checkpoint's, which has the iteration and the epoch that it is of. Default: neither is known.

    Raises:
        ConfigError: there is no such report, or it is of other classes, or recommends nothing.
    """
    if checkpoint is None or is_remote(checkpoint):
        raise ConfigError(f"score_thr 'auto' is read from the report beside a checkpoint file, not of "
                          f'{"random weights" if checkpoint is None else shown(checkpoint)}: give a number')
    checkpoint = str(checkpoint).partition('#sha256=')[0]
    path = Path(checkpoint).parent / REPORT
    how = (f'`mmvision-mamba test CONFIG {shown(checkpoint)} --work-dir {shown(Path(checkpoint).parent)}` makes one; '
           'or give a number')
    try:
        content = json.loads(read_text(path, _MOST_BYTES))
        found = content['thresholds']
        overall, of_classes = found['all'], found['classes']
        names = content['classes']
        values = [of_classes.get(name, overall) for name in classes]
        if not all(isinstance(value, float | int) and not isinstance(value, bool) and 0 <= value <= 1
                   for value in (overall, *values)):
            raise TypeError
    except FileNotFoundError:
        raise ConfigError(f"score_thr 'auto': there is no report {shown(path)}.\n{how}") from None
    except OSError as error:
        raise ConfigError(f"score_thr 'auto': {shown(path)} can not be read: {error.strerror}") from error
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise ConfigError(f"score_thr 'auto': {shown(path)} recommends no thresholds, as the report of a detector that "
                          f'finds something does.\n{how}') from None
    if not isinstance(names, list) or set(map(str, names)) != {*classes}:
        raise ConfigError(f"score_thr 'auto': {shown(path)} is of other classes than the model.\n{how}")
    other = _other(content.get('evaluation'), Path(checkpoint).name, meta)
    if other is not None:
        print_log(f"score_thr 'auto': the thresholds of {shown(path)} are those of {other}, not of "
                  f'{shown(Path(checkpoint).name)}, whose scores may differ', 'current', logging.WARNING)
    return [float(value) for value in values]


def _other(evaluation: Any, name: str, meta: Mapping[str, Any]) -> str | None:
    """What a report is of, where that is known to be another checkpoint than the one with a name and `meta`."""
    if not isinstance(evaluation, Mapping) or evaluation.get('checkpoint') == name:
        return None
    of, validated = evaluation.get('checkpoint'), evaluation.get('split') == 'val'
    if isinstance(of, str) and is_exported(name) and not is_exported(of):
        return None  # may be what it was exported from
    if validated and isinstance(iteration := meta.get('iter'), int):
        # mmengine 0.10.7 counts one more in best checkpoints of loops over epochs.
        also = iteration - 1 if evaluation.get('epoch') == meta.get('epoch') else iteration
        if evaluation.get('iteration') in (iteration, also):
            return None  # the same weights by another name, such as best_ITERATION and iter_ITERATION
        return shown(of) if isinstance(of, str) else f'iteration {shown(evaluation.get("iteration"), 20)}'
    return shown(of) if isinstance(of, str) else None


def above(sample: BaseDataElement, thresholds: Sequence[float]) -> BaseDataElement:
    """The prediction with those instances alone whose score is above the threshold of their class; a new one."""
    if 'pred_instances' not in sample or 'scores' not in sample.pred_instances:
        return sample
    instances = sample.pred_instances
    least = torch.as_tensor(np.asarray(thresholds, np.float64))[instances.labels.cpu()]
    kept = sample.clone()
    kept.pred_instances = instances[instances.scores.cpu().double() > least]
    return kept
