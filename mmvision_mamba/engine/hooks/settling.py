"""Leaves what an earlier run wrote to the folder as it is until this run has shown that it can train."""
from mmengine.hooks import Hook


class SettlingHook(Hook):
    """Calls `MambaVisionRunner.settle` after the first iteration: data, config and weights are past their checks then.

    `MambaVisionRunner` adds this hook to every run.
    """
    priority = 'ABOVE_NORMAL'  # ahead of the checkpoint hook

    def before_train(self, runner) -> None:
        self._settled = False

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        if not self._settled:
            self._settled = True
            runner.settle()
