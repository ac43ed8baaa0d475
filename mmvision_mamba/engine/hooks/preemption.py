"""Saves a checkpoint and exits when a cluster announces by a signal that it takes the machine back.

See also, for killed processes: safe_checkpoint.py, checkpoints/{newest,resuming,writing}.py, commands/steps/restart.py.
"""
import signal
import threading

import torch
from mmengine.dist import all_reduce, barrier, is_distributed
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from .safe_checkpoint import SafeCheckpointHook

EXIT_CODE = 75  # EX_TEMPFAIL of sysexits.h: try again later


@HOOKS.register_module()
class PreemptionHook(Hook):
    """On SIGUSR1 saves a checkpoint after the current iteration and ends all processes with exit code 75.

    A process that gets the signal tells the others. In a validation just after a checkpoint it ends at once, without
    telling them: the resumed run validates again. `tools/slurm_train.sh` then has the job queued again.

    Args:
        signals: names of further signals to act on, such as 'SIGTERM'. Default: none.
    """

    priority = 'LOWEST'  # after a checkpoint that was due anyway

    def __init__(self, signals: tuple[str, ...] = ()):
        self._signals = [signal.SIGUSR1, *(signal.Signals[name] for name in signals)]
        self._signalled = False

    def before_train(self, runner) -> None:
        in_main_thread = threading.current_thread() is threading.main_thread()
        if in_main_thread and isinstance(getattr(runner, 'checkpoint_hook', None), SafeCheckpointHook):
            for number in self._signals:
                signal.signal(number, self._on_signal)

    def _on_signal(self, number, frame) -> None:
        self._signalled = True

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        signalled = torch.tensor(float(self._signalled))
        all_reduce(signalled, 'max')
        if signalled:
            hook = runner.checkpoint_hook
            if hook.saved_iter != runner.iter + 1:
                hook.save_now(runner)
            if is_distributed():
                barrier()
                torch.distributed.destroy_process_group()
            self._exit(runner)

    def after_val_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        # Not asking the others, since processes may validate on different numbers of batches.
        if self._signalled and runner.checkpoint_hook.saved_iter == runner.iter:
            self._exit(runner)

    @staticmethod
    def _exit(runner) -> None:
        runner.logger.warning(f'Asked to leave by a signal: the checkpoint is {runner.checkpoint_hook.last_ckpt}; '
                              '--resume goes on from there.')
        raise SystemExit(EXIT_CODE)
