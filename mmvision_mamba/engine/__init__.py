"""What training and testing need beyond mmengine. Importing it registers hooks, wrappers and the checkpoint reader."""
import contextlib

from . import checkpoint
from .amp import CPUAmpOptimWrapper
from .checkpoint_fit_hook import CheckpointFitHook
from .non_finite_loss_hook import NonFiniteLossHook
from .runner import MambaVisionRunner

checkpoint.register()

with contextlib.suppress(ImportError):  # the merging of masks needs mmdet
    from .tta import InstanceSegTTAModel  # noqa: F401

__all__ = ['CPUAmpOptimWrapper', 'CheckpointFitHook', 'MambaVisionRunner', 'NonFiniteLossHook']
