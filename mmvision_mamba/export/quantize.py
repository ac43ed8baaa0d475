"""int8 for onnxruntime: convolutions and linear layers, calibrated on the config's own data, judged by its metric."""
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS
from torch import Tensor

from ..datasets.loading import use_checked_loading
from ..errors import ConfigError
from ..inference.images import read_image
from . import formats
from .preprocess import Preprocess
from .verify import Row

KINDS = ('static', 'dynamic')
MOST_LOST = 1.  # points of mIoU
QUANTIZED = ['Conv', 'MatMul', 'Gemm']


def quantize(source: Path, path: Path, kind: str, images: Iterable[np.ndarray]) -> None:
    """Write an ONNX file with int8 weights per channel. Products of two activations, as in attention, stay in float.

    Args:
        source: the float32 file.
        path: to write.
        kind: 'static': activations in int8 too, their ranges from `images`, as QuantizeLinear and DequantizeLinear
            around the operators. 'dynamic': the linear layers alone, ranges found while it runs, as MatMulInteger.
        images: what the model takes, ``(1, 3, H, W)`` float32 each.
    """
    from onnxruntime.quantization import (
        CalibrationDataReader,
        QuantFormat,
        QuantType,
        quantize_dynamic,
        quantize_static,
    )

    class Reader(CalibrationDataReader):
        def __init__(self):
            self.images = iter(images)

        def get_next(self):
            image = next(self.images, None)
            return None if image is None else dict(images=image)
    options = dict(MatMulConstBOnly=True)
    if kind == 'dynamic':
        quantize_dynamic(source, path, op_types_to_quantize=['MatMul', 'Gemm'], per_channel=True,
                         weight_type=QuantType.QInt8, extra_options=options)
    else:
        quantize_static(source, path, Reader(), quant_format=QuantFormat.QDQ, op_types_to_quantize=QUANTIZED,
                        per_channel=True, activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
                        extra_options=options)


def labelled(cfg: Config, split: str, preprocess: Preprocess, most: int) -> Iterator[tuple[np.ndarray, Tensor, tuple]]:
    """Images of the config's 'train' or 'test' split as the model takes them, their maps of labels, and the height and
    width they got; at most `most` of them, spread over the split."""
    dataset = cfg[f'{split}_dataloader'].dataset
    while 'dataset' in dataset:
        dataset = dataset.dataset
    pipeline = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations'), dict(type='PackSegInputs')]
    use_checked_loading(cfg)
    dataset = DATASETS.build(dict(dataset, pipeline=pipeline))
    if not len(dataset):
        raise ConfigError(f'--int8: the {split} data set is empty: {dataset.data_prefix}')
    for i in np.linspace(0, len(dataset) - 1, min(most, len(dataset))).astype(int).tolist():
        sample = dataset[i]['data_samples']
        image = np.ascontiguousarray(read_image(sample.img_path)[..., ::-1])
        images, size = preprocess(torch.from_numpy(image))
        yield images.numpy(), sample.gt_sem_seg.data[0], tuple(size[0].tolist())


def mean_iou(run, data: Iterable[tuple[np.ndarray, Tensor, tuple]], classes: int, ignore: int = 255) -> float:
    """mIoU, in points, of the maps that `run` gives, resized to the images' own size."""
    from mmseg.evaluation import IoUMetric
    totals = 0
    for images, truth, (height, width) in data:
        found = torch.from_numpy(run(images)[0])[:, :height, :width]
        found = torch.nn.functional.interpolate(found[None].double(), truth.shape, mode='nearest')[0, 0].long()
        totals = totals + torch.stack(IoUMetric.intersect_and_union(found, truth, classes, ignore)[:2])
    return 100 * float((totals[0] / totals[1])[totals[1] > 0].mean())


def check(cfg: Config, whole: Path, path: Path, preprocess: Preprocess, classes: int, most: int) -> list[Row]:
    """How much of the metric `path` loses against the float32 file `whole`, on test images."""
    scores = [mean_iou(formats.load(file, 'onnx'), labelled(cfg, 'test', preprocess, most), classes)
              for file in (whole, path)]
    return [Row(f'mIoU lost, of {scores[0]:.2f}', f'{most} of the test data at most', scores[0] - scores[1], MOST_LOST,
                True)]
