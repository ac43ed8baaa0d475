"""A checkpoint of another model is an error, not a warning among a hundred lines of log."""
import torch.nn as nn
from mmengine.hooks import Hook
from mmengine.model import BaseTTAModel, is_model_wrapper
from mmengine.registry import HOOKS

from ..backbones.checkpoint import extract_state_dict
from ..backbones.family import guess_variant
from ..errors import CheckpointError

# What a checkpoint may lack besides buffers that torch itself doesn't insist on: heads of no use after training.
OPTIONAL = ('auxiliary_head.',)


@HOOKS.register_module()
class CheckpointFitHook(Hook):
    """Raises CheckpointError before a checkpoint that doesn't fit the model is loaded.

    One to start from (not strict) may be of other classes: tensors of the heads that have another shape are dropped,
    with a notice that names them.

    Args:
        strict: whether every parameter of the model must be in the checkpoint, as for testing and resuming. False:
            those of the backbone alone. Default: True.
    """

    def __init__(self, strict: bool = True):
        self.strict = strict

    def after_load_checkpoint(self, runner, checkpoint):
        model = runner.model
        while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
            model = model.module
        check_fit(model, checkpoint, runner._load_from or 'the latest checkpoint', self.strict)
        if not self.strict:
            dropped = drop_other_shapes(model, checkpoint)
            if dropped:
                runner.logger.info(f'{runner._load_from} is of other classes: {len(dropped)} tensors dropped, and kept '
                                   f'as initialised: {", ".join(dropped)}')


def drop_other_shapes(model: nn.Module, checkpoint: dict) -> list[str]:
    """Remove from a checkpoint, in place, the weights whose shape is not that of the model's; returns their names."""
    state, own = checkpoint.get('state_dict', checkpoint), model.state_dict()
    dropped = []
    for key in list(state):
        name = key.removeprefix('module.')
        if name in own and own[name].shape != state[key].shape:
            dropped.append(f'{name} {tuple(state[key].shape)} → {tuple(own[name].shape)}')
            del state[key]
    return dropped


def check_fit(model: nn.Module, checkpoint: dict, name: str, strict: bool = True) -> None:
    """Raises CheckpointError, naming the first keys, where `checkpoint` can't be loaded into `model`.

    Args:
        model: a detector or segmentor.
        checkpoint: what its file holds.
        name: of the checkpoint, for the message.
        strict: see `CheckpointFitHook`. Default: True.
    """
    state, own = extract_state_dict(checkpoint, prefix=''), model.state_dict()
    required = {k for k in own if not k.endswith('num_batches_tracked') and not k.startswith(OPTIONAL)
                and (strict or k.startswith('backbone.'))}
    missing = sorted(required - set(state))
    misshapen = sorted(k for k in required & set(state) if own[k].shape != state[k].shape)
    if not missing and not misshapen:
        return
    found, wanted = (guess_variant({k.removeprefix('backbone.'): tuple(v.shape) for k, v in s.items()
                                    if k.startswith('backbone.')}) for s in (state, own))
    hint = f"; its backbone looks like '{found}', the config's is '{wanted}'" if found and found != wanted else ''
    problems = [f'{len(keys)} {what}, {keys[0]} the first' for what, keys in
                (('keys missing', missing), ('of another shape', misshapen)) if keys]
    raise CheckpointError(f'{name} does not fit the model of this config{hint}: {"; ".join(problems)}.\n'
                          'Use the config it was trained with.')
