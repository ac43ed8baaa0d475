"""Saves checkpoints in an order that always leaves a good one on the disk.

See also, for killed processes: preemption.py, checkpoints/{newest,resuming,writing}.py, commands/steps/restart.py.
"""
import hashlib
import math
import os
import pickle
from collections import deque

from mmengine.dist import broadcast_object_list, is_main_process, master_only
from mmengine.fileio import LocalBackend, get_file_backend
from mmengine.hooks import CheckpointHook
from mmengine.registry import HOOKS
from mmengine.runner import CheckpointLoader
from mmengine.runner import checkpoint as runner_checkpoint

from ...checkpoints import resuming
from ...checkpoints.newest import checkpoint_folder, own_path, remove_leftovers, step_of
from ...checkpoints.writing import PART, save_checkpoint, write_text
from ...errors import CheckpointError, ConfigError
from ...printable import shown
from ..loops import has_train_loop
from ..val_loss import main_metric


@HOOKS.register_module()
class SafeCheckpointHook(CheckpointHook):
    """mmengine's `CheckpointHook`, with its options, that removes a checkpoint only after its successor is safe.

    mmengine's hook deletes the oldest and the best checkpoint before it writes their successors. This one writes a
    checkpoint under another name, syncs it, reads it back against its checksums and renames it; then it moves the
    pointer `last_checkpoint`; then it removes what the new one replaces. If a checkpoint can't be written, it reports
    that and removes nothing, and training goes on. A score that means 'nothing to measure' is never the best.
    `MambaVisionRunner` builds this hook for configs that say `CheckpointHook`.

    Checkpoints also hold `resume_state`, see `MambaVisionRunner.resume_state`.

    Attributes:
        saved_iter: iterations done when the last checkpoint was saved; None: none saved yet.
        unsaved: whether the last checkpoint to resume from could not be saved; the same in all processes.
    """
    saved_iter: int | None = None
    unsaved: bool = False

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        if not _is_template(self.filename_tmpl):
            raise ConfigError(f'filename_tmpl of CheckpointHook: {shown(self.filename_tmpl)} names no checkpoints.\n'
                              "Expected a file name with one {} for the number, such as 'iter_{}.pth' or "
                              "'iter_{:06d}.pth'")
        self._outdated: list[str] = []  # paths to remove once the next checkpoint is safe
        self._state: dict | None = None  # resume state to add to the checkpoint being saved

    def before_train(self, runner) -> None:
        info = runner.message_hub.runtime_info
        if 'keep_ckpt_ids' in info:
            info['keep_ckpt_ids'] = [step for step in info['keep_ckpt_ids'] if isinstance(step, int)]
        folder = checkpoint_folder(runner.work_dir, self.out_dir)
        local = self.file_client_args is None and isinstance(
            get_file_backend(folder, backend_args=self.backend_args), LocalBackend)
        if local and folder != runner.work_dir:
            runner.hold(folder, 'out_dir')
        # mmengine 0.10.7 has no seam here: a runner doesn't tell whether, and from which file, it resumes.
        if local and runner._resume and runner._load_from:
            _move(info, os.path.dirname(runner._load_from), folder)
        super().before_train(runner)
        self._outdated = list(info.get('temporary_ckpts', []))
        if is_main_process() and local:
            for path in {self.out_dir, runner.work_dir}:
                remove_leftovers(path, self.filename_tmpl)
            if runner.suspicions:  # one of them may be the last good one
                self._outdated += info.get('outdated_ckpts', [])
            else:
                self._remove(info.get('outdated_ckpts', []))

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        if self._state is not None:
            checkpoint[resuming.KEY] = self._state

    def after_val_epoch(self, runner, metrics) -> None:
        if not has_train_loop(runner):  # a validation alone, which has nothing to save
            return
        if hasattr(runner.train_loop, 'validated'):
            runner.train_loop.validated = runner.iter
        super().after_val_epoch(runner, metrics)

    def save_now(self, runner) -> str:
        """Save after the current iteration, whatever the interval; the next regular checkpoint replaces this one.

        Returns:
            The checkpoint's path.
        """
        step = runner.iter + 1
        name = f'iter_{step}.pth' if self.by_epoch else self.filename_tmpl.format(step)
        path = self.file_backend.join_path(self.out_dir, name)
        if self._save_last(runner, path, self.keep_ckpt_ids if self.max_keep_ckpts > 0 else None,
                           dict(epoch=runner.epoch, iter=step), temporary=[path]):
            self._outdated.append(path)
        return path

    def save_ended(self, runner) -> None:
        """Save, after the last iteration of a training that ended early, what it ended with."""
        step = runner.epoch if self.by_epoch else runner.iter
        self._save_checkpoint_with_step(runner, step, dict(epoch=runner.epoch, iter=runner.iter))

    def save_at_last(self, runner) -> None:
        """After training, try once more where the last checkpoint could not be saved; all processes have to call it.

        Raises:
            CheckpointError: it can't be saved now either.
        """
        if not self.unsaved:
            return
        self.save_ended(runner)
        if self.unsaved:
            raise CheckpointError(
                f'{runner.work_dir}: training has ended, and its last checkpoint can not be saved: '
                f'{runner.save_problem or "the main process says why"}.\nMake room there, and train on from '
                f'{self.last_ckpt or "the start: no checkpoint was saved"} by --resume.')

    # mmengine 0.10.7 has no seam here: one method removes the oldest checkpoint and writes the new one.
    def _save_checkpoint_with_step(self, runner, step, meta) -> None:
        path = self.file_backend.join_path(self.out_dir, self.filename_tmpl.format(step))
        ids = None
        outdated = list(self._outdated)
        if self.max_keep_ckpts > 0:
            ids = deque(self.keep_ckpt_ids, self.max_keep_ckpts)
            if not ids or ids[-1] != step:
                if len(ids) == self.max_keep_ckpts:
                    outdated.append(self.file_backend.join_path(self.out_dir, self.filename_tmpl.format(ids[0])))
                ids.append(step)
        outdated = [other for other in outdated if other != path]
        if not self._save_last(runner, path, ids, meta, outdated):
            return
        if ids is not None:
            self.keep_ckpt_ids = ids
        if runner.suspicions:  # while training may be diverging, an outdated one may be the last good one
            self._outdated = outdated
            return
        if is_main_process():
            self._remove(outdated)
        self._outdated = []

    def _save_last(self, runner, path: str, ids: deque | None, meta: dict, outdated: list[str] = (),
                   temporary: list[str] = ()) -> bool:
        """Save a checkpoint to resume from, and move the pointer.

        Args:
            path: the checkpoint's.
            ids: steps of the kept checkpoints, this one included; None: the hook keeps all.
            meta: epoch and iteration.
            outdated: paths to remove after it; a run that is killed before does so when it resumes.
            temporary: paths to remove after the next checkpoint.

        Returns:
            Whether that worked, the same in all processes.
        """
        changes = dict(last_ckpt=path, outdated_ckpts=list(outdated), temporary_ckpts=list(temporary))
        if ids is not None:
            changes['keep_ckpt_ids'] = list(ids)
        undo = _update(runner.message_hub, changes)
        self._state = runner.resume_state()  # all processes take part in it
        runner.save_checkpoint(
            self.out_dir, os.path.basename(path), self.file_client_args, save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler, meta=meta, by_epoch=self.by_epoch,
            backend_args=self.backend_args, **self.args)
        self._state = None
        if is_main_process() and not runner.save_problem:
            pointer = os.path.join(runner.work_dir, resuming.POINTER)
            runner.report_save(lambda: write_text(pointer, path), resuming.POINTER)
        self.unsaved = not self._saved(runner)
        if self.unsaved:
            undo()
            return False
        self.last_ckpt, self.saved_iter = path, meta['iter']
        return True

    # mmengine 0.10.7 has no seam here: one method removes the best checkpoint and writes its successor.
    def _save_best_checkpoint(self, runner, metrics) -> None:
        if not self.save_best:
            return
        main = main_metric(metrics)
        if not metrics or (main is None and 'auto' in self.key_indicators):  # nothing was found in any image, by mmdet
            runner.logger.warning('Validation measured nothing: no checkpoint is the best')
            return
        if 'auto' in self.key_indicators:
            # mmengine 0.10.7 has no seam here: 'auto' gets its metric in the method that this one replaces.
            self._init_rule(self.rules, [main])
        unit, step = ('epoch', runner.epoch) if self.by_epoch else ('iter', runner.iter)
        single = len(self.key_indicators) == 1
        meta = dict(epoch=runner.epoch, iter=runner.iter)
        runtime_info = runner.message_hub.runtime_info
        updated = False
        for key, rule in zip(self.key_indicators, self.rules):
            if key not in metrics:
                runner.logger.warning(f'save_best is {key}, which validation does not measure: no checkpoint is the '
                                      f'best by it. There are: {", ".join(metrics)}')
                continue
            suffix = '' if single else f'_{key}'
            score = metrics[key]
            if single and (earlier := runtime_info.get('best_ckpt')) and not os.path.basename(earlier).startswith(
                    f'best_{key}_'.replace('/', '_')):  # by another metric, before the run was resumed
                del runtime_info['best_ckpt']
                runtime_info.pop('best_score', None)
                self.best_ckpt_path = None
            best = runtime_info.get(f'best_score{suffix}', self.init_value_map[rule])
            if not is_measured(score, rule):
                runner.logger.warning(f'{key} is {score}, which means that there is nothing to measure: no checkpoint '
                                      'is the best by it')
                continue
            if not self.is_better_than[key](score, best):
                continue
            name = f'best_{key}_{self.filename_tmpl.format(step)}'.replace('/', '_')
            path = self.file_backend.join_path(self.out_dir, name)
            previous = self.best_ckpt_path if single else self.best_ckpt_path_dict[key]
            undo = _update(runner.message_hub, {f'best_score{suffix}': score, f'best_ckpt{suffix}': path})
            runner.save_checkpoint(
                self.out_dir, name, self.file_client_args, save_optimizer=False, save_param_scheduler=False,
                meta=dict(meta), by_epoch=False, backend_args=self.backend_args)
            if not self._saved(runner):
                undo()
                continue
            updated = True
            if single:
                self.best_ckpt_path = path
            else:
                self.best_ckpt_path_dict[key] = path
            if previous and previous != path:
                self._outdated.append(previous)
            runner.logger.info(f'The best checkpoint with {score:0.4f} {key} at {step} {unit} is saved to {name}.')
        # Save the last checkpoint again, so that it records the best one.
        if updated and self.last_ckpt is not None:
            self._save_checkpoint_with_step(runner, step, meta)
        elif updated and is_main_process():
            self._remove(self._outdated)
            self._outdated = []

    # mmengine 0.10.7 has no seam here: how a published checkpoint is written can not be chosen.
    @master_only
    def _publish_model(self, runner, ckpt_path: str) -> None:
        if ckpt_path is None or not self.file_backend.isfile(ckpt_path):
            return
        checkpoint = CheckpointLoader.load_checkpoint(ckpt_path, map_location='cpu')
        published = {key: value for key, value in checkpoint.items() if key in self.published_keys}
        digest = hashlib.sha256(pickle.dumps(published)).hexdigest()
        path = f'{os.path.splitext(ckpt_path)[0]}-{digest[:8]}.pth'
        if isinstance(self.file_backend, LocalBackend):
            runner.report_save(lambda: save_checkpoint(published, path), path)
        else:
            runner_checkpoint.save_checkpoint(published, path, backend_args=self.backend_args)
        runner.logger.info(f'The checkpoint ({ckpt_path}) is published to {path}, without '
                           f'{", ".join(set(checkpoint) - set(published)) or "any loss"}.')

    def _saved(self, runner) -> bool:
        """Whether the main process saved the last checkpoint; the same in all processes."""
        saved = [runner.save_problem is None]
        broadcast_object_list(saved)
        return saved[0]

    def _remove(self, paths: list[str]) -> None:
        """Remove checkpoints in this run's folder alone: the list may come from a resumed file of a stranger."""
        folder, suffix = os.path.realpath(self.out_dir), os.path.splitext(self.filename_tmpl)[1]
        for path in map(str, paths):
            if os.path.realpath(os.path.dirname(path)) == folder and path.endswith(suffix) \
                    and self.file_backend.isfile(path):
                self.file_backend.remove(path)


