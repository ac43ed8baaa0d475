"""What a shared model's `config.json` says."""
from typing import Any, NamedTuple

from .licence import Licence


class Shared(NamedTuple):
    """A shared model, but for its weights.

    Attributes:
        name: of its config.
        config: the settings, see `allowed.KEYS`.
        classes: their names, in the order of the labels.
        palette: an RGB triple for each.
        metrics: by name; of a model that was never tested none.
        data: what it was trained on, in a word.
        licence: of the weights.
        preprocessing: what happens to an image before the model: see `pipeline_settings`. None: see the test pipeline.
    """
    name: str
    config: dict[str, Any]
    classes: list[str]
    palette: list[list[int]]
    metrics: dict[str, float | None]
    data: str
    licence: Licence
    preprocessing: dict | None = None
