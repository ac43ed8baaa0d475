"""Leaving in good order when a cluster wants its machines back."""
import signal
import threading

import torch
from mmengine.dist import all_reduce, barrier, is_distributed
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from .safe_checkpoint_hook import SafeCheckpointHook

EXIT_CODE = 75  # EX_TEMPFAIL of sysexits.h: try again later


@HOOKS.register_module()
class PreemptionHook(Hook):
    """On SIGUSR1 saves a checkpoint after the current iteration and ends all processes with exit code 75.

    A process that gets the signal tells the others. During a validation that a checkpoint precedes, it ends at once:
    the resumed run validates again. `tools/slurm_train.sh` then has the job queued again.

    Args:
        signals: names of further signals that mean the same. Default: none.
    """

    priority = 'LOWEST'  # after a checkpoint that was due anyway

    def __init__(self, signals: tuple[str, ...] = ()):
        self._signals = [signal.SIGUSR1, *(signal.Signals[name] for name in signals)]
        self._asked = False

    def before_train(self, runner) -> None:
        main = threading.current_thread() is threading.main_thread()
        if main and isinstance(getattr(runner, 'checkpoint_hook', None), SafeCheckpointHook):
            for number in self._signals:
                signal.signal(number, self._ask)

    def _ask(self, number, frame) -> None:
        self._asked = True

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        asked = torch.tensor(float(self._asked))
        all_reduce(asked, 'max')
        if asked:
            hook = runner.checkpoint_hook
            if hook.saved_iter != runner.iter + 1:
                hook.save_now(runner)
            if is_distributed():
                barrier()
                torch.distributed.destroy_process_group()
            self._leave(runner)

    def after_val_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        # Alone: processes may validate on different numbers of batches.
        if self._asked and runner.checkpoint_hook.saved_iter == runner.iter:
            self._leave(runner)

    @staticmethod
    def _leave(runner) -> None:
        runner.logger.warning(f'Asked to leave by a signal: the checkpoint is {runner.checkpoint_hook.last_ckpt}; '
                              '--resume goes on from there.')
        raise SystemExit(EXIT_CODE)
