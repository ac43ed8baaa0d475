"""mmengine's training loops, resumable in the middle of an epoch."""
import time
from collections.abc import Iterator

from mmengine.hooks import IterTimerHook
from mmengine.registry import LOOPS
from mmengine.runner import BaseLoop, EpochBasedTrainLoop, IterBasedTrainLoop, Runner

from .data_loader import ResumableDataLoader


class RolledBack(Exception):
    """Raised in an iteration that returned the run to an earlier checkpoint; the loop abandons the iteration."""


def has_train_loop(runner: Runner) -> bool:
    """Whether a runner trains or has trained; one that validates or tests alone has no loop for it."""
    # mmengine 0.10.7 has no seam here: the property `train_loop` builds a loop where there is none.
    return isinstance(runner._train_loop, BaseLoop)


class Resumable:
    """Mixin of the two loops: validates when due, also where a killed run missed it.

    Attributes:
        validated: iteration after which the last validation ended; None: unknown.
    """
    validated: int | None = None

    # mmengine 0.10.7 has no seam here: whether validation is due is decided inside `run`, from private counters.
    def _validate(self, done: int, total: int) -> None:
        """Validate if that is due after `done` of `total` epochs or iterations."""
        self._decide_current_val_interval()
        if (self.runner.val_loop is not None and done >= self.val_begin
                and (done % self.val_interval == 0 or done == total)):
            self.runner.val_loop.run()
            # mmengine 0.10.7 has no seam here: its next iteration would count the time since the last image was tested.
            for hook in self.runner.hooks:
                if isinstance(hook, IterTimerHook):
                    hook.t = time.time()

    def _validate_if_missed(self, done: int, total: int) -> None:
        """Validate at the start of a resumed run that was killed between its checkpoint and the validation after it."""
        if done and self.validated is not None and self.validated != self._iter:
            self._validate(done, total)


@LOOPS.register_module()
class ResumableEpochBasedTrainLoop(Resumable, EpochBasedTrainLoop):
    """`EpochBasedTrainLoop` that begins in the middle of an epoch where its data loader says so."""

    def run(self):
        if not isinstance(self.dataloader, ResumableDataLoader):
            return super().run()
        self.runner.call_hook('before_train')
        if not self.dataloader.start:
            self.runner.restore_random_state()
            self._validate_if_missed(self._epoch, self._max_epochs)
        while self._epoch < self._max_epochs and not self.stop_training:
            try:
                self.run_epoch()
            except RolledBack:
                continue
            self._validate(self._epoch, self._max_epochs)
        self.runner.call_hook('after_train')
        return self.runner.model

    def run_epoch(self) -> None:
        if not isinstance(self.dataloader, ResumableDataLoader):
            return super().run_epoch()
        self.runner.call_hook('before_train_epoch')
        self.runner.restore_random_state()
        self.runner.model.train()
        for index, batch in enumerate(self.dataloader, self.dataloader.start):
            self.run_iter(index, batch)
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1


@LOOPS.register_module()
class ResumableIterBasedTrainLoop(Resumable, IterBasedTrainLoop):
    """`IterBasedTrainLoop` that skips the batches of earlier training without loading them."""

    def run(self):
        if not isinstance(self.dataloader, ResumableDataLoader):
            return super().run()
        self.runner.call_hook('before_train')
        self.runner.call_hook('before_train_epoch')
        self.dataloader_iterator = self._pass_after_pass()  # mmengine's counts passes from 0, also when resumed
        self.runner.restore_random_state()
        self._validate_if_missed(self._iter, self._max_iters)
        while self._iter < self._max_iters and not self.stop_training:
            self.runner.model.train()
            try:
                self.run_iter(next(self.dataloader_iterator))
            except RolledBack:
                continue
            self._validate(self._iter, self._max_iters)
        self.runner.call_hook('after_train_epoch')
        self.runner.call_hook('after_train')
        return self.runner.model

    def _pass_after_pass(self) -> Iterator:
        """Yield batches without end; each pass over the data has its own order."""
        while True:
            self.dataloader.set_epoch()
            yield from self.dataloader


RESUMABLE = {  # mmengine's class -> its resumable one
    'EpochBasedTrainLoop': 'ResumableEpochBasedTrainLoop',
    'IterBasedTrainLoop': 'ResumableIterBasedTrainLoop',
}
