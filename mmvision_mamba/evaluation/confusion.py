"""Confusion matrices and per-class results of detectors and segmentors, from saved predictions."""
import contextlib
import io
import os
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import BaseDataset, ConcatDataset, RepeatDataset
from mmengine.registry import DATASETS, TRANSFORMS

from ..checkpoints.archives import load_storage
from ..checkpoints.trees import Refused
from ..checkpoints.unpickling import ForeignClass, Storage, unpickle
from ..datasets.coco_masks import rle_problem
from ..datasets.image_names import image_names
from ..datasets.json_numbers import is_integer
from ..datasets.label_maps import read_segment_map
from ..datasets.loading import CheckedAnnotations, known_labels
from ..errors import ConfigError, DataError
from ..files import open_file
from ..printable import shown
from .digits import keep_digits

_MOST = 32  # times as many parts as a checkpoint: run lengths of each of millions of masks


def load_predictions(path: str | os.PathLike) -> list[dict]:
    """Load what `mmvision-mamba test --out FILE.pkl` wrote of a detector: a dict per image. Runs no code of the file.

    Raises:
        DataError: the file is missing, broken, or holds something else.
    """
    try:
        with open_file(path) as file:
            predictions = unpickle(file, _no_storage, {'torch.storage._load_from_bytes': _storages(
                os.fstat(file.fileno()).st_size)}, _MOST)
    except OSError as error:
        raise DataError(f'{path}: {error.strerror}') from error
    except Exception as error:  # a broken pickle may raise anything
        reason = f'it holds an object of {shown(error)}' if isinstance(error, ForeignClass) else \
            f'it holds {error}' if isinstance(error, Refused) else shown(error) or type(error).__name__
        raise DataError(f'{path}: no predictions that `mmvision-mamba test --out` kept ({reason})') from error
    if not isinstance(predictions, list) or not all(
            isinstance(item, dict) and 'pred_instances' in item for item in predictions):
        raise DataError(f'{path}: no predictions of a detector, as `mmvision-mamba test --out` keeps them')
    for index, item in enumerate(predictions):
        if problem := _prediction_problem(item):
            raise DataError(f'{path}: the prediction {index} {problem}; `mmvision-mamba test --out` writes others')
    return predictions


def _storages(most: int) -> Callable[[bytes], Storage]:
    """What reads the tensors in a file of `most` bytes, which may name one content many times."""
    taken = 0

    def read(content: bytes) -> Storage:
        nonlocal taken
        taken += len(content)
        if taken > most:
            raise Refused('one content many times over')
        return load_storage(content)
    return read


def _no_storage(*_):
    raise Refused('a storage that it does not have')


def _prediction_problem(item: dict) -> str | None:
    """What is wrong with a prediction that was read, as the end of a sentence."""
    found, size = item['pred_instances'], item.get('ori_shape')
    if not isinstance(size, tuple | list) or len(size) < 2 or not all(
            is_integer(side) and 1 <= side <= 1e6 for side in size[:2]):
        return f'has the ori_shape {shown(size, 60)}'
    if not isinstance(item.get('img_id'), int | str | None) or not isinstance(item.get('img_path'), str | None):
        return 'has an img_id or img_path of the wrong type'
    tensors = [found.get(key) for key in ('labels', 'scores', 'bboxes')] if isinstance(found, dict) else [None]
    if not all(isinstance(tensor, torch.Tensor) for tensor in tensors):
        return 'lacks labels, scores or bboxes'
    labels, scores, boxes = tensors
    if labels.shape != scores.shape or (*labels.shape, 4) != boxes.shape or labels.dim() != 1:
        return f'has {[*labels.shape]} labels, {[*scores.shape]} scores and {[*boxes.shape]} bboxes'
    if labels.dtype != torch.int64 or not all(
            tensor.is_floating_point() and tensor.isfinite().all() for tensor in (scores, boxes)):
        return 'has labels, scores or bboxes that are no numbers of their kind'
    masks = found.get('masks', [])
    if not isinstance(masks, list) or ('masks' in found and len(masks) != len(labels)) or not all(
            isinstance(mask, dict) and rle_problem(mask, size[1], size[0]) is None for mask in masks):
        return 'has masks that are no run lengths of its image'
    return None


def test_dataset(cfg: Config) -> BaseDataset | ConcatDataset | RepeatDataset:
    """The config's test data set, also in wrappers.

    Raises:
        ConfigError: a data set that does not tell its images without loading them, or without names of classes.
    """
    dataset = DATASETS.build(deepcopy(cfg.test_dataloader.dataset))
    if not hasattr(dataset, 'get_data_info') or not hasattr(dataset, 'metainfo'):
        raise ConfigError(f"test_dataloader.dataset: {type(dataset).__name__} is none of mmengine's data sets")
    if not dataset.metainfo.get('classes'):
        raise ConfigError('test_dataloader.dataset: it names no classes; set metainfo=dict(classes=(…,))')
    return dataset


