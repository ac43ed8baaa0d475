"""int8 ONNX files for onnxruntime, calibrated on the config's training data and judged by mIoU on its test data."""
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS
from torch import Tensor

from ..datasets.loading import known_labels, use_checked_loading
from ..errors import ConfigError
from ..preflight.datasets import innermost
from ..runtime import loaders
from ..text import class_name
from .verify import Row

MOST_LOST = 1.  # points of mIoU that a file may lose
QUANTIZED = ['Conv', 'MatMul', 'Gemm']  # operators


def quantize(source: Path, path: Path, kind: str, images: Iterable[np.ndarray]) -> None:
    """Write an ONNX file with int8 weights per channel. Products of two activations, as in attention, stay in float.

    Args:
        source: the float32 file.
        path: the int8 file to write.
        kind: 'static': activations in int8 too, with ranges measured on `images`, as QuantizeLinear and
            DequantizeLinear around the operators. 'dynamic': linear layers alone, with ranges measured at run time, as
            MatMulInteger.
        images: inputs to calibrate on, ``(1, 3, H, W)`` float32 each.
    """
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_dynamic, quantize_static

    from .calibration import ImageReader
    options = dict(MatMulConstBOnly=True)
    if kind == 'dynamic':
        quantize_dynamic(source, path, op_types_to_quantize=['MatMul', 'Gemm'], per_channel=True,
                         weight_type=QuantType.QInt8, extra_options=options)
    else:
        quantize_static(source, path, ImageReader(images), quant_format=QuantFormat.QDQ,
                        op_types_to_quantize=QUANTIZED, per_channel=True, activation_type=QuantType.QUInt8,
                        weight_type=QuantType.QInt8, extra_options=options)


def labelled(cfg: Config, split: str, most: int) -> Iterator[tuple[Path, Tensor]]:
    """Yields at most `most` samples, spread evenly over the config's 'train' or 'test' split.

    Yields:
        the image's path; the ground truth map ``(h, w)`` in the image's own size.
    """
    dataset = innermost(cfg[f'{split}_dataloader'].dataset)
    # Its own steps: maps may be colours or outlines, images have other bands.
    steps = {class_name(step.get('type')): step for step in reversed(dataset.get('pipeline') or ())}
    load = steps.get('LoadAnnotations', dict(type='LoadAnnotations'))
    picture = steps.get('LoadImageFromFile', {})
    dataset = DATASETS.build(dict(dataset, pipeline=[
        picture if 'bands' in picture else dict(type='LoadImageFromFile'), load, dict(type='PackSegInputs')]))
    use_checked_loading(dataset, known_labels(cfg))
    if not len(dataset):
        raise ConfigError(f'--int8: the {split} data set is empty: {dataset.data_prefix}')
    for i in np.linspace(0, len(dataset) - 1, min(most, len(dataset))).astype(int).tolist():
        sample = dataset[i]['data_samples']
        yield Path(sample.img_path), sample.gt_sem_seg.data[0]


def mean_iou(run: Callable[[Path], np.ndarray], data: Iterable[tuple[Path, Tensor]], classes: int,
             ignore: int = 255) -> float:
    """mIoU, in points, of the label maps ``(h, w)`` that `run` makes of image files."""
    from mmseg.evaluation import IoUMetric
    totals = 0
    for path, truth in data:
        labels = torch.from_numpy(run(path))
        totals = totals + torch.stack(IoUMetric.intersect_and_union(labels, truth, classes, ignore)[:2])
    return 100 * float((totals[0] / totals[1])[totals[1] > 0].mean())


def check(cfg: Config, whole: Path, path: Path, classes: int, most: int) -> list[Row]:
    """The mIoU that the int8 file `path` loses against the float32 file `whole`, on at most `most` test images."""
    scores = [mean_iou(loaders.load_model(file, 'onnx'), labelled(cfg, 'test', most), classes)
              for file in (whole, path)]
    return [Row(f'mIoU lost, of {scores[0]:.2f}', f'{most} of the test data at most', scores[0] - scores[1], MOST_LOST,
                True)]
