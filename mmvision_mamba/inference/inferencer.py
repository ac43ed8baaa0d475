"""The `Inferencer`: a detector, segmentor or classifier applied to images, videos and cameras."""
import os
import threading
from collections.abc import Iterator, Sequence
from copy import copy
from functools import cached_property
from typing import Any, TypeAlias

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.structures import BaseDataElement
from PIL.Image import Image

from ..configs import config_of_run, is_checkpoint, is_exported
from ..datasets.pipelines import check_packed
from ..datasets.tile_grid import DEFAULT_OVERLAP, Tiling
from ..errors import ConfigError, DataError
from ..preflight.read import one_at_a_time, read_config
from ..printable import shown
from ..published import WORD, published, published_weights
from .calls import Call, Calls
from .class_meta import reduces_zero_label
from .display import check_display, show_picture
from .enlarging import enlarge
from .exported import check_alone, check_settings, config_of_file, load_file, precision_of
from .failures import NO_MEMORY, free_memory, is_memory_error, reason_of
from .frame_run import FrameRun, batches
from .ids import ResultIds, result_ids
from .images import as_bgr
from .kept_classes import keep_labels, labels_of, to_draw
from .precision import check_dtype, compute_in
from .prediction import Prediction
from .report_thresholds import AUTO, ScoreThr, above, check_score_thr, report_thresholds
from .results import Results, UnwritableError
from .scopes import in_scope
from .sources import Source, find_sources
from .tiled.prediction import TiledPrediction
from .tiled.run import TiledRun
from .toolboxes import build_toolbox, check_dense

ImageLike: TypeAlias = str | os.PathLike | np.ndarray | Image

PICTURE_SIDE = 320  # pixels; smaller images are enlarged in the pictures of a run, so that labels can be read


