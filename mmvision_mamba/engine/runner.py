"""mmengine's Runner, also where there is no GPU."""
import torch
from mmengine.device import get_device
from mmengine.dist import is_distributed
from mmengine.model import MMDistributedDataParallel, is_model_wrapper, revert_sync_batchnorm
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from ..errors import ConfigError
from .vis_backends import guard_vis_backends


@RUNNERS.register_module()
class MambaVisionRunner(Runner):
    """`Runner` whose distributed jobs run on CPUs too: over gloo, SyncBN reverted to BN (it has no CPU path).

    A visualisation backend that fails is switched off and doesn't end the run.
    """

    def setup_env(self, env_cfg):
        if self.distributed and not is_distributed() and get_device() == 'cpu':
            if self._launcher != 'pytorch':
                raise ConfigError(f"--launcher {self._launcher} needs GPUs; on CPUs use --launcher pytorch (torchrun)")
            torch.distributed.init_process_group('gloo')
        super().setup_env(env_cfg)

    def build_visualizer(self, visualizer=None):
        built = super().build_visualizer(visualizer)
        guard_vis_backends(built)
        return built

    def wrap_model(self, model_wrapper_cfg, model):
        if not self.distributed or get_device() != 'cpu' or is_model_wrapper(model):
            return super().wrap_model(model_wrapper_cfg, model)
        options = dict(model_wrapper_cfg or {})
        options.pop('type', None)
        options.setdefault('broadcast_buffers', False)
        options.setdefault('find_unused_parameters', self.cfg.get('find_unused_parameters', False))
        return MMDistributedDataParallel(module=revert_sync_batchnorm(model), **options)
