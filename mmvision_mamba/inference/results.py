"""Writes what inference yields: pictures, videos, and predictions in COCO's formats."""
import json
import os
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.structures import BaseDataElement
from PIL import Image
from pycocotools import mask as coco_mask

from ..datasets.label_maps import segment_map
from ..errors import DataError
from ..files import replace

WRITTEN = ('.jpg', '.jpeg', '.png', '.bmp', '.webp', '.tif', '.tiff')  # a picture keeps its image's format; else .png


class Results:
    """Writes predictions under `out_dir` as they come:

    - ``vis/NAME.EXT``: a picture for each image, an mp4 for each video.
    - ``preds/results.json``: all instances as COCO results, with RLE masks; ``preds/images.json``: the images and
      categories of their ids, so that ``COCO('images.json').loadRes('results.json')`` works. Label i is category
      i + 1.
    - ``preds/NAME.png``: segment maps, a pixel's value being its label (255: none), with the classes' palette; of a
      video ``preds/NAME/FRAME.png``.
    - ``preds/panoptic/NAME.png`` and ``preds/panoptic.json``: COCO's panoptic results.

    Each file is written beside its place and moved there once it is complete; leaving the context, by an error too,
    completes the files begun.

    Args:
        out_dir: '' writes nothing.
        classes, palette: the names and RGB colours of labels.
        pictures, predictions: which of the two to write.

    Raises:
        DataError: `out_dir` can't be written to.
    """

    def __init__(self, out_dir: str | os.PathLike, classes: Sequence[str], palette: Sequence[Sequence[int]],
                 pictures: bool = True, predictions: bool = True):
        self.out_dir = Path(out_dir)
        self.draws, self.predicts = bool(out_dir) and pictures, bool(out_dir) and predictions
        self.classes, self.palette = classes, palette
        self._images: list[dict] = []
        self._panoptic: list[dict] = []
        self._instances = None  # JSON array being written
        self._video = None
        if self.draws or self.predicts:
            try:
                for name in ['vis'] * self.draws + ['preds'] * self.predicts:
                    (self.out_dir / name).mkdir(parents=True, exist_ok=True)
                    if not os.access(self.out_dir / name, os.W_OK):
                        raise PermissionError(None, 'no permission to write there')
            except OSError as error:
                raise DataError(f'{out_dir} can not be written to: {error.strerror}') from None

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._end_video()
        if not self.predicts:
            return
        header = coco_header(self._images, self.classes)
        if self._instances:
            self._instances.close()
            write_json(self.out_dir / 'preds/images.json', header)
        if self._panoptic:
            write_json(self.out_dir / 'preds/panoptic.json', dict(header, annotations=self._panoptic))

    def add(self, prediction, picture: np.ndarray | None) -> None:
        """Write one frame's `Prediction` and its picture, RGB."""
        try:
            if self.draws:
                self._add_picture(prediction, picture)
            if self.predicts:
                self._add_prediction(prediction)
        except OSError as error:
            raise DataError(f'{self.out_dir}: writing the results of {prediction.source.name} failed: '
                            f'{error.strerror or error}') from error

    def _add_picture(self, prediction, picture: np.ndarray) -> None:
        source, bgr = prediction.source, np.ascontiguousarray(picture[..., ::-1])
        if source.is_video:
            if self._video is None or self._video.source is not source:
                self._end_video()
                self._video = _Video(self.out_dir / 'vis' / f'{source.output}.mp4', source, bgr.shape[:2])
            self._video.write(bgr)
            return
        self._end_video()
        suffix = picture_suffix(source.suffix)
        path = self.out_dir / 'vis' / f'{source.output}{suffix}'
        replace(path, lambda temporary: temporary.write_bytes(cv2.imencode(suffix, bgr)[1].tobytes()))

    def _end_video(self) -> None:
        if self._video is not None:
            self._video.close()
            self._video = None

    def _add_prediction(self, prediction) -> None:
        sample, source = prediction.sample, prediction.source
        image = dict(id=len(self._images) + 1, file_name=source.name, height=len(prediction.image),
                     width=prediction.image.shape[1])
        name = source.output
        if source.is_video:
            image['frame'] = prediction.frame
            name = f'{name}/{prediction.frame:06}'
        self._images.append(image)
        if 'pred_instances' in sample:
            self._instances = self._instances or _JsonArray(self.out_dir / 'preds/results.json')
            for instance in coco_results(sample.pred_instances, image['id']):
                self._instances.add(instance)
        if 'pred_sem_seg' in sample:
            labels = _sem_seg(sample)
            replace(self.out_dir / 'preds' / f'{name}.png', lambda path: segment_map(
                labels, len(self.classes), self.palette).save(path))
        if 'pred_panoptic_seg' in sample:
            picture, segments = panoptic_map(sample, len(self.classes))
            replace(self.out_dir / 'preds/panoptic' / f'{name}.png', picture.save)
            self._panoptic.append(dict(image_id=image['id'], file_name=f'{name}.png', segments_info=segments))


def picture_suffix(suffix: str) -> str:
    """The suffix of a picture of an image with that suffix."""
    return suffix.lower() if suffix.lower() in WRITTEN else '.png'


