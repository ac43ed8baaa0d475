"""Predictions reduced to some of a model's classes."""
from collections.abc import Sequence

import torch
from mmengine.structures import BaseDataElement

from ..datasets.label_maps import IGNORED
from ..errors import ConfigError
from ..text import did_you_mean


def labels_of(names: Sequence[str] | None, classes: Sequence[str]) -> list[int] | None:
    """The labels of the classes named, in the order of `classes`; None for None.

    Raises:
        ConfigError: a name that `classes` does not have.
    """
    if names is None:
        return None
    for name in names:
        if name not in classes:
            raise ConfigError(f'unknown class {name!r}{did_you_mean(name, classes)}; the model knows '
                              f'{", ".join(classes)}')
    return [label for label, name in enumerate(classes) if name in names]


def keep_labels(sample: BaseDataElement, labels: Sequence[int], num_classes: int) -> BaseDataElement:
    """`sample`, changed in place: without instances of other classes than `labels`.

    Pixels of other classes become 255 in a segment map, and void (the label `num_classes`) in a panoptic one. Of a
    classifier the label is the most likely of them, and scores of others are 0.
    """
    kept = torch.tensor(labels)
    if 'pred_scores' in sample:
        scores = torch.zeros_like(sample.pred_scores)
        scores[kept] = sample.pred_scores[kept]
        sample.pred_scores, sample.pred_label = scores, scores.argmax()
    if 'pred_instances' in sample:
        sample.pred_instances = sample.pred_instances[torch.isin(sample.pred_instances.labels, kept)]
    if 'pred_sem_seg' in sample:
        key = 'data' if 'data' in sample.pred_sem_seg else 'sem_seg'  # mmseg's field, or mmdet's
        segments = sample.pred_sem_seg.get(key)
        sample.pred_sem_seg.set_field(segments.masked_fill(~torch.isin(segments, kept), IGNORED), key)
    if 'pred_panoptic_seg' in sample:
        from mmdet.evaluation import INSTANCE_OFFSET
        segments = sample.pred_panoptic_seg.sem_seg
        other = ~torch.isin(segments % INSTANCE_OFFSET, kept.to(segments))
        sample.pred_panoptic_seg.sem_seg = segments.masked_fill(other, num_classes)
    return sample


def to_draw(sample: BaseDataElement, num_classes: int) -> BaseDataElement:
    """What a visualiser draws of a prediction: of a panoptic one its map, without the boxes of the same instances.

    A map that is void everywhere is left out: mmdet's visualiser fails at it.
    """
    if 'pred_panoptic_seg' in sample:
        from mmdet.evaluation import INSTANCE_OFFSET
        sample = sample.new()
        if 'pred_instances' in sample:
            del sample.pred_instances
        if (sample.pred_panoptic_seg.sem_seg % INSTANCE_OFFSET >= num_classes).all():
            del sample.pred_panoptic_seg
    return sample
