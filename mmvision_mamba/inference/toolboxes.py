"""mmdet's and mmseg's inferencers, which build the model, the test pipeline and the visualiser of a config.

What differs here, in both: a checkpoint that doesn't fit is an error; class names and colours come from the checkpoint
or the config, never from COCO or Cityscapes; SyncBN is reverted on every device; the test pipeline loads no
annotations, whatever they are.
"""
import colorsys
import warnings
from collections.abc import Mapping

import numpy as np
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.infer import BaseInferencer
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import DATASETS
from mmengine.runner.checkpoint import load_state_dict
from torch import nn

from ..backbones.checkpoint import extract_state_dict
from ..engine.checkpoint_fit_hook import check_fit
from ..engine.dataset_configs import datasets_of
from ..errors import ConfigError, MissingExtraError

VISUALIZERS = dict(mmdet='DetLocalVisualizer', mmseg='SegLocalVisualizer')
OPACITY = 0.6  # of a segment map over its image


def build_toolbox(cfg: Config, weights: str | None, device: str) -> BaseInferencer:
    """The inferencer of the config's toolbox, with `model`, `pipeline`, `collate_fn`, `visualizer` and the test
    pipeline's `image_loader`, a dict.

    Args:
        cfg: a detector's or segmentor's config.
        weights: checkpoint file or URL. None: the model stays as initialised.
        device: as for `torch.device`.

    Raises:
        ConfigError: a config of another toolbox or without a test pipeline that loads images.
        CheckpointError: see `read_checkpoint` and `check_fit`.
        MissingExtraError: the toolbox is not installed.
    """
    scope = cfg.get('default_scope')
    if scope not in VISUALIZERS:
        raise ConfigError(f'inference works with mmdet and mmseg configs, not with those of {scope!r}')
    try:
        if scope == 'mmdet':
            from mmdet.apis import DetInferencer as Base
        else:
            from mmseg.apis import MMSegInferencer as Base
    except ImportError as error:
        raise MissingExtraError(f'inference with {scope}', 'openmmlab') from error
    cfg = cfg.copy()
    datasets = datasets_of(cfg, 'test')
    if not datasets:
        raise ConfigError('the config has no test_dataloader with a data set, whose pipeline prepares the images')
    cfg.test_dataloader.dataset = datasets[0][1]  # without the data sets wrapped around it
    cfg.setdefault('visualizer', dict(type=VISUALIZERS[scope], name='visualizer'))
    cfg.visualizer.pop('vis_backends', None)
    cfg.visualizer.pop('save_dir', None)
    backbone = cfg.model.get('backbone')
    if weights is not None and isinstance(backbone, Mapping) and backbone.get('pretrained'):
        backbone.pretrained = None  # would be loaded, only to be replaced

    class Toolbox(_Toolbox, Base):
        """Toolbox's own, with what `_Toolbox` replaces."""

    Toolbox.weights = weights
    with warnings.catch_warnings():
        warnings.filterwarnings('ignore', message='.*save_dir.*')
        return Toolbox(cfg, weights, device=device, scope=scope)


class _Toolbox:
    weights: str | None

    def _init_model(self, cfg, weights, device='cpu'):
        return revert_sync_batchnorm(super()._init_model(cfg, weights, device))

    def _load_weights_to_model(self, model, checkpoint, cfg):
        if checkpoint is None:
            warnings.warn('no checkpoint: predictions are those of random weights', stacklevel=2)
        else:
            check_fit(model, checkpoint, str(self.weights))
            load_state_dict(model, extract_state_dict(checkpoint, prefix=''), strict=False, logger='silent')
        meta = checkpoint.get('meta') if isinstance(checkpoint, Mapping) else None
        model.dataset_meta = dataset_meta(model, cfg, meta if isinstance(meta, Mapping) else {})

    def _init_pipeline(self, cfg):
        dataset = cfg.test_dataloader.dataset
        dataset.pipeline = [step for step in dataset.pipeline if 'Annotation' not in str(step['type'])]
        loaders = [step for step in dataset.pipeline if str(step['type']).split('.')[-1] == 'LoadImageFromFile']
        if not loaders:
            raise ConfigError('the test pipeline of the config has no LoadImageFromFile, which loads the images')
        self.image_loader = dict(loaders[0])
        loaders[0].type = 'LoadImageFromFile'
        return super()._init_pipeline(cfg)

    def _init_collate(self, cfg):
        return super()._init_collate(cfg) if cfg.test_dataloader.get('collate_fn') else pseudo_collate

    def _init_visualizer(self, cfg):
        # mmseg's inferencer sets Cityscapes' classes afterwards: `Inferencer` sets the model's own at each picture.
        visualizer = BaseInferencer._init_visualizer(self, cfg)
        if hasattr(visualizer, '_get_center_loc'):  # mmseg's: where a class's name is written
            visualizer._get_center_loc = _middle_of_widest_row
            visualizer.alpha = OPACITY
        return visualizer


def _middle_of_widest_row(mask: np.ndarray) -> np.ndarray:
    """As mmseg's method does it, without sorting every pixel in Python: (x, y) in the row with most of the mask."""
    y = mask.sum(axis=1).argmax()
    xs = np.flatnonzero(mask[y])
    return np.array([xs[len(xs) // 2], y])


def dataset_meta(model: nn.Module, cfg: Config, meta: Mapping) -> dict:
    """Class names, a tuple, and `palette`, a list with an RGB triple for each.

    Names are the checkpoint's, else the config's; colours are the config's where the names agree, else the
    checkpoint's. What is missing is made up: 'class 7', and hues far apart.

    Args:
        meta: `meta` of a checkpoint.
    """
    saved = {str(key).lower(): value for key, value in (meta.get('dataset_meta') or meta).items()}
    own = _config_meta(cfg)
    classes = saved.get('classes') or own.get('classes') or ()
    classes = (classes,) if isinstance(classes, str) else tuple(classes)
    palettes = [own.get('palette')] if tuple(own.get('classes') or ()) == classes else []
    palettes.append(saved.get('palette'))
    number = max([len(classes), *(n for module in model.modules()
                                  if isinstance(n := getattr(module, 'num_classes', 0), int))])
    classes += tuple(f'class {i}' for i in range(len(classes), number))
    palette = next((list(p) for p in palettes if isinstance(p, (list, tuple, np.ndarray)) and len(p)), [])
    palette = [tuple(int(v) for v in colour) for colour in palette][:number]
    palette += [_hue(i) for i in range(len(palette), number)]
    return dict(classes=classes, palette=palette)


def _config_meta(cfg: Config) -> dict:
    try:
        return DATASETS.build(dict(cfg.test_dataloader.dataset, lazy_init=True)).metainfo
    except Exception:  # a data set that needs its files to be built: what the config says itself
        return dict(cfg.test_dataloader.dataset.get('metainfo') or {})


def _hue(i: int) -> tuple[int, int, int]:
    """Colour i of a sequence whose neighbours are far apart: hues turn by the golden ratio."""
    return tuple(round(255 * v) for v in colorsys.hsv_to_rgb(i * 0.618034 % 1, 0.75, 0.95))
