"""mmengine's training loops, which a resumed run enters where it left them, also in the middle of an epoch."""
from mmengine.registry import LOOPS
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop

from .data_loader import ResumableDataLoader


class RolledBack(Exception):
    """The run was set back to a checkpoint in the middle of an iteration, which the loop is to leave."""


class Resumable:
    """What both loops share.

    Attributes:
        validated: iteration after which the last validation was completed; None: not known.
    """
    validated: int | None = None

    def _validate(self, done: int, all_: int) -> None:
        """Validate if it is time to, after `done` epochs or iterations out of `all_`."""
        self._decide_current_val_interval()
        if (self.runner.val_loop is not None and done >= self.val_begin
                and (done % self.val_interval == 0 or done == all_)):
            self.runner.val_loop.run()

    def _validate_if_missed(self, done: int, all_: int) -> None:
        """A checkpoint is written before the validation that is due with it: the run may have ended in between."""
        if done and self.validated is not None and self.validated != self._iter:
            self._validate(done, all_)


@LOOPS.register_module()
class ResumableEpochBasedTrainLoop(Resumable, EpochBasedTrainLoop):
    """`EpochBasedTrainLoop`; begins in the middle of the epoch where its data loader says so."""

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
    """`IterBasedTrainLoop`; skips what was trained on already without loading it."""

    def run(self):
        if not isinstance(self.dataloader, ResumableDataLoader):
            return super().run()
        self.runner.call_hook('before_train')
        self.runner.call_hook('before_train_epoch')
        self.dataloader_iterator._epoch = self.dataloader.passes
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


RESUMABLE = {
    'EpochBasedTrainLoop': 'ResumableEpochBasedTrainLoop',
    'IterBasedTrainLoop': 'ResumableIterBasedTrainLoop',
}
