"""A checkpoint of another model is an error, not a warning among a hundred lines of log."""
from mmengine.hooks import Hook
from mmengine.model import BaseTTAModel, is_model_wrapper
from mmengine.registry import HOOKS

from ..backbones.checkpoint import extract_state_dict
from ..backbones.family import guess_variant
from ..errors import CheckpointError


@HOOKS.register_module()
class CheckpointFitHook(Hook):
    """Raises CheckpointError before a checkpoint that doesn't fit the model is loaded.

    Args:
        strict: whether every parameter of the model must be in the checkpoint, as for testing and resuming. False:
            those of the backbone alone; heads of another data set are left to mmengine's warnings. Default: True.
    """

    # What a checkpoint may lack: buffers that torch itself doesn't insist on, and heads of no use after training.
    optional = ('auxiliary_head.',)

    def __init__(self, strict: bool = True):
        self.strict = strict

    def after_load_checkpoint(self, runner, checkpoint):
        model = runner.model
        while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
            model = model.module
        state, own = extract_state_dict(checkpoint, prefix=''), model.state_dict()
        required = {k for k in own if not k.endswith('num_batches_tracked') and not k.startswith(self.optional)
                    and (self.strict or k.startswith('backbone.'))}
        missing = sorted(required - set(state))
        misshapen = sorted(k for k in required & set(state) if own[k].shape != state[k].shape)
        if not missing and not misshapen:
            return
        found, wanted = (guess_variant({k.removeprefix('backbone.'): tuple(v.shape) for k, v in s.items()
                                        if k.startswith('backbone.')}) for s in (state, own))
        hint = f"; its backbone looks like '{found}', the config's is '{wanted}'" if found and found != wanted else ''
        problems = [f'{len(keys)} {name}, {keys[0]} the first' for name, keys in
                    (('keys missing', missing), ('of another shape', misshapen)) if keys]
        name = runner._load_from or 'the latest checkpoint'
        raise CheckpointError(f'{name} does not fit the model of this config{hint}: {"; ".join(problems)}.\n'
                              'Use the config it was trained with.')
