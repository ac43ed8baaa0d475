"""Draws the inputs of a config's model: images as they leave the data preprocessor, with annotations over them."""
from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.patches import Patch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import DATASETS, FUNCTIONS, MODELS
from mmengine.runner import set_random_seed
from mmengine.structures import BaseDataElement, PixelData

from ..datasets.band_loading import LoadImageFromFile as LoadBands
from ..datasets.bands import as_picture
from ..datasets.image_loader import image_loader
from ..datasets.loading import CheckedLoadImageFromFile, known_labels, use_checked_loading
from ..datasets.pipelines import check_packed
from ..errors import ConfigError
from ..inference.fonts import drawable
from ..preflight.datasets import innermost
from .figures import class_colours, draw_instances, new_figure, save, show_grey

TILE = 2.6  # inches, one picture's side
IGNORED = 255  # the label of pixels that no loss counts
LEGEND = 24  # most classes in the legend

Sample = tuple[np.ndarray, BaseDataElement]


def model_inputs(cfg: Config, split: str = 'train', count: int = 12,
                 seed: int = 0) -> tuple[list[Sample], dict]:
    """Take random samples of a data set through its pipeline and, batch by batch, the model's data preprocessor.

    Args:
        cfg: config of a detector or segmentor.
        split: 'train', 'val' or 'test'.
        count: number of samples; all where there are fewer. Default: 12.
        seed: of the choice of samples and of the augmentation. Default: 0.

    Returns:
        For each sample the RGB image (H, W, 3), uint8, with padding but without normalisation, and its data sample
        with annotations in that image's coordinates; and the data set's meta information.

    Raises:
        ConfigError: a pipeline that makes several views of an image, or lacks a step.
    """
    set_random_seed(seed)
    loader = cfg[f'{split}_dataloader']
    dataset = DATASETS.build(loader.dataset)
    place = f'{split}_dataloader.dataset.pipeline'
    use_checked_loading(dataset, known_labels(cfg), place)
    collate = FUNCTIONS.get((loader.get('collate_fn') or dict(type='pseudo_collate'))['type']) or pseudo_collate
    bands = image_loader(innermost(loader.dataset))
    preprocessor = MODELS.build(cfg.model.get('data_preprocessor') or cfg.get('data_preprocessor')
                                or dict(type='BaseDataPreprocessor'))
    size, unresized = loader.get('batch_size', 1), _loads_after_resizing(loader.dataset)
    indices = np.random.permutation(len(dataset))[:count].tolist()
    samples = []
    for start in range(0, len(indices), size):
        items = [dataset[i] for i in indices[start:start + size]]
        check_packed(items[0], place)
        if not isinstance(items[0]['inputs'], torch.Tensor):
            raise ConfigError(f'{split}_dataloader: its pipeline makes several views of an image, which are not drawn')
        data = preprocessor(collate(items), training=split == 'train')
        for image, sample in zip(data['inputs'], data['data_samples']):
            if unresized:
                _resize_annotations(sample)
            _pad_annotations(sample, tuple(image.shape[-2:]))
            samples.append((_as_picture(image, preprocessor, bands), sample))
    return samples, dataset.metainfo


def _as_picture(image: torch.Tensor, preprocessor, loader: CheckedLoadImageFromFile | None) -> np.ndarray:
    """A model's input `(C, H, W)`, BGR as OpenCV has it unless the preprocessor swapped channels, as an RGB image.

    Of a loader of bands those that are shown, stretched.
    """
    image = image.detach().float().cpu()
    # mmengine 0.10.7 has no seam here: a data preprocessor does not tell what it does to an image.
    if getattr(preprocessor, '_enable_normalize', False):
        image = image * preprocessor.std.cpu() + preprocessor.mean.cpu()
    if isinstance(loader, LoadBands):
        return as_picture(image.permute(1, 2, 0).numpy(), loader.positions)
    if len(image) < 3:
        image = image[:1].expand(3, -1, -1)
    is_rgb = any(getattr(preprocessor, name, False) for name in ('_channel_conversion', 'channel_conversion'))
    image = image[:3] if is_rgb else image[:3].flip(0)
    return image.clamp(0, 255).round().byte().permute(1, 2, 0).numpy()


def _loads_after_resizing(dataset: dict) -> bool:
    """Whether a data set's pipeline leaves annotations at the original image's size, as test pipelines do."""
    types = [str(step['type']) for step in innermost(dataset).get('pipeline') or []]
    resizes = [i for i, name in enumerate(types) if 'Resize' in name]
    loads = [i for i, name in enumerate(types) if 'Load' in name and 'Annotations' in name]
    return bool(resizes and loads) and loads[0] > resizes[-1]


def _resize_annotations(sample: BaseDataElement) -> None:
    """Resize annotations, in place, from the original image's size to that of the model's input."""
    (height, width), (old_height, old_width) = sample.img_shape[:2], sample.ori_shape[:2]
    if (labels := _semantic_map(sample)) is not None:
        labels = torch.nn.functional.interpolate(labels[None, None].float(), size=(height, width))[0]
        sample.gt_sem_seg = PixelData(data=labels.long())
    for name in ('gt_instances', 'ignored_instances'):
        truth = sample.get(name)
        if truth is None or 'bboxes' not in truth:
            continue
        truth.bboxes = _tensor(truth.bboxes) * torch.tensor([width / old_width, height / old_height] * 2)
        if 'masks' in truth:
            truth.masks = truth.masks.resize((height, width))


