"""What to do when training diverges."""
import contextlib
import json
import math
import os
from collections import deque
from statistics import median

import torch
from mmengine.dist import all_gather_object, all_reduce, is_main_process
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapper
from mmengine.registry import HOOKS

from ..errors import ConfigError, DivergenceError
from .loops import Resumable, RolledBack
from .safe_files import write_text

ACTIONS = ('stop', 'rollback', 'skip')
_RATES = ('lr', 'initial_lr', 'max_lr', 'min_lr')


@HOOKS.register_module()
class DivergenceHook(Hook):
    """Looks at loss and gradients before each update of the weights, on all processes alike, and acts on divergence.

    Training diverges where

    - the loss, averaged over the processes, is NaN or infinite;
    - a gradient is, unless a loss scaler (float16) looks for that itself: it skips such steps and lowers its scale;
    - the loss exceeds `factor` times its median over the last `window` iterations, `patience` iterations in a row.
      Until `window` iterations have passed, and where the median isn't positive, only the first two count.

    A JSON file in `WORK_DIR/divergence` then tells the iteration, the losses, the learning rates, the gradients' norms
    and the images of each process.

    Args:
        action: 'stop' raises DivergenceError. 'rollback' returns to the last good checkpoint with learning rates times
            `lr_factor`, once more with each further attempt from the same one; iteration-based training goes on with
            the next batches, epoch-based training begins its epoch again. 'skip' leaves the batch out. Default: 'stop'.
        factor: see above; None: only what is not finite counts. Default: 10.
        window: iterations. Default: 100.
        patience: iterations. Default: 10.
        lr_factor: for 'rollback'. Default: 0.5.
        max_attempts: rollbacks to the same checkpoint, or batches left out in a row, after which training stops.
            Default: 5.
    """

    priority = 'ABOVE_NORMAL'  # ahead of the logger and of the checkpoint hook

    def __init__(self, action: str = 'stop', factor: float | None = 10., window: int = 100, patience: int = 10,
                 lr_factor: float = 0.5, max_attempts: int = 5):
        if action not in ACTIONS:
            raise ValueError(f"action must be one of {', '.join(ACTIONS)}, got '{action}'")
        self.action, self.factor, self.patience = action, factor, patience
        self.lr_factor, self.max_attempts = lr_factor, max_attempts
        self._losses: deque[float] = deque(maxlen=window)
        self._streak = self._attempts = 0
        self._target: str | None = None  # of the last rollback
        self._batch = self._log_vars = None
        self._pending: list[torch.Tensor] = []  # losses since the last update of the weights

    def before_train(self, runner) -> None:
        if self.action == 'rollback' and not isinstance(runner.train_loop, Resumable):
            raise ConfigError(f'--on-divergence rollback: {type(runner.train_loop).__name__} can not be set back; '
                              'train with EpochBasedTrainLoop or IterBasedTrainLoop')
        wrapper = runner.optim_wrapper
        if not isinstance(wrapper, OptimWrapper):
            return  # several optimisers: `after_train_iter` looks at the losses
        model, update, step = _bare(runner.model), wrapper.update_params, wrapper.step
        parse = model.parse_losses

        def parse_losses(losses):
            total, self._log_vars = parse(losses)
            return total, self._log_vars

        def update_params(loss, *args, **kwargs):
            self._pending.append(loss.detach().float())
            update(loss, *args, **kwargs)

        def guarded_step(**kwargs):
            if not (problem := self._problem(runner)):
                step(**kwargs)
            else:
                self._act(runner, problem)

        model.parse_losses, wrapper.update_params, wrapper.step = parse_losses, update_params, guarded_step

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        self._batch = data_batch

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        if isinstance(runner.optim_wrapper, OptimWrapper):
            return
        losses = {k: float(v) for k, v in (outputs or {}).items() if isinstance(v, (float, torch.Tensor))}
        finite = torch.tensor(float(all(map(math.isfinite, losses.values()))))
        all_reduce(finite, 'min')
        if not finite:
            self._log_vars = losses
            self._stop(self._report(runner, 'the loss is not finite'), _newest(runner))

    def before_save_checkpoint(self, runner, checkpoint) -> None:
        state = checkpoint['state_dict']  # whole tensors, also where the model's are sharded
        bad = [name for name, _ in _bare(runner.model).named_parameters()
               if name in state and not torch.isfinite(state[name]).all()]
        if bad:
            self._stop(f'{len(bad)} parameters are not finite after iteration {runner.iter + 1}, {bad[0]} the first.',
                       getattr(getattr(runner, 'checkpoint_hook', None), 'last_ckpt', None))

    def _problem(self, runner) -> str | None:
        """What is wrong with the losses and gradients at hand; the same on all processes."""
        loss = torch.stack(self._pending or [torch.zeros(())]).mean()
        self._pending = []
        all_reduce(loss, 'mean')
        loss = loss.item()
        if not math.isfinite(loss):
            return 'the loss is not finite'
        if not hasattr(runner.optim_wrapper, 'loss_scaler') and not math.isfinite(_norm(runner.model.parameters())):
            return 'the gradient is not finite'
        usual = median(self._losses) if len(self._losses) == self._losses.maxlen else 0.
        self._streak = self._streak + 1 if self.factor and 0 < usual * self.factor < loss else 0
        runner.suspicions = self._streak
        if not self._streak:
            self._losses.append(loss)
        if self._streak >= self.patience:
            return (f'the loss has been more than {self.factor:g} times its median of {usual:.4g} for '
                    f'{self._streak} iterations')
        if self.action == 'skip':
            self._attempts = 0
        return None

    def _act(self, runner, problem: str) -> None:
        what = self._report(runner, problem)
        self._attempts += 1
        good = runner.iter + 1 - self._streak  # later checkpoints may be damaged
        if self.action == 'stop' or self._attempts > self.max_attempts:
            self._stop(what, _newest(runner, good))
        if self.action == 'skip':
            runner.optim_wrapper.zero_grad()
            runner.logger.warning(f'{what}\nIts batch is left out.')
            return
        path = runner.roll_back(good)
        if path is None:
            self._stop(what, None)
        if path != self._target:
            self._target, self._attempts = path, 1
        rate = self.lr_factor ** self._attempts
        _scale_rates(runner, rate)
        self._streak = runner.suspicions = 0
        runner.logger.warning(f'{what}\nRolled back to {path}, learning rates times {rate:g}.')
        raise RolledBack

    def _report(self, runner, problem: str) -> str:
        """Write what is known to a file; returns the first line to show."""
        step = runner.iter + 1
        losses = {k: float(v.detach().float().mean()) if isinstance(v, torch.Tensor) else v
                  for k, v in (self._log_vars or {}).items()}
        processes = all_gather_object(dict(losses=losses, images=_images(self._batch)))
        scale = runner.optim_wrapper.loss_scaler.get_scale() if hasattr(runner.optim_wrapper, 'loss_scaler') else 1.
        report = dict(
            iteration=step, epoch=runner.epoch + 1, problem=problem, action=self.action,
            learning_rates=runner.optim_wrapper.get_lr(), gradient_norm=_norm(runner.model.parameters()) / scale,
            gradient_norms={name: _norm(module.parameters()) / scale
                            for name, module in _bare(runner.model).named_children()},
            processes=processes)
        path = os.path.join(runner.work_dir, 'divergence', f'iter_{step}.json')
        if is_main_process():
            with contextlib.suppress(OSError):  # a full disk
                os.makedirs(os.path.dirname(path), exist_ok=True)
                write_text(path, json.dumps(_strict(report), indent=2) + '\n')
        shown = ', '.join(f'{k} = {v:.4g}' for k, v in losses.items())
        return f'{problem} at iteration {step}: {shown}; see {path}.'

    @staticmethod
    def _stop(what: str, last: str | None):
        raise DivergenceError(f'{what}\nTraining stopped; the last good checkpoint is {last or "none yet"}. Lower the '
                              'learning rate, clip gradients (optim_wrapper.clip_grad), train without --amp, or go on '
                              'with --on-divergence.')


