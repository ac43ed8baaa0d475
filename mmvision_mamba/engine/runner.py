"""Runner with crash-safe checkpoints and bit-exact resuming, on GPUs and CPUs."""
import contextlib
import copy
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from mmengine.device import get_device
from mmengine.dist import all_gather_object, broadcast_object_list, get_rank, master_only
from mmengine.fileio import LocalBackend, get_file_backend, join_path
from mmengine.hooks import CheckpointHook, EMAHook, IterTimerHook
from mmengine.model import MMDistributedDataParallel, is_model_wrapper, revert_sync_batchnorm
from mmengine.optim import OptimWrapperDict
from mmengine.registry import RUNNERS
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner
from mmengine.visualization import Visualizer

from ..backbones.weights import check_fit
from ..checkpoints import mmengine_loader, resuming
from ..checkpoints.fields import described
from ..checkpoints.newest import newest_checkpoint
from ..checkpoints.states import check_states, without_state
from ..checkpoints.writing import PART, commit
from ..errors import CheckpointError, ConfigError
from ..files import cleared, replace
from ..preflight.check_loops import without_idle_options
from ..printable import shown
from ..processes import join_processes
from ..text import class_name
from ..work_dirs import ANEW, RUN, hold, make_log_folder, make_work_dir, note, record_of
from .changed_settings import changes, lines
from .config_files import write_config
from .data_loader import ResumableDataLoader
from .guarded_steps import guarded
from .hooks.checked_loading import CheckedLoadingHook
from .hooks.history import HistoryHook
from .hooks.safe_checkpoint import SafeCheckpointHook
from .hooks.settling import SettlingHook
from .hooks.small_batches import SmallBatchesHook
from .loops import RESUMABLE, Resumable
from .models import bare_model
from .sharding import TYPE as SHARDED
from .sharding import WholeStateHook, cut_optimizer_state, fully_shard_model, sharding_options, whole_tensors
from .vis_backends import guard_vis_backends

_REPLACED = dict(CheckpointHook='SafeCheckpointHook', EarlyStoppingHook='ResumableEarlyStoppingHook')


