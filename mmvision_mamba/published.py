"""The models whose weights are published: which there are, where, and under what names.

No result in here was measured by this project: they are those of the paper and its repositories.
"""
import os
from pathlib import Path
from typing import NamedTuple

from .configs import PREFIX, config_names, find_config, packaged_config
from .errors import ConfigError
from .text import did_you_mean

WORD = 'published'  # what names the weights of a model, in the place of a checkpoint
LICENCE = 'CC-BY-NC-SA-4.0 by their README, nvclv1 by their tag on the Hub: not for commercial use'
_OWNER = 'nvidia'


class Published(NamedTuple):
    """A model and its published weights.

    Attributes:
        name: of its config, or, where none has its settings, timm's.
        task: 'backbone' (a classifier), 'detector' or 'segmentor'.
        repo: 'OWNER/REPO' on the Hub.
        file: its weights as the published code writes them.
        safetensors: whether the same weights are there as `model.safetensors`.
        parameters: in millions, of the model as this package builds it.
        image: side of the images in pixels; of detectors (shorter, longer) side at most.
        results: metrics by name, in percent.
        timm: timm's name of a classifier with its tag. Default: none.
    """
    name: str
    task: str
    repo: str
    file: str
    safetensors: bool
    parameters: float
    image: int | tuple[int, int]
    results: dict[str, float]
    timm: str | None = None

    @property
    def url(self) -> str:
        """The checkpoint to load: a URL that all programs take; this one loads `model.safetensors` for it."""
        return f'https://huggingface.co/{self.repo}/resolve/main/{self.file}'


def _backbone(name: str, timm: str, repo: str, file: str, parameters: float, top1: float,
              image: int = 224) -> Published:
    return Published(name, 'backbone', f'{_OWNER}/{repo}', f'mambavision_{file}.pth.tar', True, parameters, image,
                     {'top-1': top1}, f'mambavision_{timm}')


def _detector(size: str, parameters: float, box: float, mask: float) -> Published:
    repo = f'cascade_mask_rcnn_mamba_vision_{size}_3x_coco'
    return Published(f'cascade_mask_rcnn_mambavision_{size[0]}_coco', 'detector', f'{_OWNER}/{repo}', f'{repo}.pth',
                     False, parameters, (800, 1333), {'box AP': box, 'mask AP': mask})


def _segmentor(name: str, repo: str, parameters: float, iou: float, image: int = 512) -> Published:
    repo = f'mamba_vision_160k_ade20k-{repo}'
    return Published(f'upernet_mambavision_{name}', 'segmentor', f'{_OWNER}/{repo}', f'{repo}.pth', False, parameters,
                     image, {'mIoU': iou})


MODELS = (
    _backbone('mambavision_t_in1k', 'tiny.in1k', 'MambaVision-T-1K', 'tiny_1k', 31.79, 82.3),
    _backbone('mambavision_t2_in1k', 'tiny2.in1k', 'MambaVision-T2-1K', 'tiny2_1k', 35.1, 82.7),
    _backbone('mambavision_s_in1k', 'small.in1k', 'MambaVision-S-1K', 'small_1k', 50.14, 83.3),
    _backbone('mambavision_b_in1k', 'base.in1k', 'MambaVision-B-1K', 'base_1k', 97.69, 84.2),
    _backbone('mambavision_base.in21k', 'base.in21k', 'MambaVision-B-21K', 'base_21k', 97.69, 84.9),
    _backbone('mambavision_l_in1k', 'large.in1k', 'MambaVision-L-1K', 'large_1k', 227.96, 85.0),
    _backbone('mambavision_large.in21k', 'large.in21k', 'MambaVision-L-21K', 'large_21k', 227.96, 86.1),
    _backbone('mambavision_l2_in1k', 'large2.in1k', 'MambaVision-L2-1K', 'large2_1k', 241.55, 85.3),
    _backbone('mambavision_l2_in1k-512x512', 'large2.in21k_512', 'MambaVision-L2-512-21K', 'L2_21k_240m_512', 241.55,
              87.3, 512),
    _backbone('mambavision_l3_in1k', 'large3.in21k_256', 'MambaVision-L3-256-21K', 'L3_21k_740m_256', 739.57,
              87.3, 256),
    _backbone('mambavision_l3_in1k-512x512', 'large3.in21k_512', 'MambaVision-L3-512-21K', 'L3_21k_740m_512', 739.57,
              88.1, 512),
    _detector('tiny', 89.2, 51.1, 44.3), _detector('small', 107.48, 52.3, 45.2), _detector('base', 154.89, 52.8, 45.7),
    _segmentor('t_ade20k', '512x512_tiny', 62.52, 46.0), _segmentor('s_ade20k', '512x512_small', 81.79, 48.2),
    _segmentor('b_ade20k', '512x512_base', 131.2, 49.1),
    _segmentor('l3_ade20k-640x640', '640x640_l3_21k', 780.51, 53.2, 640))
BY_NAME = {name: model for model in MODELS for name in (model.timm, model.name) if name}
for _model in MODELS:  # the first of an arch, by that arch's name
    if _model.timm:
        BY_NAME.setdefault(_model.timm.removeprefix('mambavision_').partition('.')[0], _model)
BY_REPO = {model.repo: model for model in MODELS}


def published(name: str | os.PathLike) -> Published | None:
    """The published model of a name, as it is given for a config; None for those of none, and for other files.

    Args:
        name: as `packaged_config` takes it, or that file's path, or timm's name with its tag, or an arch's.
    """
    path = os.fspath(name)
    stem = os.path.basename(path) if os.path.isabs(path) else path.removeprefix(PREFIX).removeprefix('configs/')
    stem = stem.removesuffix('.py')
    model = BY_NAME.get(stem)
    if model is None or stem not in config_names():
        return None if os.path.isabs(path) else model
    return model if find_config(name).resolve() == packaged_config(stem).resolve() else None


def published_weights(name: str | os.PathLike) -> str:
    """The checkpoint that `published` means after a config.

    Raises:
        ConfigError: nothing is published for it.
    """
    model = published(name)
    if model is None:
        stem = Path(name).name.removesuffix('.py')
        raise ConfigError(f'{WORD}: no weights are published for {os.fspath(name)}{did_you_mean(stem, BY_NAME)}; '
                          '`mmvision-mamba models` lists those that have some')
    return model.url