class Inferencer:
    """A detector (boxes, masks, panoptic), segmentor or classifier and its weights, ready to be called on images.

    Args:
        model: a config file of mmdet, mmseg or `ImageClassifier`, the name of one that comes with this package, or a
            config; or a checkpoint alone, where a training wrote its config beside it; or a file that `mmvision-mamba
            export` wrote.
        weights: checkpoint file or URL; `hf://OWNER/REPO`; or 'published', the weights that are published for a model
            that comes with this package; or an exported file, of whose config the test data are used. Default: those
            published, or where there are none, random weights, with a warning.
        device: such as 'cpu' or 'cuda:0'. Default: a GPU where there is one; exported files run on the CPU.
        cfg_options: settings of the config to override, by dotted keys. Default: none.
        classes: names of the classes to keep; of a segment map, pixels of others become 255, of a classifier, scores
            of others 0. Default: all.
        show_progress: whether to show a progress bar on stderr. Default: True.
        dtype: what the model computes in: 'float32', 'bf16' or, on GPUs, 'fp16'; see `compute_in`. Predictions are
            float32. Exported files compute in what they were exported in, those of OpenVINO in 'bf16' too. Default:
            'float32'.
        score_thr: instances are drawn whose score is higher, where a call says nothing else; 'auto': the threshold of
            each class that the report beside the checkpoint recommends, see `report_thresholds`. Default: 0.3.

    Attributes:
        classes: names of the model's classes, in the order of its labels.
        palette: an RGB triple for each.
        scope: 'mmdet', 'mmseg' or, of a classifier, 'mmengine'.
        lock: held while the model or the visualiser is used, which threads share.
        number: after a call, the number of its inputs: images, videos, cameras. This and the next two are those of the
            last call in the same thread.
        failures: after a call, a (name, reason) for each input that failed.
        notes: after a call that wrote results, lines that say what ids and pixels in them mean, and what OpenCV could
            not write as it is.
        reduce_zero_label: whether masks of the config's data set count from 1, as ADE20K's.

    It can be copied and pickled; a copy has made no calls.

    Raises:
        ConfigError: the config can't be used, a class name is unknown, the device isn't there, or it doesn't compute
            in that dtype.
        CheckpointError: the checkpoint or exported file is broken, unsafe, or doesn't fit the config; names the keys.
    """

    @one_at_a_time()
    def __init__(self,
                 model: str | os.PathLike | Config,
                 weights: str | os.PathLike | None = None,
                 device: str | None = None,
                 cfg_options: dict | None = None,
                 classes: Sequence[str] | None = None,
                 show_progress: bool = True,
                 dtype: str = 'float32',
                 score_thr: ScoreThr = 0.3):
        file = next((path for path in (model, weights) if isinstance(path, str | os.PathLike) and is_exported(path)),
                    None)
        if file is not None:
            if file is model:
                check_alone(file, weights)
            device, weights = check_settings(file, device, dtype), None
            loaded = load_file(file, precision_of(file, dtype))  # held until the model is built, which takes the same
            cfg = config_of_file(file, loaded, None if file is model else model, cfg_options, dtype)
        else:
            if not isinstance(model, Config):
                if weights is None and is_checkpoint(model):
                    model, weights = config_of_run(model), model
                elif weights == WORD or (weights is None and published(model)):
                    weights = published_weights(model)
            cfg = model if isinstance(model, Config) else read_config(
                model, cfg_options, ('model', 'test_dataloader'), trained=weights is not None)
            if isinstance(model, Config) and cfg_options:
                cfg = cfg.copy()
                cfg.merge_from_dict(cfg_options)
        self.cfg = cfg
        self.device, self.scope, self.dtype = check_device(device), cfg.get('default_scope'), dtype
        if file is None:
            check_dtype(dtype, self.device)
        self.toolbox = build_toolbox(cfg, None if weights is None else str(weights), self.device)
        self.model = self.toolbox.model
        if file is None:
            compute_in(self.model, dtype)
        self.classes, self.palette = (self.model.dataset_meta[key] for key in ('classes', 'palette'))
        self.kept = labels_of(classes, self.classes)
        self.reduce_zero_label = reduces_zero_label(cfg)
        self.show_progress = show_progress
        self.checkpoint = str(file or weights) if file or weights else None
        self.score_thr = score_thr
        self.check_score_thr(score_thr)
        self.lock, self._calls = threading.RLock(), Calls()

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in vars(self).items() if key not in ('lock', '_calls')}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, lock=threading.RLock(), _calls=Calls())

    @property
    def number(self) -> int:
        return self._calls.last.number

    @property
    def failures(self) -> list[tuple[str, str]]:
        return self._calls.last.failures

    @property
    def notes(self) -> list[str]:
        return self._calls.last.notes

    @cached_property
    def ids(self) -> ResultIds:
        """The ids of images and categories in results; reads the annotation file of the config's test data set."""
        return result_ids(self.cfg, self.classes)

    @cached_property
    def report_thresholds(self) -> list[float]:
        """The score threshold of each class that the report beside the checkpoint recommends.

        Raises:
            ConfigError: there is no such report, or it recommends none.
        """
        return report_thresholds(self.checkpoint, self.classes, self.toolbox.meta)

    def check_score_thr(self, score_thr: ScoreThr | None) -> None:
        """Raise ConfigError where `draw` and `run` take no such threshold: no number, or 'auto' without a report of
        thresholds for this model; of segmentors and panoptic models there is none."""
        if score_thr is not None:
            check_score_thr(score_thr, self.model, self.scope)
        if score_thr == AUTO:
            _ = self.report_thresholds

    @torch.no_grad()
    def predict(self, images: ImageLike | Sequence[ImageLike], batch_size: int = 1) -> list[BaseDataElement]:
        """Data samples for one image or a list of them, each a path, URL, NumPy array (BGR) or Pillow image.

        Those of a classifier have `pred_scores` ``(classes,)``, which sum up to 1, and `pred_label`.

        Raises:
            DataError: the first image that can't be read, is too small for the model, or needs more memory than there
                is.
            ConfigError: a batch_size below 1.
        """
        _check_batch_size(batch_size)
        several = isinstance(images, (list, tuple))
        try:
            arrays = [self.read(image) for image in (images if several else [images])]  # type: ignore[arg-type, union-attr]
            prepared = ((self._prepare(array),) for array in arrays)
            return [sample for batch in batches(prepared, batch_size, self.scope == 'mmseg')
                    for sample in self._forward([one for one, in batch])]
        except Exception as error:
            if not is_memory_error(error):
                raise
        free_memory()  # now that the error is gone
        raise DataError(NO_MEMORY)

    def read(self, image: ImageLike) -> np.ndarray:
        """One image -> uint8 ``(H, W, 3)``, BGR; a path is decoded as the config's test pipeline would.

        For a model of other bands: float32 ``(H, W, bands)``, see `BandImages.read`.
        """
        if self.toolbox.bands is not None:
            return self.toolbox.bands.read(image)
        loader = self.toolbox.image_loader
        return as_bgr(image, loader.get('color_type', 'color'), loader.get('imdecode_backend'))

    def picture(self, image: ImageLike) -> np.ndarray:
        """One image to look at: uint8 ``(H, W, 3)``, BGR; of a model of other bands those that are shown, stretched."""
        read = self.read(image)
        return read if self.toolbox.bands is None else self.toolbox.bands.picture(read)

    @torch.no_grad()
    def preprocess(self, image: ImageLike) -> tuple[torch.Tensor, tuple[float, float]]:
        """The model's input for one image, and how much it was resized.

        Returns:
            ``(1, bands, height, width)``, normalised, padded right and below; (vertical, horizontal) factor of the
            resize.

        Raises:
            ConfigError: the model is a classifier, whose input is a crop.
        """
        check_dense(self.scope, 'preprocess')
        return self.toolbox.model_input(self._prepare(self.read(image)))

    def draw(self, image: ImageLike, sample: BaseDataElement, score_thr: ScoreThr | None = None,
             side: int = 0) -> np.ndarray:
        """The prediction over its image: uint8 ``(H, W, 3)``, **RGB**.

        mmdet's and mmseg's visualisers draw as `ScalingVisualizer` does, others in their own way.

        Args:
            image: as for `predict`.
            sample: what `predict` returned for it.
            score_thr: instances are drawn whose score is higher; 'auto': see `Inferencer`. Default: the Inferencer's.
            side: an image whose longer side has fewer pixels is enlarged, by a whole factor. Default: 0, never.
        """
        return self.draw_on(self.picture(image), sample, score_thr, side)

    def draw_on(self, picture: np.ndarray, sample: BaseDataElement, score_thr: ScoreThr | None = None,
                side: int = 0) -> np.ndarray:
        """As `draw`, over a picture, uint8 ``(H, W, 3)``, **BGR**, as `picture` returns it."""
        score_thr = self.score_thr if score_thr is None else score_thr
        self.check_score_thr(score_thr)
        if score_thr == AUTO:
            sample, score_thr = above(sample, self.report_thresholds), 0.
        image, sample = enlarge(np.ascontiguousarray(picture[..., ::-1]), sample, side)
        visualizer = self.toolbox.visualizer
        options = dict(pred_score_thr=score_thr) if self.scope == 'mmdet' else {}
        with self.lock:
            visualizer.dataset_meta = dict(classes=self.classes, palette=self.palette)
            visualizer.add_datasample('image', image, to_draw(sample, len(self.classes)),
                                      draw_gt=False, **options)
            return visualizer.get_image()

    def stream(self, inputs: Any, batch_size: int = 1,
               leave_out: str | os.PathLike | None = None) -> Iterator[Prediction]:
        """Yields the predictions of all frames of `inputs` in order; records what can't be read in `failures`.

        Args:
            inputs, leave_out: see `find_sources`.
            batch_size: frames per forward. A segmentor's batch ends earlier where the size changes. Default: 1.

        Raises:
            DataError: see `find_sources`.
        """
        sources = self._find(inputs, batch_size, leave_out)
        yield from self._frame_run(batch_size, self._calls.begin(len(sources)))(sources)

    def run(self,
            inputs: Any,
            batch_size: int = 1,
            out_dir: str | os.PathLike = '',
            score_thr: ScoreThr | None = None,
            no_save_vis: bool = False,
            no_save_pred: bool = False,
            return_vis: bool = False,
            show: bool = False,
            wait_time: float = 0,
            tile: int | None = None,
            overlap: float | None = None,
            polygons: bool = False) -> Iterator[tuple[Prediction | TiledPrediction, np.ndarray | None]]:
        """Infer on all inputs frame by frame, and write pictures and predictions; nothing is kept in memory.

        Args:
            inputs: see `find_sources`.
            batch_size: frames per forward. Default: 1.
            out_dir: folder for `vis/` (pictures, videos) and `preds/` (see `Results`). Default: nothing is written.
            score_thr: instances with a lower score are not drawn; predictions hold all. 'auto': see `Inferencer`.
                Default: the Inferencer's.
            no_save_vis, no_save_pred: write no pictures, or no predictions. Default: False.
            return_vis: yield pictures also where they are not written or shown. Default: False.
            show: show pictures in a window; 'q' there ends the run. Default: False.
            wait_time: seconds a picture is shown; 0: until a key is pressed. Videos don't wait. Default: 0.
            tile: side, in pixels, of the windows by which images of any size are read and inferred on, 32 or more; they
                are batched, and `out_dir` has what is unfinished, too. Default: images are read as a whole.
            overlap: of neighbouring windows, as a share of `tile`, 0 to 0.5. Default: 0.2.
            polygons: with `tile`, write the areas of a segmentor's label map as GeoJSON, too. Default: False.

        Yields:
            (prediction, RGB picture): the picture is None unless it is written, shown or returned. An image under 320
                pixels is enlarged in it, see `draw`. With `tile`, a `TiledPrediction`, and the image is reduced.

        Raises:
            DataError: no inputs, or `out_dir` can't be written to, or has unfinished results of other settings.
            ConfigError: `show` without a display; a `tile` or `overlap` out of range.
        """
        if tile is not None:
            check_dense(self.scope, 'tile')
        tiling = None if tile is None else Tiling(tile, DEFAULT_OVERLAP if overlap is None else overlap)
        if tiling is None and overlap is not None:
            raise ConfigError('overlap needs tile, the side of the windows that overlap')
        if polygons and (tiling is None or self.scope != 'mmseg'):
            raise ConfigError('polygons are written of segmentors by tiles (--tile); those of detectors by tiles '
                              'always are, where the picture is a GeoTIFF')
        self.check_score_thr(score_thr)
        if show:
            check_display('look at the pictures in the output folder')
        sources = self._find(inputs, batch_size, out_dir or None)  # before a folder is made: there may be no inputs
        call = self._calls.begin(len(sources))
        ids = copy(self.ids) if out_dir and not no_save_pred else None  # a run gives ids to its own images
        with Results(out_dir, self.classes, self.palette, not no_save_vis, not no_save_pred, ids,
                     self.reduce_zero_label, sources, polygons) as results:
            drawn = return_vis or show or results.draws
            run: FrameRun | TiledRun = self._frame_run(batch_size, call) if tiling is None else \
                TiledRun(self, tiling, batch_size, results, call, drawn)
            for prediction in run(sources):
                picture = reason = None
                try:
                    if drawn and prediction.image is not None:
                        picture = self.draw(prediction.image, prediction.sample, score_thr, PICTURE_SIDE)
                    results.add(prediction, picture)
                except Exception as error:
                    if not is_memory_error(error) and not isinstance(error, UnwritableError):
                        raise
                    reason = reason_of(error, prediction.source.name)
                call.notes = results.describe()
                if reason is not None:
                    call.record_failure(prediction.source, reason)
                    continue
                yield prediction, picture
                if show and picture is not None and not show_picture(
                        picture, wait_time, prediction.source.is_video):
                    return

    def __call__(self, inputs: Any, batch_size: int = 1, out_dir: str | os.PathLike = '', *,
                 return_datasamples: bool = False, return_vis: bool = False, **options: Any) -> dict[str, list]:
        """Infer on all inputs; with `out_dir`, write pictures and predictions as they come.

        Args:
            inputs, batch_size, out_dir, options: see `run`.
            return_datasamples: return data samples instead of dicts. Default: False.
            return_vis: return pictures too. Default: False.

        Returns:
            dict with three lists: `predictions`, a dict (see `to_dict`) or data sample per frame; `visualization`, an
            RGB array per frame, empty unless asked for; `failures`, a (name, reason) per input that failed.

        Raises:
            DataError, ConfigError: see `run`.
        """
        if return_datasamples and options.get('tile') is not None:
            raise ConfigError('return_datasamples: samples hold masks and labels as large as their image; with tile '
                              'take the dicts')
        result: dict[str, list] = dict(predictions=[], visualization=[])
        for prediction, picture in self.run(inputs, batch_size, out_dir, return_vis=return_vis, **options):
            result['predictions'].append(prediction.sample if return_datasamples else prediction.to_dict())
            if return_vis:
                result['visualization'].append(picture)
        return dict(result, failures=self.failures)

    def _find(self, inputs: Any, batch_size: int, leave_out: str | os.PathLike | None) -> list[Source]:
        _check_batch_size(batch_size)
        sources = find_sources(inputs, self.read, leave_out)
        if self.toolbox.bands is not None and (videos := [source.name for source in sources if source.is_video]):
            raise DataError(f'{videos[0]}: videos and cameras have red, green and blue, and the model takes other '
                            'bands')
        return sources

    def _frame_run(self, batch_size: int, call: Call) -> FrameRun:
        return FrameRun(self._prepare, self._forward, batch_size, self.scope == 'mmseg', call, self.show_progress)

    def _prepare(self, image: np.ndarray) -> dict:
        """A BGR image through the test pipeline: `inputs` and `data_samples`."""
        try:
            with in_scope(self.scope):
                prepared = self.toolbox.pipeline(dict(img=image.copy()))
        except cv2.error as error:  # of 1 × 5000 pixels, the smaller side is resized to nothing
            if is_memory_error(error):
                raise
            height, width = image.shape[:2]
            raise DataError(f'an image of {width} × {height} pixels does not go through the test pipeline: '
                            f'{shown(str(error).strip())}') from error
        check_packed(prepared, 'test_dataloader.dataset.pipeline')
        return prepared

    def _forward(self, prepared: list[dict]) -> list[BaseDataElement]:
        """Data samples of prepared images, on the CPU, reduced to the classes that are kept."""
        with self.lock, in_scope(self.scope):
            samples = self.model.test_step(self.toolbox.collate_fn(prepared))
        samples = [(sample if isinstance(sample, BaseDataElement) else BaseDataElement(
            **{key: value for key, value in sample.items() if key != 'img_path'})).cpu() for sample in samples]
        for sample in samples:
            found = sample.get('pred_sem_seg')
            if found is not None and found.get('data') is not None and found.data.is_floating_point():
                found.data = found.data.long()  # mmseg's of a single logit
        if self.kept is None:
            return samples
        return [keep_labels(sample, self.kept, len(self.classes)) for sample in samples]


def _check_batch_size(batch_size: int) -> None:
    if batch_size < 1:
        raise ConfigError(f'batch_size must be 1 or more, got {batch_size}')


def check_device(device: str | None) -> str:
    """`device`, or for None the best there is; raises ConfigError where there is no such device."""
    if device is None:
        return get_device()
    try:
        if torch.empty(0, device=device).is_meta:
            raise ValueError('it computes nothing')
    except (RuntimeError, AssertionError, ValueError) as error:
        raise ConfigError(f'device {device!r} can not be used: {str(error).splitlines()[0]}') from None
    return device
