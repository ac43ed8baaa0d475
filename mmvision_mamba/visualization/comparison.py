"""Draws ground truth beside prediction, for instance and semantic segmentation."""
from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.patches import Patch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import DATASETS, MODELS, init_default_scope
from mmengine.structures import BaseDataElement

from ..backbones.weights import load_fitting
from ..checkpoints.reading import read_checkpoint
from ..inference.images import read_image
from .figures import draw_instances, new_figure, save, show_grey

TILE = 2.4  # inches, one picture's side


@torch.no_grad()
def predict(config: Config, checkpoint: str | os.PathLike, indices: Sequence[int],
            device: str = 'cpu') -> tuple[list[BaseDataElement], dict]:
    """Run a detector or segmentor on images of its config's test data set.

    Args:
        config: a detection or segmentation config.
        checkpoint: its weights.
        indices: positions in the test data set.
        device: where to run. Default: 'cpu'.

    Returns:
        Data samples in the images' own coordinates, with ground truth and prediction, and the data set's meta
        information.
    """
    init_default_scope(config.default_scope)
    model = MODELS.build(config.model)
    load_fitting(model, read_checkpoint(checkpoint), str(checkpoint))
    dataset = DATASETS.build(config.test_dataloader.dataset)
    batch = pseudo_collate([dataset[i] for i in indices])
    return model.to(device).eval().test_step(batch), dataset.metainfo


def draw_comparison(out: str | os.PathLike, detections: Sequence[BaseDataElement],
                    segmentations: Sequence[BaseDataElement], classes: Sequence[str],
                    palette: Sequence[Sequence[int]], score_thr: float = 0.5) -> None:
    """Draw one row per image: itself, true and predicted instances, true and predicted semantic map.

    Args:
        out: the PNG to write.
        detections, segmentations: samples from `predict`, of the same images.
        classes, palette: names and RGB colours of the semantic classes; the first, the background, has no instances.
        score_thr: instances with a lower score are not drawn. Default: 0.5.
    """
    titles = ('image', 'instances: truth', 'instances: prediction', 'semantic map: truth', 'semantic map: prediction')
    colours = np.array(palette) / 255
    figure = new_figure(len(titles) * TILE, len(detections) * TILE + 0.7)
    axes = figure.subplots(len(detections), len(titles), squeeze=False)
    for ax, title in zip(axes[0], titles):
        ax.set_title(title, fontsize=10)
    for row, detection, segmentation in zip(axes, detections, segmentations):
        image = read_image(detection.img_path)[..., ::-1]
        row[0].imshow(image, interpolation='nearest')
        truth, predicted = detection.gt_instances, detection.pred_instances
        _draw_instances(row[1], image, truth.bboxes, truth.masks.masks, truth.labels, colours[1:])
        predicted = predicted[predicted.scores >= score_thr]
        _draw_instances(row[2], image, predicted.bboxes, predicted.masks, predicted.labels, colours[1:],
                        predicted.scores)
        for ax, label_map in zip(row[3:], (segmentation.gt_sem_seg, segmentation.pred_sem_seg)):
            ax.imshow(colours[label_map.data[0].cpu().numpy()], interpolation='nearest')
    for ax in axes.flat:
        ax.set_axis_off()
    figure.legend(handles=[Patch(color=colour, label=name) for name, colour in zip(classes, colours)],
                  loc='outside lower center', ncols=len(classes), fontsize=9, frameon=False)
    save(figure, out)


def _draw_instances(ax: Axes, image: np.ndarray, boxes: torch.Tensor, masks: torch.Tensor | np.ndarray,
                    labels: torch.Tensor, colours: np.ndarray, scores: torch.Tensor | None = None) -> None:
    """Boxes `(n, 4)` as x1, y1, x2, y2 and masks `(n, H, W)` over the RGB image `(H, W, 3)` in grey; scores in %."""
    show_grey(ax, image)
    draw_instances(ax, boxes.tolist(), masks, labels, colours, shape=image.shape[:2],
                   texts=None if scores is None else [f'{100 * score:.0f}' for score in scores])
