"""Loops of mmengine that validate and test on whole pictures by tiles, with the evaluators of the config."""
import tempfile
from collections.abc import Iterator, Sequence
from copy import copy
from pathlib import Path

import numpy as np
import torch
from mmengine.dataset import pseudo_collate
from mmengine.runner import TestLoop, ValLoop, autocast
from mmengine.structures import BaseDataElement, InstanceData, PixelData

from ...allocator import give_freed_memory_back
from ...datasets.label_maps import IGNORED
from ...datasets.pipelines import check_packed
from ...datasets.tile_grid import DEFAULT_OVERLAP, Grid, Tiling
from ...datasets.tile_loading import Decoded, LoadTile, LoadTileMap, shape_of, use_tile_loading
from ...engine.models import bare_model
from ...errors import ConfigError, DataError
from .instances import Instance
from .pictures import Picture, Reduced
from .segmentor import LabelFile, LabelStrips, label_maker
from .windows import Windows

_PIXELS = 2**22  # of a strip that is measured at once: metrics take some hundred bytes for each


class _Indices:
    """What a loop goes through in the place of a data loader: the numbers of the data set's pictures."""
    images_per_batch = 1  # of an iteration, as in `ResumableDataLoader`

    def __init__(self, loader):
        self.dataset, self.sampler = loader.dataset, loader.sampler
        self.batch_size = loader.batch_size or 1  # windows per forward
        self.collate_fn = loader.collate_fn or pseudo_collate

    def __iter__(self) -> Iterator[int]:
        yield from self.sampler

    def __len__(self) -> int:
        return len(self.sampler)


