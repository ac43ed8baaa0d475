"""A detector or segmentor applied to whatever images there are."""
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.registry import DefaultScope
from mmengine.structures import BaseDataElement
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from ..backbones.family import did_you_mean
from ..engine.launch import read_config
from ..engine.testing import check_display
from ..errors import ConfigError, DataError
from .images import read_image
from .results import Results, to_dict
from .sources import Source, find_sources
from .toolboxes import build_toolbox

# What can go wrong with a single image: it is reported, and the next one is taken.
IMAGE_ERRORS = (DataError, cv2.error, MemoryError, torch.cuda.OutOfMemoryError)


@dataclass
class Prediction:
    """What a model says about one frame.

    Args:
        source: the input it comes from.
        frame: its number in a video, from 0.
        image: uint8 ``(H, W, 3)``, BGR.
        sample: mmdet's DetDataSample or mmseg's SegDataSample on the CPU, in the image's own coordinates.
    """
    source: Source
    frame: int
    image: np.ndarray
    sample: BaseDataElement


class Inferencer:
    """A detector (boxes, masks, panoptic) or segmentor and its weights, ready to be called on images.

    Args:
        model: a config file of mmdet or mmseg, or a config.
        weights: checkpoint file or URL. None: random weights, with a warning. Default: None.
        device: such as 'cpu' or 'cuda:0'. Default: a GPU where there is one.
        cfg_options: settings of the config to override, by dotted keys. Default: none.
        classes: names of the classes to keep; of a segment map, pixels of others become 255. Default: all.
        show_progress: whether to show a progress bar on stderr. Default: True.

    Attributes:
        classes: names of the model's classes, in the order of its labels.
        palette: an RGB triple for each.
        scope: 'mmdet' or 'mmseg'.
        lock: held while the model or the visualiser is used, which threads share.
        number: after a call, how many inputs there were: images, videos, cameras.
        failures: after a call, those that could not be inferred on: a list of (name, reason).

    Raises:
        ConfigError: the config can't be used, an unknown class name, or a device that isn't there.
        CheckpointError: the checkpoint is broken, unsafe, or doesn't belong to the config: names the keys.
    """

    def __init__(self,
                 model: str | os.PathLike | Config,
                 weights: str | os.PathLike | None = None,
                 device: str | None = None,
                 cfg_options: dict | None = None,
                 classes: Sequence[str] | None = None,
                 show_progress: bool = True):
        cfg = model if isinstance(model, Config) else read_config(model, cfg_options, ('model', 'test_dataloader'))
        if isinstance(model, Config) and cfg_options:
            cfg = cfg.copy()
            cfg.merge_from_dict(cfg_options)
        self.device, self.scope = check_device(device), cfg.get('default_scope')
        self.toolbox = build_toolbox(cfg, None if weights is None else str(weights), self.device)
        self.model = self.toolbox.model
        self.classes, self.palette = (self.model.dataset_meta[key] for key in ('classes', 'palette'))
        self.kept = self._labels(classes)
        self.show_progress = show_progress
        self.number, self.failures = 0, []
        self.lock = threading.RLock()

    @torch.no_grad()
    def predict(self, images, batch_size: int = 1) -> list[BaseDataElement]:
        """Data samples for one image or a list of them, each a path, URL, NumPy array (BGR) or Pillow image.

        Raises:
            DataError: the first image that can't be read or is too small for the model.
            ConfigError: a batch_size below 1.
        """
        _check_batch_size(batch_size)
        several = isinstance(images, (list, tuple))
        arrays = [self.read(image) for image in (images if several else [images])]
        batches = self._batches(((self._prepare(array),) for array in arrays), batch_size)
        return [sample for batch in batches for sample in self._forward([prepared for prepared, in batch])]

    def read(self, image) -> np.ndarray:
        """One image -> uint8 ``(H, W, 3)``, BGR; a path is decoded as the config's test pipeline would."""
        if isinstance(image, (str, os.PathLike)):
            loader = self.toolbox.image_loader
            return read_image(image, loader.get('color_type', 'color'), loader.get('imdecode_backend'))
        return next(find_sources([image])[0].frames())

    @torch.no_grad()
    def preprocess(self, image) -> tuple[torch.Tensor, tuple[float, float]]:
        """One image as the backbone gets it, ``(1, 3, height, width)``, normalised and padded right and below; and the
        (vertical, horizontal) factor that it was resized by."""
        prepared = self._prepare(self.read(image))
        data = self.model.data_preprocessor(self.toolbox.collate_fn([prepared]), False)
        about = prepared['data_samples'].metainfo
        factor = about.get('scale_factor')
        if factor is None:
            return data['inputs'], tuple(new / old for new, old in zip(about['img_shape'], about['ori_shape']))
        return data['inputs'], (float(factor[1]), float(factor[0]))

    def draw(self, image, sample: BaseDataElement, score_thr: float = 0.3) -> np.ndarray:
        """The prediction over its image: uint8 ``(H, W, 3)``, **RGB**, by the toolbox's visualiser.

        Args:
            image: as for `predict`.
            sample: what `predict` returned for it.
            score_thr: instances with a lower score are not drawn. Default: 0.3.
        """
        image = np.ascontiguousarray(self.read(image)[..., ::-1])
        visualizer = self.toolbox.visualizer
        options = dict(pred_score_thr=score_thr) if self.scope == 'mmdet' else {}
        with self.lock:
            visualizer.dataset_meta = dict(classes=self.classes, palette=self.palette)
            visualizer.add_datasample('image', image, self._drawable(sample), draw_gt=False, **options)
            picture = visualizer.get_image()
        if self.scope == 'mmseg' and self.kept is not None:  # what isn't drawn isn't darkened either
            picture = np.where((sample.pred_sem_seg.data[0] == 255)[..., None], image, picture)
        return picture

    def _drawable(self, sample: BaseDataElement) -> BaseDataElement:
        """The sample without a panoptic map that is void all over, at which mmdet's visualiser fails."""
        if 'pred_panoptic_seg' in sample:
            from mmdet.evaluation import INSTANCE_OFFSET
            if (sample.pred_panoptic_seg.sem_seg % INSTANCE_OFFSET >= len(self.classes)).all():
                sample = sample.new()
                del sample.pred_panoptic_seg
        return sample

    def stream(self, inputs, batch_size: int = 1, leave_out: str | os.PathLike | None = None) -> Iterator[Prediction]:
        """Predictions for every frame of `inputs` in order; what can't be read is noted in `failures` and passed over.

        Args:
            inputs, leave_out: see `find_sources`.
            batch_size: frames per forward. A segmentor's batch ends earlier where the size changes. Default: 1.

        Raises:
            DataError: see `find_sources`.
        """
        yield from self._stream(self._find(inputs, batch_size, leave_out), batch_size)

    def _find(self, inputs, batch_size: int, leave_out) -> list[Source]:
        _check_batch_size(batch_size)
        sources = find_sources(inputs, self.read, leave_out)
        self.number, self.failures = len(sources), []
        return sources

    def _stream(self, sources: list[Source], batch_size: int) -> Iterator[Prediction]:
        lengths = [source.length for source in sources]
        with ExitStack() as stack:
            advance = self._progress(stack, None if None in lengths else sum(lengths))
            frames = chain.from_iterable(self._frames(source, advance) for source in sources)
            for batch in self._batches(frames, batch_size):
                yield from self._infer(batch, advance)

    def _batches(self, frames: Iterable[tuple], batch_size: int) -> Iterator[list[tuple]]:
        """Frames that follow each other, tuples that end in what the model takes, as many as it takes together."""
        batch = []
        for frame in frames:
            if batch and (len(batch) == batch_size or not self._together(batch[-1], frame)):
                yield batch
                batch = []
            batch.append(frame)
        if batch:
            yield batch

    def run(self,
            inputs,
            batch_size: int = 1,
            out_dir: str | os.PathLike = '',
            score_thr: float = 0.3,
            no_save_vis: bool = False,
            no_save_pred: bool = False,
            return_vis: bool = False,
            show: bool = False,
            wait_time: float = 0) -> Iterator[tuple[Prediction, np.ndarray | None]]:
        """Infer on all inputs and write what is asked for, frame by frame; nothing is kept in memory.

        Args: see `__call__`.

        Yields:
            (prediction, RGB picture): the picture is None unless it is written, shown or asked for.
        """
        if show:
            check_display('look at the pictures in the output folder')
        sources = self._find(inputs, batch_size, out_dir or None)  # nothing is written where there are none
        with Results(out_dir, self.classes, self.palette, not no_save_vis, not no_save_pred) as results:
            for prediction in self._stream(sources, batch_size):
                picture = None
                if return_vis or show or results.draws:
                    picture = self.draw(prediction.image, prediction.sample, score_thr)
                results.add(prediction, picture)
                yield prediction, picture
                if show and not _show(prediction, picture, wait_time):
                    return

    def __call__(self,
                 inputs,
                 batch_size: int = 1,
                 out_dir: str | os.PathLike = '',
                 score_thr: float = 0.3,
                 no_save_vis: bool = False,
                 no_save_pred: bool = False,
                 return_vis: bool = False,
                 return_datasamples: bool = False,
                 show: bool = False,
                 wait_time: float = 0) -> dict[str, list]:
        """Infer on all inputs; with `out_dir`, write pictures and predictions as they come.

        Args:
            inputs: see `find_sources`.
            batch_size: frames per forward. Default: 1.
            out_dir: folder for `vis/` (pictures, videos) and `preds/` (see `Results`). Default: nothing is written.
            score_thr: instances with a lower score are not drawn; predictions hold all. Default: 0.3.
            no_save_vis, no_save_pred: write no pictures, or no predictions. Default: False.
            return_vis: return pictures too. Default: False.
            return_datasamples: return data samples instead of dicts. Default: False.
            show: show pictures in a window; 'q' there ends the run. Default: False.
            wait_time: seconds a picture is shown; 0: until a key is pressed. Videos don't wait. Default: 0.

        Returns:
            dict with three lists: `predictions`, a dict (see `to_dict`) or data sample per frame; `visualization`, an
            RGB array per frame, empty unless asked for; `failures`, a (name, reason) per input that failed.

        Raises:
            DataError: no inputs, or `out_dir` can't be written to.
            ConfigError: `show` without a display.
        """
        result: dict[str, list] = dict(predictions=[], visualization=[])
        for prediction, picture in self.run(inputs, batch_size, out_dir, score_thr, no_save_vis, no_save_pred,
                                            return_vis, show, wait_time):
            result['predictions'].append(prediction.sample if return_datasamples else to_dict(prediction.sample))
            if return_vis:
                result['visualization'].append(picture)
        return dict(result, failures=self.failures)

    def _labels(self, classes: Sequence[str] | None) -> list[int] | None:
        if classes is None:
            return None
        for name in classes:
            if name not in self.classes:
                raise ConfigError(f'unknown class {name!r}{did_you_mean(name, self.classes)}; the model knows '
                                  f'{", ".join(self.classes)}')
        return [i for i, name in enumerate(self.classes) if name in classes]

    def _progress(self, stack: ExitStack, total: int | None) -> Callable[[], None]:
        if not self.show_progress:
            return lambda: None
        progress = stack.enter_context(Progress(
            TextColumn('Inference'), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn(),
            console=Console(stderr=True)))
        task = progress.add_task('', total=total)
        return lambda: progress.advance(task)

    def _frames(self, source: Source, advance: Callable[[], None]) -> Iterator[tuple[Source, int, np.ndarray, dict]]:
        """The frames of one input with what the model takes; ends early, and notes it, where one can't be read."""
        try:
            for i, image in enumerate(source.frames()):
                yield source, i, image, self._prepare(image)
        except IMAGE_ERRORS as error:
            self._failed(source, error)
            advance()

    def _failed(self, source: Source, error: Exception) -> None:
        reason = str(error).removeprefix(f'{source.name}: ').splitlines()[0] or type(error).__name__
        if (source.name, reason) not in self.failures:  # of a video, not frame after frame
            self.failures.append((source.name, reason))

    def _together(self, frame: tuple, other: tuple) -> bool:
        """Whether two frames can be in a batch: mmseg pads none, mmdet pads to the largest."""
        return self.scope != 'mmseg' or frame[-1]['inputs'].shape == other[-1]['inputs'].shape

    def _prepare(self, image: np.ndarray) -> dict:
        with DefaultScope.overwrite_default_scope(self.scope):
            return self.toolbox.pipeline(dict(img=image.copy()))

    def _forward(self, prepared: list[dict]) -> list[BaseDataElement]:
        with self.lock, DefaultScope.overwrite_default_scope(self.scope):
            samples = self.model.test_step(self.toolbox.collate_fn(prepared))
        return [self._keep(sample.cpu()) for sample in samples]

    @torch.no_grad()
    def _infer(self, batch: list[tuple], advance: Callable[[], None]) -> Iterator[Prediction]:
        try:
            samples = self._forward([prepared for *_, prepared in batch])
        except IMAGE_ERRORS as error:
            if len(batch) > 1:  # one of them is to blame
                for frame in batch:
                    yield from self._infer([frame], advance)
                return
            self._failed(batch[0][0], error)
            advance()
            return
        for (source, i, image, _), sample in zip(batch, samples):
            sample.set_metainfo(dict(img_path=source.name))
            yield Prediction(source, i, image, sample)
            advance()

    def _keep(self, sample: BaseDataElement) -> BaseDataElement:
        """The sample, with the kept classes alone."""
        if self.kept is None:
            return sample
        kept = torch.tensor(self.kept)
        if 'pred_instances' in sample:
            sample.pred_instances = sample.pred_instances[torch.isin(sample.pred_instances.labels, kept)]
        if 'pred_sem_seg' in sample:
            key = 'data' if self.scope == 'mmseg' else 'sem_seg'
            labels = sample.pred_sem_seg.get(key)
            sample.pred_sem_seg.set_field(labels.masked_fill(~torch.isin(labels, kept), 255), key)
        if 'pred_panoptic_seg' in sample:
            from mmdet.evaluation import INSTANCE_OFFSET
            segments = sample.pred_panoptic_seg.sem_seg
            other = ~torch.isin(segments % INSTANCE_OFFSET, kept.to(segments))
            sample.pred_panoptic_seg.sem_seg = segments.masked_fill(other, len(self.classes))
        return sample


def _check_batch_size(batch_size: int) -> None:
    if batch_size < 1:
        raise ConfigError(f'batch_size must be 1 or more, got {batch_size}')


def check_device(device: str | None) -> str:
    """`device`, by default the best there is; raises ConfigError where there is no such device."""
    if device is None:
        return get_device()
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, ValueError) as error:
        raise ConfigError(f'device {device!r} can not be used: {str(error).splitlines()[0]}') from None
    return device


def _show(prediction: Prediction, picture: np.ndarray, wait_time: float) -> bool:
    """Show one picture; False once 'q' is pressed."""
    cv2.imshow('mmvision_mamba', picture[..., ::-1])
    delay = 1 if prediction.source.is_video else int(wait_time * 1000)
    return cv2.waitKey(delay) & 0xff != ord('q')

