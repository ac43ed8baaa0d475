"""Inference on very many images, in shards with a part file each, so that it can stop and resume at any point."""
import hashlib
import io
import json
import os
from collections.abc import Iterator, Sequence
from copy import copy
from functools import partial
from pathlib import Path

import numpy as np

from ..datasets.folders import read_lines
from ..datasets.label_maps import segment_map
from ..errors import ConfigError, DataError, MissingExtraError
from ..files import replace
from ..printable import on_a_line
from . import BATCH_FORMATS
from .ids import ResultIds
from .inferencer import Inferencer, Prediction
from .results import coco_results, panoptic_map, result_files, rle, to_dict, write_json
from .sources import VIDEO_SUFFIXES, find_sources


class BatchJob:
    """Images, split into shards, and the folder of their results:

    - `manifest.json`: settings and inputs; a job resumes in a folder only if they are the same.
    - `images.txt`: the images' names, line breaks in them escaped; the n-th line is the image with the id n, unless the
      data set has ids of its own.
    - `parts/part-00000.parquet` …: a row for each image of a shard, see `parquet_row`; or `part-00000.json` … with
      `images`, `annotations` and `failures`, as COCO results (segmentors: COCO stuff's, a mask for each class), which
      `finish` joins to `results.json`, `boxes.json` (of models with masks, see `results.Results`) and `images.json`.

    A part is written beside its place and moved there once it is complete. If it is made again, after a crash say, it
    has the same content: each image is in the results once.

    Args:
        inputs: images, folders, patterns, URLs, or text files with one of these a line.
        out: the folder of the results.
        settings: all else that determines the results, JSON-ready.
        shard_size: images a part. Default: 256.
        format: 'parquet' or 'coco'. Default: 'parquet'.
        ids: of images and categories, for the format coco. Default: numbers.

    Raises:
        DataError: no images, one that is a video, or a folder with the results of another job.
        MissingExtraError: 'parquet' without pyarrow.
    """

    def __init__(self, inputs: Sequence[str], out: str | os.PathLike, settings: dict, shard_size: int = 256,
                 format: str = 'parquet', ids: ResultIds | None = None):
        if format not in BATCH_FORMATS:
            raise ConfigError(f'format must be one of {tuple(BATCH_FORMATS)}, got {format!r}')
        if shard_size < 1:
            raise ConfigError(f'shard_size must be 1 or more, got {shard_size}')
        if format == 'parquet':
            _pyarrow()
        self.out, self.format, self.shard_size = Path(out).resolve(), format, shard_size
        self.names = list_images(inputs, self.out)
        digest = hashlib.sha256('\n'.join(self.names).encode(errors='surrogatepass')).hexdigest()
        self.ids = copy(ids) if ids else ResultIds(settings.get('classes', ()))
        numbers = list(range(1, len(self.names) + 1))
        known = self.ids.assign(self.names) if format == 'coco' else numbers
        self.image_ids = [self.ids.new() if id_ is None else id_ for id_ in known]
        self.manifest = dict(settings, images=len(self.names), inputs_sha256=digest, shard_size=shard_size,
                             format=format, parts=len(self))
        if format == 'coco' and (self.ids.source or self.image_ids != numbers):
            ids_used = json.dumps([self.image_ids, self.ids.categories])
            self.manifest['ids_sha256'] = hashlib.sha256(ids_used.encode()).hexdigest()

    def __len__(self) -> int:
        return -(-len(self.names) // self.shard_size)

    def start(self) -> list[int]:
        """Make the folder, or resume in it; returns the numbers of the shards that are still to do."""
        path = self.out / 'manifest.json'
        try:
            saved = json.loads(path.read_text()) if path.exists() else None
            if saved is None:
                if self.out.exists() and any(self.out.iterdir()):
                    raise DataError(f'{self.out} is not empty and has no manifest.json: give it a folder of its own')
                replace(self.out / 'images.txt', lambda p: p.write_text(
                    ''.join(f'{on_a_line(name)}\n' for name in self.names), encoding='utf-8'))
                replace(path, lambda p: p.write_text(json.dumps(self.manifest, indent=1) + '\n'))
        except (OSError, ValueError) as error:
            if isinstance(error, DataError):
                raise
            raise DataError(f'{self.out} can not be used: {error}') from None
        differing = [key for key in self.manifest if saved is not None and saved.get(key) != self.manifest[key]]
        if differing:
            raise DataError(f'{self.out} holds the results of another job; different: {", ".join(differing)}.\n'
                            'Give --out another folder, or remove this one.')
        (self.out / 'parts').mkdir(exist_ok=True)
        return [shard for shard in range(len(self)) if self.count(shard) != len(self.shard(shard))]

    def shard(self, index: int) -> list[tuple[int | str, str]]:
        """(image id, name) of a shard's images."""
        first = index * self.shard_size
        last = first + self.shard_size
        return list(zip(self.image_ids[first:last], self.names[first:last]))

    def part(self, index: int) -> Path:
        """The part file of a shard."""
        return self.out / 'parts' / f'part-{index:05}{BATCH_FORMATS[self.format]}'

    def count(self, index: int) -> int | None:
        """The number of images in a part; None where the file is missing or broken."""
        try:
            if self.format == 'coco':
                return len(json.loads(self.part(index).read_text())['images'])
            return _pyarrow().parquet.read_metadata(self.part(index)).num_rows
        except (OSError, ValueError, KeyError):  # pyarrow's errors are ValueErrors
            return None

    def finish(self) -> list[tuple[str, str]]:
        """Check that every image is there once; write `images.json` and `results.json` for 'coco'.

        Returns:
            (name, reason) of each image that failed.

        Raises:
            DataError: parts are missing.
        """
        missing = [index for index in range(len(self)) if self.count(index) != len(self.shard(index))]
        if missing:
            raise DataError(f'{len(missing)} of {len(self)} parts are missing in {self.out}: run the command again')
        if self.format == 'coco':
            return self._merge()
        table = _pyarrow().parquet.read_table(self.out / 'parts', columns=['file_name', 'error'])
        return [(row['file_name'], row['error']) for row in table.filter(table['error'].is_valid()).to_pylist()]

    def _merge(self) -> list[tuple[str, str]]:
        """Join the JSON parts into `results.json` and `images.json`, one part's annotations in memory at a time."""
        images, failures = [], []

        def parts():
            return (json.loads(self.part(index).read_text()) for index in range(len(self)))

        def write(path, name):
            separator = '['
            with path.open('w') as file:
                for part in parts():
                    results = result_files(part['annotations'], masks)[name] if boxes else part['annotations']
                    for annotation in results:
                        file.write(f'{separator}\n{json.dumps(annotation)}')
                        separator = ','
                file.write('[]\n' if separator == '[' else '\n]\n')

        kinds = set()
        for part in parts():
            images.extend(part['images'])
            failures.extend((f['file_name'], f['reason']) for f in part['failures'])
            kinds.update((('bbox' in a), ('segmentation' in a)) for a in part['annotations'])
        boxes, masks = (any(kind[i] for kind in kinds) for i in (0, 1))
        for name in ('results.json', 'boxes.json')[:1 + (boxes and masks)]:
            replace(self.out / name, partial(write, name=name))
        write_json(self.out / 'images.json', dict(self.ids.header(images), annotations=[]))
        return failures


def list_images(inputs: Sequence[str], leave_out: Path | None = None) -> list[str]:
    """The names of all images among `inputs`, each once; paths become absolute.

    Files that a text file lists need not exist: a missing one is reported with the results.

    Raises:
        DataError: no images, one that is a video, or an input that doesn't exist.
    """
    names = {}
    for given in inputs:
        path = Path(given)
        if path.suffix.lower() == '.txt' and path.is_file():
            for line in read_lines(path):
                _check_is_image(line, line.lower().endswith(VIDEO_SUFFIXES))
                names[line if '://' in line else str(path.parent.resolve() / line)] = None
            continue
        for source in find_sources(given, leave_out=leave_out):
            _check_is_image(source.name, source.is_video)
            names[source.name if '://' in source.name else str(Path(source.name).absolute())] = None
    if not names:
        raise DataError('no inputs: name images, folders, patterns, URLs or text files that list them')
    return list(names)


def _check_is_image(name: str, is_video: bool) -> None:
    if is_video:
        raise DataError(f'{name} is a video or camera; batch inference takes images '
                        '(`mmvision-mamba infer` takes videos)')


def infer_shard(inferencer: Inferencer, job: BatchJob, index: int, batch_size: int = 1) -> tuple[int, int]:
    """Infer on a shard's images and write its part.

    Returns:
        numbers of images done and failed.
    """
    shard = job.shard(index)
    existing = [name for _, name in shard if '://' in name or Path(name).is_file()]
    reasons = {name: 'the file is missing' for _, name in shard if name not in set(existing)}
    records = {}
    make_record = parquet_row if job.format == 'parquet' else partial(_coco_record, categories=job.ids.categories)
    for prediction in inferencer.stream(existing, batch_size) if existing else ():
        records[prediction.source.name] = make_record(prediction, inferencer)
    reasons.update(inferencer.failures if existing else ())
    entries = [(i, name, records.get(name), reasons.get(name, 'no prediction')) for i, name in shard]
    if job.format == 'parquet':
        rows = [_EMPTY_ROW | (record or dict(error=reason)) | dict(image_id=i, file_name=on_a_line(name))
                for i, name, record, reason in entries]
        replace(job.part(index), lambda path: _write_parquet(rows, path))
    else:
        write_json(job.part(index), dict(
            images=[dict(record['image'] if record else {}, id=i, file_name=name) for i, name, record, _ in entries],
            annotations=[dict(a, image_id=i) for i, _, record, _ in entries if record for a in record['annotations']],
            failures=[dict(image_id=i, file_name=name, reason=reason)
                      for i, name, record, reason in entries if not record]))
    return len(records), len(shard) - len(records)


def run_here(job: BatchJob, inferencer: Inferencer, shards: Sequence[int],
             batch_size: int) -> Iterator[tuple[int, int]]:
    """Infer on the shards one after the other; yields the numbers of images done and failed of each."""
    for index in shards:
        yield infer_shard(inferencer, job, index, batch_size)


_EMPTY_ROW = dict(image_id=None, file_name=None, height=None, width=None, error=None, labels=None, scores=None,
                  bboxes=None, masks=None, sem_seg=None, panoptic=None, segments=None)


def parquet_row(prediction: Prediction, inferencer: Inferencer) -> dict:
    """An image's prediction as a row of a Parquet part.

    Rows have `image_id`, `file_name`, `height`, `width`, `error` (why the image failed, or null) and, null where the
    model predicts no such thing,

    - `labels`, `scores`, `bboxes` (x1, y1, x2, y2): lists over the instances; `masks`: the `counts` of COCO's
      run-length encoding, whose `size` is [height, width].
    - `sem_seg`: a PNG file of the label map; see `datasets.label_maps` for the values of pixels.
    - `panoptic`, `segments`: COCO's panoptic PNG file, and its `segments_info` as JSON.
    """
    sample = prediction.sample
    values = to_dict(sample)
    row = dict(height=prediction.image.shape[0], width=prediction.image.shape[1],
               **{key: values.get(key) for key in ('labels', 'scores', 'bboxes')})
    if 'masks' in values:
        row['masks'] = [mask['counts'] for mask in values['masks']]
    if 'sem_seg' in values:
        row['sem_seg'] = _png(segment_map(
            values['sem_seg'], len(inferencer.classes), inferencer.palette, inferencer.reduce_zero_label))
    if 'pred_panoptic_seg' in sample:
        image, segments = panoptic_map(sample, inferencer.ids.categories)
        row.update(panoptic=_png(image), segments=json.dumps(segments))
    return row


def _coco_record(prediction: Prediction, inferencer: Inferencer, categories: Sequence[dict]) -> dict:
    """An image's `image` and `annotations` in a JSON part, still without the image's id."""
    sample = prediction.sample
    annotations = coco_results(sample.pred_instances, 0, categories) if 'pred_instances' in sample else []
    labels = to_dict(sample).get('sem_seg')
    if labels is not None and not annotations:
        values = [int(v) for v in np.unique(labels) if v < len(inferencer.classes)]
        annotations = [dict(category_id=categories[v]['id'], segmentation=mask)
                       for v, mask in zip(values, rle(np.stack([labels == v for v in values])) if values else ())]
    return dict(image=dict(height=prediction.image.shape[0], width=prediction.image.shape[1]), annotations=annotations)


def _png(image) -> bytes:
    image.save(out := io.BytesIO(), 'PNG')
    return out.getvalue()


def _pyarrow():
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise MissingExtraError('batch inference into Parquet files (the format coco needs none)', 'ray') from None
    return pyarrow


def _write_parquet(rows: list[dict], path: Path) -> None:
    pa = _pyarrow()
    schema = pa.schema(dict(
        image_id=pa.int64(), file_name=pa.string(), height=pa.int32(), width=pa.int32(), error=pa.string(),
        labels=pa.list_(pa.int32()), scores=pa.list_(pa.float32()), bboxes=pa.list_(pa.list_(pa.float32())),
        masks=pa.list_(pa.string()), sem_seg=pa.binary(), panoptic=pa.binary(), segments=pa.string()))
    pa.parquet.write_table(pa.Table.from_pylist(rows, schema), path)
