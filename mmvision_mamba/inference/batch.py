"""Inference on very many images, in shards with a part file each, so that it can stop and resume at any point."""
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from functools import partial
from pathlib import Path

from ..datasets.folders import read_lines
from ..downloads import is_url
from ..errors import ConfigError, DataError
from ..files import open_file, read_text, replace
from ..printable import shown, without_passwords
from ..text import shortened
from ..work_dirs import hold
from . import BATCH_FORMATS
from .batch_rows import EMPTY_ROW, coco_record, is_annotation, parquet_row, pyarrow, schema, write_parquet
from .batch_settings import NAME, TOOL, VERSION, check_same, read_manifest, text_of
from .failures import NO_MEMORY, is_memory_error
from .ids import ResultIds
from .inferencer import Inferencer
from .report_thresholds import above
from .results import result_files, write_json
from .sources import VIDEO_SUFFIXES, find_sources, image_source

# What a process that was killed can leave half-written, and all that may lie in a folder that has no manifest yet.
_TEMPORARY = re.compile(r'\.(manifest|images|states|results|boxes|part-\d+)\.\d+\.(json|txt|parquet)')
_OWN = re.compile(rf'{_TEMPORARY.pattern}|images\.txt|states\.txt|\.lock|unfinished')


class BatchJob:
    """Images, split into shards, and the folder of their results:

    - `manifest.json`: settings and inputs; a job resumes in a folder only if they are the same.
    - `images.txt`: the images' names; the n-th line is the image with the id n, unless the data set has ids of its own.
    - `states.txt`: of the image on the same line of `images.txt` size and time of its last change, or its SHA-256; '-'
      of one that isn't there, and of a URL.
    - `parts/part-00000.parquet` …: a row for each image of a shard, see `parquet_row`; or `part-00000.json` … with
      `images`, `annotations` and `failures`, as COCO results (segmentors: COCO stuff's, a mask for each class), which
      `finish` joins to `results.json`, `boxes.json` (of models with masks, see `results.Results`) and `images.json`.

    A part is written beside its place and moved there once it is complete. If it is made again, after a crash say, it
    has the same content: each image is in the results once.

    Args:
        inputs: images, folders, patterns, URLs, or text files with one of these a line.
        out: the folder of the results.
        settings: all else that determines the results, JSON-ready, see `batch_settings`. Of them the job itself uses
            `classes`, and `score_thr`: instances are kept whose score is higher, or higher than that of their class.
        shard_size: images a part. Default: 256.
        format: 'parquet' or 'coco'. Default: 'parquet'.
        ids: of images and categories, for the format coco. Default: numbers.
        hash_images: tell changed images by their SHA-256, for which all are read, not by size and time. Default: False.

    Raises:
        DataError: no images, or one that is a video.
        MissingExtraError: 'parquet' without pyarrow.
    """

    def __init__(self, inputs: Sequence[str], out: str | os.PathLike, settings: dict, shard_size: int = 256,
                 format: str = 'parquet', ids: ResultIds | None = None, hash_images: bool = False):
        if format not in BATCH_FORMATS:
            raise ConfigError(f'format must be one of {tuple(BATCH_FORMATS)}, got {format!r}')
        if shard_size < 1:
            raise ConfigError(f'shard_size must be 1 or more, got {shard_size}')
        if format == 'parquet':
            pyarrow()
        self.out, self.format, self.shard_size, self.hash_images = Path(out).resolve(), format, shard_size, hash_images
        self.names = list_images(inputs, self.out)
        limit, classes = settings.get('score_thr'), settings.get('classes', ())
        self.thresholds = None if limit is None else [
            limit[name] if isinstance(limit, Mapping) else limit for name in classes]
        digest = hashlib.sha256('\0'.join(self.names).encode(errors='surrogatepass')).hexdigest()
        self.ids = copy(ids) if ids else ResultIds(classes)
        numbers = list(range(1, len(self.names) + 1))
        known = self.ids.assign(self.names) if format == 'coco' else numbers
        self.image_ids = [self.ids.new() if id_ is None else id_ for id_ in known]
        self.manifest = dict(tool=TOOL, manifest=VERSION, **settings, images=len(self.names), inputs_sha256=digest,
                             shard_size=shard_size, format=format, parts=len(self),
                             images_told_by='SHA-256' if hash_images else 'size and time')
        if format == 'coco' and (self.ids.source or self.image_ids != numbers):
            ids_used = json.dumps([self.image_ids, self.ids.categories])
            self.manifest['ids_sha256'] = hashlib.sha256(ids_used.encode()).hexdigest()

    def __len__(self) -> int:
        return -(-len(self.names) // self.shard_size)

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Hold the folder, which is made, against other processes.

        Raises:
            ConfigError: another process holds it.
            DataError: it can't be used, or holds other things.
        """
        self._saved()  # before anything is written there
        try:
            self.out.mkdir(parents=True, exist_ok=True)
        except (OSError, ValueError) as error:
            raise self._unusable(error) from None
        with hold(self.out, way_out='--out DIR'):
            yield

    def start(self, retry_failed: bool = False) -> list[int]:
        """Make the folder, or resume in it; returns the numbers of the shards that are still to do.

        Args:
            retry_failed: whether shards with images that failed are to do once more. Their parts stay until then,
                unless one of their images has changed. Default: False.

        Raises:
            DataError: it can't be used, holds other things or the results of another job, or images have changed since
                they were inferred on.
        """
        saved = self._saved()
        try:
            if saved is not None:
                check_same(self.out, saved, json.loads(text_of(self.manifest)))
            (self.out / 'parts').mkdir(parents=True, exist_ok=True)
            self._tidy()
            failures = map(self.failures, range(len(self)))
            todo = [shard for shard, failed in enumerate(failures) if failed is None or (retry_failed and failed)]
            states = list(map(self._state, self.names))
            if saved is not None:
                for shard in self._check_unchanged(states, set(todo)):
                    self.part(shard).unlink(missing_ok=True)  # it would pass for one of the new states
            self._write('images.txt', ''.join(f'{_line(name)}\n' for name in self.names))
            self._write('states.txt', ''.join(f'{state}\n' for state in states))
            self._write(NAME, text_of(self.manifest))  # the last: without it the others are not counted
        except (OSError, ValueError) as error:
            raise error if isinstance(error, DataError) else self._unusable(error) from None
        return todo

    def _saved(self) -> dict | None:
        """The manifest of the folder, None for a new one; raises DataError about one that holds other things."""
        try:
            saved = read_manifest(self.out)
            found = [] if saved is not None or not os.path.lexists(self.out) else list(self.out.iterdir())
            if self.out / 'parts' in found and (self.out / 'parts').is_dir():
                found += (self.out / 'parts').iterdir()
                found.remove(self.out / 'parts')
            others = [path for path in found if not _OWN.fullmatch(path.name)]
        except (OSError, ValueError) as error:
            raise error if isinstance(error, DataError) else self._unusable(error) from None
        if others:
            raise DataError(f'{shown(self.out)} is not empty and has no {NAME}: give it a folder of its own')
        return saved

    def _unusable(self, error: Exception) -> DataError:
        return DataError(f'{shown(self.out)} can not be used: {getattr(error, "strerror", None) or shown(error)}.\n'
                         'Give --out a folder that can be written to.')

    def _tidy(self) -> None:
        """Remove what killed processes have left half-written; raises DataError where parts are another's."""
        known = {self.part(shard).name for shard in range(len(self))}
        for folder in (self.out, self.out / 'parts'):
            for path in folder.iterdir():
                if _TEMPORARY.fullmatch(path.name) and not path.is_dir():
                    path.unlink(missing_ok=True)
                elif folder != self.out and path.name not in known:
                    raise DataError(f'{shown(path)} is no part of this job, and whoever reads the parts would read it '
                                    'too.\nMove it away.')

    def _write(self, name: str, text: str) -> None:
        replace(self.out / name, lambda path: path.write_text(text, encoding='utf-8'))

    def _state(self, name: str) -> str:
        """What tells whether an image's file is the same, as text."""
        try:
            if is_url(name):
                return '-'
            if self.hash_images:
                with open_file(name) as file:
                    found = hashlib.sha256()
                    while block := file.read(2**20):
                        found.update(block)
                    return found.hexdigest()
            status = os.stat(name)
            return f'{status.st_size} {status.st_mtime_ns}'
        except (OSError, ValueError):
            return '-'

    def _check_unchanged(self, states: list[str], todo: set[int]) -> set[int]:
        """The shards to do with images that are others than they were; raises DataError where those of others are."""
        try:
            before = read_text(self.out / 'states.txt', 100 * len(states)).splitlines()  # a line has 65 bytes at most
        except (OSError, UnicodeError):
            before = []
        if len(before) != len(states):
            raise DataError(f'{shown(self.out / "states.txt")} is missing or damaged: it can not be told whether '
                            'images have changed.\nGive --out another folder, or remove this one.')
        differing = [i for i, (old, new) in enumerate(zip(before, states)) if old != new]
        changed = [i for i in differing if i // self.shard_size not in todo]
        if changed:
            parts = [f'parts/{self.part(i).name}' for i in sorted({i // self.shard_size for i in changed})]
            raise DataError(
                f'{len(changed)} image{"s" * (len(changed) > 1)} changed since {shown(self.out)} has results of them: '
                f'{shortened([self.names[i] for i in changed], 3)}.\nRemove what is to be done again '
                f'({shortened(parts, 3)}), or give --out another folder.')
        return {i // self.shard_size for i in differing}

    def shard(self, index: int) -> list[tuple[int | str, str]]:
        """(image id, name) of a shard's images."""
        first = index * self.shard_size
        last = first + self.shard_size
        return list(zip(self.image_ids[first:last], self.names[first:last]))

    def part(self, index: int) -> Path:
        """The part file of a shard."""
        return self.out / 'parts' / f'part-{index:05}{BATCH_FORMATS[self.format]}'

    def tasks(self, shards: Sequence[int], workers: int) -> list[int]:
        """The tasks of which shards consist, for so many workers: the shards themselves."""
        return [*shards]

    def infer(self, inferencer: Inferencer, task: int, batch_size: int) -> tuple[int, int]:
        """Do a task; returns the numbers of images done and failed."""
        return infer_shard(inferencer, self, task, batch_size)

    def failures(self, index: int) -> list[tuple[str, str]] | None:
        """(name, reason) of each image of a part that failed; None where the part is missing, broken or another's."""
        expected = [(id_, _line(name)) for id_, name in self.shard(index)]
        try:
            with open_file(self.part(index)) as file:
                if self.format == 'coco':
                    part = json.load(file)
                    found = [(image['id'], image['file_name']) for image in part['images']]
                    failed = [(failure['file_name'], str(failure['reason'])) for failure in part['failures']]
                    ids = {id_ for id_, _ in expected}
                    right = all(is_annotation(annotation, ids) for annotation in part['annotations'])
                else:
                    table = pyarrow().parquet.ParquetFile(file)
                    right = table.schema_arrow.equals(schema())
                    rows = table.read(['image_id', 'file_name', 'error']).to_pylist() if right else []
                    found = [(row['image_id'], row['file_name']) for row in rows]
                    failed = [(row['file_name'], row['error']) for row in rows if row['error'] is not None]
        except Exception:  # whatever a reader stumbles over in a broken file
            return None
        return failed if right and found == expected else None

    def finish(self) -> list[tuple[str, str]]:
        """Check that every image is there once; write `images.json` and `results.json` for 'coco'.

        Returns:
            (name, reason) of each image that failed.

        Raises:
            DataError: parts are missing, or results can't be written.
        """
        failures = [self.failures(index) for index in range(len(self))]
        if missing := failures.count(None):
            raise DataError(f'{missing} of {len(self)} parts are missing in {shown(self.out)}: run the command again')
        if self.format == 'coco':
            try:
                self._merge()
            except OSError as error:
                raise self._unusable(error) from None
        return [failure for part in failures for failure in part or ()]

    def _merge(self) -> None:
        """Join the JSON parts into `results.json` and `images.json`, one part's annotations in memory at a time."""
        images = []

        def parts():
            return (json.loads(read_text(self.part(index))) for index in range(len(self)))

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
            kinds.update((('bbox' in a), ('segmentation' in a)) for a in part['annotations'])
        if len(kinds) > 1:
            raise DataError(f'{shown(self.out / "parts")} holds parts of different kinds of results: boxes, masks or '
                            'both.\nRemove those that this job has not written, and run the command again.')
        boxes, masks = (any(kind[i] for kind in kinds) for i in (0, 1))
        for name in ('results.json', 'boxes.json')[:1 + (boxes and masks)]:
            replace(self.out / name, partial(write, name=name))
        write_json(self.out / 'images.json', dict(self.ids.header(images), annotations=[]))


def list_images(inputs: Sequence[str], leave_out: Path | None = None) -> list[str]:
    """The names of all images among `inputs`, each once; paths become absolute.

    Files that a text file lists need not exist: a missing one is reported with the results.

    Raises:
        DataError: no images, one that is a video, or an input that doesn't exist.
    """
    names = {}
    for given in inputs:
        path = Path(given)
        if path.suffix.lower() == '.txt' and os.path.exists(path) and not os.path.isdir(path):
            for line in read_lines(path):
                _check_is_image(line, line.lower().endswith(VIDEO_SUFFIXES))
                names[without_passwords(line) if is_url(line) else str(path.parent.resolve() / line)] = None
            continue
        for source in find_sources(given, leave_out=leave_out):
            _check_is_image(source.name, source.is_video)
            names[source.name if is_url(source.name) else str(Path(source.name).absolute())] = None
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

    Raises:
        DataError: the part can't be written.
    """
    shard = job.shard(index)
    existing = [name for _, name in shard if is_url(name) or os.path.exists(name)]
    reasons = {name: 'the file is missing' for _, name in shard if name not in set(existing)}
    records = {}
    make_record = parquet_row if job.format == 'parquet' else partial(coco_record, categories=job.ids.categories)
    for prediction in inferencer.stream([image_source(name, inferencer.read) for name in existing], batch_size) \
            if existing else ():
        try:
            if job.thresholds is not None:
                prediction.sample = above(prediction.sample, job.thresholds)
            records[prediction.source.name] = make_record(prediction, inferencer)
        except Exception as error:
            if not is_memory_error(error):
                raise
            reasons[prediction.source.name] = NO_MEMORY
    reasons.update(inferencer.failures if existing else ())
    return write_part(job, index, records, reasons)


def write_part(job: BatchJob, index: int, records: Mapping[str, dict], reasons: Mapping[str, str]) -> tuple[int, int]:
    """Write the part of a shard.

    Args:
        job, index: the job, and number of the shard.
        records: what the part holds of each image that is done, by its name.
        reasons: why others failed.

    Returns:
        numbers of images done and failed.

    Raises:
        DataError: it can't be written.
    """
    shard = job.shard(index)
    entries = [(i, _line(name), records.get(name), reasons.get(name, 'no prediction')) for i, name in shard]
    try:
        if job.format == 'parquet':
            rows = [EMPTY_ROW | (record or dict(error=reason)) | dict(image_id=i, file_name=name)
                    for i, name, record, reason in entries]
            replace(job.part(index), lambda path: write_parquet(rows, path))
        else:
            write_json(job.part(index), dict(
                images=[dict(record['image'] if record else {}, id=i, file_name=name)
                        for i, name, record, _ in entries],
                annotations=[dict(a, image_id=i) for i, _, record, _ in entries if record
                             for a in record['annotations']],
                failures=[dict(image_id=i, file_name=name, reason=reason)
                          for i, name, record, reason in entries if not record]))
    except OSError as error:
        raise DataError(f'{shown(job.part(index))} can not be written ({error.strerror or shown(error)}).\n'
                        'Parts that are there stay; run the command again when it can.') from None
    return len(records), len(shard) - len(records)


def _line(name: str) -> str:
    """An image's name in the results: on a line of its own, and text that any file takes, as few names are not."""
    return shown(name, most=10_000)


def run_here(job: BatchJob, inferencer: Inferencer, tasks: Sequence[int],
             batch_size: int) -> Iterator[tuple[int, int, int]]:
    """Do tasks one after the other; yields the number of each, and those of images done and failed."""
    for index in tasks:
        yield index, *job.infer(inferencer, index, batch_size)
