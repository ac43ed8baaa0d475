"""Loads weights into a model, with a report of what did not fit."""
import logging
import os
from collections.abc import Mapping

import torch.nn as nn
from timm.models import adapt_input_conv
from torch import Tensor

from ..checkpoints.loaded import check_loaded, copyable, own_names, renamed
from ..checkpoints.reading import extract_state_dict, read_checkpoint
from ..errors import CheckpointError
from ..text import shortened
from .family import FAMILY, FIRST_CONV

# Prefixes of keys that a checkpoint may lack, besides buffers that torch itself doesn't insist on: heads that only
# training uses.
OPTIONAL = ('auxiliary_head.',)


def load_pretrained(backbone: nn.Module, path: str | os.PathLike, prefix: str | None = None,
                    sha256: str | None = None) -> None:
    """Load weights into a MambaVision, and log in one line which keys were loaded, kept and dropped.

    `outnorm*` may be missing (ImageNet files have none: kept as initialised), `norm.*`, `head.*` and stages that
    `out_indices` leaves unbuilt may be there (dropped); weights for RGB start a model of other bands, see
    `start_other_bands`. Anything else that is missing, unexpected or of another shape is an error, and nothing is
    loaded.

    Args:
        backbone: a MambaVision.
        path, sha256: file or URL and its hash, see `read_checkpoint`.
        prefix: see `extract_state_dict`.

    Raises:
        CheckpointError: the file can't be read, or doesn't fit; says which variant it looks like.
    """
    load_weights(backbone, extract_state_dict(read_checkpoint(path, sha256=sha256), prefix), path)


def load_weights(backbone: nn.Module, state: dict[str, Tensor], path: str | os.PathLike,
                 may_lack: tuple[str, ...] = ()) -> None:
    """As `load_pretrained`, from a state dict that `path` held; keys that begin with `may_lack` may be missing too."""
    expected = backbone.state_dict()
    state = dict(renamed(state, expected))
    adapted = start_other_bands(state, expected)
    built = len(backbone.levels)  # type: ignore[arg-type]
    unbuilt = tuple(f'levels.{i}.' for i in range(built, 4)) + (f'levels.{built - 1}.downsample.',) * (built < 4)
    dropped = {k for k in state if k not in expected and (k.startswith(('norm.', 'head.', 'outnorm', *unbuilt)))}
    missing = {k for k in expected if k not in state and not k.endswith('num_batches_tracked')}
    kept = {k for k in missing if k.startswith(('outnorm', *may_lack))}
    if any(k.startswith('outnorm') for k in state if k in expected):  # a dense prediction file must have all of them
        kept = {k for k in kept if not k.startswith('outnorm')}
    unexpected = set(state) - set(expected) - dropped
    misshapen = {k for k in expected if k in state and expected[k].shape != state[k].shape}
    if channels := _other_channels(state, expected):
        raise CheckpointError(f'{path} does not fit the backbone: {channels}')
    problems = [f'{name}: {shortened(sorted(keys), 6)}' for name, keys in (
        ('missing', missing - kept), ('unexpected', unexpected), ('of another shape', misshapen),
        ('no numbers of that kind', _of_another_kind(state, expected))) if keys]
    if problems:
        variant = guess_variant({k: tuple(v.shape) for k, v in state.items()})
        built_variant = guess_variant({k: tuple(v.shape) for k, v in expected.items()}) if built == 4 else None
        hint = f"this looks like '{variant}'" if variant else 'it is of no published variant'
        backbone_name = f'the backbone {built_variant!r}' if built_variant else 'the backbone'
        raise CheckpointError(f'{path} does not fit {backbone_name}; {hint}.\n' + '; '.join(problems))
    backbone.load_state_dict({k: v for k, v in state.items() if k in expected}, strict=False)
    check_loaded(backbone, state, str(path))
    _logger().info(f'backbone weights from {path}: {len(set(expected) & set(state))} tensors loaded'
                   + (f'; {adapted}' if adapted else '')
                   + (f'; kept as initialised: {shortened(sorted(kept), 6)}' if kept else '')
                   + (f'; dropped: {shortened(sorted(dropped), 6)}' if dropped else ''))


def _logger() -> logging.Logger:
    try:
        from mmengine.logging import MMLogger
        return MMLogger.get_current_instance()
    except ImportError:
        return logging.getLogger('mmvision_mamba')