@RUNNERS.register_module()
class MambaVisionRunner(Runner):
    """mmengine's `Runner` with atomic checkpoints, exact resuming, distributed jobs on CPUs, and sharding.

    - Distributed jobs run on CPUs too: over gloo, SyncBN reverted to BN (it has no CPU path).
    - A process that is killed leaves no half-written checkpoint (`SafeCheckpointHook`); a full disk is reported, and
      training goes on.
    - Resuming takes the newest intact checkpoint, and goes on bit for bit: the runner replaces the data loaders, loops
      and hooks for checkpoints and early stopping that a config names by resumable ones. A loop or loader of another
      class stays.
    - It replaces mmengine's optimiser wrappers by ones that `DivergenceHook` can keep from an update (`GuardedSteps`).
    - It keeps logged values as long as a log window needs them (`HistoryHook`), not for ever.
    - A visualisation backend that fails doesn't end the run (`GuardedVisBackend`), unless it comes in a `Visualizer`
      that is built already.
    - Errors name the image or label map that can't be used (`CheckedLoadingHook`).
    - Batches of one image train with BatchNorm over 1 × 1 maps too (`SmallBatchesHook`).
    - Checkpoints, other modules' too, are read without running code from them in its process (`mmengine_loader`).
    - `model_wrapper_cfg=dict(type='FullyShard')` shards the training, see `sharding`.

    Attributes:
        save_problem: why the last checkpoint could not be saved; None if it was. Set in the main process alone.
        suspicions: iterations in a row whose loss looks like divergence; while there are any, no checkpoint is removed.
        sharded: whether parameters are sharded over the processes.
        whole_state: state dicts of model and optimiser with whole tensors, while a sharded run saves a checkpoint.
    """
    save_problem: str | None = None
    suspicions: int = 0
    sharded: bool = False
    whole_state: dict | None = None
    _random_state: dict | None = None  # of the resumed checkpoint, until the loop begins
    _loaded_state: dict | None = None  # `resume_state` of the checkpoint loaded last
    _loading: str = ''  # the checkpoint that is being loaded
    _run: int = 0  # see `checkpoints.newest.Saved`; 0: not begun, or of a checkpoint that has none
    _saved: int = 0
    _begins: bool = False  # while a checkpoint is loaded before training
    _trains: bool = False  # in `train`

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

    # The folder ---------------------------------------------------------------------------------------------------

    def train(self):
        """As `Runner.train`, while no other process trains in the same folder.

        Raises:
            ConfigError: another one does.
            CheckpointError: training has ended, and what it ended with can't be saved.
        """
        self._trains = True
        try:
            with contextlib.ExitStack() as self._folders:
                self.hold(self.work_dir, 'work_dir')
                model = super().train()
                if isinstance(self.checkpoint_hook, SafeCheckpointHook):
                    self.checkpoint_hook.save_at_last(self)
                return model
        finally:
            self._trains = False

    def hold(self, folder: str, name: str) -> None:
        """Make a folder, and hold it against other jobs until the training ends; all processes have to call it.

        Args:
            folder: its path.
            name: of the setting, for errors.
        """
        answer = [None]  # of the main process
        if get_rank() == 0:
            try:
                make_work_dir(folder, name)
                self._folders.enter_context(hold(folder, way_out=name))
            except ConfigError as error:
                answer = [error]
        broadcast_object_list(answer)
        if answer[0] is not None:
            raise answer[0]

    # mmengine 0.10.7 has no seam here: the config is written when the runner is built, whatever comes of it.
    def dump_config(self) -> None:
        """Nothing yet: see `settle`."""

    @master_only
    def settle(self) -> None:
        """Put in order what the folder holds of an earlier run, now that this one has shown that it can run.

        The config is written; a test leaves that of a training which is under way as it is. A training that begins anew
        takes the earlier run's pointer away.
        """
        if not self._trains and record_of(self.work_dir):
            return
        name = os.path.basename(self.cfg.filename) if self.cfg.filename else f'{self.timestamp}.py'
        try:
            replace(Path(self.work_dir, name), partial(write_config, self.cfg))
        except OSError as error:
            self.logger.error(f'The config could not be written to {self.work_dir}: {error.strerror}')
        if self._trains:
            if not self._resume:
                self._run = time.time_ns()
            note(self.work_dir, **{RUN: self._run or None})
            if not self._resume:
                Path(self.work_dir, resuming.POINTER).unlink(missing_ok=True)
            note(self.work_dir, **{ANEW: False})

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

    def build_visualizer(self, visualizer=None):
        if visualizer is None:  # mmengine's default
            visualizer = dict(type='Visualizer', vis_backends=[dict(type='LocalVisBackend')])
        # By its name mmengine finds an earlier run's, which would go on to write to that run's folder.
        if isinstance(visualizer, dict) and Visualizer.check_instance_created(visualizer.get('name', '')):
            visualizer = {**visualizer, 'name': f'{visualizer["name"]}_{self.experiment_name}'}
        return super().build_visualizer(guard_vis_backends(visualizer) if isinstance(visualizer, dict) else visualizer)

    # Checkpoints ------------------------------------------------------------------------------------------------

    @property
    def checkpoint_hook(self) -> CheckpointHook | None:
        """The hook that saves checkpoints; None where the config has none."""
        return next((hook for hook in self.hooks if isinstance(hook, CheckpointHook)), None)

    def save_checkpoint(self, *args, **kwargs):
        """As `Runner.save_checkpoint`, but atomic, and read back before the file gets its name.

        A disk that is full, or returns other bytes than were written, is logged and noted in `save_problem`; nothing is
        raised. Storage other than a local file system is left to its backend.
        """
        if self.sharded:  # all processes take part in gathering; the main one writes
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
                cleared(Path(part))
                Runner.save_checkpoint(self, out_dir, filename + PART, None, *args, **options)
                commit(part, path, checkpoint=True)
            finally:
                if os.path.exists(part):
                    os.remove(part)
        self.report_save(save, path)

    def report_save(self, save: Callable, path: str) -> None:
        """Call `save`, which writes `path`. If the disk fails, log it and set `save_problem`; else set it to None."""
        self.save_problem = None
        try:
            save()
        except (OSError, CheckpointError) as error:
            self.save_problem = getattr(error, 'strerror', None) or str(error)
            recorded = self.message_hub.runtime_info.get('last_ckpt')
            last_good = getattr(self.checkpoint_hook, 'last_ckpt', None) or (recorded if recorded != path else None)
            self.logger.error(f'{path} could not be saved: {self.save_problem}. Training goes on; the last good '
                              f'checkpoint is {last_good or "none yet"}.')

    def resume_state(self) -> dict:
        """The state that mmengine's checkpoints lack, for a resumed run to end bit for bit like an uninterrupted one.

        All processes have to call it.

        Returns:
            Tensors and numbers alone. random: random states of the processes (Python, NumPy, torch, CUDA), by rank.
            run, saved: see `checkpoints.newest.Saved`. validated: see `Resumable`. hooks: what hooks with a
            `resume_state` of their own give, in their order, by name of the class. loader: position in the data, of a
            `ResumableDataLoader`. gradients: while they are being accumulated, those of the processes, by rank.
        """
        self._saved = max(time.time_ns(), self._saved + 1)
        self._run = self._run or self._saved
        state = dict(random=all_gather_object(resuming.random_state()), run=self._run, saved=self._saved,
                     validated=getattr(self.train_loop, 'validated', None) or 0, hooks={})
        for hook in self.hooks:
            if hasattr(hook, 'resume_state'):
                state['hooks'].setdefault(type(hook).__name__, []).append(hook.resume_state())
        if isinstance(self.train_dataloader, ResumableDataLoader):
            state['loader'] = self.train_dataloader.state_dict()
        # mmengine 0.10.7 has no seam here: a wrapper doesn't tell over how many iterations it accumulates gradients.
        accumulating = getattr(self.optim_wrapper, '_accumulative_counts', 1) > 1 and \
            not self.optim_wrapper.should_update()
        if accumulating and not self.sharded:
            state['gradients'] = all_gather_object({
                name: parameter.grad.cpu() for name, parameter in bare_model(self.model).named_parameters()
                if parameter.grad is not None})
        return state

    # mmengine 0.10.7 has no seam here: a subclass can't choose the latest checkpoint, nor ask whether one was loaded.
    def load_or_resume(self):
        if self._resume and self._load_from is None and not self._has_loaded:
            self._load_from = self.newest_checkpoint()
            if self._load_from is None:
                self.logger.info(f'No checkpoint in {self.work_dir} to resume from: training from the start.')
                self._resume = False
                return
            self.logger.info(f'Auto resumed from the latest checkpoint {self._load_from}.')
        self._begins = True
        super().load_or_resume()
        self._begins = False
        if not self._trains:
            self.settle()

    def newest_checkpoint(self, before: int | None = None) -> str | None:
        """Path of the newest intact checkpoint in this work dir, the same in all processes; None if there is none.

        The log names those that are not intact, with the reason.

        Args:
            before: highest iteration allowed. Default: any.

        Raises:
            CheckpointError: there are checkpoints, and none is intact.
        """
        answer = [None]  # of the main process
        if get_rank() == 0:
            try:
                answer = [newest_checkpoint(self.work_dir, self.checkpoint_hook, self.logger.warning, before)]
            except CheckpointError as error:
                answer = [error]
        broadcast_object_list(answer)
        if isinstance(answer[0], CheckpointError):
            raise answer[0]
        return answer[0]

    def roll_back(self, before: int) -> str | None:
        """Go back to the newest intact checkpoint of iteration `before` or earlier, in the middle of training.

        Returns:
            Its path; None if there is none, in which case nothing changes.
        """
        path = self.newest_checkpoint(before)
        if path is None:
            return None
        loader = self.train_dataloader
        position = loader.state_dict() if isinstance(loader, ResumableDataLoader) else None
        # mmengine 0.10.7 has no seam here: `resume` does not tell hooks such as EMAHook to load their state too.
        self._resume = True
        self.resume(path)
        if position is not None:
            if isinstance(self.train_loop, IterBasedTrainLoop):  # it goes on with the next batches
                loader.position, loader.start, loader.passes = position['position'], 0, position['passes']
            loader.batches = position['batches']  # counts on, for other augmentations than the first time
        self._random_state = None
        for hook in self.hooks:
            if isinstance(hook, IterTimerHook):  # it divides by the iterations since the start, of which are none left
                hook.start_iter, hook.time_sec_tot = self.iter, 0
        self.optim_wrapper.zero_grad()
        self.optim_wrapper.initialize_count_status(self.model, self.iter, self.max_iters)
        return path

    def load_checkpoint(self, filename, *args, **kwargs):
        self._loading = filename
        checkpoint = super().load_checkpoint(filename, *args, **kwargs)
        if self._resume:
            if 'optimizer' not in checkpoint:
                self.logger.warning(f'{filename} holds no state of the optimizer, which begins anew.')
            if self._begins:
                self._tell_changes(checkpoint, filename)
            check_states(checkpoint, filename, self.optim_wrapper, self.param_schedulers)
            if missing := without_state(checkpoint, self.optim_wrapper):
                self.logger.warning(f'{filename} holds no state of the optimizer for {missing} parameters, for which '
                                    'it begins anew.')
        self._loaded_state = checkpoint.get(resuming.KEY)
        return checkpoint

    # mmengine 0.10.7 has no seam here: a checkpoint is read and loaded in one go, with this call in between.
    def call_hook(self, fn_name, **kwargs):
        resumed = kwargs['checkpoint'] if fn_name == 'after_load_checkpoint' and self._resume else None
        if resumed is not None:
            resuming.check_resumable(resumed, self._loading)
            for hook in self.hooks:
                if isinstance(hook, EMAHook):
                    resuming.check_averages(resumed, self._loading, hook.ema_model)
        super().call_hook(fn_name, **kwargs)
        if resumed is not None:
            check_fit(bare_model(self.model), resumed, self._loading)

    def _tell_changes(self, checkpoint, filename):
        """Warn of settings that differ between a checkpoint to resume from and the config."""
        several = isinstance(self.optim_wrapper, OptimWrapperDict)
        found = changes(
            checkpoint, filename, self.cfg.pretty_text, None if several else self.optim_wrapper.optimizer.param_groups,
            self.param_schedulers if isinstance(self.param_schedulers, list) else None)
        if found:
            self.logger.warning('\n'.join((
                f'{filename} was trained with other settings than the config has:', *lines(found))))
        if any(change.restored for change in found):
            self.logger.warning(f"To train on with the config's: load_from={filename} without resume, which takes the "
                                'weights, and begins optimiser and schedule anew.')
        if isinstance(self.train_loop, EpochBasedTrainLoop):
            unit, end = 'epoch', self.max_epochs
        else:
            unit, end = 'iter', self.max_iters
        if checkpoint['meta'][unit] > end:
            self.logger.warning(f'{filename} is of {unit} {checkpoint["meta"][unit]}, and the training ends at {end}: '
                                'nothing is left to train.')

    def resume(self, filename, *args, **kwargs):
        super().resume(filename, *args, **kwargs)
        try:
            self._restore_state()
        except (LookupError, TypeError, ValueError, AttributeError, RuntimeError, OverflowError) as error:
            raise CheckpointError(f'{filename}: its {resuming.KEY} can not be used ({type(error).__name__}: '
                                  f'{shown(error)}).\nResume from another checkpoint.') from error

    def _restore_state(self):
        """Restore position, gradients and random state from the `resume_state` of the loaded checkpoint."""
        state, loader = self._loaded_state, self.train_dataloader
        self._run = (state or {}).get('run') or self._run
        self._saved = max(self._saved, (state or {}).get('saved', 0))
        states = {name: iter(several) for name, several in (state or {}).get('hooks', {}).items()}
        for hook in self.hooks:
            if hasattr(hook, 'load_resume_state') and (kept := next(states.get(type(hook).__name__, iter(())), None)):
                hook.load_resume_state(self, kept)
        if not isinstance(self.train_loop, Resumable) or not isinstance(loader, ResumableDataLoader):
            return  # a loop of another class skips batches by itself
        if state is None or 'loader' not in state:
            loader.skip(self.iter)
            return
        loader.load_state_dict(state['loader'])
        self.train_loop.validated = state['validated']
        before = len(state['random']), loader.images_of(state['loader'])
        now = self.world_size, loader.images_per_batch * self.world_size
        if before != now:
            self.logger.warning('The checkpoint is of {} processes and {} images an iteration, this run of {} and {}: '
                                'it goes on at the same image, with other random numbers, and at the learning rate of '
                                'the checkpoint.'.format(*before, *now))
        images = state['loader'].get('length'), len(loader.dataset)
        if images[0] not in (None, images[1]):
            self.logger.warning('The checkpoint was trained on {} images, this run has {}: it goes on in the present '
                                'pass, after as many of them, in another order. What a schedule counts in epochs keeps '
                                'its length in iterations.'.format(*images))
        if before[0] != now[0]:
            return
        self._random_state = state['random'][self.rank]
        resuming.set_random_state(self._random_state)  # an error shows here; the loop sets it again, when all is built
        for name, gradient in state.get('gradients', [{}] * self.world_size)[self.rank].items():
            parameter = bare_model(self.model).get_parameter(name)
            if gradient.shape != parameter.shape or not gradient.is_floating_point():
                raise ValueError(f'a gradient of {shown(name, 100)} is {described(gradient)}')
            parameter.grad = gradient.to(parameter)

    def restore_random_state(self) -> None:
        """Set the random state of the checkpoint that this run resumed from; only the first call does anything."""
        if self._random_state is not None:
            resuming.set_random_state(self._random_state)
            self._random_state = None
