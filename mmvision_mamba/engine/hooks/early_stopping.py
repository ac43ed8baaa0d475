"""Early stopping that a resumed run goes on with, by the metric of the best checkpoint where none is named."""
import math

from mmengine.hooks import EarlyStoppingHook
from mmengine.registry import HOOKS

from ...errors import ConfigError
from ..loops import has_train_loop
from ..val_loss import main_metric
from .safe_checkpoint import SafeCheckpointHook, is_measured

AUTO = 'auto'


@HOOKS.register_module()
class ResumableEarlyStoppingHook(EarlyStoppingHook):
    """mmengine's `EarlyStoppingHook`, with its options, whose best score and count are kept in checkpoints.

    A run that it ended, resumed, ends again at once, unless the config has other limits now. At its end the log says
    why, and which checkpoint is the best. `MambaVisionRunner` builds this hook for configs that name mmengine's.

    Args:
        monitor: name of a metric, or 'auto': the one that the checkpoint hook's `save_best` goes by.
        rule, **options: as of `EarlyStoppingHook`. With 'auto', a validation that has nothing to measure (COCO's -1, a
            mean over no class) does not count.

    Raises:
        ConfigError: at the first validation, with 'auto': it can't be told whether more of the metric is better.
    """
    priority = 'LOW'  # ahead of the checkpoint hook, which may save right after a validation
    _last_score = math.nan
    _stopped = False
    _here = False  # stopped by this run, not by the one that it resumed

    def __init__(self, monitor: str = AUTO, rule: str | None = None, **options):
        self._chosen, self._auto = rule, monitor == AUTO
        super().__init__(monitor, rule or ('greater' if self._auto else None), **options)

    def before_run(self, runner) -> None:
        if has_train_loop(runner):  # else mmengine's hook builds one, with its data, to validate or to test
            super().before_run(runner)

    def after_val_epoch(self, runner, metrics) -> None:
        if not has_train_loop(runner):
            return
        if self._auto:
            monitor = self._main(runner, metrics)
            if monitor not in metrics or not is_measured(metrics[monitor], self._use(monitor)):
                return
        if self.monitor in metrics:
            self._last_score = float(metrics[self.monitor])
        super().after_val_epoch(runner, metrics)
        self._stopped = self._here = bool(runner.train_loop.stop_training)

    def after_train(self, runner) -> None:
        if not self._here:
            return
        hook = getattr(runner, 'checkpoint_hook', None)
        if isinstance(hook, SafeCheckpointHook):
            hook.save_ended(runner)
        unit, done, end = ('epoch', runner.epoch, runner.max_epochs) if runner.epoch else (
            'iteration', runner.iter, runner.max_iters)
        best = next((value for key, value in runner.message_hub.runtime_info.items()
                     if key.startswith('best_ckpt') and value), None)
        why = (f'{self.monitor} is {self._last_score}' if not math.isfinite(self._last_score) else
               f'{self.monitor} has not been better than {self.best_score:.4g} in {self.wait_count} '
               f'validation{"s" * (self.wait_count != 1)}' if self.wait_count >= self.patience else
               f'{self.monitor} has reached {self._last_score:.4g}')
        runner.logger.warning(f'Training ended early, after {unit} {done} of {end}: {why}.'
                              + (f' The best checkpoint is {best}.' if best else ''))

    def resume_state(self) -> dict:
        """Numbers that a checkpoint keeps, see `MambaVisionRunner.resume_state`."""
        return dict(wait_count=self.wait_count, best_score=float(self.best_score), last_score=self._last_score,
                    stopped=self._stopped, monitor=self.monitor)

    def load_resume_state(self, runner, state: dict) -> None:
        """The inverse of `resume_state`; of another metric nothing is taken."""
        monitor = state.get('monitor', self.monitor)
        if self._auto and monitor != AUTO:
            wanted = self._main(runner, {monitor: None})
            if wanted == monitor:
                self._use(monitor)
        if monitor != self.monitor:
            return
        self.wait_count, self.best_score = state['wait_count'], state['best_score']
        self._last_score = score = state['last_score']
        reached = self.stopping_threshold is not None and self.rule_map[self.rule](score, self.stopping_threshold)
        broken = self.check_finite and not math.isfinite(score)
        self._stopped = state['stopped'] and (self.wait_count >= self.patience or reached or broken)
        if self._stopped:
            runner.train_loop.stop_training = True
            runner.logger.warning(f'{self.monitor} had ended this training early: nothing is left to train. To train '
                                  'on, raise patience of EarlyStoppingHook, or resume without it.')

    @staticmethod
    def _main(runner, metrics) -> str | None:
        """The metric that the best checkpoint goes by."""
        keys = getattr(getattr(runner, 'checkpoint_hook', None), 'key_indicators', None) or [AUTO]
        return keys[0] if keys[0] != AUTO else main_metric(metrics)

    def _use(self, monitor: str) -> str:
        """Go by a metric from now on; returns its rule."""
        if monitor == self.monitor:
            return self.rule
        try:
            rule = self._chosen or self._init_rule(monitor)
        except ValueError:
            raise ConfigError(f'EarlyStoppingHook: is more or less of {monitor} better? Set rule=\'greater\' or '
                              '\'less\' in it, and in the checkpoint hook') from None
        if rule != self.rule:
            self.min_delta = -self.min_delta
            self.best_score = math.inf if rule == 'less' else -math.inf
        self.monitor, self.rule = monitor, rule
        return rule
