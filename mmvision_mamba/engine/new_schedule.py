"""Resumes with the config's learning rate and schedule in the place of the checkpoint's."""
import contextlib
import copy
import warnings
from collections.abc import Iterator, Mapping, Sequence
from types import SimpleNamespace
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
    if epochs and epochs != iterations // per_epoch:  # of another number of images
        per_epoch = max(iterations // epochs, 1)
    with contextlib.ExitStack() as reduced, warnings.catch_warnings():
        warnings.simplefilter('ignore')  # no update of the weights comes between
        for optimizer in {id(one.optimizer): one.optimizer for one in stepping}.values():
            reduced.enter_context(_groups_that_differ(
                optimizer, [one for one in stepping if one.optimizer is optimizer]))
        by_iteration, by_epoch = ([one for one in stepping if bool(one.by_epoch) is kind] for kind in (False, True))
        done = 0
        for i in range(1, iterations + 1):
            for one in by_iteration:
                one.step()
            if i % per_epoch == 0 and done < epochs:
                done += 1
                for one in by_epoch:
                    one.step()


@contextlib.contextmanager
def _groups_that_differ(optimizer: Any, schedulers: Sequence[Any]) -> Iterator[None]:
    """Within it, the schedulers of an optimiser see one of its groups of parameters for each value of what they read.

    A step costs as much as there are groups, and constructors make hundreds, one a parameter, of few rates. Groups of
    equal values have equal ones after each step. Schedulers of other making may read more, and see all.
    """
    names = {one.param_name for one in schedulers} | {'betas' for one in schedulers if getattr(one, 'use_betas', False)}
    groups = optimizer.param_groups
    read = [{key: value for key, value in group.items() if any(name in key for name in names)} for group in groups]
    of_libraries = all(type(one).__module__.startswith(('mmengine.', 'mmdet.', 'mmseg.')) for one in schedulers)
    if not of_libraries or not all(isinstance(value, int | float | tuple) for one in read for value in one.values()):
        yield
        return
    places: dict[str, int] = {}  # of each value among the few groups
    like = [places.setdefault(repr(sorted(one.items())), len(places)) for one in read]
    few = [read[like.index(place)] for place in range(len(places))]
    stand_in = SimpleNamespace(param_groups=few, step=optimizer.step, _global_step=0)
    bases = [one.base_values for one in schedulers]
    for one in schedulers:
        one.optimizer, one.base_values = stand_in, [one.base_values[like.index(place)] for place in range(len(few))]
    try:
        yield
    finally:
        for group, place in zip(groups, like):
            group.update(few[place])
        for one, base_values in zip(schedulers, bases):
            one.optimizer, one.base_values = optimizer, base_values
            one._last_value = [one._last_value[place] for place in like]
