"""The runner's folder and its checkpoints: held against other jobs, atomic, resumed from bit for bit."""
import contextlib
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from mmengine.dist import all_gather_object, broadcast_object_list, get_rank, master_only
from mmengine.fileio import LocalBackend, get_file_backend, join_path
from mmengine.hooks import CheckpointHook, EMAHook, IterTimerHook
from mmengine.optim import OptimWrapperDict
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner

from ..backbones.weights import check_fit
from ..checkpoints import resuming
from ..checkpoints.fields import described
from ..checkpoints.newest import newest_checkpoint
from ..checkpoints.states import check_states, without_state
from ..checkpoints.writing import PART, commit
from ..errors import CheckpointError, ConfigError
from ..files import cleared, replace
from ..printable import shown
from ..work_dirs import ANEW, RUN, hold, make_work_dir, note, record_of
from .changed_settings import changes, lines, same_schedule
from .config_files import write_config
from .data_loader import ResumableDataLoader
from .hooks.checkpoint_fit import CheckpointFitHook
from .hooks.safe_checkpoint import SafeCheckpointHook
from .loops import Resumable
from .models import bare_model
from .new_schedule import advance, settings_of, use_settings
from .sharding import whole_tensors


class CheckpointedRunner(Runner):
    """mmengine's `Runner` with atomic checkpoints, exact resuming, and a folder that no other job trains in meanwhile.

    It resumes exactly with loops of `RESUMABLE`, a `ResumableDataLoader` and `SafeCheckpointHook`, which
    `MambaVisionRunner` puts in.

    Attributes:
        save_problem: why the last checkpoint could not be saved; None if it was. Set in the main process alone.
        sharded: whether parameters are sharded over the processes.
        begin_from: checkpoint whose weights to begin with where there is none to resume from. Default: none.
        new_schedule: whether to resume with the config's schedule and settings of the optimiser, where they are others
            than the checkpoint's: at the place that a run with them would be at. Default: False.
        whole_state: state dicts of model and optimiser with whole tensors, while a sharded run saves a checkpoint.
    """
    save_problem: str | None = None
    sharded: bool = False
    begin_from: str | None = None
    new_schedule: bool = False
    _renews: bool = False  # `new_schedule`, and the checkpoint that is being loaded has another
    whole_state: dict | None = None
    _random_state: dict | None = None  # of the resumed checkpoint, until the loop begins
    _loaded_state: dict | None = None  # `resume_state` of the checkpoint loaded last
    _loading: str = ''  # the checkpoint that is being loaded
    _run: int = 0  # see `checkpoints.newest.Saved`; 0: not begun, or of a checkpoint that has none
    _saved: int = 0
    _begins: bool = False  # while a checkpoint is loaded before training
    _trains: bool = False  # in `train`

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

        The config is written; a test leaves one that is there, a training's mostly, as it is. A training that begins
        anew takes the earlier run's pointer away.
        """
        name = os.path.basename(self.cfg.filename) if self.cfg.filename else f'{self.timestamp}.py'
        if not self._trains and (record_of(self.work_dir) or Path(self.work_dir, name).exists()):
            return
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
                where = f'with the weights of {self.begin_from}' if self.begin_from else 'from the start'
                self.logger.info(f'No checkpoint in {self.work_dir} to resume from: training {where}.')
                self._resume = False
                if not self.begin_from:
                    return
                self._load_from = self.begin_from
                for hook in self.hooks:
                    if isinstance(hook, CheckpointFitHook):  # as without --resume
                        hook.strict = False
            else:
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
            found = self._changes(checkpoint, filename) if self._begins or self.new_schedule else []
            if self.new_schedule:
                same = same_schedule(checkpoint, self.cfg.pretty_text)
                self._renews = any(change.restored for change in found) if same is None else not same
            if self._begins:
                self._tell(found, checkpoint, filename)
            if self._renews:
                checkpoint.pop('param_schedulers', None)
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

    def _changes(self, checkpoint, filename):
        """Settings that differ between a checkpoint to resume from and the config."""
        several = isinstance(self.optim_wrapper, OptimWrapperDict)
        return changes(
            checkpoint, filename, self.cfg.pretty_text, None if several else self.optim_wrapper.optimizer.param_groups,
            self.param_schedulers if isinstance(self.param_schedulers, list) else None)

    def _tell(self, found, checkpoint, filename):
        """Warn of settings that differ, and where nothing is left to train."""
        restored = any(change.restored for change in found) and not self._renews
        if self._renews:
            found = [change._replace(restored=False) for change in found]
        if found:
            self.logger.warning('\n'.join((
                f'{filename} was trained with other settings than the config has:', *lines(found))))
        if restored:
            self.logger.warning(f"To train on with the config's: --new-schedule, which keeps weights and moments; or "
                                f'load_from={filename} without resume, which takes the weights, and begins optimiser '
                                'and schedule anew.')
        if isinstance(self.train_loop, EpochBasedTrainLoop):
            unit, end = 'epoch', self.max_epochs
        else:
            unit, end = 'iter', self.max_iters
        if checkpoint['meta'][unit] > end:
            self.logger.warning(f'{filename} is of {unit} {checkpoint["meta"][unit]}, and the training ends at {end}: '
                                'nothing is left to train.')
        elif checkpoint['meta'][unit] == end:
            length = 'max_epochs' if unit == 'epoch' else 'max_iters'
            self.logger.warning(f'{self.work_dir}: this training is finished, {filename} is of its last {unit}, {end}: '
                                f'nothing is left to train.\nTo train on: --resume --new-schedule --cfg-options '
                                f'train_cfg.{length}={2 * end}, with a param_scheduler of that length.')

    def resume(self, filename, *args, **kwargs):
        settings = settings_of(self.optim_wrapper) if self.new_schedule else []
        super().resume(filename, *args, **kwargs)
        if self._renews:
            self._renews = False
            use_settings(settings)
            self.logger.info("Resuming with the config's schedule, learning rate and other settings of the optimiser. "
                             f'The schedule is followed up to iteration {self.iter}.')
            advance(self.param_schedulers, self.iter, self.epoch, len(self.train_dataloader))
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