# Detection ----------------------------------------------------------------------------------------------------------

def _truth_and_prediction(dataset, predictions: list[dict]) -> Iterator[tuple[list[dict], dict]]:
    """Yield each image's ground truth instances and prediction, in the data set's order."""
    infos = [dataset.get_data_info(i) for i in range(len(dataset))]
    key = _key_of_images(infos, predictions)
    by_image = {item.get(key): item for item in predictions}
    images = {info.get(key): info for info in infos}
    if len(predictions) != len(infos) or len(by_image) != len(images):
        raise DataError(f'the predictions are of {len(by_image)} images and the test data set has {len(images)}: '
                        'they belong to another config')
    for info in infos:
        if info.get(key) not in by_image:
            raise DataError(f'{info["img_path"]}: not among the images of the predictions, which belong to another '
                            'config')
        labels = by_image[info[key]]['pred_instances']['labels']
        if len(labels) and not 0 <= labels.min() <= labels.max() < len(dataset.metainfo['classes']):
            raise DataError(f'{info["img_path"]}: predictions of classes that the test data set lacks; they belong to '
                            'another config')
        yield info['instances'], by_image[info[key]]


def _key_of_images(infos: list[dict], predictions: list[dict]) -> str:
    """What tells images apart: 'img_id', or 'img_path' where ids are missing, or those of several data sets alike."""
    ids, paths = ({info.get(key) for info in infos} for key in ('img_id', 'img_path'))
    has_paths = all(item.get('img_path') is not None for item in predictions)
    return 'img_path' if None in ids or (len(ids) < len(paths) and has_paths) else 'img_id'


def detection_confusion(dataset: BaseDataset, predictions: list[dict], score_thr: float = 0.3,
                        iou_thr: float = 0.5) -> np.ndarray:
    """Confusion matrix of a detector: objects of each true class by detected class, over all images.

    Boxes are matched one to one, the pairs of highest IoU first, whatever their classes. An unmatched detection counts
    as true background, an unmatched object as detected background. Unmatched detections on a crowd are not counted.

    Args:
        dataset: its annotations are the ground truth.
        predictions: from `load_predictions`.
        score_thr: detections with a lower score are left out. Default: 0.3.
        iou_thr: least IoU of a match. Default: 0.5.

    Returns:
        (classes + 1, classes + 1) counts: rows are true classes, columns detected ones, background is the last of each.
    """
    from mmdet.structures.bbox import bbox_overlaps

    side = len(dataset.metainfo['classes']) + 1
    counts = np.zeros((side, side), np.int64)
    for instances, prediction in _truth_and_prediction(dataset, predictions):
        detected = prediction['pred_instances']
        confident = detected['scores'] >= score_thr
        boxes, labels = detected['bboxes'][confident], detected['labels'][confident].tolist()
        objects = [i for i in instances if not i.get('ignore_flag')]
        crowds = [i['bbox'] for i in instances if i.get('ignore_flag')]
        true_labels = [i['bbox_label'] for i in objects]
        overlaps = bbox_overlaps(torch.tensor([i['bbox'] for i in objects]).reshape(-1, 4), boxes)
        on_crowds = bbox_overlaps(boxes, torch.tensor(crowds).reshape(-1, 4), mode='iof')
        crowded = (on_crowds >= iou_thr).any(dim=1).numpy() if crowds else np.zeros(len(boxes), bool)
        count_pairs(counts, true_labels, labels, overlaps.numpy(), crowded, iou_thr)
    return counts


def count_pairs(counts: np.ndarray, true_labels: Sequence[int], labels: Sequence[int], overlaps: np.ndarray,
                on_crowd: np.ndarray, iou_thr: float) -> None:
    """Add an image to a confusion matrix, see `detection_confusion`.

    Args:
        counts: `(classes + 1, classes + 1)`, changed in place.
        true_labels, labels: of m objects and n detections.
        overlaps: `(m, n)`, their IoUs.
        on_crowd: bool `(n,)`, detections that do not count where they have no object.
        iou_thr: least IoU of a match.
    """
    background = len(counts) - 1
    matched_objects, matched_detections = set(), set()
    for pair in np.argsort(-overlaps, axis=None, kind='stable').tolist():
        t, d = divmod(pair, len(labels))
        if overlaps[t, d] < iou_thr:
            break
        if t not in matched_objects and d not in matched_detections:
            matched_objects.add(t)
            matched_detections.add(d)
            counts[true_labels[t], labels[d]] += 1
    for t in set(range(len(true_labels))) - matched_objects:
        counts[true_labels[t], background] += 1
    for d in set(range(len(labels))) - matched_detections:
        if not on_crowd[d]:
            counts[background, labels[d]] += 1


