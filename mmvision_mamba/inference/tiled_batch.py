"""Batch inference on pictures of any size: rows of windows of one picture are pieces, which several workers can do."""
import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from ..datasets.json_numbers import is_integer
from ..datasets.label_maps import IGNORED
from ..datasets.tile_grid import Grid, Tiling
from ..datasets.tile_loading import shape_of
from ..errors import DataError
from ..files import replace
from .batch import BatchJob, write_part
from .batch_rows import tiled_record, tiled_row
from .failures import reason_of
from .sources import image_source
from .tiled.instances import Instance
from .tiled.merging import merge
from .tiled.pictures import Picture, open_picture
from .tiled.segmentor import LabelFile, LabelStrips, label_maker
from .tiled.windows import Windows

FOLDER = 'unfinished'  # in that of the results
_MOST_ROWS = 8  # of windows in a piece: a segmentor's begins with a row or more of the piece above it once more


@dataclass(frozen=True)
class Piece:
    """Some rows of windows of a picture.

    Args:
        image: number of the picture in the job.
        number, total: which of so many equal parts of the picture's rows.
    """
    image: int
    number: int
    total: int

    def rows(self, parts: int) -> range:
        """The parts of a picture, of so many, that are this piece's."""
        return range(*(parts * i // self.total for i in (self.number, self.number + 1)))


class TiledBatchJob(BatchJob):
    """A `BatchJob` on pictures of any size, with the same files of results.

    Its tasks are pieces, whose results lie in the folder `unfinished` until a shard's are all there and its part is
    written. A run that was stopped goes on with the next piece. Whoever does a piece, its results are the same.

    Args:
        *args: as for `BatchJob`; the settings hold those of `tiling`.
        tiling: how pictures are cut.
        inferencer: of the model.
        **options: as for `BatchJob`.
    """

    def __init__(self, *args, tiling: Tiling, inferencer, **options):
        super().__init__(*args, **options)
        self.tiling, self.scope = tiling, inferencer.scope
        self.style = len(inferencer.classes), inferencer.palette, inferencer.reduce_zero_label
        self.pieces: list[Piece] = []
        self.done: set[int] = set()  # of the pieces, those that an earlier run has done
        self._folders: dict[int, Path] = {}  # of images' pieces

    def tasks(self, shards: Sequence[int], workers: int) -> list[int]:
        """The numbers of the pieces of shards that are still to be done, which become `pieces`.

        Args:
            shards: still to be done.
            workers: among which a picture's rows are to be spread.
        """
        images = [image for shard in shards for image in range(
            shard * self.shard_size, min((shard + 1) * self.shard_size, len(self.names)))]
        self._folders = {image: self._folder(image) for image in images}
        self.pieces = [Piece(image, number, total) for image in images
                       for total in [self._pieces_of(self.names[image], workers)] for number in range(total)]
        self.done = {task for task, piece in enumerate(self.pieces)
                     if 'reason' not in (self._read(piece) or dict(reason=''))}
        return [task for task in range(len(self.pieces)) if task not in self.done]

    def _pieces_of(self, name: str, workers: int) -> int:
        """How many pieces a picture is cut into."""
        try:
            parts = len(Grid.of(self.tiling, *shape_of(dict(img_path=name))).rows)
        except DataError:  # the one that opens it tells what is wrong
            return 1
        return -(-parts // min(max(-(-parts // workers), 2), _MOST_ROWS))

    def infer(self, inferencer, task: int, batch_size: int) -> tuple[int, int]:
        """Do a piece and write its file; no image is finished by that."""
        piece = self.pieces[task]
        source = image_source(self.names[piece.image], inferencer.read)
        found: dict = {}
        try:
            with open_picture(source, self.tiling.tile, inferencer.toolbox.bands) as picture:
                infer = _labels if self.scope == 'mmseg' else _instances
                found = dict(size=[picture.height, picture.width], **infer(
                    inferencer, picture, self.tiling, batch_size, piece))
        except Exception as error:
            if (reason := reason_of(error, source.name)) is None:
                raise
            found = dict(reason=reason)
        path = self._path(piece)
        path.parent.mkdir(parents=True, exist_ok=True)
        replace(path, lambda to: _write(to, found))
        return 0, 0

    def assemble(self, shard: int) -> tuple[int, int]:
        """Write the part of a shard whose pieces are all done; returns the numbers of images done and failed."""
        first = shard * self.shard_size
        pieces: dict[int, list[Piece]] = {}
        for piece in self.pieces:
            if first <= piece.image < first + self.shard_size:
                pieces.setdefault(piece.image, []).append(piece)
        records, reasons = {}, {}
        for image, parts in pieces.items():
            found = [self._read(piece) or dict(reason='its results have been lost') for piece in parts]
            reason = next((part['reason'] for part in found if 'reason' in part), None)
            if reason is None and any(part['size'] != found[0]['size'] for part in found):
                reason = 'it has changed while it was read'
            if reason is None:
                records[self.names[image]] = self._record(found)
            else:
                reasons[self.names[image]] = reason
        counts = write_part(self, shard, records, reasons)
        for parts in pieces.values():
            shutil.rmtree(self._folders[parts[0].image], ignore_errors=True)
        return counts

    def _record(self, parts: list[dict]) -> dict:
        """What a part holds of a picture, of the results of its pieces."""
        height, width = parts[0]['size']
        if self.scope == 'mmseg':
            values = np.concatenate([part['labels'] for part in parts])
        else:
            values = merge([Instance.from_json(one) for part in parts for one in part['instances']], height, width)
            if self.thresholds is not None:
                values = [one for one in values if one.score > self.thresholds[one.label]]
        make = tiled_row if self.format == 'parquet' else partial(tiled_record, categories=self.ids.categories)
        return make(values, height, width, self.style)

    def finish(self) -> list[tuple[str, str]]:
        failures = super().finish()
        shutil.rmtree(self.out / FOLDER, ignore_errors=True)
        return failures

    def _folder(self, image: int) -> Path:
        """The folder of an image's pieces; another state of its file has another."""
        name = self.names[image]
        key = hashlib.sha256(f'{name}\0{self._state(name)}'.encode(errors='surrogatepass')).hexdigest()[:16]
        return self.out / FOLDER / f'{image:05}-{key}'

    def _path(self, piece: Piece) -> Path:
        return self._folders[piece.image] / f'{piece.number:03}-of-{piece.total:03}.npz'

    def _read(self, piece: Piece) -> dict | None:
        """The results in a piece's file; None where it is missing, damaged, or holds what no piece does."""
        try:
            with np.load(self._path(piece), allow_pickle=False) as file:
                found = json.loads(bytes(file['found']))
                found = found | dict(labels=file['labels']) if 'labels' in file else found
            return found if self._is_whole(found, piece) else None
        except Exception:  # whatever a reader stumbles over in a broken file
            return None

    def _is_whole(self, found: dict, piece: Piece) -> bool:
        """Whether these are results of a piece, for a file may come from elsewhere."""
        if 'reason' in found:
            return isinstance(found['reason'], str)
        (height, width), classes = found['size'], self.style[0]
        if not all(is_integer(side) and side > 0 for side in (height, width)):
            return False
        if self.scope != 'mmseg':
            return all(Instance.from_json(one).fits(classes, height, width) for one in found['instances'])
        labels = found['labels']
        if labels.dtype not in (np.uint8, np.uint16) or labels.ndim != 2 or labels.shape[1] != width \
                or len(labels) > height:
            return False
        rows, starts = _rows_of(self.tiling, height, width, piece)
        return len(labels) == starts[rows.stop] - starts[rows.start] and bool(
            ((labels < max(classes, 2)) | (labels == IGNORED)).all())  # of one class, the rest has another label


def _write(path: Path, found: dict) -> None:
    labels = dict(labels=found['labels']) if 'labels' in found else {}
    text = json.dumps({key: value for key, value in found.items() if key != 'labels'})
    with open(path, 'wb') as file:
        np.savez_compressed(file, found=np.frombuffer(text.encode(), np.uint8), **labels)


def _instances(inferencer, picture: Picture, tiling: Tiling, batch_size: int, piece: Piece) -> dict:
    """The instances of a piece; the last has those of the reduced picture, too."""
    windows, grid = Windows(inferencer.predict, tiling, batch_size), Grid.of(tiling, picture.height, picture.width)
    return dict(instances=[one.to_json() for part in piece.rows(windows.parts(grid))
                           for one in windows.instances(picture, grid, part)])


def _rows_of(tiling: Tiling, height: int, width: int, piece: Piece) -> tuple[range, tuple[int, ...]]:
    """The rows of windows of a segmentor's piece, and where the rows of the picture begin, with its end."""
    rows = Grid.of(tiling, height, width).rows
    return piece.rows(len(rows)), (*rows.starts, height)


def _labels(inferencer, picture: Picture, tiling: Tiling, batch_size: int, piece: Piece) -> dict:
    """The labels of a piece: those of its strips, which rows of windows above it have a part in, too."""
    windows, grid = Windows(inferencer.predict, tiling, batch_size), Grid.of(tiling, picture.height, picture.width)
    mine, starts = _rows_of(tiling, picture.height, picture.width, piece)
    if not mine:
        return dict(labels=np.zeros((0, picture.width), np.uint8))
    first = next(row for row in range(mine.start + 1) if starts[row] + grid.rows.side > starts[mine.start])
    with tempfile.TemporaryDirectory() as folder:
        labels = LabelFile(Path(folder) / 'labels', (picture.height, picture.width),
                           np.uint16 if len(inferencer.classes) > IGNORED else np.uint8)
        strips = LabelStrips(Path(folder), grid, labels, label_maker(inferencer.model, inferencer.kept), first)
        for row in range(first, mine.stop):
            strips.add(row, windows.samples(picture, grid, row, 'seg_logits'))
            strips.forget(row)
        return dict(labels=labels.rows(starts[mine.start], starts[mine.stop]))


def assembled(job: TiledBatchJob, results: Iterable[tuple[int, int, int]],
              shards: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """Write the part of each shard as soon as its last piece is done.

    Args:
        job: whose `tasks` these are.
        results: (task, images done, images failed) as pieces are finished.
        shards: to do.

    Yields:
        (shard, images done, images failed).
    """
    left: dict[int, set[int]] = {shard: set() for shard in shards}
    for task, piece in enumerate(job.pieces):
        if task not in job.done:
            left[piece.image // job.shard_size].add(task)
    for shard in [shard for shard, tasks in left.items() if not tasks]:
        yield shard, *job.assemble(shard)
    for task, *_ in results:
        shard = job.pieces[task].image // job.shard_size
        left[shard].discard(task)
        if not left[shard]:
            yield shard, *job.assemble(shard)
