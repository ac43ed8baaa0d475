"""Keeps what an evaluation shows while it runs, for a report: nothing is predicted twice, no data set read again.

A failure of this never fails a run: it is a warning in one line.
"""
from __future__ import annotations

import base64
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from mmengine.dist import is_main_process
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.hooks import Hook

from ..evaluation.federated import rule_of
from ..inference.band_images import picture_reader
from ..inference.report_thresholds import REPORT
from ..preflight.datasets import innermost
from ..printable import shown
from ..visualization.figures import class_colours
from .classification import Labels
from .detection import Detections
from .facts import RunFacts, versions
from .kept import EVALUATIONS, VERSION, write_kept
from .making import INDEX
from .segmentation import SIDE, Segments

IMAGES = 6  # of each role
PICTURE_BYTES = 60_000  # most of a picture
_SEED = 0
_FAILED = 'failed'  # in the place of what is kept of an image


class Recorder(BaseMetric):
    """Collects predictions and truth, and analyses them; as a metric it gives precision, recall and F1 of detectors.

    Args:
        dataset: of the evaluation.
        read: a path -> the image to look at, uint8 `(H, W, 3)`, BGR.
        warn: called with what went wrong, in place of an error.
        metrics: the others of the evaluation, of which LVIS's say of which classes an image tells nothing. Default:
            none.

    Attributes:
        content: of the last evaluation, see `kept`; None where there is nothing to analyse.
    """
    default_prefix = 'threshold'

    def __init__(self, dataset, read: Callable[[str], np.ndarray], warn: Callable[[str], None],
                 metrics: Sequence[Any] = ()):
        super().__init__()
        self.dataset, self.read, self.warn, self.metrics = dataset, read, warn, metrics
        self.content: dict | None = None
        self._samples: Any = None
        self._failed = False

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        labels = data_batch.get('gt_label') if isinstance(data_batch, dict) else None
        for i, sample in enumerate(data_samples):
            self.results.append(self._kept(sample, lambda samples: samples.take(
                sample, None if labels is None else int(labels[i]))))  # noqa: B023 - it is called at once

    def process_strip(self, sample: dict, top: int, shape: tuple[int, int]) -> None:
        """As `process`, for some rows of a segmented picture that is never in memory as a whole.

        Args:
            sample: with the labels of these rows; they come in order.
            top: the first of them.
            shape: (height, width) of the picture.
        """
        kept = self._kept(sample, lambda samples: samples.take_strip(sample, top, shape))
        if top + sample['pred_sem_seg']['data'].shape[-2] == shape[0]:
            self.results.append(kept)

    def _kept(self, sample: dict, take: Callable[[Any], dict | None]) -> dict | str | None:
        """What is kept of a sample, or that something failed."""
        if self._failed:
            return _FAILED
        try:
            samples = self._of(sample)
            kept = samples and take(samples)
            if kept and sample.get('tile_offset') is not None:
                kept['offset'] = tuple(map(int, sample['tile_offset'][:2]))
            if kept and sample.get('reduced') is not None:
                kept['reduced'] = sample['reduced']
            return kept
        except Exception as error:
            self._fail(error)
            return _FAILED

    def evaluate(self, size: int) -> dict:
        try:
            return super().evaluate(size)
        finally:
            self._failed = False  # in each process, not in the main one alone

    def _fail(self, error: Exception) -> None:
        self._failed = True
        self.warn(f'no analysis for the report: {shown(error, 200) or type(error).__name__} ({type(error).__name__})')

    def _of(self, sample: dict) -> Detections | Segments | Labels | None:
        """What collects samples of this kind."""
        if self._samples is None:
            kind = None if 'pred_panoptic_seg' in sample else Segments if 'pred_sem_seg' in sample else Detections \
                if 'scores' in (sample.get('pred_instances') or ()) else Labels if {
                    'pred_scores', 'pred_score'} & sample.keys() else None
            meta = self.dataset_meta or {}
            classes = tuple(map(str, meta.get('classes') or ()))
            if kind is None or not classes:
                return None
            colours = (255 * class_colours(meta, len(classes))).round().astype(int).tolist()
            rule = dict(unjudged=rule_of(self.metrics, len(classes))) if kind is Detections else {}
            self._samples = kind(self.dataset, classes, colours, **rule)
        return self._samples

    def compute_metrics(self, results: list[dict | str | None]) -> dict[str, float]:
        self.content = None
        kept = [one for one in results if isinstance(one, dict)]
        if _FAILED in results and not self._failed:  # only the main process's warnings are seen
            self.warn('no analysis for the report: another process could not take its images')
        if self._failed or _FAILED in results or self._samples is None or not kept:
            return {}
        try:
            analysis, chosen = self._samples.analyse(kept, _SEED, IMAGES)
            best = analysis['overall'].get('best')
            pictures = [dict(role=one.role, note=one.note, name=kept[one.index]['path'],
                             **self._pictures(kept[one.index], best['score_thr'] if best else 0.3)) for one in chosen]
            self.content = dict(analysis=analysis, pictures=pictures)
        except Exception as error:
            self._fail(error)
            return {}
        # Of a model that finds nothing mmdet has no metric; this one would be the run's main one.
        return {key: float(value) for key, value in best.items()} if best else {}

    def _pictures(self, one: dict, threshold: float) -> dict[str, str | None]:
        try:
            image = one['reduced'] if 'reduced' in one else self.read(one['path'])
            if 'offset' in one:  # of a tile in its picture
                (x, y), (height, width) = one['offset'], one['size']
                image = image[y:y + height, x:x + width]
            image = reduced(np.ascontiguousarray(image[..., ::-1]))
            truth, prediction = self._samples.draw(image, one, threshold)
        except Exception as error:
            return dict(truth=None, prediction=None, problem=shown(error, 200) or type(error).__name__)
        return dict(truth=_encoded(truth), prediction=None if prediction is None else _encoded(prediction))


