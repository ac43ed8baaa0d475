"""Refuses a checkpoint of another model, for which mmengine only logs a warning."""
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from ...backbones.weights import check_fit, drop_other_shapes
from ..models import bare_model


@HOOKS.register_module()
class CheckpointFitHook(Hook):
    """Raises CheckpointError before a checkpoint that doesn't fit the model is loaded.

    With `strict=False`, for training that starts from the checkpoint, its classes may differ: the hook drops the heads'
    tensors of another shape, and the log names them.

    Args:
        strict: whether the checkpoint must hold every parameter of the model, as for testing and resuming. False:
            those of the backbone alone. Default: True.
    """

    def __init__(self, strict: bool = True):
        self.strict = strict

    def after_load_checkpoint(self, runner, checkpoint):
        model = bare_model(runner.model)
        # mmengine 0.10.7 has no seam here: hooks are not told which file they are given the contents of.
        path = runner._load_from
        check_fit(model, checkpoint, path or 'the latest checkpoint', self.strict)
        if not self.strict:
            dropped = drop_other_shapes(model, checkpoint)
            if dropped:
                runner.logger.info(f'{path} is of other classes: {len(dropped)} tensors dropped, and kept as '
                                   f'initialised: {", ".join(dropped)}')
