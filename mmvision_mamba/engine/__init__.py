"""What training and testing need beyond mmengine. Importing it registers hooks, wrappers and the checkpoint reader."""
import contextlib
from importlib.util import find_spec

from ..errors import MissingExtraError

if not (find_spec('mmengine') and find_spec('mmcv')):
    raise MissingExtraError('mmvision_mamba.engine', 'openmmlab')

from . import checkpoint
from .amp import CPUAmpOptimWrapper
from .checkpoint_fit_hook import CheckpointFitHook
from .divergence_hook import DivergenceHook
from .layer_decay import LayerDecayOptimWrapperConstructor
from .loops import ResumableEpochBasedTrainLoop, ResumableIterBasedTrainLoop
from .preemption_hook import PreemptionHook
from .runner import MambaVisionRunner
from .safe_checkpoint_hook import SafeCheckpointHook

checkpoint.register()

with contextlib.suppress(ImportError):  # the merging of masks needs mmdet
    from .tta import InstanceSegTTAModel  # noqa: F401

__all__ = ['CPUAmpOptimWrapper', 'CheckpointFitHook', 'DivergenceHook', 'LayerDecayOptimWrapperConstructor',
           'MambaVisionRunner', 'PreemptionHook', 'ResumableEpochBasedTrainLoop', 'ResumableIterBasedTrainLoop',
           'SafeCheckpointHook']
