"""mmengine's Runner, also where there is no GPU, with checkpoints that outlive crashes and resume bit for bit."""
import errno
import os
import subprocess
from collections.abc import Callable

import torch
from mmengine.device import get_device
from mmengine.dist import all_gather_object, broadcast_object_list, get_rank, init_dist, is_distributed, master_only
from mmengine.fileio import LocalBackend, get_file_backend, join_path
from mmengine.hooks import CheckpointHook
from mmengine.model import MMDistributedDataParallel, is_model_wrapper, revert_sync_batchnorm
from mmengine.optim import OptimWrapperDict
from mmengine.registry import RUNNERS
from mmengine.runner import IterBasedTrainLoop, Runner

from ..errors import CheckpointError, ConfigError
from . import resume
from .data_loader import ResumableDataLoader
from .history_hook import HistoryHook
from .loops import RESUMABLE, Resumable
from .safe_files import PART, commit
from .sharding import TYPE as SHARDED
from .sharding import WholeStateHook, cut_optimizer_state, fully_shard_model, sharding_options, whole_tensors
from .vis_backends import guard_vis_backends


@RUNNERS.register_module()
class MambaVisionRunner(Runner):
    """`Runner` that loses nothing, on GPUs and CPUs.

    - Distributed jobs run on CPUs too: over gloo, SyncBN reverted to BN (it has no CPU path).
    - Checkpoints are whole or not there (`SafeCheckpointHook`); a full disk is reported, and training goes on.
    - Resuming takes the newest checkpoint that is intact, and goes on bit for bit: data loaders, loops and the
      checkpoint hook that a config names are replaced by resumable ones. A loop or loader of another class stays.
    - What is logged is remembered for as long as the log asks for it (`HistoryHook`), not for ever.
    - A visualisation backend that fails is switched off and doesn't end the run.
    - `model_wrapper_cfg=dict(type='FullyShard')` shards the training, see `sharding`.

    Attributes:
        save_problem: why the last checkpoint could not be saved; None where it was. Known to the main process.
        suspicions: for how many iterations the training has looked as if it diverged: no checkpoint is removed then.
        sharded: whether parameters are sharded over the processes.
        whole_state: what a sharded run saves, while it does.
    """
    save_problem: str | None = None
    suspicions: int = 0
    sharded: bool = False
    whole_state: dict | None = None
    _random_state: dict | None = None  # to be set when the loop begins
    _loaded_state: dict | None = None  # of the checkpoint loaded last

    def setup_env(self, env_cfg):
        if self.distributed:
            join_processes(self._launcher, env_cfg.get('dist_cfg') or {})
        super().setup_env(env_cfg)

    def set_randomness(self, seed, diff_rank_seed=False, deterministic=False):
        super().set_randomness(seed, diff_rank_seed, deterministic)
        if deterministic and get_device() != 'cpu':  # some operators of mmdet and mmseg have no deterministic kernel
            torch.use_deterministic_algorithms(True, warn_only=True)

    def wrap_model(self, model_wrapper_cfg, model):
        if (sharding := sharding_options(model_wrapper_cfg)) is not None:
            if self.distributed and self._train_loop is not None:
                return self._shard(model.to(get_device()), sharding)
            model_wrapper_cfg = None  # there is nothing to share, or nothing is kept for training
        if not self.distributed or get_device() != 'cpu' or is_model_wrapper(model):
            return super().wrap_model(model_wrapper_cfg, model)
        options = dict(model_wrapper_cfg or {})
        options.pop('type', None)
        options.setdefault('broadcast_buffers', False)
        options.setdefault('find_unused_parameters', self.cfg.get('find_unused_parameters', False))
        return MMDistributedDataParallel(module=revert_sync_batchnorm(model), **options)

    def _shard(self, model, options):
        if any(_name(hook['type']) == 'EMAHook' for hook in self.cfg.get('custom_hooks') or ()):
            raise ConfigError(f'model_wrapper_cfg: {SHARDED} and EMAHook do not go together: drop one of them')
        model.init_weights()  # before they are cut; whole tensors are what initialisers know
        for tensor in (*model.parameters(), *model.buffers()):
            torch.distributed.broadcast(tensor.data, 0)
        self.sharded = True
        return fully_shard_model(revert_sync_batchnorm(model) if get_device() == 'cpu' else model,
                                 torch.device(get_device()).type, **options)

    def _init_model_weights(self):
        if not self.sharded:
            super()._init_model_weights()

    def build_optim_wrapper(self, optim_wrapper):
        built = super().build_optim_wrapper(optim_wrapper)
        if self.sharded:
            for wrapper in built.values() if isinstance(built, OptimWrapperDict) else [built]:
                cut_optimizer_state(wrapper.optimizer)
        return built

    # What a config names, replaced ------------------------------------------------------------------------------

    @staticmethod
    def build_dataloader(dataloader, seed=None, diff_rank_seed=False):
        loader = Runner.build_dataloader(dataloader, seed, diff_rank_seed)
        return loader if loader is dataloader else ResumableDataLoader.adopt(loader, seed)

    def build_train_loop(self, loop):
        if isinstance(loop, dict) and isinstance(self._train_dataloader, dict):
            loop = dict(loop)
            if 'type' not in loop and 'by_epoch' in loop:
                loop['type'] = 'EpochBasedTrainLoop' if loop.pop('by_epoch') else 'IterBasedTrainLoop'
            loop['type'] = RESUMABLE.get(_name(loop.get('type')), loop.get('type'))
        return super().build_train_loop(loop)

    def register_hooks(self, default_hooks=None, custom_hooks=None):
        super().register_hooks(default_hooks, custom_hooks)
        self.register_hook(HistoryHook())
        if self.sharded:
            self.register_hook(WholeStateHook(), 'VERY_HIGH')

    def register_hook(self, hook, priority=None):
        if isinstance(hook, dict) and (hook.get('type') is CheckpointHook or _name(hook['type']) == 'CheckpointHook'):
            hook = {**hook, 'type': 'SafeCheckpointHook'}
        super().register_hook(hook, priority)

    def build_visualizer(self, visualizer=None):
        visualizer = super().build_visualizer(visualizer)
        guard_vis_backends(visualizer)
        for name in ('add_scalar', 'add_scalars', 'add_image'):
            setattr(visualizer, name, self._tolerant(getattr(visualizer, name)))
        return visualizer

    def _tolerant(self, write: Callable) -> Callable:
        """`write`, for which a full disk is no reason to stop."""
        def tolerant(*args, **kwargs):
            try:
                write(*args, **kwargs)
            except OSError as error:
                if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                    raise
                self.logger.error(f'{write.__name__}: {error.strerror}; training goes on without this record.')
        return tolerant

    # Checkpoints ------------------------------------------------------------------------------------------------

    @property
    def checkpoint_hook(self) -> CheckpointHook | None:
        return next((hook for hook in self._hooks if isinstance(hook, CheckpointHook)), None)

    def save_checkpoint(self, *args, **kwargs):
        """As `Runner.save_checkpoint`, whole or not at all, and read back before it takes its name.

        A disk that is full, or returns something else than was written, is reported, see `save_problem`. Storage other
        than a local file system is left to its backend.
        """
        if self.sharded:  # all processes give what they have; the main one writes it
            self.whole_state = whole_tensors(dict(state_dict=self.model.state_dict(),
                                                  optimizer=self.optim_wrapper.state_dict()))
        self._save_checkpoint(*args, **kwargs)
        self.whole_state = None

    @master_only
    def _save_checkpoint(self, out_dir, filename, file_client_args=None, *args, backend_args=None, **kwargs):
        options = dict(backend_args=backend_args, **kwargs)
        path = join_path(out_dir, filename, backend_args=backend_args)
        if file_client_args is not None or not isinstance(get_file_backend(path, backend_args=backend_args),
                                                          LocalBackend):
            self.save_problem = None
            return super().save_checkpoint(out_dir, filename, file_client_args, *args, **options)
        part = f'{path}{PART}'

        def save():
            try:
                Runner.save_checkpoint(self, out_dir, filename + PART, None, *args, **options)
                commit(part, path, checkpoint=True)
            finally:
                if os.path.exists(part):
                    os.remove(part)
        self.report_save(save, path)

    def report_save(self, save: Callable, path: str) -> None:
        """Call `save`; note in `save_problem` whether the disk took it, and log an error where it didn't."""
        self.save_problem = None
        try:
            save()
        except (OSError, CheckpointError) as error:
            self.save_problem = getattr(error, 'strerror', None) or str(error)
            last = self.message_hub.runtime_info.get('last_ckpt')
            good = getattr(self.checkpoint_hook, 'last_ckpt', None) or (last if last != path else None)
            self.logger.error(f'{path} could not be saved: {self.save_problem}. Training goes on; the last good '
                              f'checkpoint is {good or "none yet"}.')

    def resume_state(self) -> dict:
        """What a checkpoint needs besides mmengine's for a resumed run to end bit for bit like one that wasn't.

        Called by all processes. Tensors and numbers alone: `random`, the generators of every process (Python, NumPy,
        torch, CUDA); `loader`, where the data loader is; `validated`, see the loops; and `gradients`, of this
        process, where they are being accumulated.
        """
        state = dict(random=all_gather_object(resume.random_state()), validated=getattr(
            self.train_loop, 'validated', None) or 0)
        if isinstance(self.train_dataloader, ResumableDataLoader):
            state['loader'] = self.train_dataloader.state_dict()
        accumulating = getattr(self.optim_wrapper, '_accumulative_counts', 1) > 1 and \
            not self.optim_wrapper.should_update()
        if accumulating and not self.sharded:
            state['gradients'] = all_gather_object({
                name: parameter.grad.cpu() for name, parameter in self._bare_model.named_parameters()
                if parameter.grad is not None})
        return state

    @property
    def _bare_model(self):
        return self.model.module if is_model_wrapper(self.model) else self.model

    def load_or_resume(self):
        if self._resume and self._load_from is None and not self._has_loaded:
            self._load_from = self.newest_checkpoint()
            if self._load_from is None:
                self.logger.info(f'No checkpoint in {self.work_dir} to resume from: training from the start.')
                return
            self.logger.info(f'Auto resumed from the latest checkpoint {self._load_from}.')
        super().load_or_resume()

    def newest_checkpoint(self, before: int | None = None) -> str | None:
        """The newest intact checkpoint of this work dir; those that aren't are named in the log, with the reason.

        Args:
            before: iteration that it may have at most. Default: any.

        Raises:
            CheckpointError: there are some, and none is intact.
        """
        found = [None]
        if get_rank() == 0:
            try:
                found = [resume.newest_checkpoint(self.work_dir, self.checkpoint_hook, self.logger.warning, before)]
            except CheckpointError as error:
                found = [error]
        broadcast_object_list(found)
        if isinstance(found[0], CheckpointError):
            raise found[0]
        return found[0]

    def roll_back(self, before: int) -> str | None:
        """Return to the newest intact checkpoint of iteration `before` or earlier, in the middle of training.

        Returns: its path; None where there is none, and nothing was changed.
        """
        path = self.newest_checkpoint(before)
        if path is None:
            return None
        loader = self.train_dataloader
        position = loader.state_dict() if isinstance(loader, ResumableDataLoader) else None
        self._resume = True  # by which EMAHook knows that its weights are to be loaded too
        self.resume(path)
        if position is not None:
            if isinstance(self.train_loop, IterBasedTrainLoop):  # its data goes on where it is
                loader.position, loader.start, loader.passes = position['position'], 0, position['passes']
            loader.batches = position['batches']  # other augmentations than the last time
        self._random_state = None
        self.optim_wrapper.zero_grad()
        self.optim_wrapper.initialize_count_status(self.model, self.iter, self.max_iters)
        return path

    def load_checkpoint(self, filename, *args, **kwargs):
        checkpoint = super().load_checkpoint(filename, *args, **kwargs)
        if self._resume:
            resume.check_resumable(checkpoint, filename)
            if 'optimizer' not in checkpoint:
                self.logger.warning(f'{filename} holds no state of the optimizer, which begins anew.')
        self._loaded_state = checkpoint.get(resume.KEY)
        return checkpoint

    def resume(self, filename, *args, **kwargs):
        super().resume(filename, *args, **kwargs)
        try:
            self._resume_state()
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise CheckpointError(f'{filename}: its {resume.KEY} can not be used ({type(error).__name__}: {error}).\n'
                                  'Resume from another checkpoint.') from error

    def _resume_state(self):
        state, loader = self._loaded_state, self.train_dataloader
        if not isinstance(self.train_loop, Resumable) or not isinstance(loader, ResumableDataLoader):
            return  # a loop of another class skips batches by itself
        if state is None or 'loader' not in state:
            loader.skip(self.iter)
            return
        loader.load_state_dict(state['loader'])
        self.train_loop.validated = state['validated']
        before = len(state['random']), state['loader']['images']
        now = self.world_size, (loader.batch_size or 1) * self.world_size
        if before != now:
            self.logger.warning('The checkpoint is of {} processes and {} images an iteration, this run of {} and {}: '
                                'it goes on at the same image, with other random numbers.'.format(*before, *now))
        if before[0] != now[0]:
            return
        self._random_state = state['random'][self.rank]
        resume.set_random_state(self._random_state)  # the loop does it again, when all is built; here, whether it can
        for name, gradient in state.get('gradients', [{}] * self.world_size)[self.rank].items():
            parameter = self._bare_model.get_parameter(name)
            parameter.grad = gradient.to(parameter)

    def restore_random_state(self) -> None:
        """Set the generators as they were when the checkpoint that was resumed from was saved; once."""
        if self._random_state is not None:
            resume.set_random_state(self._random_state)
            self._random_state = None


