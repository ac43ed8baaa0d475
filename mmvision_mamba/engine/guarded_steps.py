"""Optimiser wrappers that ask a guard before each update of the weights."""
from collections.abc import Callable

from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS
from torch import Tensor


class GuardedSteps:
    """Mixin for optimiser wrappers, listed before mmengine's class: asks `guard` before each update of the weights.

    Attributes:
        guard: called before an update, with the losses whose gradients it uses. Returns whether to make the update.
            Default: None, all are made.
        losses: detached losses of the backward passes since the last update.
    """
    guard: Callable[[tuple[Tensor, ...]], bool] | None = None
    losses: tuple[Tensor, ...] = ()

    def update_params(self, loss: Tensor, *args, **kwargs) -> None:
        self.losses = *self.losses, loss.detach()
        super().update_params(loss, *args, **kwargs)

    def step(self, **kwargs) -> None:
        losses, self.losses = self.losses, ()
        if self.guard is None or self.guard(losses):
            super().step(**kwargs)


@OPTIM_WRAPPERS.register_module()
class GuardedOptimWrapper(GuardedSteps, OptimWrapper):
    """`OptimWrapper` with a guard; `MambaVisionRunner` builds it for configs that say `OptimWrapper`."""


@OPTIM_WRAPPERS.register_module()
class GuardedAmpOptimWrapper(GuardedSteps, AmpOptimWrapper):
    """`AmpOptimWrapper` with a guard; `MambaVisionRunner` builds it for configs that say `AmpOptimWrapper`."""


def guarded(type_: type | str) -> type | str:
    """The guarded class for mmengine's own in a config's `type`; any other, one of the same name too, stays."""
    classes: dict[type | None, type] = {OptimWrapper: GuardedOptimWrapper, AmpOptimWrapper: GuardedAmpOptimWrapper}
    return classes.get(OPTIM_WRAPPERS.get(type_) if isinstance(type_, str) else type_, type_)
