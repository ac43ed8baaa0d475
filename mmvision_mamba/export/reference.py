"""What PyTorch makes of an image file: the config's own test pipeline, data preprocessor and prediction."""
from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path

import mmcv
import numpy as np
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import DefaultScope
from mmengine.structures import BaseDataElement
from torch import Tensor, nn

from ..datasets.band_padding import padded as padded_image
from ..runtime.standalone import Detections, no_instances, padded, read_image, resized
from ..text import class_name
from .pipeline import test_pipeline


class Reference:
    """A model in PyTorch on image files, to compare an exported file with.

    Args:
        model: the model, in eval mode.
        part: 'backbone', 'segmentor' or 'detector'.
        cfg: its config.
        settings: of `pipeline_settings`.
        shape: height and width of the exported input. The images are then made to fit it and padded to it, as the
            runtime does, in place of the test pipeline's own sizes. None: these. Default: None.
        channels: of the input. Default: 3.
        least: height and width to which smaller inputs are padded: a sliding window's. Default: none.
    """

    def __init__(self, model: nn.Module, part: str, cfg: Config, settings: dict,
                 shape: tuple[int, int] | None = None, channels: int = 3, least: tuple[int, int] = (0, 0)):
        self.model, self.part, self.settings, self.shape, self.channels = model, part, settings, shape, channels
        self.least = least
        self.scope = cfg.get('default_scope') or 'mmengine'
        steps = [dict(step) for step in copy.deepcopy(test_pipeline(cfg))]
        with DefaultScope.overwrite_default_scope(self.scope):
            self.loader = Compose([step for step in steps if class_name(step['type']) == 'LoadImageFromFile'][:1])
            self.pipeline = Compose([step for step in steps if not class_name(step['type']).startswith(
                ('Load', 'Pack'))])

    @torch.no_grad()
    def __call__(self, image: Path | np.ndarray) -> list[np.ndarray] | np.ndarray | Detections:
        """What `runtime.Model` should return for an image file, or an array as it takes them."""
        with DefaultScope.overwrite_default_scope(self.scope):
            inputs, sample = self.prepare(image)
            if self.part == 'backbone':
                return [out.numpy() for out in getattr(self.model, 'backbone', self.model)(inputs)]
            if self.part == 'segmentor':
                return self.model.predict(inputs, [sample])[0].pred_sem_seg.data[0].numpy().astype(np.int64)
            return _detections(self.model.predict(inputs, [sample], rescale=True)[0])

    def prepare(self, image: Path | np.ndarray) -> tuple[Tensor, BaseDataElement]:
        """The model's input for an image, ``(1, C, H, W)`` float32, and its data sample, which has its sizes."""
        with DefaultScope.overwrite_default_scope(self.scope):
            return self._inputs(self._prepared(self._read(image)))

    def _read(self, image) -> dict:
        bands = self.settings.get('bands')
        if (self.channels == 3 or bands) and len(self.loader.transforms) and not isinstance(image, np.ndarray) \
                and Path(image).suffix != '.npy':
            return self.loader(dict(img_path=str(image)))
        image = read_image(image, self.channels, bands)
        if self.channels == 3 and not bands:
            image = np.ascontiguousarray(image[..., ::-1])
        if self.settings['to_float32']:  # as the loader does
            image = image.astype(np.float32)
        return dict(img=image, img_shape=image.shape[:2], ori_shape=image.shape[:2])

    def _prepared(self, results: dict) -> dict:
        """The test pipeline's `img`, `img_shape` and `scale_factor`; with a `shape`, those that fit it."""
        if self.shape is None:
            return self.pipeline(results)
        settings, image = self.settings, results['img']
        old = image.shape[:2]
        height, width = resized(*old, self.shape, settings['scale'], settings['keep_ratio'], settings['scale_factor'])
        if settings['to_float32']:
            image = image.astype(np.float32)
        image = mmcv.imresize(image, (width, height), interpolation=settings['interpolation'])
        if pad := settings['pad']:
            size = padded(height, width, pad['size'], pad['divisor'], pad['square'])
            size = tuple(min(n, limit) for n, limit in zip(size, self.shape))
            swapped = settings['channel_order'] == 'RGB' and self.channels == 3 and not settings.get('bands')
            value = pad['value'][::-1] if swapped else pad['value']
            image = padded_image(image, *size, value) if settings.get('bands') else mmcv.impad(
                image, shape=size, pad_val=tuple(value))
        return dict(results, img=image, img_shape=image.shape[:2], scale_factor=(width / old[1], height / old[0]))

    def _inputs(self, results: dict) -> tuple[Tensor, BaseDataElement]:
        image = results['img'] if results['img'].ndim == 3 else results['img'][..., None]
        tensor = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
        size = results['img_shape'][:2]
        sample = self._sample()(metainfo=dict(
            ori_shape=results['ori_shape'][:2], img_shape=size, pad_shape=size, batch_input_shape=size,
            scale_factor=results.get('scale_factor', (1., 1.))))
        preprocessor = getattr(self.model, 'data_preprocessor', None)
        if hasattr(preprocessor, 'mean') or getattr(preprocessor, '_enable_normalize', None) is False:
            data = preprocessor(dict(inputs=[tensor], data_samples=[sample]), False)
            inputs, (sample,) = data['inputs'], data['data_samples']
        else:  # a classifier's, whose pipeline normalises
            inputs = self._normalised(tensor)
        shape = self.shape or tuple(map(max, inputs.shape[2:], self.least))
        if shape != tuple(inputs.shape[2:]):
            inputs = F.pad(inputs, (0, shape[1] - inputs.shape[3], 0, shape[0] - inputs.shape[2]),
                           value=self.settings['batch_pad']['value'])
            sample.set_metainfo(dict(img_padding_size=(0, shape[1] - size[1], 0, shape[0] - size[0]), pad_shape=shape,
                                     batch_input_shape=shape))
        return inputs, sample

    def _normalised(self, tensor: Tensor) -> Tensor:
        mean, std = (tensor.new_tensor(self.settings[key], dtype=torch.float32).view(-1, 1, 1)
                     for key in ('mean', 'std'))
        if self.settings['channel_order'] == 'RGB' and self.channels == 3:
            tensor = tensor.flip(0)
        return ((tensor.float() - mean) / std)[None]

    def _sample(self) -> type[BaseDataElement]:
        if self.scope == 'mmdet':
            from mmdet.structures import DetDataSample
            return DetDataSample
        if self.scope == 'mmseg':
            from mmseg.structures import SegDataSample
            return SegDataSample
        return BaseDataElement


def _detections(sample: BaseDataElement) -> Detections:
    """What mmdet has found in an image, best first."""
    panoptic = sample.pred_panoptic_seg.sem_seg[0].numpy() if 'pred_panoptic_seg' in sample else None
    if 'pred_instances' not in sample:
        return no_instances(panoptic.shape, panoptic=panoptic)
    found = sample.pred_instances
    found = found[found.scores.argsort(descending=True, stable=True)]  # Mask2Former's are not sorted
    return Detections(*(found[key].numpy() for key in ('bboxes', 'scores', 'labels')),
                      found.masks.numpy() if 'masks' in found else None, panoptic=panoptic)


def has_pipeline(cfg: Mapping) -> bool:
    """Whether the config's images become the model's input by its test pipeline and data preprocessor alone."""
    return cfg.get('default_scope') in ('mmdet', 'mmseg') and bool(test_pipeline(cfg))
