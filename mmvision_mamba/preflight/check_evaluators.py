"""Check that COCO's metrics have the images, classes and objects that their split loads, and LVIS's what they need."""
import os.path as osp
from collections.abc import Sequence
from typing import Protocol

from mmengine import Config

from ..datasets.lvis_annotations import lvis_problem
from ..errors import ConfigError, DataError
from ..printable import shown
from ..text import class_name
from .annotation_files import Annotations, is_coco_evaluation, is_remote, mends, metrics_in, reads_coco
from .check_classes import check_classes


class _Data(Protocol):
    """See `check_data.CheckedData`."""
    where: str
    dataset: dict
    cls: type
    path: str | None


def metrics_of(cfg: Config, split: str) -> list[dict]:
    """Configs of a split's metrics that read their ground truth from a local file, `ann_file`."""
    return [metric for metric in metrics_in(cfg.get(f'{split}_evaluator')) if isinstance(metric.get('ann_file'), str)
            and metric['ann_file'] and not is_remote(metric, metric['ann_file'])]


def check_evaluators(cfg: Config, split: str, datasets: Sequence[_Data], annotations: Annotations) -> None:
    """Check COCO's and LVIS's metrics of a split.

    Args:
        cfg: of the run.
        split: 'train', 'val' or 'test'.
        datasets: of the split.
        annotations: their files, and those of the metrics.

    Raises:
        ConfigError: a metric has not the images, by id and name, that the data sets load, or nothing to compare with.
        DataError: a metric numbers classes otherwise than the data sets, see `check_classes`; a file for LVIS's metric
            lacks what that needs.
    """
    for metric in metrics_of(cfg, split):
        if class_name(metric.get('type')) == 'LVISMetric' and (problem := lvis_problem(metric['ann_file'])):
            raise DataError(f"{shown(metric['ann_file'])}: {problem}, which LVIS's evaluation needs.\nTake a file in "
                            "LVIS's format, or CocoMetric")
    for metric in metrics_in(cfg.get(f'{split}_evaluator')):
        if not is_coco_evaluation(metric):
            continue
        path = metric.get('ann_file')
        if not path:
            _check_kept_objects(split, datasets, annotations)
        elif isinstance(path, str) and not is_remote(metric, path):
            _check_file(split, metric, [data for data in datasets if data.path and reads_coco(data.cls)], annotations)


def _check_file(split: str, metric: dict, datasets: Sequence[_Data], annotations: Annotations) -> None:
    path, files = metric['ann_file'], dict.fromkeys(data.path for data in datasets)
    for data in datasets:
        check_classes(path, annotations.read(path).categories, data.dataset, data.cls, {}, mends(metric['type']))
    known = {id_: osp.basename(name) for name, id_ in annotations.read(path).ids.items()}
    for file in files:
        images = annotations.read(file).ids
        others = [name for name, id_ in images.items() if known.get(id_) != osp.basename(name)]
        if others:
            way_out = file if len(files) == 1 else "None, and add 'instances' to the meta_keys of PackDetInputs"
            raise ConfigError(f'{split}_evaluator.ann_file is {path}, and {split}_dataloader loads the images of '
                              f'{file}: {len(others)} of {len(images)} are not in the former, or have another id '
                              f'there, such as {others[0]}.\nSet {split}_evaluator.ann_file={way_out}')


def _check_kept_objects(split: str, datasets: Sequence[_Data], annotations: Annotations) -> None:
    """Check what a metric without a file takes for its ground truth: the objects that the pipeline keeps."""
    file_of: dict[int | str, str] = {}
    for data in datasets:
        kept = str([step.get('meta_keys') for step in data.dataset.get('pipeline') or () if isinstance(step, dict)])
        if "'instances'" not in kept:
            raise ConfigError(f'{split}_evaluator has no ann_file, and {data.where}.pipeline does not keep the objects '
                              f'to compare with.\nSet {split}_evaluator.ann_file, or, for several data sets, add '
                              "'instances' to the meta_keys of PackDetInputs")
        for id_ in annotations.read(data.path).ids.values() if data.path else ():
            if (file := file_of.setdefault(id_, data.path)) != data.path:
                raise ConfigError(f'{data.path}: image id {id_} is also one of {file}, and the metric of {split} tells '
                                  'images by their ids.\nGive the images of each file ids of their own')