def _elastic_store() -> dict:
    """The process group's store, for a worker of torchrun.

    torch 2.11's agent has one store for all attempts, in which restarted workers would find the addresses of those that
    died, and wait for them: each attempt gets keys of its own.
    """
    environment = os.environ
    if environment.get('TORCHELASTIC_USE_AGENT_STORE') != 'True' or get_device() not in ('cuda', 'cpu'):
        return {}
    store = torch.distributed.TCPStore(environment['MASTER_ADDR'], int(environment['MASTER_PORT']), is_master=False)
    store = torch.distributed.PrefixStore(f'attempt_{environment["TORCHELASTIC_RESTART_COUNT"]}', store)
    return dict(store=store, rank=int(environment['RANK']), world_size=int(environment['WORLD_SIZE']))


def _read_slurm_environment() -> None:
    """What torch.distributed needs to know, from Slurm's variables; mmengine's own way insists on GPUs."""
    try:
        os.environ.update(RANK=os.environ['SLURM_PROCID'], WORLD_SIZE=os.environ['SLURM_NTASKS'])
    except KeyError as error:
        raise ConfigError(f'--launcher slurm: {error} is not set: start the tool with srun') from None
    os.environ.setdefault('MASTER_PORT', '29500')
    if 'MASTER_ADDR' not in os.environ:
        hosts = subprocess.run(['scontrol', 'show', 'hostname', os.environ.get('SLURM_NODELIST', '')],
                               capture_output=True, text=True, check=True)
        os.environ['MASTER_ADDR'] = hosts.stdout.split()[0]


def join_processes(launcher: str, dist_cfg: dict) -> None:
    """Join the processes of a distributed job, once: over gloo on CPUs, else as mmengine's `init_dist` does."""
    if is_distributed():
        return
    if get_device() != 'cpu':
        init_dist(launcher, **dist_cfg, **(_elastic_store() if launcher == 'pytorch' else {}))
        return
    if launcher == 'slurm':
        _read_slurm_environment()
    elif launcher != 'pytorch':
        raise ConfigError(f"--launcher {launcher} needs GPUs; on CPUs use --launcher pytorch (torchrun)")
    torch.distributed.init_process_group('gloo', **_elastic_store())


def _name(type_) -> str:
    """The class's name in a config's `type`: 'mmengine.CheckpointHook', or the class itself."""
    return type_.rsplit('.')[-1] if isinstance(type_, str) else getattr(type_, '__name__', '')