def average_precisions(dataset: BaseDataset, predictions: list[dict]) -> dict[str, list[float]]:
    """COCO's AP of each class, by mmdet's `CocoMetric`; NaN for a class without objects.

    Returns:
        {'box AP': one value per class}, and 'mask AP' where there are masks; in [0, 1].
    """
    from mmdet.evaluation import CocoMetric

    classes = dataset.metainfo['classes']
    samples = [dict(prediction, instances=deepcopy(instances), img_id=i)  # ids of several data sets may be alike
               for i, (instances, prediction) in enumerate(_truth_and_prediction(dataset, predictions))]
    masks = any('masks' in item['pred_instances'] for item in predictions) and all(
        'mask' in instance for sample in samples for instance in sample['instances'])
    precisions = {}
    for name, iou_type in (('box AP', 'bbox'), ('mask AP', 'segm'))[:1 + masks]:
        metric = CocoMetric(metric=iou_type, classwise=True)  # with both types, one would overwrite the other's results
        keep_digits(metric)
        metric.dataset_meta = dataset.metainfo
        metric.process({}, samples)
        with contextlib.redirect_stdout(io.StringIO()):
            results = metric.evaluate(len(samples))
        precisions[name] = [float(results.get(f'coco/{label}_precision', float('nan'))) for label in classes]
    return precisions


# Segmentation -------------------------------------------------------------------------------------------------------

def segmentation_confusion(cfg: Config, dataset: BaseDataset, folder: str | os.PathLike) -> np.ndarray:
    """Confusion matrix of a segmentor: pixels of each true class by predicted class.

    Args:
        cfg: of the data set; its test pipeline loads the annotations.
        dataset: its annotations are the ground truth.
        folder: of the label maps that `mmvision-mamba test --out FOLDER` wrote.

    Returns:
        (classes, classes) counts: rows are true classes, columns predicted ones. Ignored pixels are left out.

    Raises:
        DataError: a map is broken or has labels beyond the model's classes; a prediction is missing, unreadable, of
            another size or of other classes.
    """
    num_classes = len(dataset.metainfo['classes'])
    names = image_names(dataset)
    counts = np.zeros(num_classes**2, np.int64)
    for info, ignored in _annotated(dataset, cfg.test_dataloader.dataset, cfg):
        truth, path = info['gt_seg_map'].astype(np.int64), Path(folder) / f'{names[info["img_path"]]}.png'
        try:
            predicted = read_segment_map(path, bool(info.get('reduce_zero_label')))
        except DataError as error:
            raise DataError(f'{error}: the prediction for {info["img_path"]}') from error
        if predicted.shape != truth.shape:
            raise DataError(f'{path}: {predicted.shape[::-1]} pixels, and its annotation has {truth.shape[::-1]}')
        valid = (truth != ignored) & (truth >= 0) & (truth < num_classes)
        if (predicted < 0).any() or predicted.max() >= num_classes:
            raise DataError(f'{path}: it holds labels beyond the {num_classes} classes of the config')
        counts += np.bincount(truth[valid] * num_classes + predicted[valid], minlength=num_classes**2)
    return counts.reshape(num_classes, num_classes)


def _annotation_loader(dataset: dict, cfg: Config) -> CheckedAnnotations:
    steps = [step for step in dataset['pipeline'] if step['type'].endswith('LoadAnnotations')]
    if not steps:
        raise ConfigError('test_dataloader.dataset.pipeline: it has no LoadAnnotations, so there is no truth')
    return CheckedAnnotations(TRANSFORMS.build(steps[0]), known_labels(cfg))


def _annotated(dataset, settings: dict, cfg: Config) -> Iterator[tuple[dict, int]]:
    """(item with its `gt_seg_map`, label that does not count) of each image of a data set, also in wrappers.

    Args:
        dataset: the data set.
        settings: its config.
        cfg: that of the experiment.
    """
    if hasattr(dataset, 'datasets'):
        for part, own in zip(dataset.datasets, settings['datasets']):
            yield from _annotated(part, own, cfg)
    elif hasattr(dataset, 'dataset'):
        for _ in range(len(dataset) // max(len(dataset.dataset), 1)):
            yield from _annotated(dataset.dataset, settings['dataset'], cfg)
    else:
        load = _annotation_loader(settings, cfg)
        for i in range(len(dataset)):
            yield load(dataset.get_data_info(i)), dataset.ignore_index


def intersections_over_unions(counts: np.ndarray) -> dict[str, list[float]]:
    """IoU and accuracy (recall) of each class, in [0, 1]; NaN for a class without pixels."""
    correct, truth, predicted = np.diag(counts), counts.sum(axis=1), counts.sum(axis=0)
    with np.errstate(invalid='ignore', divide='ignore'):
        return {'IoU': (correct / (truth + predicted - correct)).tolist(), 'accuracy': (correct / truth).tolist()}
