"""What the analyses of all tasks share: plain values, and which images are looked at."""
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

MOST_CURVES = 100  # classes that have curves of their own
MOST_MATRIX = 200  # classes whose confusion matrix is kept
_DIGITS = 5  # of shares


class Picked(NamedTuple):
    """An image that a report shows.

    Attributes:
        index: among those of the evaluation.
        role: 'worst', 'best' or 'random'.
        note: what is said of it.
    """
    index: int
    role: str
    note: str


def picked(qualities: Sequence[tuple[float, float, str]], seed: int, number: int) -> list[Picked]:
    """The worst and best images, and random others.

    Args:
        qualities: of each image: from 0 to 1, NaN where there is nothing to judge; a further order of equal ones; what
            is said of it.
        seed: of the random choice.
        number: of each role, at most.
    """
    judged = sorted((i for i, one in enumerate(qualities) if not math.isnan(one[0])), key=lambda i: qualities[i][:2])
    half = math.ceil(len(judged) / 2)  # none is among the best and the worst
    worst = [i for i in judged[:min(number, half)] if qualities[i][0] < 1]
    best = [i for i in reversed(judged) if i not in worst][:min(number, len(judged) - len(worst))]
    others = [i for i in np.random.default_rng(seed).permutation(len(qualities)).tolist() if i not in {*worst, *best}]
    return [Picked(i, role, qualities[i][2]) for role, chosen in (
        ('worst', worst), ('best', best), ('random', others[:number])) for i in chosen]


def listed(values: np.ndarray) -> list[float | None]:
    return [rounded(float(value)) for value in values]


def rounded(value: Any) -> Any:
    """Plain values for JSON: numbers with five decimal places, those that are none as None."""
    if isinstance(value, dict):
        return {key: item if key == 'score_thr' else rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(item) for item in value]
    if isinstance(value, float | np.floating):
        return round(float(value), _DIGITS) if math.isfinite(value) else None
    return int(value) if isinstance(value, np.integer) else value