class _Tiled:
    """Mixin of `ValLoop` and `TestLoop`: pictures are read and predicted by windows, put together, and measured whole.

    Pictures of the data set are not loaded through its pipeline; that is what windows go through. Metrics get what they
    get of any picture, mmseg's `IoUMetric` strip by strip: the counts add up. A picture that fits in a window has the
    metrics that it has without tiles.

    Args:
        runner, dataloader, evaluator, fp16: as for the loop; the loader's batch size is that of windows.
        tile: pixels of a window's side, 32 or more.
        overlap: of neighbouring windows, as a share of the side, 0 to 0.5. Default: 0.2.

    Raises:
        ConfigError: `tile` or `overlap` is out of range; or windows don't go through the pipeline or the model.
    """
    split: str

    def __init__(self, runner, dataloader, evaluator, tile: int, overlap: float = DEFAULT_OVERLAP, fp16: bool = False):
        tiling = Tiling(tile, overlap)
        super().__init__(runner, dataloader, evaluator, fp16)
        self.dataloader = _Indices(self.dataloader)
        self.windows = Windows(self._predict, tiling, self.dataloader.batch_size)

    @torch.no_grad()
    def run_iter(self, idx: int, data_batch: int) -> None:
        self.runner.call_hook(f'before_{self.split}_iter', batch_idx=idx, data_batch=data_batch)
        dataset = self.dataloader.dataset
        self.steps = _Steps(dataset.pipeline, f'{self.split}_dataloader.dataset.pipeline')
        info = dataset.get_data_info(data_batch)
        if 'tile' in info:
            raise ConfigError(f'{self.split}_dataloader.dataset has a tile: remove it, {self.split}_cfg cuts pictures')
        picture = self.steps.picture(info, self.windows.tiling.tile)
        info['picture_shape'] = picture.height, picture.width
        self.small = Reduced(picture)
        picture = Picture(picture.height, picture.width, self.small.read)
        grid = Grid.of(self.windows.tiling, picture.height, picture.width)
        self.of_window = {key: info[key] for key in ('img_path', 'img_id') if key in info}
        measure = self._segmented if self.runner.cfg.get('default_scope') == 'mmseg' else self._detected
        outputs = measure(info, picture, grid)
        self.runner.call_hook(f'after_{self.split}_iter', batch_idx=idx, data_batch=data_batch, outputs=outputs)

    def _predict(self, windows: Sequence[np.ndarray], batch_size: int) -> list[BaseDataElement]:
        prepared = [self.steps.prepared(window, self.of_window) for window in windows]
        found: list[BaseDataElement] = []
        with autocast(enabled=self.fp16):
            for first in range(0, len(prepared), batch_size):
                batch = self.dataloader.collate_fn(prepared[first:first + batch_size])
                found += [sample.cpu() for sample in getattr(self.runner.model, f'{self.split}_step')(batch)]
        return found

    def _detected(self, info: dict, picture: Picture, grid: Grid) -> list[BaseDataElement]:
        sample = self.steps.sample(info)
        sample.pred_instances = _instance_data(self.windows.merged(picture, grid), picture, self.windows.masked)
        sample.set_metainfo(self._looked_at())
        self.evaluator.process([sample], None)
        return [sample]

    def _segmented(self, info: dict, picture: Picture, grid: Grid) -> list[BaseDataElement]:
        """Measure a label map strip by strip; returns that of the whole picture if a metric needs it."""
        model, metrics = bare_model(self.runner.model), self.evaluator.metrics
        by_strips = [metric for metric in metrics if _adds_up(metric)]
        recorders = [metric for metric in metrics if hasattr(metric, 'process_strip')]
        counted = [len(metric.results) for metric in by_strips]
        sample, classes = self.steps.sample(info), len(self.dataloader.dataset.metainfo['classes'])
        outputs, rows = [], max(_PIXELS // picture.width, 1)
        with tempfile.TemporaryDirectory() as folder:
            labels = LabelFile(Path(folder) / 'labels', (picture.height, picture.width),
                               np.uint16 if classes > IGNORED else np.uint8)
            strips = LabelStrips(Path(folder), grid, labels, label_maker(model, None))
            for row in range(len(grid.rows)):
                strips.add(row, self.windows.samples(picture, grid, row, 'seg_logits'))
                strips.forget(row)
                bottom = grid.rows.starts[row] + grid.rows.step(row)
                for top in range(grid.rows.starts[row], bottom, rows) if by_strips or recorders else ():
                    give_freed_memory_back()
                    part = self._with_maps(sample, info, labels, (0, top, picture.width, min(rows, bottom - top)))
                    for metric in by_strips:
                        metric.process(None, [part.to_dict()])
                    part.set_metainfo(self._looked_at())
                    for recorder in recorders:
                        recorder.process_strip(part.to_dict(), top, (picture.height, picture.width))
            for metric, before in zip(by_strips, counted):
                if len(metric.results) > before + 1:  # one result for each picture, as processes exchange them
                    parts = metric.results[before:]
                    metric.results[before:] = [tuple(sum(areas[1:], areas[0]) for areas in zip(*parts))]
            if others := [metric for metric in metrics if metric not in by_strips + recorders]:
                outputs = [self._with_maps(sample, info, labels, (0, 0, picture.width, picture.height))]
                for metric in others:
                    metric.process(None, [outputs[0].to_dict()])
        return outputs

    def _looked_at(self) -> dict:
        """What a report shows of the picture, as fields of a sample: it is not read again for that."""
        picture = getattr(self.steps.loader.step, 'picture', None)  # of bands
        pixels = self.small.pixels
        return {} if pixels is None else dict(reduced=pixels if picture is None else picture(pixels))

    def _with_maps(self, sample: BaseDataElement, info: dict, labels: LabelFile, window: tuple) -> BaseDataElement:
        """A copy of a sample with predicted and true labels of some rows of the picture."""
        part = sample.new()
        _, top, _, height = window
        part.pred_sem_seg = PixelData(data=torch.from_numpy(labels.rows(top, top + height).astype(np.int64))[None])
        truth = self.steps.labels(dict(info, tile=window, seg_fields=[]))
        if truth is not None:
            part.gt_sem_seg = PixelData(data=torch.from_numpy(truth.astype(np.int64))[None])
        return part


class TiledValLoop(_Tiled, ValLoop):
    """mmengine's `ValLoop`, by tiles."""
    split = 'val'


class TiledTestLoop(_Tiled, TestLoop):
    """mmengine's `TestLoop`, by tiles."""
    split = 'test'


class _Steps:
    """The parts of a test pipeline: what loads pictures and their truth, and what windows go through.

    Args:
        pipeline: of a data set, built.
        place: of it in the config, for errors.

    Raises:
        ConfigError: it loads no images, or makes several views of them.
    """

    def __init__(self, pipeline, place: str):
        self.place, steps = place, use_tile_loading(pipeline, Decoded()).transforms
        self.loader = next((step for step in steps if isinstance(step, LoadTile)), None)
        self.truth = next((step for step in steps if isinstance(step, LoadTileMap)), None)
        self.pack = next((step for step in steps if type(step).__name__.startswith('Pack')), None)
        if self.loader is None or self.pack is None:
            raise ConfigError(f'{place}: tiles need LoadImageFromFile in it and, as its last step, PackDetInputs or '
                              'PackSegInputs')
        self.middle = [step for step in steps if not isinstance(step, LoadTile | LoadTileMap)]

    def picture(self, info: dict, tile: int) -> Picture:
        """The picture of an item, read by windows where it is larger than one."""
        shape = height, width = shape_of(info, self.loader)
        info = dict(info, picture_shape=shape)
        if max(shape) <= tile:
            whole = self._loaded(info, self.loader.whole(info))
            return Picture(height, width, lambda x, y, w, h: whole[y:y + h, x:x + w])
        return Picture(height, width, lambda *window: self._loaded(info, self.loader(dict(info, tile=window)))['img'])

    @staticmethod
    def _loaded(info: dict, found):
        """What a loader gave; one with `ignore_empty` gives None, and a picture can't be left out of an evaluation."""
        if found is None:
            raise DataError(f'{info["img_path"]}: the image cannot be loaded')
        return found

    def prepared(self, window: np.ndarray, about: dict) -> dict:
        """A window as the model takes it."""
        results = dict(about, img=window.copy(), img_shape=window.shape[:2], ori_shape=window.shape[:2])
        for step in self.middle:
            results = step(results)
        check_packed(results, self.place)
        return results

    def sample(self, info: dict) -> BaseDataElement:
        """The data sample of a picture: what is known of it, a detector's true boxes too; masks are the metric's."""
        shape = info['picture_shape']
        results = dict(info, ori_shape=shape, img_shape=shape, pad_shape=shape, scale_factor=(1., 1.), flip=False,
                       flip_direction=None)
        if self.truth is not None and 'instances' in info:
            loader = copy(getattr(self.truth.step, 'loader', self.truth.step))
            loader.with_mask = loader.with_seg = False
            results = loader(results)
        sample = self.pack(results)['data_samples']
        for key in ('gt_instances', 'ignored_instances'):
            if 'bboxes' in (truth := sample.get(key, ())):
                truth.bboxes = getattr(truth.bboxes, 'tensor', truth.bboxes)
        return sample

    def labels(self, item: dict) -> np.ndarray | None:
        """The true labels of a tile; None: nothing loads them."""
        return None if self.truth is None else self.truth(item)['gt_seg_map']


def _adds_up(metric) -> bool:
    """Whether a metric's results of the strips of a picture add up to those of the picture."""
    return any(cls.__name__ == 'IoUMetric' for cls in type(metric).__mro__) and not metric.format_only \
        and metric.output_dir is None


def _instance_data(instances: Sequence[Instance], picture: Picture, masked: bool) -> InstanceData:
    """Instances as a detector has them, but for masks: COCO's encodings."""
    found = InstanceData(
        bboxes=torch.tensor([one.box for one in instances], dtype=torch.float).reshape(-1, 4),
        labels=torch.tensor([one.label for one in instances], dtype=torch.long),
        scores=torch.tensor([one.score for one in instances], dtype=torch.float))
    if masked:
        found.masks = [one.mask.in_picture(picture.height, picture.width) for one in instances]  # type: ignore[union-attr]
    if any(one.mask_score is not None for one in instances):
        found.mask_scores = torch.tensor([one.mask_score for one in instances])
    return found