def _pad_annotations(sample: BaseDataElement, shape: tuple[int, int]) -> None:
    """Pad annotations, in place, to the shape `(H, W)` of the model's input, where the data preprocessor left them."""
    labels, truth = _semantic_map(sample), sample.get('gt_instances')
    if labels is not None:
        padding = (0, shape[1] - labels.shape[1], 0, shape[0] - labels.shape[0])
        sample.gt_sem_seg = PixelData(data=torch.nn.functional.pad(labels, padding, value=IGNORED)[None])
    if truth is not None and 'masks' in truth and (truth.masks.height, truth.masks.width) != shape:
        truth.masks = truth.masks.pad(shape)


def _semantic_map(sample: BaseDataElement) -> torch.Tensor | None:
    """The labels `(H, W)` of a data sample, mmseg's or mmdet's; None without any."""
    truth = sample.get('gt_sem_seg')
    return None if truth is None else (truth.data if 'data' in truth else truth.sem_seg)[0]


def _tensor(boxes) -> torch.Tensor:
    return getattr(boxes, 'tensor', boxes)


def draw_samples(out: str | os.PathLike, samples: Sequence[Sample], metainfo: dict, columns: int = 3,
                 title: str | None = None) -> None:
    """Draw a grid of pairs: the image, and beside it the annotations over it.

    Args:
        out: the picture to write.
        samples, metainfo: from `model_inputs`.
        columns: pairs in a row. Default: 3.
        title: above the grid. Default: none.
    """
    classes = drawable(metainfo.get('classes') or ())
    colours = class_colours(metainfo, len(classes))
    columns = min(columns, len(samples))
    rows = math.ceil(len(samples) / columns)
    # Rows are as high as most images need; an inch is left for the legend.
    height = TILE * float(np.median([image.shape[0] / image.shape[1] for image, _ in samples]))
    figure = new_figure(2 * columns * TILE, rows * (height + 0.3) + 1)
    axes = figure.subplots(rows, 2 * columns, squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    seen = {}
    for (left, right), (image, sample) in zip(axes.reshape(-1, 2), samples):
        left.imshow(image, interpolation='nearest')
        left.set_title(_name_of(sample), fontsize=8)
        show_grey(right, image)
        right.set_title(_geometry(image, sample), fontsize=8)
        for name, colour in _draw_annotations(right, image, sample, classes, colours):
            seen.setdefault(name, colour)
    shown = sorted(seen.items(), key=lambda item: classes.index(item[0]) if item[0] in classes else len(classes))
    more = [Patch(color='none', label=f'and {len(shown) - LEGEND} more')] if len(shown) > LEGEND else []
    if shown:
        figure.legend(handles=[*(Patch(color=colour, label=name) for name, colour in shown[:LEGEND]), *more],
                      loc='outside lower center', ncols=min(4 * columns, 8), fontsize=8, frameon=False)
    figure.suptitle(title, fontsize=10)
    save(figure, out)


def _name_of(sample: BaseDataElement) -> str:
    """The name of an image's file, and of a tile its place in the image, column and row."""
    name = _shortened(Path(sample.img_path).name)
    return name if sample.get('tile_offset') is None else '{} at {}, {}'.format(name, *sample.tile_offset)


def _shortened(name: str, length: int = 34) -> str:
    """The name without its middle where it is longer than `length` characters."""
    return name if len(name) <= length else f'{name[:length // 2]}…{name[-length // 2 + 1:]}'


def _geometry(image: np.ndarray, sample: BaseDataElement) -> str:
    """The image's size as text, such as '128 × 96 in 128 × 128, flipped' with padding and flip."""
    height, width = sample.img_shape[:2]
    text = f'{width} × {height}'
    if image.shape[:2] != (height, width):
        text += f' in {image.shape[1]} × {image.shape[0]}'
    return text + (', flipped' if sample.get('flip') else '')


def _draw_annotations(ax: Axes, image: np.ndarray, sample: BaseDataElement, classes: list[str],
                      colours: np.ndarray) -> Iterator[tuple[str, Sequence[float]]]:
    """Draw the annotations of a data sample; yields the name and colour of each class drawn."""
    if (labels := _semantic_map(sample)) is not None:
        labels = labels.cpu().numpy()
        ignored = (labels == IGNORED) | (labels >= len(classes)) | (labels < 0)
        overlay = np.empty((*labels.shape, 4))
        overlay[...] = (1, 1, 1, 0.9)
        overlay[~ignored, :3] = colours[labels[~ignored]]
        overlay[~ignored, 3] = 0.65
        ax.imshow(overlay, interpolation='nearest')
        for label in np.unique(labels[~ignored]):
            yield classes[label], colours[label]
        if ignored.any():
            ax.contourf(ignored, levels=[0.5, 1], hatches=['////'], colors='none')
            yield 'ignored', (0.8, 0.8, 0.8)
    for name in ('ignored_instances', 'gt_instances'):
        if (truth := sample.get(name)) is None or 'bboxes' not in truth:
            continue
        boxes = _tensor(truth.bboxes).cpu()
        masks = truth.masks.to_ndarray() if 'masks' in truth else None
        labels = truth.labels.cpu().tolist()
        if name == 'gt_instances':
            draw_instances(ax, boxes.tolist(), masks, labels, colours, [classes[label] for label in labels],
                           image.shape[:2])
            yield from ((classes[label], colours[label]) for label in labels)
        else:
            draw_instances(ax, boxes.tolist(), None, labels, colours, ['ignored'] * len(boxes), image.shape[:2],
                           linestyle='--')
