"""What a detector or segmentor takes for what: confusion matrices and per-class results from kept predictions."""
import contextlib
import io
import os
import pickle
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS, TRANSFORMS
from PIL import Image

from ..errors import ConfigError, DataError
from . import numpy_pickles

# What a pickle of predictions holds; anything else is refused, for unpickling it could run code.
_ALLOWED = {('collections', 'OrderedDict'), ('torch', 'Size'), ('torch._utils', '_rebuild_tensor_v2')}
_NUMPY = {(stand_in.__module__, stand_in.__name__): stand_in for stand_in in numpy_pickles.SAFE}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module, name):
        if (module, name) == ('torch.storage', '_load_from_bytes'):  # unsafe as it is
            return lambda content: torch.load(io.BytesIO(content), map_location='cpu', weights_only=True)
        if (module, name) == ('_codecs', 'encode'):  # how older protocols keep bytes
            return lambda text, encoding: text.encode('latin1')
        if (module, name) in _NUMPY:
            return _NUMPY[module, name]
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f'it holds an object of {module}.{name}')
        return super().find_class(module, name)


def load_predictions(path: str | os.PathLike) -> list[dict]:
    """What `tools/test.py --out FILE.pkl` kept of a detector: a dict per image. Runs no code that the file brings.

    Raises:
        DataError: the file is missing, broken, or holds something else.
    """
    try:
        with open(path, 'rb') as file:
            predictions = _Unpickler(file).load()
    except OSError as error:
        raise DataError(f'{path}: {error.strerror}') from error
    except Exception as error:  # whatever a broken pickle makes it stumble over
        raise DataError(f'{path}: no predictions that tools/test.py --out kept ({error})') from error
    if not isinstance(predictions, list) or not all(
            isinstance(item, dict) and 'pred_instances' in item for item in predictions):
        raise DataError(f'{path}: no predictions of a detector, as tools/test.py --out keeps them')
    return predictions


def test_dataset(cfg: Config) -> BaseDataset:
    """The config's test data set.

    Raises:
        ConfigError: a data set in a wrapper, or without names of classes.
    """
    dataset = DATASETS.build(deepcopy(cfg.test_dataloader.dataset))
    if not isinstance(dataset, BaseDataset):
        raise ConfigError(f'test_dataloader.dataset: expected a single data set, got {type(dataset).__name__}')
    if not dataset.metainfo.get('classes'):
        raise ConfigError('test_dataloader.dataset: it names no classes; set metainfo=dict(classes=(…,))')
    return dataset


# Detection ----------------------------------------------------------------------------------------------------------

def _truth_and_prediction(dataset: BaseDataset, predictions: list[dict]) -> Iterator[tuple[list[dict], dict]]:
    """Per image its annotated instances and its prediction, whatever the order of the predictions."""
    by_image = {item.get('img_id', item.get('img_path')): item for item in predictions}
    if len(predictions) != len(dataset) or len(by_image) != len(dataset):
        raise DataError(f'the predictions are of {len(by_image)} images and the test data set has {len(dataset)}: '
                        'they belong to another config')
    for i in range(len(dataset)):
        info = dataset.get_data_info(i)
        item = by_image.get(info.get('img_id'), by_image.get(info.get('img_path')))
        if item is None:
            raise DataError(f'{info["img_path"]}: not among the images of the predictions, which belong to another '
                            'config')
        yield info['instances'], item


def detection_confusion(dataset: BaseDataset, predictions: list[dict], score_thr: float = 0.3,
                        iou_thr: float = 0.5) -> np.ndarray:
    """Count, over all images, which class was detected where which class is.

    Boxes are matched one to one, the pairs of highest IoU first, whatever their classes. A detection without a match
    is one of background, an object without one is missed. Detections that lie on a crowd (ignored) are not counted.

    Args:
        dataset: whose annotations are the truth.
        predictions: from `load_predictions`.
        score_thr: detections with a lower score are left out. Default: 0.3.
        iou_thr: least IoU of a match. Default: 0.5.

    Returns:
        (classes + 1, classes + 1) counts: rows are true classes, columns detected ones, background is the last of each.
    """
    from mmdet.structures.bbox import bbox_overlaps

    background = len(dataset.metainfo['classes'])
    counts = np.zeros((background + 1, background + 1), np.int64)
    for instances, item in _truth_and_prediction(dataset, predictions):
        found = item['pred_instances']
        kept = found['scores'] >= score_thr
        boxes, labels = found['bboxes'][kept], found['labels'][kept].tolist()
        truth = [i for i in instances if not i.get('ignore_flag')]
        crowds = [i['bbox'] for i in instances if i.get('ignore_flag')]
        true_labels = [i['bbox_label'] for i in truth]
        overlaps = bbox_overlaps(torch.tensor([i['bbox'] for i in truth]).reshape(-1, 4), boxes)
        matched_truth, matched = set(), set()
        for pair in overlaps.flatten().argsort(descending=True, stable=True).tolist():
            t, d = divmod(pair, len(boxes))
            if overlaps[t, d] < iou_thr:
                break
            if t not in matched_truth and d not in matched:
                matched_truth.add(t)
                matched.add(d)
                counts[true_labels[t], labels[d]] += 1
        for t in set(range(len(truth))) - matched_truth:
            counts[true_labels[t], background] += 1
        inside = bbox_overlaps(boxes, torch.tensor(crowds).reshape(-1, 4), mode='iof')
        for d in set(range(len(boxes))) - matched:
            if not crowds or inside[d].max() < iou_thr:
                counts[background, labels[d]] += 1
    return counts


