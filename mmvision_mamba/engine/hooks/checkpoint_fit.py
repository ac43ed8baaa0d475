"""Refuses a checkpoint of another model, for which mmengine only logs a warning."""
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

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

    A test's checkpoint must number its classes as the data set does; other names are logged.
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
        check_fit(model, checkpoint, path or 'the latest checkpoint', self.strict)
        if self.strict and runner._test_loop is not None:
            _compare_classes(runner, checkpoint, path)
        if not self.strict:
            dropped = drop_other_shapes(model, checkpoint)
            if dropped:
                runner.logger.info(f'{path} is of other classes: {len(dropped)} tensors dropped, and kept as '
                                   f'initialised: {", ".join(dropped)}')


def _compare_classes(runner, checkpoint, path):
    """Raise CheckpointError where the test set has a checkpoint's classes in another order; warn of other names."""
    meta = checkpoint.get('meta') or {}
    trained = (meta.get('dataset_meta') or meta).get('classes')
    tested = runner.test_dataloader.dataset.metainfo.get('classes')
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
