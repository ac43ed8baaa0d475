"""The inferencer that mmdet's and mmseg's are derived from here: base class of `DetToolbox` and `SegToolbox`."""
import copy
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.infer import BaseInferencer
from mmengine.model import revert_sync_batchnorm
from torch import Tensor

from ..backbones.weights import load_fitting
from ..checkpoints import mmengine_loader
from ..datasets.band_loading import LoadImageFromFile as LoadBands
from ..errors import ConfigError
from ..text import class_name
from .band_images import BandImages
from .class_meta import dataset_meta
from .exported import ExportedModel
from .uper import speed_up_on_cpus

OPACITY = 0.6  # of a segment map over its image


class ToolboxBase(BaseInferencer):
    """Builds model, test pipeline and visualiser of a config.

    It differs from mmdet's and mmseg's inferencers: a checkpoint that doesn't fit is an error; class names and colours
    come from the checkpoint or the config, never from COCO or Cityscapes; SyncBN is reverted on every device; the test
    pipeline loads no annotations, whatever they are.

    Args:
        cfg: a detector's or segmentor's config.
        weights: checkpoint file or URL. None: the model stays as initialised, or is an exported file.
        device: as for `torch.device`.
        scope: 'mmdet' or 'mmseg'.

    Attributes:
        image_loader: the settings of the test pipeline's LoadImageFromFile.
        bands: what reads images of bands. None: the model takes those in colour.
        meta: the checkpoint's `meta`, empty where it has none.
    """

    def __init__(self, cfg: Config, weights: str | None, device: str, scope: str):
        self.weights = weights  # read while the model is built
        self.image_loader: dict[str, Any] = {}
        self.meta: Mapping[str, Any] = {}
        self.bands: BandImages | None = None
        mmengine_loader.enforce()
        super().__init__(cfg, weights, device=device, scope=scope)

    def _init_model(self, cfg, weights, device='cpu'):
        model = revert_sync_batchnorm(super()._init_model(cfg, weights, device))
        speed_up_on_cpus(model)
        return model

    def model_input(self, prepared: dict) -> tuple[Tensor, tuple[float, float]]:
        """What the model computes on, of an image that went through the pipeline; see `Inferencer.preprocess`."""
        if isinstance(self.model, ExportedModel):
            return self.model.prepare(prepared['inputs'])
        data = self.model.data_preprocessor(self.collate_fn([prepared]), False)
        meta = prepared['data_samples'].metainfo
        factor = meta.get('scale_factor')
        if factor is None:
            return data['inputs'], tuple(new / old for new, old in zip(meta['img_shape'], meta['ori_shape']))
        return data['inputs'], (float(factor[1]), float(factor[0]))

    def _load_weights_to_model(self, model, checkpoint, cfg):
        if isinstance(model, ExportedModel):  # which has its own, and its classes
            self.weights = model.path
            return
        if checkpoint is None:
            warnings.warn('no checkpoint: predictions are those of random weights', stacklevel=2)
        else:
            load_fitting(model, checkpoint, str(self.weights))
        meta = checkpoint.get('meta') if isinstance(checkpoint, Mapping) else None
        self.meta = meta if isinstance(meta, Mapping) else {}
        model.dataset_meta = dataset_meta(model, cfg, self.meta)

    def _init_pipeline(self, cfg):
        dataset = cfg.test_dataloader.dataset
        dataset.pipeline = [step for step in dataset.pipeline if 'Annotation' not in str(step['type'])]
        loaders = [step for step in dataset.pipeline if class_name(step['type']) == 'LoadImageFromFile']
        if not loaders:
            raise ConfigError('the test pipeline of the config has no LoadImageFromFile, which loads the images')
        loader = loaders[0]
        self.image_loader = dict(loader)
        if 'bands' in loader:
            self.bands = BandImages(LoadBands(**{key: value for key, value in loader.items() if key != 'type'}))
            cfg = copy.deepcopy(cfg)  # the settings that results depend on keep the bands
            loader = next(step for step in cfg.test_dataloader.dataset.pipeline if 'bands' in step)
            loader.clear()
        loader.type = 'LoadImageFromFile'
        return super()._init_pipeline(cfg)

    def _init_collate(self, cfg):
        return super()._init_collate(cfg) if cfg.test_dataloader.get('collate_fn') else pseudo_collate

    def _init_visualizer(self, cfg):
        # BaseInferencer's, since mmseg's inferencer sets Cityscapes' classes. `Inferencer` sets the model's own for
        # each picture.
        visualizer = BaseInferencer._init_visualizer(self, cfg)
        # mmseg 1.2.2 has no seam here: its visualiser sorts every pixel in Python to place a class's name.
        if hasattr(visualizer, '_get_center_loc'):
            visualizer._get_center_loc = _middle_of_widest_row
            visualizer.alpha = OPACITY
        return visualizer


def _middle_of_widest_row(mask: np.ndarray) -> np.ndarray:
    """(x, y) in the middle of the mask's widest row: the result of mmseg's method, which sorts all pixels in Python."""
    y = mask.sum(axis=1).argmax()
    xs = np.flatnonzero(mask[y])
    return np.array([xs[len(xs) // 2], y])
