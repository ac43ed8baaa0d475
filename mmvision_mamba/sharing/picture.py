"""The picture on a model's card: its predictions on the first image of the config's test data."""
import numpy as np
from mmengine.registry import DATASETS

from ..errors import UserError
from ..inference.inferencer import PICTURE_SIDE, Inferencer
from ..preflight.datasets import datasets_of


def example(inferencer: Inferencer) -> np.ndarray | None:
    """The first test image with the model's predictions, uint8 ``(H, W, 3)``, RGB; None where there are no data."""
    try:
        _, dataset, _ = datasets_of(inferencer.cfg, 'test')[0]
        first = DATASETS.build(dict(dataset, pipeline=[], _scope_=inferencer.scope))[0]
        image = inferencer.read(first['img_path'])
        return inferencer.draw(image, inferencer.predict(image)[0], side=PICTURE_SIDE)
    except (UserError, OSError, LookupError, ValueError, AssertionError):  # whatever a data set without files raises
        return None
