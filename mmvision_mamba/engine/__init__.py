"""Runner, loops, data loader, optimiser wrappers and hooks on top of mmengine's; importing this registers them."""
from ..installation import openmmlab_problem

if (problem := openmmlab_problem('mmvision_mamba.engine')) is not None:
    raise problem

from ..checkpoints import mmengine_loader
from .amp import CPUAmpOptimWrapper
from .guarded_steps import GuardedAmpOptimWrapper, GuardedOptimWrapper, GuardedSteps
from .hooks.checkpoint_fit import CheckpointFitHook
from .hooks.divergence import DivergenceHook
from .hooks.early_stopping import ResumableEarlyStoppingHook
from .hooks.preemption import PreemptionHook
from .hooks.safe_checkpoint import SafeCheckpointHook
from .hooks.val_loss import ValLossHook
from .layer_decay import LayerDecayOptimWrapperConstructor
from .log_processor import SpeedLogProcessor
from .loggers import CometVisBackend
from .loops import ResumableEpochBasedTrainLoop, ResumableIterBasedTrainLoop
from .runner import MambaVisionRunner
from .vis_backends import GuardedVisBackend, NonBlockingWandbVisBackend

mmengine_loader.register()

__all__ = ['CPUAmpOptimWrapper', 'CheckpointFitHook', 'CometVisBackend', 'DivergenceHook', 'GuardedAmpOptimWrapper',
           'GuardedOptimWrapper', 'GuardedSteps', 'GuardedVisBackend', 'LayerDecayOptimWrapperConstructor',
           'MambaVisionRunner', 'NonBlockingWandbVisBackend', 'PreemptionHook', 'ResumableEarlyStoppingHook',
           'ResumableEpochBasedTrainLoop', 'ResumableIterBasedTrainLoop', 'SafeCheckpointHook', 'SpeedLogProcessor',
           'ValLossHook']