def reduced(image: np.ndarray) -> np.ndarray:
    """An image of about 320 pixels a side: smaller ones are enlarged by a whole factor."""
    longest = max(image.shape[:2])
    if longest * 2 <= SIDE:
        factor = SIDE // longest
        return np.ascontiguousarray(image.repeat(factor, 0).repeat(factor, 1))
    scale = min(1., SIDE / longest)
    size = tuple(max(1, round(side * scale)) for side in image.shape[1::-1])
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def _encoded(image: np.ndarray) -> str:
    """An RGB picture as base64 of a JPEG of bounded size."""
    for quality in (85, 70, 50, 30, 10):
        data = cv2.imencode('.jpg', image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
        if len(data) <= PICTURE_BYTES:
            break
    return base64.b64encode(data).decode()


class RecordingHook(Hook):
    """Has each evaluation of a run recorded, and writes what is kept to WORK_DIR/report.

    Of a training the validation of its best checkpoint is kept, or the last where none is the best. A training that
    begins anew removes what an earlier one left there, after its first iteration.
    """
    priority = 'LOWEST'  # after the checkpoint hook, which says what is the best

    def __init__(self):
        self._recorders: dict[str, Recorder] = {}
        self._best: Any = None
        self._facts: RunFacts | None = None

    def _attach(self, runner, split: str) -> None:
        try:
            loop = getattr(runner, f'{split}_loop')
            if type(loop.evaluator).evaluate is not Evaluator.evaluate:  # it may leave further metrics out
                raise TypeError(f'{type(loop.evaluator).__name__} evaluates in its own way')
            metrics, dataset = loop.evaluator.metrics, loop.dataloader.dataset
            recorder = self._recorders.get(split)
            if recorder is None or recorder not in metrics:
                settings = innermost(runner.cfg[f'{split}_dataloader']['dataset'])
                recorder = Recorder(dataset, picture_reader(settings), runner.logger.warning,
                                    tuple(metrics))
                recorder.dataset_meta = loop.evaluator.dataset_meta
                metrics.append(recorder)
                self._recorders[split] = recorder
        except Exception as error:  # a loop or a data set of another making
            runner.logger.warning(f'no analysis for the report: {shown(error, 200)} ({type(error).__name__})')

    def before_val(self, runner) -> None:
        self._best = _best(runner)
        self._attach(runner, 'val')

    def before_test(self, runner) -> None:
        self._attach(runner, 'test')

    def after_val_epoch(self, runner, metrics=None) -> None:
        best = _best(runner)
        if best is None or best != self._best or not os.path.exists(kept_at(runner.work_dir, 'val')):
            self._guarded(runner, lambda: self._write(runner, 'val', best))

    def after_test_epoch(self, runner, metrics=None) -> None:
        self._guarded(runner, lambda: self._write(runner, 'test', runner.cfg.get('load_from')))

    def _write(self, runner, split: str, checkpoint: str | None) -> None:
        recorder = self._recorders.get(split)
        if recorder is None or recorder.content is None or not is_main_process():
            return
        # In a test these properties of mmengine's would build the loop of training, and its data set.
        iteration, epoch = (0, 0) if split == 'test' else (runner.iter, runner.epoch)
        about = dict(version=VERSION, split=split, time=time.time(), iteration=iteration, epoch=epoch,
                     checkpoint=None if checkpoint is None else Path(str(checkpoint)).name, versions=versions())
        write_kept(kept_at(runner.work_dir, split), {**about, **recorder.content})

    def before_train(self, runner) -> None:
        self._begins = runner.iter == 0
        if is_main_process():
            self._guarded(runner, lambda: setattr(self, '_facts', RunFacts(runner)))

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        if self._begins and is_main_process():
            self._begins = False
            # The report too: its thresholds are not those of the checkpoints that come.
            self._guarded(runner, lambda: [path.unlink(missing_ok=True) for path in (
                *(kept_at(runner.work_dir, name) for name in (*EVALUATIONS, 'run')),
                *(Path(runner.work_dir, REPORT.with_name(name)) for name in (REPORT.name, INDEX)))])

    def after_train(self, runner) -> None:
        if self._facts is not None:
            self._guarded(runner, lambda: write_kept(kept_at(runner.work_dir, 'run'), self._facts.content(runner)))

    @staticmethod
    def _guarded(runner, do: Callable[[], object]) -> None:
        try:
            do()
        except Exception as error:
            runner.logger.warning(f'the report lacks something: {shown(error, 200)} ({type(error).__name__})')


def _best(runner) -> str | None:
    info = runner.message_hub.runtime_info
    return next((info[key] for key in info if key.startswith('best_ckpt')), None)


def kept_at(work_dir: str | Path, name: str) -> Path:
    """The file of a run's folder that keeps 'val', 'test' or 'run'."""
    return Path(work_dir) / 'report' / f'{EVALUATIONS.get(name, name)}.json'
