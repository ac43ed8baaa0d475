"""Writes what inference yields: pictures, videos, and predictions in COCO's formats."""
import contextlib
import errno
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.structures import BaseDataElement
from PIL import Image
from pycocotools import mask as coco_mask

from ..datasets.label_maps import meaning, segment_map
from ..datasets.panoptic_files import id_colours, number_segments
from ..downloads import is_url
from ..errors import DataError
from ..files import cleared, replace
from ..printable import shown
from .ids import ResultIds
from .sources import DEFAULT_FPS, Source

TOP = 5  # classes of an image in a classifier's results and pictures
LONGEST_SIDE = 8190  # pixels of a frame in MPEG-4, where OpenCV takes even numbers alone
SLOWEST, FASTEST = 0.01, 1000.  # frames a second of a video that is written
WRITTEN = ('.jpg', '.jpeg', '.png', '.bmp', '.webp', '.tif', '.tiff')  # a picture keeps its image's format; else .png


class UnwritableError(DataError):
    """The results of one input have no form that can be written; others' may have one."""


class Results:
    """Writes predictions under `out_dir` as they come:

    - ``vis/NAME.EXT``: a picture for each image, an mp4 for each video.
    - ``preds/results.json``: all instances as COCO results. A model with masks has RLE masks there, without boxes, from
      which pycocotools would take the areas; its boxes are in ``preds/boxes.json``. ``preds/images.json``: the images
      and categories of their ids.
    - ``preds/NAME.png``: segment maps, with the classes' palette; see `datasets.label_maps` for the values of pixels.
      Of a video ``preds/NAME/FRAME.png``.
    - ``preds/classes.json``: of a classifier, for each image `file_name` (and `frame`), `label`, `class`, `score`, and
      `top`, the five most likely of these.
    - ``preds/panoptic/NAME.png`` and ``preds/panoptic.json``: COCO's panoptic results.

    Each file is written beside its place and moved there once it is complete; leaving the context, by an error too,
    completes the files begun.

    Args:
        out_dir: '' writes nothing.
        classes, palette: the names and RGB colours of labels.
        pictures, predictions: which of the two to write.
        ids: of images and categories. Default: numbers.
        reduce_zero_label: whether masks of the data set count from 1; so will segment maps. Default: False.
        sources: all inputs, in order: images get the ids of the data set. Default: images are numbered as they come.
        polygons: whether label maps of pictures by tiles are written as polygons, too. Default: False.

    Attributes:
        maps: whether there are segment maps.
        notes: lines that say what is changed in results.

    Raises:
        DataError: `out_dir` can't be written to, or one of the sources lies where results are written.
    """

    def __init__(self, out_dir: str | os.PathLike, classes: Sequence[str], palette: Sequence[Sequence[int]],
                 pictures: bool = True, predictions: bool = True, ids: ResultIds | None = None,
                 reduce_zero_label: bool = False, sources: Sequence[Source] = (), polygons: bool = False):
        self.polygons = polygons
        self.out_dir = Path(out_dir)
        self.draws, self.predicts = bool(out_dir) and pictures, bool(out_dir) and predictions
        self.classes, self.palette = classes, palette
        self.maps, self.notes = False, []
        self.ids, self.reduce_zero_label = ids or ResultIds(classes), reduce_zero_label
        images = [source for source in sources if not source.is_video]
        self._image_ids = dict(zip((source.output for source in images), self.ids.assign(
            [source.name if source.folder or is_url(source.name) else None for source in images])))
        self._images: list[dict] = []
        self._panoptic: list[dict] = []
        self._arrays: dict[str, _JsonArray] = {}  # being written
        self._video: _Video | None = None
        if self.draws or self.predicts:
            folders = ['vis'] * self.draws + ['preds'] * self.predicts
            _keep_apart(sources, [self.out_dir / name for name in folders])
            try:
                for name in folders:
                    (self.out_dir / name).mkdir(parents=True, exist_ok=True)
                    if not os.access(self.out_dir / name, os.W_OK):
                        raise PermissionError(None, 'no permission to write there')
            except OSError as error:
                raise DataError(f'{out_dir} can not be written to: {error.strerror}') from None

    def __enter__(self):
        return self

    def __exit__(self, *error):
        with contextlib.ExitStack() as ends:  # of each file, whatever becomes of others; the last first
            header = self.ids.header(self._images) if self.predicts else {}
            if self._panoptic:
                ends.callback(write_json, self.out_dir / 'preds/panoptic.json',
                              dict(header, annotations=self._panoptic))
            if self._images and self._arrays:
                ends.callback(write_json, self.out_dir / 'preds/images.json', header)
            for array in self._arrays.values():
                ends.callback(array.close)
            ends.callback(self._end_video)

    def add(self, prediction, picture: np.ndarray | None) -> None:
        """Write one frame's `Prediction`, or a `TiledPrediction`, and its picture, RGB.

        Raises:
            UnwritableError: OpenCV can't write such a video; its predictions are written.
            DataError: nothing can be written any more, as the disk is full, for example.
        """
        try:
            if self.predicts:
                prediction.add_to(self)
            if self.draws and picture is not None:
                self._add_picture(prediction, picture)
        except OSError as error:
            raise DataError(f'{self.out_dir}: writing the results of {prediction.source.name} failed: '
                            f'{error.strerror or error}') from error

    def describe(self) -> list[str]:
        """What the numbers in the predictions written so far mean, a line for each kind; what is changed in videos."""
        return [self.ids.describe()] * bool(self._images and (self._arrays or self._panoptic)) + \
            [f'label maps: {meaning(self.reduce_zero_label)}'] * self.maps + self.notes

    def _add_picture(self, prediction, picture: np.ndarray) -> None:
        source, bgr = prediction.source, np.ascontiguousarray(picture[..., ::-1])
        if source.is_video:
            if self._video is None or self._video.source is not source:
                self._end_video()
                self._video = _Video(self.out_dir / 'vis' / f'{source.output}.mp4', source, bgr.shape[:2])
                self.notes += self._video.notes
            self._video.write(bgr)
            return
        self._end_video()
        suffix = picture_suffix(source.suffix)
        encoded, data = cv2.imencode(suffix, bgr)
        if not encoded:  # larger than the format takes: WebP 16,383 pixels a side, JPEG 65,535
            suffix, data = '.png', cv2.imencode('.png', bgr)[1]
        path = self.out_dir / 'vis' / f'{source.output}{suffix}'
        replace(path, lambda temporary: temporary.write_bytes(data.tobytes()))

    def _end_video(self) -> None:
        if self._video is not None:
            video, self._video = self._video, None
            video.close()

    def add_image(self, source: Source, height: int, width: int, **more: int) -> int | str:
        """Note an image, or a frame of a video; returns its id."""
        known = self._image_ids.get(source.output)
        image = dict(id=self.ids.new() if known is None else known, file_name=source.name, height=height, width=width,
                     **more)
        self._images.append(image)
        return image['id']

    def add_instances(self, files: dict[str, list[dict]]) -> None:
        """Write an image's instances, by file as `result_files` returns them."""
        for file, values in files.items():
            if file not in self._arrays:
                self._arrays[file] = _JsonArray(self.out_dir / 'preds' / file)
            for value in values:
                self._arrays[file].add(value)

    def add_sample(self, prediction) -> None:
        """Write the predictions of a `Prediction`."""
        sample, source = prediction.sample, prediction.source
        name = source.output
        frame = {}
        if source.is_video:
            frame = dict(frame=prediction.frame)
            name = f'{name}/{prediction.frame:06}'
        if 'pred_scores' in sample:
            top = [{'label': label, 'class': str(self.classes[label]), 'score': score}
                   for label, score in top_classes(sample)]
            self.add_instances({'classes.json': [dict(file_name=source.name, **frame, **top[0], top=top)]})
            return
        image_id = self.add_image(source, *prediction.image.shape[:2], **frame)
        if 'pred_instances' in sample:
            self.add_instances(result_files(coco_results(sample.pred_instances, image_id, self.ids.categories),
                                            'masks' in sample.pred_instances))
        if 'pred_sem_seg' in sample:
            self.maps = True
            labels = _sem_seg(sample)
            replace(self.out_dir / 'preds' / f'{name}.png', lambda path: segment_map(
                labels, len(self.classes), self.palette, self.reduce_zero_label).save(path))
        if 'pred_panoptic_seg' in sample:
            picture, segments = panoptic_map(sample, self.ids.categories)
            replace(self.out_dir / 'preds/panoptic' / f'{name}.png', picture.save)
            self._panoptic.append(dict(image_id=image_id, file_name=f'{name}.png', segments_info=segments))


