"""What training and testing need beyond mmengine. Importing it registers hooks, wrappers and the checkpoint reader."""
import contextlib
from importlib.util import find_spec

from ..errors import MissingExtraError

if not (find_spec('mmengine') and find_spec('mmcv')):
    raise MissingExtraError('mmvision_mamba.engine', 'openmmlab')

from . import checkpoint
from .amp import CPUAmpOptimWrapper
from .checkpoint_fit_hook import CheckpointFitHook
from .layer_decay import LayerDecayOptimWrapperConstructor
from .non_finite_loss_hook import NonFiniteLossHook
from .runner import MambaVisionRunner

checkpoint.register()

with contextlib.suppress(ImportError):  # the merging of masks needs mmdet
    from .tta import InstanceSegTTAModel  # noqa: F401

__all__ = ['CPUAmpOptimWrapper', 'CheckpointFitHook', 'LayerDecayOptimWrapperConstructor', 'MambaVisionRunner',
           'NonFiniteLossHook']
