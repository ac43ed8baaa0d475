"""Pipelines whose errors say which of their steps is missing."""
from collections.abc import Callable
from functools import partial

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
            result = _explained(step, step, self.place, data)
            if result is None:
                return None
            data = result
        return data


class CheckedStep:
    """A step of a pipeline that is a list, as mmdet's `MultiImageMixDataset` has it; errors as of `CheckedPipeline`.

    Args:
        step: the wrapped transform; what it has besides is found here.
        place: of the pipeline in the config, for messages.
    """

    def __init__(self, step: Callable, place: str):
        self.step, self.place = step, place

    def __call__(self, data: dict) -> dict | None:
        return _explained(self.step, self.step, self.place, data)

    def __getattr__(self, name: str):
        if name == 'step' or name.startswith('__'):  # of a copy that is being made
            raise AttributeError(name)
        value = getattr(self.step, name)
        return partial(_explained, value, self.step, self.place) if name == 'get_indexes' else value

    def __repr__(self) -> str:
        return repr(self.step)


def _explained(call: Callable, step: Callable, place: str, data):
    """call(data), of a step; a KeyError for a key of the results that transforms make says what is missing."""
    try:
        return call(data)
    except KeyError as error:
        key = error.args[0] if error.args else None
        if not isinstance(key, str) or key not in _MAKERS or (isinstance(data, dict) and key in data):
            raise
        name = repr(step).partition('(')[0]  # of the step that a checked one wraps
        raise ConfigError(f"{place}: {name} takes '{key}', which no step before it gives: add {_MAKERS[key]} before "
                          'it') from error