def _bare(model):
    return model.module if is_model_wrapper(model) else model


def _newest(runner, before: int | None = None) -> str | None:
    find = getattr(runner, 'newest_checkpoint', None)  # another runner may have none
    return find(before) if find else runner.message_hub.runtime_info.get('last_ckpt')


def _norm(parameters) -> float:
    """The 2-norm of the gradients; all processes have to call it, as they may be sharded."""
    gradients = [p.grad.detach() for p in parameters if p.grad is not None]
    if not gradients:
        return 0.
    norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
    return (norm.full_tensor() if hasattr(norm, 'full_tensor') else norm).item()


def _scale_rates(runner, factor: float) -> None:
    """Multiply the learning rates by `factor`: present ones, and those that schedulers compute theirs from."""
    for group in runner.optim_wrapper.optimizer.param_groups:
        group.update({key: group[key] * factor for key in _RATES if key in group})
    for scheduler in runner.param_schedulers or []:
        if scheduler.param_name == 'lr' and hasattr(scheduler, 'base_values'):
            scheduler.base_values = [value * factor for value in scheduler.base_values]


def _images(batch) -> list[str]:
    """The paths of a batch's images, as mmdet, mmseg and mmpretrain pack them; else their ids."""
    if not isinstance(batch, dict):
        return []
    if samples := batch.get('data_samples'):
        metas = [getattr(sample, 'metainfo', {}) for sample in samples if not isinstance(sample, dict)]
        return [str(meta.get('img_path', meta.get('img_id', 'unknown'))) for meta in metas]
    return [str(path) for path in batch.get('img_path', [])]


def _strict(value):
    """JSON has no NaN and no infinity: as text."""
    if isinstance(value, dict):
        return {k: _strict(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_strict(v) for v in value]
    return value if not isinstance(value, float) or math.isfinite(value) else str(value)
