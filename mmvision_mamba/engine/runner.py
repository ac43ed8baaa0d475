"""Runner with crash-safe checkpoints and bit-exact resuming, on GPUs and CPUs."""
import copy

import torch
from mmengine.device import get_device
from mmengine.dist import broadcast_object_list, get_rank
from mmengine.model import MMDistributedDataParallel, is_model_wrapper, revert_sync_batchnorm
from mmengine.optim import OptimWrapperDict
from mmengine.registry import RUNNERS
from mmengine.runner import Runner
from mmengine.visualization import Visualizer

from ..checkpoints import mmengine_loader
from ..errors import ConfigError
from ..preflight.check_loops import without_idle_options
from ..processes import join_processes
from ..text import class_name
from ..work_dirs import make_log_folder
from .checkpointed_runner import CheckpointedRunner
from .data_loader import ResumableDataLoader
from .guarded_steps import guarded
from .hooks.checked_loading import CheckedLoadingHook
from .hooks.history import HistoryHook
from .hooks.settling import SettlingHook
from .hooks.small_batches import SmallBatchesHook
from .loops import RESUMABLE
from .sharding import TYPE as SHARDED
from .sharding import WholeStateHook, cut_optimizer_state, fully_shard_model, sharding_options
from .vis_backends import guard_vis_backends

_REPLACED = dict(CheckpointHook='SafeCheckpointHook', EarlyStoppingHook='ResumableEarlyStoppingHook')