def picture_suffix(suffix: str) -> str:
    """The suffix of a picture of an image with that suffix."""
    return suffix.lower() if suffix.lower() in WRITTEN else '.png'


def to_dict(sample: BaseDataElement) -> dict:
    """The predictions of a data sample as plain data.

    Returns:
        dict with some of: `labels`, `scores`, `bboxes` (x1, y1, x2, y2 each) and `masks` (COCO's RLE), lists over the
        instances; `sem_seg`, int array ``(H, W)`` of labels; `panoptic_seg`, int array ``(H, W)``, label + 1000 ·
        number of the instance, as in mmdet. Of a classifier `label`, and `scores`, a list over the classes.
    """
    result = {}
    if 'pred_scores' in sample:
        result = dict(label=int(sample.pred_label), scores=sample.pred_scores.tolist())
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


def coco_results(instances, image_id: int | str, categories: Sequence[dict] | None = None) -> list[dict]:
    """COCO's results format for the instances of one image: bbox is x, y, width, height, segmentation an RLE.

    Args:
        instances: with `labels`, `scores`, and `bboxes` or `masks`; with `mask_scores`, these are `mask_score`.
        image_id: of their image.
        categories: for each label a dict with `id`. Default: label i is category i + 1.
    """
    columns = [boxes_of(instances).tolist(), instances.labels.tolist(), instances.scores.tolist()]
    results = [dict(image_id=image_id, category_id=label + 1 if categories is None else categories[label]['id'],
                    bbox=[x1, y1, x2 - x1, y2 - y1], score=score) for (x1, y1, x2, y2), label, score in zip(*columns)]
    for key, values in (('segmentation', rle(instances.masks) if 'masks' in instances else ()),
                        ('mask_score', instances.mask_scores.tolist() if 'mask_scores' in instances else ())):
        for result, value in zip(results, values):
            result[key] = value
    return results