def check_fit(model: nn.Module, checkpoint: dict, name: str, strict: bool = True) -> None:
    """Raises CheckpointError, naming the first keys, where `checkpoint` can't be loaded into `model`.

    Args:
        model: a detector or segmentor.
        checkpoint: the content of its file.
        name: name of the checkpoint, for the message.
        strict: see `CheckpointFitHook`. Default: True.
    """
    expected = model.state_dict()
    state = renamed(extract_state_dict(checkpoint, prefix=''), expected)
    required = {k for k in expected if not k.endswith('num_batches_tracked') and not k.startswith(OPTIONAL)
                and (strict or k.startswith('backbone.'))}
    missing = sorted(required - set(state))
    misshapen = sorted(k for k in required & set(state) if expected[k].shape != state[k].shape)
    if channels := _other_channels(state, expected):
        raise CheckpointError(f'{name} does not fit the model of this config: {channels}')
    other_kind = sorted(_of_another_kind(state, expected))
    if not missing and not misshapen and not other_kind:
        return
    in_file, in_config = (guess_variant({k.removeprefix('backbone.'): tuple(v.shape) for k, v in s.items()
                                          if k.startswith('backbone.')}) for s in (state, expected))
    hint = f"; its backbone looks like '{in_file}', the config's is '{in_config}'" \
        if in_file and in_file != in_config else ''
    problems = [f'{len(keys)} {problem}, {keys[0]} the first' for problem, keys in
                (('keys missing', missing), ('of another shape', misshapen),
                 ('of another kind of numbers', other_kind)) if keys]
    raise CheckpointError(f'{name} does not fit the model of this config{hint}: {"; ".join(problems)}.\n'
                          'Use the config it was trained with.')


def load_fitting(model: nn.Module, checkpoint: dict, name: str) -> None:
    """Load a checkpoint into a detector or segmentor; raises CheckpointError, see `check_fit`, if it doesn't fit."""
    check_fit(model, checkpoint, name)
    expected = model.state_dict()
    state = renamed(extract_state_dict(checkpoint, prefix=''), expected)
    state = {k: v for k, v in state.items() if k not in expected or expected[k].shape == v.shape}  # an optional head's
    model.load_state_dict(state, strict=False)
    check_loaded(model, state, name)


def start_other_bands(state: dict[str, Tensor], expected: Mapping[str, Tensor]) -> str | None:
    """Let weights for RGB start a model of other bands: its first convolution is repeated and scaled as timm does it.

    Args:
        state: changed in place.
        expected: the model's own weights.

    Returns:
        A phrase for the log; None where nothing was to be done.
    """
    wanted = next((tensor for key, tensor in expected.items() if key.endswith(f'{FIRST_CONV}.weight')), None)
    if wanted is None or wanted.ndim != 4:
        return None
    bands, note = wanted.shape[1], None
    for key, weight in state.items():
        if key.endswith(f'{FIRST_CONV}.weight') and isinstance(weight, Tensor) and weight.ndim == 4 \
                and weight.shape[1] == 3 != bands and copyable(weight, wanted):
            state[key] = adapt_input_conv(bands, weight)
            note = f'{key}, of 3 bands, repeated and scaled for {bands}' if bands > 1 else f'{key}, of 3 bands, summed'
    return note


def _of_another_kind(state: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> set[str]:
    """Keys whose tensors would become others in the model: sparse or quantised ones, integers for weights."""
    return {k for k in expected if k in state and isinstance(expected[k], Tensor)
            and not copyable(state[k], expected[k])}


def _other_channels(state: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> str | None:
    """What to say of weights for images of another number of channels than the model takes; None if they are not."""
    for key in expected:
        if not key.endswith(f'{FIRST_CONV}.weight') or key not in state:
            continue
        found, wanted = tuple(state[key].shape), tuple(expected[key].shape)
        if len(found) == len(wanted) and found[1] != wanted[1] and (found[0], *found[2:]) == (wanted[0], *wanted[2:]):
            return (f'{key} is {found} in the file and {wanted} in the model.\nThe file is for images of {found[1]} '
                    f"channels and the model for {wanted[1]}: set the backbone's arch.in_channels={found[1]} and as "
                    'many mean and std, or train without these weights (--no-pretrained)')
    return None


def drop_other_shapes(model: nn.Module, checkpoint: dict) -> list[str]:
    """Remove from a checkpoint, in place, the weights whose shape is not that of the model's; returns their names."""
    state, expected = checkpoint.get('state_dict', checkpoint), model.state_dict()
    dropped = []
    own = own_names([key.removeprefix('module.') for key in state], expected)
    for key in list(state):
        name = own[key.removeprefix('module.')]
        if name in expected and expected[name].shape != state[key].shape:
            dropped.append(f'{name} {tuple(state[key].shape)} → {tuple(expected[name].shape)}')
            del state[key]
    return dropped


def guess_variant(shapes: Mapping[str, tuple]) -> str | None:
    """The variant that a state dict with these key -> shape belongs to, or None."""
    def depth(stage: int) -> int:
        return len({key.split('.')[3] for key in shapes if key.startswith(f'levels.{stage}.blocks.')})

    try:
        sizes = (shapes['patch_embed.conv_down.3.weight'][0], shapes['patch_embed.conv_down.0.weight'][0],
                 tuple(depth(stage) for stage in range(4)))
    except (KeyError, IndexError):
        return None
    return next((name for name, arch in FAMILY.items() if sizes == (arch['dim'], arch['in_dim'], arch['depths'])), None)
