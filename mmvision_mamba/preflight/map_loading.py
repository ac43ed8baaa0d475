"""Pipelines that load maps from colours or outlines, where a folder has these in the place of class numbers."""
from mmengine import Config

from ..text import class_name
from .datasets import SPLITS, datasets_of

# Full paths, so that a config dumped into a work directory needs no import to find them.
_LOADER = 'mmvision_mamba.datasets.map_loading.LoadAnnotations'
_DRAWN = 'mmvision_mamba.datasets.drawn_maps.DrawnMapDataset'


def use_map_loader(cfg: Config, drawn: bool = False) -> None:
    """Have a config's pipelines load maps by colours and outlines, too.

    Args:
        cfg: of a segmentor, changed in place.
        drawn: whether its data sets of images and masks become ones of images and outlines. Default: False.
    """
    for split in SPLITS:
        for _, dataset, _ in datasets_of(cfg, split):
            _replace(dataset.get('pipeline'))
            if drawn and class_name(dataset.get('type')) == 'ImageMaskDataset':
                dataset['type'] = _DRAWN
    _replace(cfg.get('tta_pipeline'))


def _replace(steps) -> None:
    if isinstance(steps, dict):
        if steps.get('type') in ('LoadAnnotations', 'mmseg.LoadAnnotations'):
            steps['type'] = _LOADER
        for step in steps.values():
            _replace(step)
    elif isinstance(steps, list | tuple):
        for step in steps:
            _replace(step)
