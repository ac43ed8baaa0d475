"""Mixed precision on a CPU, where mmengine's AmpOptimWrapper refuses to start."""
from contextlib import contextmanager

import torch
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS

from .guarded_steps import GuardedSteps


@OPTIM_WRAPPERS.register_module()
class CPUAmpOptimWrapper(GuardedSteps, OptimWrapper):
    """`OptimWrapper` whose forward runs under bfloat16 autocast. bfloat16 has float32's range: no loss scaling."""

    @contextmanager
    def optim_context(self, model):
        with super().optim_context(model), torch.autocast('cpu', torch.bfloat16):
            yield
