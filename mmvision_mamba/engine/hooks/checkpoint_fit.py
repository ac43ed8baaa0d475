"""Refuses a checkpoint of another model, for which mmengine only logs a warning."""
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import BaseLoop

from ...backbones.weights import check_fit, drop_other_shapes, start_other_bands
from ...errors import CheckpointError
from ...printable import shown
from ..models import bare_model


@HOOKS.register_module()
class CheckpointFitHook(Hook):
    """Raises CheckpointError before a checkpoint that doesn't fit the model is loaded.

    With `strict=False`, for training that starts from the checkpoint, its classes may differ: the hook drops the heads'
    tensors of another shape, and the log names them. Weights for RGB start a model of other bands.

    Args:
        strict: whether the checkpoint must hold every parameter of the model, as for testing and resuming. False:
            those of the backbone alone. Default: True.

    A test's checkpoint must number its classes as the data set does, and one that a training resumes from must have its
    training set's; other names are logged.
    """

    def __init__(self, strict: bool = True):
        self.strict = strict

    def after_load_checkpoint(self, runner, checkpoint):
        model = bare_model(runner.model)
        # mmengine 0.10.7 has no seam here: hooks are not told which file they are given the contents of.
        path = runner._load_from
        if not self.strict and (adapted := start_other_bands(checkpoint.get('state_dict', checkpoint),
                                                             model.state_dict())):
            runner.logger.info(f'{path}: {adapted}')
        resumes = self.strict and isinstance(runner._train_loop, BaseLoop)
        if resumes:
            _check_classes_of_run(runner, checkpoint, path)
        check_fit(model, checkpoint, path or 'the latest checkpoint', self.strict)
        if self.strict and not resumes and runner._test_loop is not None:
            _compare_classes(runner, checkpoint, path)
        if not self.strict:
            dropped = drop_other_shapes(model, checkpoint)
            if dropped:
                runner.logger.info(f'{path} is of other classes: {len(dropped)} tensors dropped, and kept as '
                                   f'initialised: {", ".join(dropped)}')


def _compare_classes(runner, checkpoint, path):
    """Raise CheckpointError where the test set has a checkpoint's classes in another order; warn of other names."""
    trained, tested = _classes_of(checkpoint), runner.test_dataloader.dataset.metainfo.get('classes')
    if not isinstance(trained, list | tuple) or not isinstance(tested, list | tuple):
        return
    others = [pair for pair in zip(trained, tested) if pair[0].lower() != str(pair[1]).lower()]
    if not others:
        return
    differ = f"{path} has the class '{shown(others[0][0], 100)}' where the test set has '{shown(others[0][1], 100)}'"
    if sorted(map(str.lower, trained)) == sorted(str(name).lower() for name in tested):
        raise CheckpointError(f'{differ}: the same classes in another order, so each would be measured as '
                              f'another.\nSet test_dataloader.dataset.metainfo.classes to {shown(tuple(trained), 300)}')
    runner.logger.warning(f'{differ}; {len(others)} differ. They are measured by their numbers.')


def _check_classes_of_run(runner, checkpoint, path):
    """Raise CheckpointError where a training that resumes would learn other classes; warn of other names for them."""
    trained = _classes_of(checkpoint)
    now = (getattr(runner.train_dataloader.dataset, 'metainfo', None) or {}).get('classes')
    if not isinstance(trained, list | tuple) or not isinstance(now, list | tuple) or [*trained] == [*now]:
        return
    before, after = ([str(name).lower() for name in classes] for classes in (trained, now))
    moved = any(name in before and before.index(name) != number for number, name in enumerate(after))
    if len(before) != len(after) or moved:
        were, are = (f'{len(classes)} class{"es" * (len(classes) != 1)} ({shown(", ".join(map(str, classes)), 200)})'
                     for classes in (trained, now))
        raise CheckpointError(
            f'{path} was trained on {were}, and the training data have {are}: a run goes on with the classes that it '
            'began with, in their order.\nWith custom_data, custom_data.classes chooses them. To start from its '
            f'weights with those of today: set load_from={path}, without resume')
    others = [pair for pair in zip(trained, now) if pair[0] != pair[1]]
    runner.logger.warning(f"{path} has the class '{shown(others[0][0], 100)}' where the training data have "
                          f"'{shown(others[0][1], 100)}'; {len(others)} differ. The run goes on with today's names.")


def _classes_of(checkpoint):
    meta = checkpoint.get('meta') or {}
    return (meta.get('dataset_meta') or meta).get('classes')
