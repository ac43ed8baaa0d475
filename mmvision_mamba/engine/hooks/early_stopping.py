"""Early stopping that a resumed run goes on with."""
import math

from mmengine.hooks import EarlyStoppingHook
from mmengine.registry import HOOKS


@HOOKS.register_module()
class ResumableEarlyStoppingHook(EarlyStoppingHook):
    """mmengine's `EarlyStoppingHook`, with its options, whose best score and count are kept in checkpoints.

    A run that it ended, resumed, ends again at once, unless the config has other limits now. `MambaVisionRunner` builds
    this hook for configs that say `EarlyStoppingHook`.
    """
    priority = 'LOW'  # ahead of the checkpoint hook, which may save right after a validation
    _last_score = math.nan
    _stopped = False

    def after_val_epoch(self, runner, metrics) -> None:
        if self.monitor in metrics:
            self._last_score = float(metrics[self.monitor])
        super().after_val_epoch(runner, metrics)
        self._stopped = bool(runner.train_loop.stop_training)

    def resume_state(self) -> dict:
        """Numbers that a checkpoint keeps, see `MambaVisionRunner.resume_state`."""
        return dict(wait_count=self.wait_count, best_score=float(self.best_score), last_score=self._last_score,
                    stopped=self._stopped)

    def load_resume_state(self, runner, state: dict) -> None:
        """The inverse of `resume_state`."""
        self.wait_count, self.best_score = state['wait_count'], state['best_score']
        self._last_score = score = state['last_score']
        reached = self.stopping_threshold is not None and self.rule_map[self.rule](score, self.stopping_threshold)
        broken = self.check_finite and not math.isfinite(score)
        self._stopped = state['stopped'] and (self.wait_count >= self.patience or reached or broken)
        if self._stopped:
            runner.train_loop.stop_training = True
            runner.logger.warning(f'{self.monitor} had ended this training early: nothing is left to train. To train '
                                  'on, raise patience of EarlyStoppingHook, or resume without it.')
