"""The score thresholds that a run's report recommends, for `score_thr='auto'`."""
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from mmengine.structures import BaseDataElement

from ..checkpoints.local_files import is_remote
from ..errors import ConfigError
from ..files import read_text
from ..printable import shown

REPORT = Path('report', 'report.json')  # in a run's folder
AUTO = 'auto'
ScoreThr: TypeAlias = float | str
_MOST_BYTES = 2**26


def report_thresholds(checkpoint: str | os.PathLike | None, classes: Sequence[str]) -> list[float]:
    """The threshold of the best F1 of each class, by the report beside the checkpoint.

    Args:
        checkpoint: its path; its folder is the run's.
        classes: the model's. One that the report has no threshold for, has that of all classes together.

    Raises:
        ConfigError: there is no such report, or it is of other classes, or recommends nothing.
    """
    if checkpoint is None or is_remote(checkpoint):
        raise ConfigError(f"score_thr 'auto' is read from the report beside a checkpoint file, not of "
                          f'{"random weights" if checkpoint is None else shown(checkpoint)}: give a number')
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
    return [float(value) for value in values]


def above(sample: BaseDataElement, thresholds: Sequence[float]) -> BaseDataElement:
    """The prediction with those instances alone whose score is above the threshold of their class; a new one."""
    if 'pred_instances' not in sample or 'scores' not in sample.pred_instances:
        return sample
    instances = sample.pred_instances
    least = torch.as_tensor(np.asarray(thresholds, np.float64))[instances.labels.cpu()]
    kept = sample.clone()
    kept.pred_instances = instances[instances.scores.cpu().double() > least]
    return kept
