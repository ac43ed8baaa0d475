"""What of a checkpoint is for a model, by its names; whether the model then holds it."""
import re
from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import CheckpointError
from ..printable import shown
from ..text import shortened

_WRAPPED = re.compile(r'^(backbone\.)?model\.')


def own_names(keys: Collection[str], names: Collection[str]) -> dict[str, str]:
    """By the keys of a checkpoint, what a model calls these weights.

    The published classes for transformers hold the network as `model`: 'model.', at the start or behind 'backbone.', is
    taken off where more of the keys are the model's own then.

    Args:
        keys: of the checkpoint.
        names: of the model's tensors.
    """
    shorter = {key: _WRAPPED.sub(r'\1', key) for key in keys}
    fitting = sum(name in names for name in shorter.values()), sum(key in names for key in keys)
    if fitting[0] > fitting[1] and len(set(shorter.values())) == len(shorter):
        return shorter
    return {key: key for key in keys}


def renamed(state: dict[str, Any], names: Collection[str]) -> dict[str, Any]:
    """A state dict by a model's names, see `own_names`; itself where it has these."""
    own = own_names(state.keys(), names)
    return state if own.keys() == set(own.values()) else {own[key]: value for key, value in state.items()}


def behind_backbone(state: dict[str, Any], names: Collection[str]) -> dict[str, Any]:
    """A classifier's weights by the names of `ImageClassifier`, which has its backbone behind 'backbone.'.

    Args:
        state: of the published layout, timm's or `ImageClassifier`'s own.
        names: of the tensors of the `ImageClassifier`.
    """
    state = renamed(state, {name.removeprefix('backbone.') for name in names})
    if any(key.startswith('backbone.') for key in state):
        return state
    return {key if key.startswith(('norm.', 'head.')) else f'backbone.{key}': value for key, value in state.items()}


def check_loaded(module: nn.Module, state: Mapping, name: str) -> None:
    """Check, after loading, that the module's tensors are those of a file, in the module's dtypes and on its devices.

    That takes a read of both, 0.2 to 0.5 s a gigabyte of weights on one CPU core. Tensors of other shapes, which were
    never to be loaded, and those of a sharded model are passed over.

    Args:
        module: that loaded `state`.
        state: tensors by the module's names, as they were loaded; other names are ignored.
        name: of the file, for the message.

    Raises:
        CheckpointError: one differs, or the file has none of the module's.
    """
    own = module.state_dict()
    known = [key for key, value in own.items() if key in state and isinstance(value, Tensor)]
    if own and not known:
        raise CheckpointError(f'{name} holds none of the weights of {type(module).__name__}, which has '
                              f'{shortened(list(own), 3)}; the file has {shortened(list(state), 3)}')
    for key in known:
        value = state[key]
        if not isinstance(value, Tensor) or value.shape != own[key].shape or hasattr(own[key], 'full_tensor'):
            continue
        if not _same(own[key], value):
            raise CheckpointError(f'{name}: {shown(key, 100)} could not be loaded: the model does not have what the '
                                  'file has.\nUse a file of dense weights of the same model.')


def copyable(value: Tensor, target: Tensor) -> bool:
    """Whether `value` can become the content of `target` without becoming something else: both floating or neither."""
    dense = value.layout == torch.strided and not (value.is_quantized or value.is_meta or value.is_complex() or getattr(
        value, 'is_nested', False))
    return dense and value.is_floating_point() == target.is_floating_point()


def _same(own: Tensor, value: Tensor) -> bool:
    value, exact = value.detach().to(own), value
    if exact.element_size() > own.element_size() and value.isinf().sum() != exact.isinf().sum():  # too large for it
        return False
    return torch.equal(own, value) or (own.is_floating_point() and bool(
        ((own == value) | (own.isnan() & value.isnan())).all()))