def result_files(results: Sequence[dict], masks: bool) -> dict[str, list[dict]]:
    """The content of `results.json` and, of a model with masks, of `boxes.json`, from `coco_results`.

    Masks and boxes are apart as COCO has them: pycocotools takes the area of a result that has a box from that box.
    """
    boxes = [{key: value for key, value in result.items() if key not in ('segmentation', 'mask_score')}
             for result in results]
    if not masks:
        return {'results.json': boxes}
    segments = [dict(image_id=r['image_id'], category_id=r['category_id'], score=r.get('mask_score', r['score']),
                     segmentation=r['segmentation']) for r in results]
    return {'results.json': segments, 'boxes.json': boxes}


def top_classes(sample: BaseDataElement) -> list[tuple[int, float]]:
    """(label, score) of a classifier's most likely classes, `TOP` at most, the likeliest first."""
    scores, labels = sample.pred_scores.float().topk(min(TOP, len(sample.pred_scores)))
    return list(zip(labels.tolist(), scores.tolist()))


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


def panoptic_map(sample: BaseDataElement, categories: Sequence[dict]) -> tuple[Image.Image, list[dict]]:
    """COCO's panoptic format: an RGB image of segment ids R + 256 G + 256² B, 0 for none, and its `segments_info`.

    Args:
        sample: with `pred_panoptic_seg`.
        categories: for each label a dict with `id`.
    """
    from mmdet.evaluation import INSTANCE_OFFSET
    ids, segments = number_segments(sample.pred_panoptic_seg.sem_seg[0].numpy(), len(categories), INSTANCE_OFFSET)
    return Image.fromarray(id_colours(ids)), [
        dict(id=segment['id'], category_id=categories[segment['label']]['id'], area=segment['area'], iscrowd=0,
             bbox=segment['bbox']) for segment in segments]


