"""The `Inferencer` on pictures of any size: windows read, inferred on and put together, one picture after the other."""
import hashlib
import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import numpy as np
import torch

from ... import mmcv_ops
from ...datasets.label_maps import IGNORED, read_segment_map
from ...datasets.tile_grid import Grid, Tiling
from ...files import read_text, replace
from ...processes import warn_once
from ..batch_settings import settings_of
from ..calls import Call
from ..failures import reason_of
from ..progress import progress_bar
from ..results import Results
from ..sources import Source
from .instances import Instance
from .merging import merge
from .pictures import Picture, open_picture
from .prediction import TiledPrediction, map_name
from .segmentor import LabelFile, LabelStrips, label_maker
from .windows import Windows
from .work import FOLDER, Work


class TiledRun:
    """One call of an `Inferencer` on pictures of any size.

    Args:
        inferencer: of a detector, or of a segmentor whose predictions have `seg_logits`.
        tiling: how pictures are cut.
        batch_size: windows per forward.
        results: what writes the predictions; its folder holds what is unfinished, too.
        call: where failures are recorded.
        drawn: whether predictions need a reduced picture.
    """

    def __init__(self, inferencer, tiling: Tiling, batch_size: int, results: Results, call: Call, drawn: bool):
        self.inferencer, self.tiling, self.batch_size = inferencer, tiling, batch_size
        self.results, self.call, self.drawn = results, call, drawn
        self.windows = Windows(inferencer.predict, tiling, batch_size, self._say_resized)
        self.resized = False  # whether it has been said

    def __call__(self, sources: Sequence[Source]) -> Iterator[TiledPrediction]:
        """Yield a prediction for each picture; record those that fail.

        Raises:
            DataError: what is unfinished in the folder is of other settings, or of another file.
            ConfigError: the model predicts what can't be put together.
        """
        with ExitStack() as stack:
            folder = self.results.out_dir if self.results.draws or self.results.predicts else \
                Path(stack.enter_context(tempfile.TemporaryDirectory()))
            self.work = Work(folder / FOLDER, self._settings())
            stack.enter_context(self.work.hold(sources))
            for source in sources:
                reason = None
                try:
                    yield from self._predict(source)
                except Exception as error:
                    if (reason := reason_of(error, source.name)) is None:
                        raise
                if reason is not None:
                    self.call.record_failure(source, reason)

    def _settings(self) -> dict:
        """All that results depend on besides the pictures."""
        digest = hashlib.sha256()
        for name, value in self.inferencer.model.state_dict().items():
            if isinstance(value, torch.Tensor):
                digest.update(f'{name} {value.dtype} {tuple(value.shape)}'.encode())
                digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
        settings = settings_of(self.inferencer, self.inferencer.dtype, digest.hexdigest(), self.batch_size,
                               mmcv_ops.source().kind, {})
        more = dict(polygons=True) if self.results.polygons else {}
        return settings | dict(tile=self.tiling.tile, overlap=self.tiling.overlap, kept=self.inferencer.kept, **more)

    @torch.no_grad()
    def _predict(self, source: Source) -> Iterator[TiledPrediction]:
        with open_picture(source, self.tiling.tile, self.inferencer.toolbox.bands) as picture:
            rows, written = self.work.begin(source)
            grid = Grid.of(self.tiling, picture.height, picture.width)
            predict = self._segmented if self.inferencer.scope == 'mmseg' else self._detected
            self._warn(source, picture)
            prediction = predict(source, picture, grid, rows, written)
            if self.drawn and (prediction.labels is not None or not written):
                prediction.image = picture.reduced(prediction.factor, self.tiling.tile)
        yield prediction
        self.work.finish(source)
        if prediction.labels is not None and self._map(source, picture).is_file():
            prediction.labels.path.unlink()

    def _warn(self, source: Source, picture: Picture) -> None:
        """Warn of a GeoTIFF whose results can't be given in ground coordinates."""
        problem = picture.georeference and picture.georeference.tags and picture.georeference.problem()
        if problem and self.inferencer.scope == 'mmseg':
            warn_once(f'{source.name}: {problem}; its label map has the tags that are there'
                      + (', its polygons are in pixels, column and row' if self.results.polygons else ''))
        elif problem:
            warn_once(f'{source.name}: {problem}; its polygons are written in pixels, column and row')

    def _map(self, source: Source, picture: Picture) -> Path:
        """Where the label map of a picture is written; a folder where none is."""
        return self.results.out_dir / 'preds' / map_name(source, picture.georeference) if self.results.predicts else \
            self.work.folder

    def _prediction(self, source: Source, picture: Picture, **found) -> TiledPrediction:
        return TiledPrediction(source, picture.height, picture.width, picture.georeference,
                               self.windows.factor(picture), **found)

    def _segmented(self, source: Source, picture: Picture, grid: Grid, rows: int, written: bool) -> TiledPrediction:
        path = self._map(source, picture)
        if written and path.is_file():
            return self._prediction(source, picture, written=partial(self._read, path))
        folder, classes = self.work.of(source), len(self.inferencer.classes)
        labels = LabelFile(folder / 'labels', (picture.height, picture.width),
                           np.uint16 if classes > IGNORED else np.uint8)
        strips = LabelStrips(folder, grid, labels, label_maker(self.inferencer.model, self.inferencer.kept))
        if not strips.has(rows):
            self.work.restart(source)
            rows = 0
        self.work.check_room(source, picture.height * picture.width * labels.dtype.itemsize)
        with self._bar(source, len(grid), rows * len(grid.columns)) as advance:
            for row in range(rows, len(grid.rows)):
                strips.add(row, self.windows.samples(picture, grid, row, 'seg_logits', advance))
                self.work.note(source, row + 1)
                strips.forget(row)
        return self._prediction(source, picture, labels=labels)

    def _read(self, path: Path) -> np.ndarray:
        """The labels in a file that an earlier run has written."""
        reduced = self.inferencer.reduce_zero_label
        if path.suffix != '.tif':
            return read_segment_map(path, reduced)
        import tifffile
        return tifffile.imread(path) - (1 if reduced else 0)

    def _detected(self, source: Source, picture: Picture, grid: Grid, rows: int, written: bool) -> TiledPrediction:
        found: list[Instance] = []
        prediction = self._prediction(source, picture)
        parts = self.windows.parts(grid)
        windows = len(grid) + (len(grid) > 1)
        with self._bar(source, windows, min(rows * len(grid.columns), windows)) as advance:
            for row in range(parts):
                path = self.work.of(source) / f'instances-{row}.json'
                part = self._read_instances(path, picture) if row < rows else None
                if part is None:
                    part = self.windows.instances(picture, grid, row, advance)
                    content = json.dumps([instance.to_json() for instance in part])
                    replace(path, partial(Path.write_text, data=content))
                    self.work.note(source, max(rows, row + 1))
                found += part
        prediction.instances = merge(found, picture.height, picture.width)
        return prediction

    def _read_instances(self, path: Path, picture: Picture) -> list[Instance] | None:
        """The instances that an earlier run has found; None where they are missing, damaged or none of this picture."""
        classes, size = len(self.inferencer.classes), (picture.height, picture.width)
        try:
            found = [Instance.from_json(values) for values in json.loads(read_text(path))]
            return found if all(one.fits(classes, *size) for one in found) else None
        except (OSError, ValueError, TypeError, RecursionError):
            return None

    def _say_resized(self, window: np.ndarray) -> None:
        """Note, once, where the test pipeline resizes windows: the model doesn't see the picture's own pixels then."""
        if self.resized:
            return
        self.resized = True
        factor = self.inferencer.preprocess(window)[1][0]
        if abs(factor - 1) > 0.01:
            self.results.notes.append(
                f'windows of {window.shape[1]} × {window.shape[0]} pixels are resized by {factor:.3g} in the test '
                "pipeline of the config, as images are; for the picture's own pixels choose another --tile")

    def _bar(self, source: Source, windows: int, done: int):
        return progress_bar(windows, self.inferencer.show_progress, Path(source.output).name, done)