def average_precisions(dataset: BaseDataset, predictions: list[dict]) -> dict[str, list[float]]:
    """COCO's AP of each class, by mmdet's `CocoMetric`; NaN for a class without objects.

    Returns:
        'box AP' and, where there are masks, 'mask AP', in [0, 1].
    """
    from mmdet.evaluation import CocoMetric

    classes = dataset.metainfo['classes']
    samples = [dict(item, instances=deepcopy(instances))
               for instances, item in _truth_and_prediction(dataset, predictions)]
    masks = any('masks' in item['pred_instances'] for item in predictions) and all(
        'mask' in instance for sample in samples for instance in sample['instances'])
    found = {}
    for name, kind in (('box AP', 'bbox'), ('mask AP', 'segm'))[:1 + masks]:
        metric = CocoMetric(metric=kind, classwise=True)  # classwise, one kind overwrites the other's results
        metric.dataset_meta = dataset.metainfo
        metric.process({}, samples)
        with contextlib.redirect_stdout(io.StringIO()):
            results = metric.evaluate(len(samples))
        found[name] = [float(results.get(f'coco/{label}_precision', float('nan'))) for label in classes]
    return found


# Segmentation -------------------------------------------------------------------------------------------------------

def segmentation_confusion(cfg: Config, dataset: BaseDataset, folder: str | os.PathLike) -> np.ndarray:
    """Count pixels: which class was predicted where which class is.

    Args:
        cfg: the data set's; its test pipeline says how annotations are loaded.
        dataset: whose annotations are the truth.
        folder: of the PNGs that `tools/test.py --out FOLDER` kept.

    Returns:
        (classes, classes) counts: rows are true classes, columns predicted ones. Ignored pixels are left out.

    Raises:
        DataError: a prediction is missing, unreadable, of another size or of other classes.
    """
    loads = [step for step in cfg.test_dataloader.dataset.pipeline if step['type'].endswith('LoadAnnotations')]
    if not loads:
        raise ConfigError('test_dataloader.dataset.pipeline: it has no LoadAnnotations, so there is no truth')
    load = TRANSFORMS.build(loads[0])
    count = len(dataset.metainfo['classes'])
    counts = np.zeros(count * count, np.int64)
    for i in range(len(dataset)):
        info = load(dataset.get_data_info(i))
        truth, path = info['gt_seg_map'].astype(np.int64), Path(folder) / f'{Path(info["img_path"]).stem}.png'
        try:
            with Image.open(path) as image:
                predicted = np.asarray(image).astype(np.int64) - bool(info.get('reduce_zero_label'))
        except OSError as error:
            raise DataError(f'{path}: missing or unreadable, prediction for {info["img_path"]} ({error})') from error
        if predicted.shape != truth.shape:
            raise DataError(f'{path}: {predicted.shape[::-1]} pixels, and its annotation has {truth.shape[::-1]}')
        valid = (truth != dataset.ignore_index) & (truth >= 0) & (truth < count)
        if (predicted < 0).any() or predicted.max() >= count:
            raise DataError(f'{path}: it holds labels beyond the {count} classes of the config')
        counts += np.bincount(truth[valid] * count + predicted[valid], minlength=count * count)
    return counts.reshape(count, count)


def intersections_over_unions(counts: np.ndarray) -> dict[str, list[float]]:
    """IoU and accuracy (recall) of each class, in [0, 1]; NaN for a class that is nowhere."""
    both, truth, predicted = np.diag(counts), counts.sum(axis=1), counts.sum(axis=0)
    with np.errstate(invalid='ignore', divide='ignore'):
        return {'IoU': (both / (truth + predicted - both)).tolist(), 'accuracy': (both / truth).tolist()}
