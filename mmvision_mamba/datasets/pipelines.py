"""Pipelines whose errors say which of their steps is missing."""
from mmengine.dataset import Compose

from ..errors import ConfigError

# What transforms take of an image's results, and the usual step that puts it there.
_MAKERS = dict(img='LoadImageFromFile', img_shape='LoadImageFromFile', ori_shape='LoadImageFromFile',
               gt_bboxes='LoadAnnotations with with_bbox=True', gt_bboxes_labels='LoadAnnotations with with_bbox=True',
               gt_ignore_flags='LoadAnnotations with with_bbox=True', gt_masks='LoadAnnotations with with_mask=True',
               gt_seg_map='LoadAnnotations', gt_panoptic_seg='LoadPanopticAnnotations', scale_factor='Resize')


def check_packed(sample: dict, place: str) -> None:
    """Raise ConfigError where what a pipeline made of an image has no `inputs` for a model.

    Args:
        sample: from the last step.
        place: of the pipeline in the config, for the message.
    """
    if 'inputs' not in sample:
        raise ConfigError(f"{place}: it gives no 'inputs' for the model: add PackDetInputs (mmdet) or PackSegInputs "
                          '(mmseg) as its last step')


class CheckedPipeline(Compose):
    """mmengine's `Compose`; where a step lacks what an earlier one should have given, the error says which.

    Args:
        pipeline: the steps are those of this one.
        place: of the pipeline in the config, for messages.

    Raises:
        ConfigError: a step raised a KeyError for a key of the results that transforms make.
    """

    def __init__(self, pipeline: Compose, place: str):
        self.transforms, self.place = pipeline.transforms, place

    def __call__(self, data: dict) -> dict | None:
        for step in self.transforms:
            try:
                result = step(data)
            except KeyError as error:
                key = error.args[0] if error.args else None
                if not isinstance(key, str) or key not in _MAKERS or key in data:
                    raise
                name = repr(step).partition('(')[0]  # of the step that a checked one wraps
                raise ConfigError(f"{self.place}: {name} takes '{key}', which no step before it gives: add "
                                  f'{_MAKERS[key]} before it') from error
            if result is None:
                return None
            data = result
        return data
