"""Classes that an image was not searched for, as LVIS's annotations name them: what is found of them is not wrong."""
from collections.abc import Callable, Hashable, Iterable
from typing import Any

import numpy as np

Rule = Callable[[Hashable], np.ndarray | None]


def rule_of(metrics: Iterable[Any], classes: int) -> Rule | None:
    """LVIS's rule for the images of an evaluation; None where none of its metrics is LVIS's.

    An image of LVIS is annotated for some classes alone: those that it has objects of, and its `neg_category_ids`, of
    which it has none. Of its `not_exhaustive_category_ids` some objects are annotated. The package lvis leaves out
    detections of other classes, and, of these, those without an object.

    Args:
        metrics: of the evaluation; mmdet's hold their annotations by the package lvis.
        classes: number of the model's, whose labels are the file's categories by their ids.

    Returns:
        A function: id of an image -> bool `(classes,)`, whether a detection without an object is neither right nor
        wrong; None for an image that the annotations do not have.
    """
    api = next((api for metric in metrics if (api := getattr(metric, '_lvis_api', None)) is not None), None)
    if api is None:
        return None
    categories = np.array(api.get_cat_ids())
    if len(categories) != classes:
        return None

    def unjudged(image_id: Hashable) -> np.ndarray | None:
        image = api.imgs.get(image_id)
        if image is None:
            return None
        there = [one['category_id'] for one in api.img_ann_map.get(image_id, ())]
        searched = np.isin(categories, [*there, *image['neg_category_ids']])
        return ~searched | np.isin(categories, image['not_exhaustive_category_ids'])
    return unjudged
