"""Stop where the loss is no longer a number."""
import torch
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS

from ..errors import DivergenceError


@HOOKS.register_module()
class NonFiniteLossHook(Hook):
    """Raises DivergenceError at the first iteration whose loss is NaN or infinite, naming it and the losses, and
    before a checkpoint with such weights would replace a good one."""

    priority = 'ABOVE_NORMAL'  # ahead of the logger and of CheckpointHook

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        values = {k: v for k, v in (outputs or {}).items() if isinstance(v, (float, torch.Tensor))}
        losses = {k: float(v.detach().float().mean()) if isinstance(v, torch.Tensor) else v for k, v in values.items()}
        if not all(abs(v) < float('inf') for v in losses.values()):  # NaN compares false
            shown = ', '.join(f'{k} = {v:.4g}' for k, v in losses.items())
            self._stop(runner, f'the loss is not finite at iteration {runner.iter + 1}: {shown}.')

    def before_save_checkpoint(self, runner, checkpoint):
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        bad = [name for name, p in model.named_parameters() if not torch.isfinite(p).all()]
        if bad:
            self._stop(runner, f'{len(bad)} parameters are not finite after iteration {runner.iter + 1}, '
                       f'{bad[0]} the first.')

    @staticmethod
    def _stop(runner, what: str):
        last = runner.message_hub.runtime_info.get('last_ckpt')
        raise DivergenceError(f'{what}\nTraining stopped; the last good checkpoint is {last or "none yet"}. Lower the '
                              'learning rate, clip gradients (optim_wrapper.clip_grad) or train without --amp.')