@RUNNERS.register_module()
class MambaVisionRunner(CheckpointedRunner):
    """mmengine's `Runner` with atomic checkpoints, exact resuming, distributed jobs on CPUs, and sharding.

    - Distributed jobs run on CPUs too: over gloo, SyncBN reverted to BN (it has no CPU path).
    - A process that is killed leaves no half-written checkpoint (`SafeCheckpointHook`); a full disk is reported, and
      training goes on.
    - Resuming takes the newest intact checkpoint, and goes on bit for bit: the runner replaces the data loaders, loops
      and hooks for checkpoints and early stopping that a config names by resumable ones. A loop or loader of another
      class stays.
    - It replaces mmengine's optimiser wrappers by ones that `DivergenceHook` can keep from an update (`GuardedSteps`).
    - It keeps logged values as long as a log window needs them (`HistoryHook`), not for ever.
    - Its log lines end with images per second, memory and the time left, in words (`SpeedLogProcessor`).
    - A visualisation backend that fails doesn't end the run (`GuardedVisBackend`), unless it comes in a `Visualizer`
      that is built already.
    - Errors name the image or label map that can't be used (`CheckedLoadingHook`).
    - Batches of one image train with BatchNorm over 1 × 1 maps too (`SmallBatchesHook`).
    - Checkpoints, other modules' too, are read without running code from them in its process (`mmengine_loader`).
    - `model_wrapper_cfg=dict(type='FullyShard')` shards the training, see `sharding`.

    Attributes:
        suspicions: iterations in a row whose loss looks like divergence; while there are any, no checkpoint is removed.
    """
    suspicions: int = 0

    def setup_env(self, env_cfg):
        mmengine_loader.enforce()  # the model, built next, may load something
        if self.distributed:
            join_processes(self.launcher, env_cfg.get('dist_cfg') or {})
        super().setup_env(env_cfg)
        name = [make_log_folder(self.work_dir, self._timestamp) if get_rank() == 0 else None]
        broadcast_object_list(name)
        self._timestamp = name[0]  # mmengine 0.10.7 has no seam here: two runs of one second would share their logs

    def set_randomness(self, seed=None, diff_rank_seed=False, deterministic=False):
        super().set_randomness(seed, diff_rank_seed, deterministic)
        if deterministic and get_device() != 'cpu':  # some operators of mmdet and mmseg have no deterministic kernel
            torch.use_deterministic_algorithms(True, warn_only=True)

    def wrap_model(self, model_wrapper_cfg, model):
        if (sharding := sharding_options(model_wrapper_cfg)) is not None:
            # mmengine 0.10.7 has no seam here: `train_loop` builds the loop, which needs the model that is made here.
            if self.distributed and self._train_loop is not None:
                return self._shard(model.to(get_device()), sharding)
            model_wrapper_cfg = None  # a single process, or no training: nothing to shard
        if not self.distributed or get_device() != 'cpu' or is_model_wrapper(model):
            return super().wrap_model(model_wrapper_cfg, model)
        options = dict(model_wrapper_cfg or {})
        options.pop('type', None)
        options.setdefault('broadcast_buffers', False)
        options.setdefault('find_unused_parameters', self.cfg.get('find_unused_parameters', False))
        return MMDistributedDataParallel(module=revert_sync_batchnorm(model), **options)

    def _shard(self, model, options):
        """Initialise the weights, make them the same in all processes, and shard them."""
        if any(class_name(hook['type']) == 'EMAHook' for hook in self.cfg.get('custom_hooks') or ()):
            raise ConfigError(f'model_wrapper_cfg: {SHARDED} and EMAHook do not go together: drop one of them')
        model.init_weights()  # before sharding, since initialisers need whole tensors
        for tensor in (*model.parameters(), *model.buffers()):
            torch.distributed.broadcast(tensor.data, 0)
        self.sharded = True
        return fully_shard_model(revert_sync_batchnorm(model) if get_device() == 'cpu' else model,
                                 torch.device(get_device()).type, **options)

    # mmengine 0.10.7 has no seam here: the model's weights can't be initialised before it is wrapped.
    def _init_model_weights(self):
        if not self.sharded:
            super()._init_model_weights()

    # Replacements for what a config names -----------------------------------------------------------------------

    @staticmethod
    def build_dataloader(dataloader, seed=None, diff_rank_seed=False):
        if isinstance(dataloader, dict):
            dataloader = without_idle_options(dataloader)
        loader = Runner.build_dataloader(dataloader, seed, diff_rank_seed)
        return loader if loader is dataloader else ResumableDataLoader.from_loader(
            loader, seed, dataloader.get('batch_size'))

    def build_train_loop(self, loop):
        # mmengine 0.10.7 has no seam here: the property `train_dataloader` builds the loop that is built here.
        if isinstance(loop, dict) and isinstance(self._train_dataloader, dict):
            loop = dict(loop)
            if 'type' not in loop and 'by_epoch' in loop:
                loop['type'] = 'EpochBasedTrainLoop' if loop.pop('by_epoch') else 'IterBasedTrainLoop'
            loop['type'] = RESUMABLE.get(class_name(loop.get('type')), loop.get('type'))
        return super().build_train_loop(loop)

    def build_optim_wrapper(self, optim_wrapper):
        if isinstance(optim_wrapper, dict) and optim_wrapper.get('optimizer') is not None:
            optim_wrapper = copy.copy(optim_wrapper)  # a ConfigDict stays one: constructors read its attributes
            optim_wrapper['type'] = guarded(optim_wrapper.get('type', 'OptimWrapper'))
        wrapper = super().build_optim_wrapper(optim_wrapper)
        if self.sharded:
            for single in wrapper.values() if isinstance(wrapper, OptimWrapperDict) else [wrapper]:
                cut_optimizer_state(single.optimizer)
        return wrapper

    def register_hooks(self, default_hooks=None, custom_hooks=None):
        super().register_hooks(default_hooks, custom_hooks)
        self.register_hook(HistoryHook())
        self.register_hook(SettlingHook())
        self.register_hook(CheckedLoadingHook())
        self.register_hook(SmallBatchesHook())
        if self.sharded:
            self.register_hook(WholeStateHook(), 'VERY_HIGH')

    def register_hook(self, hook, priority=None):
        if isinstance(hook, dict):
            hook = {**hook, 'type': _REPLACED.get(class_name(hook['type']), hook['type'])}
        super().register_hook(hook, priority)

    def build_log_processor(self, log_processor):
        if isinstance(log_processor, dict) and class_name(log_processor.get('type', 'LogProcessor')) == 'LogProcessor':
            log_processor = {**log_processor, 'type': 'SpeedLogProcessor'}
        return super().build_log_processor(log_processor)

    def build_visualizer(self, visualizer=None):
        if visualizer is None:  # mmengine's default
            visualizer = dict(type='Visualizer', vis_backends=[dict(type='LocalVisBackend')])
        # By its name mmengine finds an earlier run's, which would go on to write to that run's folder.
        if isinstance(visualizer, dict) and Visualizer.check_instance_created(visualizer.get('name', '')):
            visualizer = {**visualizer, 'name': f'{visualizer["name"]}_{self.experiment_name}'}
        return super().build_visualizer(guard_vis_backends(visualizer) if isinstance(visualizer, dict) else visualizer)
