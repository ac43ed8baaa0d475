"""A classifier's model, test pipeline and pictures. Imported on demand, since mmcv may be missing."""
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from mmengine.dataset import Compose, default_collate
from mmengine.infer import BaseInferencer
from mmengine.structures import BaseDataElement
from torch import nn

from ..checkpoints.loaded import behind_backbone
from ..checkpoints.reading import extract_state_dict
from ..text import class_name
from .drawing import draw_classes
from .fonts import drawable
from .results import top_classes
from .toolbox_base import ToolboxBase


class ClassVisualizer:
    """Writes an image's most likely classes over it.

    Attributes:
        dataset_meta: `classes` and `palette`.
    """

    dataset_meta: Mapping[str, Any]

    def add_datasample(self, name: str, image: np.ndarray, sample: BaseDataElement, draw_gt: bool = False) -> None:
        """Draw a prediction over an image, RGB uint8 ``(H, W, 3)``."""
        rows = top_classes(sample)
        names = drawable([str(self.dataset_meta['classes'][label]) for label, _ in rows])
        colours = [self.dataset_meta['palette'][label] for label, _ in rows]
        self._image = draw_classes(image, names, colours, [score for _, score in rows])

    def get_image(self) -> np.ndarray:
        return self._image


class _ClsInferencer(BaseInferencer):
    """What mmdet and mmseg have classes of their own for."""

    def _init_pipeline(self, cfg):
        steps = cfg.test_dataloader.dataset.pipeline
        return Compose([step for step in steps if class_name(step['type']) != 'LoadImageFromFile'])

    def visualize(self, inputs: Sequence, preds: Sequence[BaseDataElement], **_) -> list[np.ndarray]:
        for image, sample in zip(inputs, preds):
            self.visualizer.add_datasample('image', image, sample)
        return [self.visualizer.get_image()] * bool(preds)

    def postprocess(self, preds: Sequence[BaseDataElement], visualization: Sequence[np.ndarray], **_) -> dict:
        return dict(predictions=preds, visualization=visualization)


class ClsToolbox(ToolboxBase, _ClsInferencer):
    """Classifier and test pipeline of a config of `ImageClassifier`."""

    def _load_weights_to_model(self, model: nn.Module, checkpoint, cfg) -> None:
        if checkpoint is not None:  # published, or of timm's layout
            state = behind_backbone(extract_state_dict(checkpoint, prefix=''), model.state_dict().keys())
            checkpoint = dict(state_dict=state, meta=checkpoint.get('meta') or {})
        super()._load_weights_to_model(model, checkpoint, cfg)

    def _init_collate(self, cfg):
        return default_collate

    def _init_visualizer(self, cfg) -> ClassVisualizer:
        return ClassVisualizer()
