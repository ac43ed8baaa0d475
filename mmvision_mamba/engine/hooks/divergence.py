"""Detects divergence of the training, and stops it, rolls it back or skips the batch."""
import contextlib
import functools
import json
import math
import os
import time
from collections import deque
from statistics import median

import torch
from mmengine.dist import all_gather_object, all_reduce, is_main_process
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from torch import Tensor, nn

from ...checkpoints.writing import write_text
from ...errors import ConfigError, DivergenceError
from ..guarded_steps import GuardedSteps
from ..loops import Resumable, RolledBack
from ..models import bare_model

ACTIONS = ('stop', 'rollback', 'skip')
_RATES = ('lr', 'initial_lr', 'max_lr', 'min_lr')


@HOOKS.register_module()
class DivergenceHook(Hook):
    """Checks loss and gradients before each update of the weights, in all processes alike, and acts on divergence.

    Training diverges when

    - the loss, averaged over the processes, is NaN or infinite;
    - a gradient is NaN or infinite, unless a loss scaler (float16) checks that: it skips such steps and lowers its
      scale;
    - the loss exceeds `factor` times its median over the last `window` iterations, `patience` iterations in a row.
      Until `window` iterations have passed, and where the median isn't positive, only the first two count.

    This takes an optimiser wrapper with a guard (`GuardedSteps`), which `MambaVisionRunner` builds for configs that say
    `OptimWrapper`, `AmpOptimWrapper` or `CPUAmpOptimWrapper`. With another wrapper, or several optimisers, the hook
    checks the losses after the update, for NaN and infinity alone, and the action can only be 'stop'.

    On divergence it writes a JSON file in `WORK_DIR/divergence`: the iteration, the losses, the learning rates, the
    gradients' norms and the images of each process.

    Args:
        action: 'stop' raises DivergenceError. 'rollback' returns to the last good checkpoint with learning rates times
            `lr_factor`, once more with each further attempt from the same one; iteration-based training goes on with
            the next batches, epoch-based training begins its epoch again. 'skip' leaves the batch out. Default: 'stop'.
        factor: multiple of the median loss, see above; None: only NaN and infinity count. Default: 10.
        window: iterations that the median is taken over. Default: 100.
        patience: iterations in a row with so high a loss. Default: 10.
        lr_factor: factor of the learning rates on 'rollback'. Default: 0.5.
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
        self._target: int | None = None  # iteration of the checkpoint of the last rollback
        self._batch = None
        self._outputs: dict = {}  # of the model's last forward, with the losses by name
        self._forward_hook = None

    def before_train(self, runner) -> None:
        if self.action == 'rollback' and not isinstance(runner.train_loop, Resumable):
            raise ConfigError(f'--on-divergence rollback: {type(runner.train_loop).__name__} can not be set back; '
                              'train with EpochBasedTrainLoop or IterBasedTrainLoop')
        wrapper = runner.optim_wrapper
        if isinstance(wrapper, GuardedSteps):
            wrapper.guard = functools.partial(self._may_step, runner)
            self._forward_hook = bare_model(runner.model).register_forward_hook(self._keep_outputs)
        elif self.action != 'stop':
            raise ConfigError(
                f'--on-divergence {self.action}: {type(wrapper).__name__} can not be kept from updating the weights; '
                'train by MambaVisionRunner with an optim_wrapper of type OptimWrapper or AmpOptimWrapper, derive your '
                'wrapper from mmvision_mamba.engine.GuardedSteps too, or choose --on-divergence stop')

    def resume_state(self) -> dict:
        """What a checkpoint keeps, the same in all processes; see `MambaVisionRunner.resume_state`.

        losses: (N,), the window. streak, attempts, target: as counted so far. Learning rates that a rollback lowered
        are in the states of optimiser and schedulers.
        """
        return dict(losses=torch.tensor(list(self._losses), dtype=torch.float64), streak=self._streak,
                    attempts=self._attempts, target=self._target)

    def load_resume_state(self, runner, state: dict) -> None:
        """The inverse of `resume_state`."""
        self._losses = deque(state['losses'].tolist(), self._losses.maxlen)
        self._streak = runner.suspicions = state['streak']
        self._attempts, self._target = state['attempts'], state['target']

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        self._batch = data_batch

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        if isinstance(runner.optim_wrapper, GuardedSteps):
            return
        losses = {k: float(v) for k, v in (outputs or {}).items() if isinstance(v, (float, Tensor))}
        finite = torch.tensor(float(all(map(math.isfinite, losses.values()))))
        all_reduce(finite, 'min')
        if not finite:
            self._stop(self._report(runner, 'the loss is not finite', losses), _newest(runner))

    def after_train(self, runner) -> None:
        if isinstance(runner.optim_wrapper, GuardedSteps):
            runner.optim_wrapper.guard = None
            self._forward_hook.remove()

    def before_save_checkpoint(self, runner, checkpoint) -> None:
        state = checkpoint['state_dict']  # whole tensors, also where the model's are sharded
        bad = [name for name, _ in bare_model(runner.model).named_parameters()
               if name in state and not torch.isfinite(state[name]).all()]
        if bad:
            self._stop(f'{len(bad)} parameters are not finite after iteration {runner.iter + 1}, {bad[0]} the first.',
                       getattr(getattr(runner, 'checkpoint_hook', None), 'last_ckpt', None))

    def _keep_outputs(self, model: nn.Module, inputs: tuple, outputs) -> None:
        """Forward hook that keeps the model's losses, detached."""
        if model.training and isinstance(outputs, dict):
            self._outputs = {key: _detached(value) for key, value in outputs.items()}

    def _may_step(self, runner, losses: tuple[Tensor, ...]) -> bool:
        """Guard of the optimiser wrapper: whether to update the weights by the gradients of `losses`."""
        problem = self._problem(runner, losses)
        if problem:
            log_vars = bare_model(runner.model).parse_losses(self._outputs)[1] if self._outputs else {}
            named = {k: float(v.float().mean()) if isinstance(v, Tensor) else v for k, v in log_vars.items()}
            self._act(runner, self._report(runner, problem, named))
        return not problem

    def _problem(self, runner, losses: tuple[Tensor, ...]) -> str | None:
        """Describe a divergence of these losses or of their gradients; None without one. The same in all processes."""
        loss = torch.stack([value.float() for value in losses] or [torch.zeros(())]).mean()
        all_reduce(loss, 'mean')
        loss = loss.item()
        if not math.isfinite(loss):
            return 'the loss is not finite'
        if not hasattr(runner.optim_wrapper, 'loss_scaler') and not math.isfinite(
                _gradient_norm(runner.model.parameters())):
            return 'the gradient is not finite'
        median_loss = median(self._losses) if len(self._losses) == self._losses.maxlen else 0.
        self._streak = self._streak + 1 if self.factor and 0 < median_loss * self.factor < loss else 0
        runner.suspicions = self._streak
        if not self._streak:
            self._losses.append(loss)
        if self._streak >= self.patience:
            return (f'the loss has been more than {self.factor:g} times its median of {median_loss:.4g} for '
                    f'{self._streak} iterations')
        if self.action == 'skip':
            self._attempts = 0
        return None

    def _act(self, runner, summary: str) -> None:
        """Stop, skip the batch or roll back, as `action` says; `summary` is logged or raised."""
        last_good = runner.iter + 1 - self._streak  # iteration; later checkpoints may be damaged
        attempts, target = self._attempts + 1, self._target
        if self.action == 'stop' or (self.action == 'skip' and attempts > self.max_attempts):
            self._stop(summary, _newest(runner, last_good))
        if self.action == 'skip':
            self._attempts = attempts
            runner.optim_wrapper.zero_grad()
            runner.logger.warning(f'{summary}\nIts batch is left out.')
            return
        path = runner.roll_back(last_good)  # with the losses that this hook had seen by then
        if path is None:
            self._stop(summary, None)
        self._target, self._attempts = runner.iter, attempts if target == runner.iter else 1
        if self._attempts > self.max_attempts:
            self._stop(summary, path)
        rate = self.lr_factor ** self._attempts
        _scale_rates(runner, rate)
        self._streak = runner.suspicions = 0
        runner.logger.warning(f'{summary}\nRolled back to {path}, learning rates times {rate:g}.')
        raise RolledBack

    def _report(self, runner, problem: str, losses: dict[str, float]) -> str:
        """Write the divergence to a JSON file. Returns a summary of one line."""
        step = runner.iter + 1
        processes = all_gather_object(dict(losses=losses, images=_images(self._batch)))
        scale = runner.optim_wrapper.loss_scaler.get_scale() if hasattr(runner.optim_wrapper, 'loss_scaler') else 1.
        report = dict(
            time=time.time_ns(), iteration=step, epoch=runner.epoch + 1, problem=problem, action=self.action,
            learning_rates=runner.optim_wrapper.get_lr(),
            gradient_norm=_gradient_norm(runner.model.parameters()) / scale,
            gradient_norms={name: _gradient_norm(module.parameters()) / scale
                            for name, module in bare_model(runner.model).named_children()},
            processes=processes)
        path = os.path.join(runner.work_dir, 'divergence', f'iter_{step}.json')
        if is_main_process():
            with contextlib.suppress(OSError):  # a full disk
                os.makedirs(os.path.dirname(path), exist_ok=True)
                write_text(path, json.dumps(_without_nan(report), indent=2) + '\n')
        shown = ', '.join(f'{k} = {v:.4g}' for k, v in losses.items())
        return f'{problem} at iteration {step}: {shown}; see {path}.'

    @staticmethod
    def _stop(summary: str, checkpoint: str | None):
        raise DivergenceError(f'{summary}\nTraining stopped; the last good checkpoint is {checkpoint or "none yet"}. '
                              'Lower the learning rate, clip gradients (optim_wrapper.clip_grad), train without '
                              '--amp, or go on with --on-divergence.')


