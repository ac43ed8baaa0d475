"""Says which files hold weights that are no numbers."""
from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

from ..printable import shown
from ..processes import warn_once

_WEIGHTS = ('state_dict', 'ema_state_dict', 'model')
_said: set[str] = set()


def warn_where_not_finite(checkpoint: Any, file: str) -> None:
    """Log a warning, once for a file, where weights in it are NaN or infinite.

    That is no error: one may want to look at them, and a mask in a model may hold −∞. It takes a read of the weights,
    0.05 to 0.1 s a gigabyte on one CPU core.

    Args:
        checkpoint: as `read_checkpoint` returns it. Optimisers and the rest of a run's state are not looked at.
        file: its name.
    """
    count, first = 0, None
    for key, value in _weights(checkpoint):
        if value.is_floating_point() and value.numel() and not _is_finite(value):
            count += value.numel() - int(value.isfinite().sum())
            first = first or key
    if first is None:
        return
    text = (f'{shown(file)}: {count} of its weights are NaN or infinite, the first in {shown(first, 100)}: what a '
            'model computes with them is, too, and it finds nothing. Most likely the training that wrote them had '
            'diverged: take an earlier checkpoint.')
    if text not in _said:
        _said.add(text)
        warn_once(text)


def _weights(checkpoint: Any) -> Iterator[tuple[str, Tensor]]:
    """(name, tensor) of the weights in a checkpoint."""
    if isinstance(checkpoint, Mapping):
        states = [checkpoint[key] for key in _WEIGHTS if isinstance(checkpoint.get(key), Mapping)]
        for state in states or [checkpoint]:
            yield from ((key, value) for key, value in state.items() if isinstance(value, Tensor))


def _is_finite(value: Tensor) -> bool:
    """Whether all elements are; unlike `isfinite().all()` it makes no tensor of that size."""
    return all(bool(end.isfinite()) for end in value.detach().aminmax())  # NaN passes through both