def is_measured(score, rule: str) -> bool:
    """Whether a score is one: where there are no objects, COCO's evaluation says -1, others None, NaN or infinity."""
    return score is not None and math.isfinite(score) and not (rule == 'greater' and score == -1)


def _is_template(template) -> bool:
    """Whether `template` makes names of files in which their numbers are found again."""
    try:
        name = template.format(26)
    except (AttributeError, LookupError, TypeError, ValueError):
        return False
    return step_of(name, template) == 26 and os.path.basename(name) == name and not name.endswith(PART) and \
        len(name.encode(errors='replace')) <= 200


def _move(info: dict, source: str, folder: str) -> None:
    """Have the checkpoints that a resumed one names be those of `folder`.

    They lay beside it in `source` when it was saved, and now in `folder`, if that is where it is: the folder may be a
    copy. In another folder they are not this run's: none is to be removed.
    """
    here = os.path.realpath(source) == os.path.realpath(folder)
    for key, value in list(info.items()):
        if key in ('outdated_ckpts', 'temporary_ckpts'):
            info[key] = [str(own_path(folder, path)) for path in value if here and isinstance(path, str) and path]
        elif key.startswith('best_ckpt') or key == 'last_ckpt':
            if here and isinstance(value, str) and value:
                info[key] = str(own_path(folder, value))
            else:
                del info[key]
    if not here:
        info.pop('keep_ckpt_ids', None)


def _update(hub, changes: dict):
    """Change the runtime info of a message hub. Returns a function that undoes it."""
    before = {key: hub.runtime_info[key] for key in changes if key in hub.runtime_info}
    for key, value in changes.items():
        hub.update_info(key, value)

    def undo():
        for key in changes:
            hub.runtime_info.pop(key)
        hub.runtime_info.update(before)
    return undo