def _newest(runner, before: int | None = None) -> str | None:
    """Path of the newest intact checkpoint of iteration `before` or earlier; another runner's `last_ckpt`."""
    find = getattr(runner, 'newest_checkpoint', None)  # a method of MambaVisionRunner
    return find(before) if find else runner.message_hub.runtime_info.get('last_ckpt')


def _detached(value):
    """A loss, or a list of losses, detached from the graph."""
    if isinstance(value, list):
        return [_detached(item) for item in value]
    return value.detach() if isinstance(value, Tensor) else value


def _gradient_norm(parameters) -> float:
    """2-norm of the gradients of `parameters`. All processes have to call it, since gradients may be sharded."""
    gradients = [p.grad.detach() for p in parameters if p.grad is not None]
    if not gradients:
        return 0.
    # torch 2.5 has no seam here: `torch.nn.utils.get_total_norm` came with 2.6.
    norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
    return (norm.full_tensor() if hasattr(norm, 'full_tensor') else norm).item()


def _scale_rates(runner, factor: float) -> None:
    """Multiply the learning rates by `factor`: the current ones, and the base values of the schedulers."""
    for group in runner.optim_wrapper.optimizer.param_groups:
        group.update({key: group[key] * factor for key in _RATES if key in group})
    for scheduler in runner.param_schedulers or []:
        if scheduler.param_name == 'lr' and hasattr(scheduler, 'base_values'):
            # mmengine 0.10.7 has no seam here: a scheduler is told its rates only when it is built.
            scheduler.base_values = [value * factor for value in scheduler.base_values]


def _images(batch) -> list[str]:
    """The paths of a batch's images, as mmdet, mmseg and mmpretrain pack them; else their ids."""
    if not isinstance(batch, dict):
        return []
    if samples := batch.get('data_samples'):
        metas = [getattr(sample, 'metainfo', {}) for sample in samples if not isinstance(sample, dict)]
        return [str(meta.get('img_path', meta.get('img_id', 'unknown'))) for meta in metas]
    return [str(path) for path in batch.get('img_path', [])]


def _without_nan(value):
    """Copy of a nest with NaN and infinities as text, since JSON has no such numbers."""
    if isinstance(value, dict):
        return {k: _without_nan(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_without_nan(v) for v in value]
    return value if not isinstance(value, float) or math.isfinite(value) else str(value)
