"""What exported files are worth on a config's own data: mIoU, AP, or how far features are from others."""
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.evaluator import Evaluator
from mmengine.registry import DATASETS, DefaultScope
from torch import Tensor

from ..datasets.loading import known_labels, use_checked_loading
from ..errors import ConfigError
from ..evaluation.digits import keep_digits
from ..inference.exported import ExportedModel, use_file
from ..preflight.datasets import build_without_pipeline, innermost
from ..runtime.loaders import quiet
from ..text import class_name

_AP = 'mAP', '_AP', '/AP'  # the endings of those metrics that are the mean over classes and thresholds


def pictures(cfg: Config, split: str, most: int) -> list[Path]:
    """Paths of at most `most` images, spread evenly over the config's 'train' or 'test' split.

    Raises:
        ConfigError: there are none.
    """
    dataset = build_without_pipeline(cfg, innermost(cfg[f'{split}_dataloader'].dataset))
    return [Path(dataset.get_data_info(i)['img_path']) for i in _spread(dataset, split, most)]


def labelled(cfg: Config, split: str, most: int) -> Iterator[tuple[Path, Tensor]]:
    """Yields at most `most` samples, spread evenly over a segmentor's 'train' or 'test' split.

    Yields:
        the image's path; the ground truth map ``(h, w)`` in the image's own size.
    """
    dataset = innermost(cfg[f'{split}_dataloader'].dataset)
    # Its own steps: maps may be colours or outlines, images have other bands.
    steps = {class_name(step.get('type')): step for step in reversed(dataset.get('pipeline') or ())}
    load = steps.get('LoadAnnotations', dict(type='LoadAnnotations'))
    picture = steps.get('LoadImageFromFile', {})
    dataset = DATASETS.build(dict(dataset, pipeline=[
        picture if 'bands' in picture else dict(type='LoadImageFromFile'), load, dict(type='PackSegInputs')]))
    use_checked_loading(dataset, known_labels(cfg))
    for i in _spread(dataset, split, most):
        sample = dataset[i]['data_samples']
        yield Path(sample.img_path), sample.gt_sem_seg.data[0]


def mean_iou(run: Callable[[Path], np.ndarray], data: Iterable[tuple[Path, Tensor]], classes: int,
             ignore: int = 255) -> float:
    """mIoU, in points, of the label maps ``(h, w)`` that `run` makes of image files."""
    from mmseg.evaluation import IoUMetric
    totals = 0
    for path, truth in data:
        labels = torch.from_numpy(run(path))
        totals = totals + torch.stack(IoUMetric.intersect_and_union(labels, truth, classes, ignore)[:2])
    return 100 * float((totals[0] / totals[1])[totals[1] > 0].mean())


def average_precisions(cfg: Config, path: Path, most: int) -> dict[str, float]:
    """AP of a detector's file, in points, of boxes and of masks, by the config's own metrics on at most `most` images.

    Args:
        cfg: the config, with test data. It is not changed.
        path: the file.
        most: images, spread evenly over the test data.

    Returns:
        each AP by its name, such as 'bbox_mAP'; 0 where the file finds nothing.

    Raises:
        ConfigError: the metrics or the data show no AP.
    """
    cfg, model = cfg.copy(), ExportedModel(path)
    use_file(cfg, path, model.file)
    with DefaultScope.overwrite_default_scope(cfg.default_scope), quiet(), redirect_stdout(io.StringIO()):
        dataset = DATASETS.build(cfg.test_dataloader.dataset)
        evaluator = Evaluator(cfg.test_evaluator)
        evaluator.dataset_meta = dataset.metainfo
        chosen = _spread(dataset, 'test', most)
        for i in chosen:
            batch = pseudo_collate([dataset[i]])
            evaluator.process(model.test_step(batch), batch)
        for metric in evaluator.metrics:
            keep_digits(metric)
            if getattr(metric, 'img_ids', ...) is None:  # else mmdet's take all images of their annotations
                metric.img_ids = [dataset.get_data_info(i)['img_id'] for i in chosen]
        values = evaluator.evaluate(len(chosen))
    found = {key.rpartition('/')[2]: value for key, value in values.items() if key.endswith(_AP)}
    names = [name for name, value in found.items() if value is not None and value >= 0]
    if values and not names:
        raise ConfigError('--int8: the metrics of the test data (test_evaluator) show no AP of these: annotations of '
                          'their objects are needed')
    return {name: 100 * float(found[name]) for name in names}


def change(wanted: Sequence[np.ndarray], found: Sequence[np.ndarray]) -> list[float]:
    """The root mean square of each map's difference over that of the map that is wanted."""
    return [float(np.linalg.norm(a - b) / np.linalg.norm(a)) for a, b in zip(wanted, found, strict=True)]


def _spread(dataset, split: str, most: int) -> list[int]:
    if not len(dataset):
        raise ConfigError(f'--int8: the {split} data set is empty: {dataset.data_prefix}')
    return np.linspace(0, len(dataset) - 1, min(most, len(dataset))).astype(int).tolist()
