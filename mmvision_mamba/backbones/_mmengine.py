"""mmengine where it is installed, plain PyTorch where it isn't."""
import torch.nn as nn

try:
    from mmengine.model import BaseModule
    from mmengine.registry import MODELS

    # mmengine's root registry: every sibling toolbox looks here after its own.
    register_backbone = MODELS.register_module()
except ImportError:
    class BaseModule(nn.Module):
        """What MambaVision uses of mmengine's class of that name."""

        def __init__(self, init_cfg=None):
            super().__init__()
            self.init_cfg = init_cfg

        def init_weights(self):
            """Weights are initialised at construction."""

    def register_backbone(cls):
        return cls
