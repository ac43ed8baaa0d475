"""Resumes with the config's learning rate and schedule in the place of the checkpoint's."""
import copy
import warnings
from collections.abc import Mapping, Sequence
from typing import Any


def settings_of(wrapper: Any) -> list[tuple[Any, list[dict]]]:
    """For each optimiser wrapper (mmengine's `OptimWrapperDict` has several) the settings of its groups of parameters.

    To be asked for before a checkpoint is loaded, when they are the config's.
    """
    wrappers = [wrapper] if hasattr(wrapper, 'optimizer') else list(wrapper.values())
    return [(single, [{key: copy.copy(value) for key, value in group.items() if key != 'params'}
                      for group in single.param_groups]) for single in wrappers]


def use_settings(kept: Sequence[tuple[Any, list[dict]]]) -> None:
    """Put the settings of `settings_of` in the place of those that a checkpoint brought; what it says of single
    parameters, such as moments, stays."""
    for wrapper, groups in kept:
        for group, settings in zip(wrapper.param_groups, groups):
            group.update(settings)


def advance(schedulers: Sequence[Any] | Mapping[str, Sequence[Any]] | None, iterations: int, epochs: int,
            per_epoch: int) -> None:
    """Bring new schedulers to where they would be after so much training, step by step, as they multiply rates.

    Schedulers that go by metrics of validation begin anew.

    Args:
        schedulers: a list of mmengine's, or several by name; None: none.
        iterations, epochs: that have been trained; epochs are 0 in a loop without them.
        per_epoch: iterations of an epoch of this run.
    """
    several = schedulers.values() if isinstance(schedulers, Mapping) else [schedulers or []]
    stepping = [one for some in several for one in some if not getattr(one, 'need_val_args', False)]
    by_iteration, by_epoch = ([one for one in stepping if bool(one.by_epoch) is kind] for kind in (False, True))
    if epochs and epochs != iterations // per_epoch:  # of another number of images
        per_epoch = max(iterations // epochs, 1)
    done = 0
    with warnings.catch_warnings():  # no update of the weights comes between
        warnings.simplefilter('ignore')
        for i in range(1, iterations + 1):
            for one in by_iteration:
                one.step()
            if i % per_epoch == 0 and done < epochs:
                done += 1
                for one in by_epoch:
                    one.step()