def _keep_apart(sources: Sequence[Source], folders: Sequence[Path]) -> None:
    """Raise DataError where a source is a file in one of the folders: a result could take its place."""
    for folder in folders:
        inside = os.path.join(os.path.realpath(folder), '')
        for source in sources:
            if source.suffix and not is_url(source.name) and os.path.realpath(source.name).startswith(inside):
                raise DataError(f'{shown(source.name)} is an input and lies in {shown(folder)}, where results are '
                                'written: choose another folder for them')


class _Video:
    """An mp4 file that is written beside `path` and moved there by `close`.

    Attributes:
        notes: lines that say how it differs from its source.
    """

    def __init__(self, path: Path, source: Source, size: tuple[int, int]):
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path, self.source, self.notes = path, source, []
        self.size = size[::-1]
        if not 2 <= min(size) <= max(size) <= LONGEST_SIDE:
            scale = min(1, LONGEST_SIDE / max(size))
            self.size = tuple(max(2, int(side * scale) // 2 * 2) for side in self.size)
            self.notes.append(f'{shown(path)}: frames of {size[1]} × {size[0]} pixels are written as {self.size[0]} × '
                              f'{self.size[1]}: MPEG-4 takes 2 to {LONGEST_SIDE} a side')
        rate = _rate(source.fps)
        if abs(rate - source.fps) > 0.01 * rate:
            self.notes.append(f'{shown(path)}: {rate:g} frames a second, not {source.fps:g} as its source says')
        self.part = cleared(path.with_name(f'.{path.stem}.{os.getpid()}.mp4'))
        self.writer = cv2.VideoWriter(str(self.part), cv2.VideoWriter_fourcc(*'mp4v'), rate, self.size)
        self.frames = 0

    def write(self, frame: np.ndarray) -> None:
        """Raises OSError where the disk is full: OpenCV says nothing of it."""
        if not self.writer.isOpened():
            _check_space(self.path)
            raise UnwritableError(f'{self.path}: OpenCV can not write this video')
        self.writer.write(frame if frame.shape[1::-1] == self.size else cv2.resize(frame, self.size))
        self.frames += 1
        _check_space(self.path)

    def close(self) -> None:
        """Move the file to its place. Raises OSError where not all of it could be written; an older one stays."""
        if not self.writer.isOpened():
            self.part.unlink(missing_ok=True)
            return
        self.writer.release()
        written = cv2.VideoCapture(str(self.part))
        frames = int(written.get(cv2.CAP_PROP_FRAME_COUNT))
        written.release()
        if frames == self.frames:
            os.replace(self.part, self.path)
            return
        try:
            _check_space(self.path)
        finally:
            self.part.unlink(missing_ok=True)
        raise OSError(errno.EIO, f'{max(0, frames)} of {self.frames} frames could be written to this video, is the '
                      'disk full?', os.fspath(self.path))


def _check_space(path: Path) -> None:
    """Raise OSError where no byte more can be written beside `path`."""
    if not shutil.disk_usage(path.parent).free:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), os.fspath(path))


def _rate(fps: float) -> float:
    """The frames per second of a video that is written, with as many decimals as MPEG-4's 16 bits have room for."""
    if not SLOWEST <= fps <= FASTEST:
        return DEFAULT_FPS
    return round(fps, 3 if fps < 65 else 2 if fps < 655 else 1)


class _JsonArray:
    """A JSON array that grows on disk, beside `path`, and is moved there by `close`."""

    def __init__(self, path: Path):
        self.path, self.part = path, cleared(path.with_name(f'.{path.stem}.{os.getpid()}.json'))
        self.file = self.part.open('w')
        self.separator = '[\n'

    def add(self, value: dict) -> None:
        self.file.write(self.separator + json.dumps(value))
        self.separator = ',\n'

    def close(self) -> None:
        try:
            with self.file:
                self.file.write('\n]\n' if self.separator == ',\n' else '[]\n')
            os.replace(self.part, self.path)
        except OSError as error:
            self.part.unlink(missing_ok=True)
            raise OSError(error.errno, error.strerror, os.fspath(self.path)) from error


def write_json(path: Path, content: dict) -> None:
    """Write a file with `content` on one line, atomically."""
    replace(path, lambda temporary: temporary.write_text(json.dumps(content) + '\n'))