def to_dict(sample: BaseDataElement) -> dict:
    """The predictions of a data sample as plain data.

    Returns:
        dict with some of: `labels`, `scores`, `bboxes` (x1, y1, x2, y2 each) and `masks` (COCO's RLE), lists over the
        instances; `sem_seg`, int array ``(H, W)`` of labels; `panoptic_seg`, int array ``(H, W)``, label + 1000 ·
        number of the instance, as in mmdet.
    """
    result = {}
    if 'pred_instances' in sample:
        instances = sample.pred_instances
        result = dict(labels=instances.labels.tolist(), scores=instances.scores.tolist(),
                      bboxes=boxes_of(instances).tolist())
        if 'masks' in instances:
            result['masks'] = rle(instances.masks)
    if 'pred_sem_seg' in sample:
        result['sem_seg'] = _sem_seg(sample)
    if 'pred_panoptic_seg' in sample:
        result['panoptic_seg'] = sample.pred_panoptic_seg.sem_seg[0].numpy()
    return result


def coco_header(images: Sequence[dict], classes: Sequence[str]) -> dict:
    """COCO's annotation format without annotations: the images, and the classes as categories from 1."""
    return dict(info={}, images=images, categories=[dict(id=i + 1, name=name) for i, name in enumerate(classes)])


def coco_results(instances, image_id: int) -> list[dict]:
    """COCO's results format for the instances of one image: bbox is x, y, width, height, segmentation an RLE."""
    results = []
    masks = rle(instances.masks) if 'masks' in instances else [None] * len(instances)
    for (x1, y1, x2, y2), label, score, mask in zip(
            boxes_of(instances).tolist(), instances.labels.tolist(), instances.scores.tolist(), masks):
        result = dict(image_id=image_id, category_id=label + 1, bbox=[x1, y1, x2 - x1, y2 - y1], score=score)
        results.append(result if mask is None else dict(result, segmentation=mask))
    return results


def boxes_of(instances) -> torch.Tensor:
    """Boxes ``(n, 4)``; drawn around the masks where the model predicts none (SOLO's are zeros)."""
    boxes = instances.get('bboxes')
    if 'masks' in instances and (boxes is None or not boxes.any()):
        from mmdet.structures.mask import mask2bbox
        return mask2bbox(torch.as_tensor(instances.masks))
    return boxes.tensor if hasattr(boxes, 'tensor') else boxes


def rle(masks) -> list[dict]:
    """COCO's compressed run-length encoding of masks ``(n, H, W)`` bool, JSON-ready."""
    masks = np.asarray(masks, np.uint8)
    codes = coco_mask.encode(np.asfortranarray(masks.transpose(1, 2, 0))) if len(masks) else []
    return [dict(size=list(code['size']), counts=code['counts'].decode()) for code in codes]


def _sem_seg(sample: BaseDataElement) -> np.ndarray:
    """The predicted labels, ``(H, W)``."""
    seg = sample.pred_sem_seg  # mmseg calls its field `data`, mmdet `sem_seg`
    return (seg.data if 'data' in seg else seg.sem_seg)[0].numpy()


def panoptic_map(sample: BaseDataElement, num_classes: int) -> tuple[Image.Image, list[dict]]:
    """COCO's panoptic format: an RGB image of segment ids R + 256 G + 256² B, 0 for none, and its `segments_info`."""
    from mmdet.evaluation import INSTANCE_OFFSET
    segments = sample.pred_panoptic_seg.sem_seg[0].numpy()
    ids = np.zeros(segments.shape, np.uint32)
    infos = []
    for segment in np.unique(segments):
        label = int(segment % INSTANCE_OFFSET)
        if label < num_classes:  # else void
            mask = segments == segment
            ids[mask] = len(infos) + 1
            ys, xs = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
            infos.append(dict(id=len(infos) + 1, category_id=label + 1, area=int(mask.sum()), iscrowd=0, bbox=[
                int(v) for v in (xs[0], ys[0], xs[-1] - xs[0] + 1, ys[-1] - ys[0] + 1)]))
    return Image.fromarray(np.stack([ids >> shift & 255 for shift in (0, 8, 16)], -1).astype(np.uint8)), infos


class _Video:
    """An mp4 file that is written beside `path` and moved there by `close`."""

    def __init__(self, path: Path, source, size: tuple[int, int]):
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path, self.source, self.size = path, source, size[::-1]
        self.part = path.with_name(f'.{path.stem}.{os.getpid()}.mp4')
        self.writer = cv2.VideoWriter(str(self.part), cv2.VideoWriter_fourcc(*'mp4v'), source.fps, self.size)
        if not self.writer.isOpened():
            raise DataError(f'{path}: OpenCV can not write this video')

    def write(self, frame: np.ndarray) -> None:
        self.writer.write(frame if frame.shape[1::-1] == self.size else cv2.resize(frame, self.size))

    def close(self) -> None:
        self.writer.release()
        os.replace(self.part, self.path)


class _JsonArray:
    """A JSON array that grows on disk, beside `path`, and is moved there by `close`."""

    def __init__(self, path: Path):
        self.path, self.part = path, path.with_name(f'.{path.stem}.{os.getpid()}.json')
        self.file = self.part.open('w')
        self.separator = '[\n'

    def add(self, value: dict) -> None:
        self.file.write(self.separator + json.dumps(value))
        self.separator = ',\n'

    def close(self) -> None:
        self.file.write('\n]\n' if self.separator == ',\n' else '[]\n')
        self.file.close()
        os.replace(self.part, self.path)


def write_json(path: Path, content: dict) -> None:
    """Write a file with `content` on one line, atomically."""
    replace(path, lambda temporary: temporary.write_text(json.dumps(content) + '\n'))
