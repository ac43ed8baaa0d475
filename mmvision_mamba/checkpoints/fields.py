"""What the fields of a checkpoint must be, for those who read it not to check each by themselves.

`READ` is for all readers, `RESUMED` for resuming. Both are tables that others add entries to:

    RESUMED['resume_state.guards.streak'] = Field('a number of iterations', is_count)
"""
import math
from collections.abc import Callable, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..errors import CheckpointError
from ..limits import CATEGORIES, NAME
from ..printable import shown

MOST = 2**53  # of counts, so that they stay exact as floats
_MISSING = object()


class Field(NamedTuple):
    """What a field must be.

    Attributes:
        expected: what it must be, for the message.
        fits: whether a value is that.
        needed: whether it must be there. Default: False.
    """
    expected: str
    fits: Callable[[Any], bool]
    needed: bool = False


def check_fields(checkpoint: Any, name: str, fields: Mapping[str, Field], way_out: str) -> None:
    """Raise CheckpointError for the first field that is not what `fields` says.

    Args:
        checkpoint: as `read_checkpoint` returns it.
        name: its file, for the message.
        fields: by path, outer ones first; '*' in a path stands for any keys or parts of them, and for positions.
        way_out: what to do instead, a sentence.
    """
    for path, field in fields.items():
        for key, value in _found(checkpoint, path.split('.')):
            if value is _MISSING:
                if field.needed:
                    raise CheckpointError(f'{name} lacks {key}, which must be {field.expected}.\n{way_out}')
            elif not field.fits(value):
                raise CheckpointError(f'{name}: its {key} must be {field.expected}, got {described(value)}.\n{way_out}')


def _found(node: Any, parts: list[str], above: tuple = ()) -> Iterator[tuple[str, Any]]:
    """Names and values of what is at a path; of a last part that is missing, `_MISSING`."""
    if not parts:
        yield shown('.'.join(above), 100), node
        return
    part, *rest = parts
    if isinstance(node, Mapping):
        if '*' not in part:
            if part in node:
                yield from _found(node[part], rest, (*above, part))
            elif not rest:
                yield '.'.join((*above, part)), _MISSING
            return
        items: Any = node.items()
    elif isinstance(node, list | tuple):
        items = enumerate(node)
    else:
        return
    for key, value in items:
        if fnmatchcase(str(key), part):
            yield from _found(value, rest, (*above, str(key)))


def described(value: Any) -> str:
    """A value of a checkpoint for a message, in a few words."""
    if isinstance(value, Tensor | np.ndarray):
        return f'{str(value.dtype).removeprefix("torch.")} of shape {shown(tuple(value.shape), 60)}'
    return shown(value, 80)


# Kinds of values -------------------------------------------------------------------------------------------------

def is_count(value: Any) -> bool:
    """Whether it is a whole number from 0 up that a float can hold."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and 0 <= value < MOST


def is_time(value: Any) -> bool:
    """Whether it is a whole number of nanoseconds, as `time.time_ns` counts them."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def is_number(value: Any) -> bool:
    """Whether it is a finite number."""
    if isinstance(value, np.number):
        value = value.item()  # NumPy's would overflow in the comparison
    return isinstance(value, int | float) and not isinstance(value, bool) and -2**1000 < value < 2**1000


def is_dict(value: Any) -> bool:
    """Whether it is a dictionary whose keys are text."""
    return isinstance(value, dict) and all(isinstance(key, str) for key in value)


def or_none(fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """`fits`, or None."""
    return lambda value: value is None or fits(value)


def list_of(fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """Whether it is a list or tuple of what `fits`."""
    return lambda value: isinstance(value, list | tuple) and all(map(fits, value))


def is_text(value: Any) -> bool:
    """Whether it is text."""
    return isinstance(value, str)


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= NAME  # who draws a longer one takes for ever


def _are_names(value: Any) -> bool:
    return value is None or _is_name(value) or (list_of(_is_name)(value) and len(value) <= CATEGORIES.value)


def _are_colours(value: Any) -> bool:
    if value is None or is_text(value):
        return True
    if isinstance(value, np.ndarray):
        value = value.tolist() if value.ndim == 2 and value.dtype.kind in 'iuf' else None
    return list_of(lambda colour: ((isinstance(colour, np.ndarray) and colour.ndim == 1) or isinstance(
        colour, list | tuple)) and len(colour) == 3 and all(is_number(v) and 0 <= v < 256 for v in colour))(value)


def are_weights(value: Any) -> bool:
    """Whether it is a dictionary of tensors by name; torch's `_extra_state` may be anything."""
    return is_dict(value) and all(isinstance(weight, Tensor) or key.endswith('_extra_state')
                                  for key, weight in value.items())


def are_groups(value: Any) -> bool:
    """Whether it is a list of an optimiser's groups, each with the numbers of its parameters."""
    return isinstance(value, list) and len(value) > 0 and all(
        is_dict(group) and isinstance(group.get('params'), list) and all(map(is_count, group['params']))
        for group in value)


# States of random number generators ------------------------------------------------------------------------------

_WORDS = 624  # of a Mersenne Twister
_TORCHS = dict(left=(8, np.int32), seeded=(12, np.int32), next=(16, np.uint64), valid=(5040, np.int32),
               half_valid=(5052, np.uint8))
_TORCHS_BYTES = 5056


def _whole(value: Any, length: int, dtype: torch.dtype) -> bool:
    return isinstance(value, Tensor) and value.dtype == dtype and tuple(value.shape) == (length,)


def is_python_state(value: Any) -> bool:
    """Whether it is the state of Python's generator: its version, its words, and its place in them."""
    if not _whole(value, _WORDS + 2, torch.int64):
        return False
    version, *words, place = value.tolist()
    return version == 3 and _are_words(words) and 0 <= place <= _WORDS


def is_numpy_state(value: Any) -> bool:
    """Whether it is the state of NumPy's generator: its words, its place in them, whether half a draw is left."""
    if not _whole(value, _WORDS + 2, torch.int64):
        return False
    *words, place, half = value.tolist()
    return _are_words(words) and 0 <= place <= _WORDS and half in (0, 1)


def _are_words(words: list[int]) -> bool:
    return all(0 <= word < 2**32 for word in words) and any(words)


def is_torch_state(value: Any) -> bool:
    """Whether it is the state of torch's generator on the CPU, which reads past its words if the file says so.

    torch checks how many words are left and which is next, each by itself.
    """
    if not _whole(value, _TORCHS_BYTES, torch.uint8):
        return False
    content = value.cpu().contiguous().numpy()
    left, seeded, place, valid, half = (int(content[at:at + np.dtype(kind).itemsize].view(kind)[0])
                                        for at, kind in _TORCHS.values())
    words = content[24:24 + 8 * _WORDS].view(np.uint64)
    return seeded == 1 and 1 <= left <= _WORDS and left + place <= _WORDS + 1 and valid in (0, 1) and half in (0, 1) \
        and bool((words < 2**32).all())


def is_cuda_state(value: Any) -> bool:
    """Whether it is the state of a GPU's generator: a seed, and how much of its sequence is used, in steps of 4."""
    if not _whole(value, 16, torch.uint8):
        return False
    used = int(value.cpu().contiguous().numpy()[8:].view(np.int64)[0])
    return used >= 0 and used % 4 == 0


def is_half_draw(value: Any) -> bool:
    """Whether it is a normal number that a generator has left over, or none."""
    return isinstance(value, Tensor) and value.dtype == torch.float64 and value.numel() <= 1 and bool(
        torch.isfinite(value).all())


GENERATORS: dict[str, Callable[[Any], bool]] = dict(
    python=is_python_state, python_gauss=is_half_draw, numpy=is_numpy_state,
    numpy_gauss=lambda value: is_half_draw(value) and value.numel() == 1, torch=is_torch_state, cuda=is_cuda_state)


# The tables ------------------------------------------------------------------------------------------------------

_DICT = Field('a dictionary', is_dict)
_COUNT = Field('a whole number, 0 or more', is_count)
# Of iterations: to skip the batches of more takes hours, to add up their times more than fits.
_REACHED = Field('a whole number, 0 to 200 million', lambda value: is_count(value) and value <= 200_000_000)
_NAMES = Field(f'at most {CATEGORIES.default} names of {NAME} characters', _are_names)
_COLOURS = Field('colours, red, green and blue from 0 to 255', _are_colours)
_GROUPS = Field("a list of an optimiser's groups", are_groups)
_PATHS = Field('a list of paths', list_of(is_text))

READ: dict[str, Field] = {
    'state_dict': Field('a dictionary of tensors by name', are_weights),
    'ema_state_dict': Field('a dictionary of tensors by name', are_weights),
    'meta': Field('a dictionary', or_none(is_dict)),
    'meta.dataset_meta': Field('a dictionary', or_none(is_dict)),
    **{f'meta.{above}{key}': field for above in ('', 'dataset_meta.') for key, field in dict(
        classes=_NAMES, CLASSES=_NAMES, palette=_COLOURS, PALETTE=_COLOURS).items()}}

RESUMED: dict[str, Field] = {
    'meta': _DICT, 'meta.epoch': _REACHED, 'meta.iter': _REACHED,
    'meta.seed': Field('a seed, from 0 to 4294967295, or None', or_none(lambda seed: is_count(seed) and seed < 2**32)),
    'meta.cfg': Field('the text of a config', or_none(lambda text: is_text(text) and len(text) < 2**24)),
    'message_hub': _DICT,
    **{f'message_hub.{key}': Field('a dictionary', is_dict, True) for key in ('runtime_info', 'resumed_keys')},
    'message_hub.log_scalars': Field('histories by names that can be printed', lambda value: is_dict(value) and all(
        shown(key) == key for key in value), True),
    'message_hub.resumed_keys.*': Field('True or False', lambda value: isinstance(value, bool)),
    'message_hub.runtime_info.keep_ckpt_ids': Field('a list of iterations or epochs', list_of(is_count)),
    'message_hub.runtime_info.last_ckpt': Field('a path', or_none(is_text)),
    'message_hub.runtime_info.best_ckpt*': Field('a path', or_none(is_text)),
    'message_hub.runtime_info.best_score*': Field('a number', or_none(
        lambda value: is_number(value) or (isinstance(value, float) and math.isinf(value)))),
    'message_hub.runtime_info.outdated_ckpts': _PATHS, 'message_hub.runtime_info.temporary_ckpts': _PATHS,
    'optimizer': Field('a dictionary', is_dict),
    'optimizer.param_groups': _GROUPS, 'optimizer.*.param_groups': _GROUPS,
    'param_schedulers': Field('a list or a dictionary', lambda value: isinstance(value, list) or is_dict(value)),
    'param_schedulers.*': Field('a dictionary, or a list of them', lambda value: is_dict(value) or list_of(is_dict)(
        value)),
    'resume_state': _DICT,
    **{f'resume_state.{key}': Field('a time in ns', is_time) for key in ('run', 'saved')},
    'resume_state.validated': Field('a whole number, 0 or more', or_none(is_count)),
    'resume_state.random': Field('a list with an entry for each process', lambda value: isinstance(
        value, list) and len(value) > 0),
    'resume_state.random.*': _DICT,
    **{f'resume_state.random.*.{key}': Field('the state of a random number generator', fits, key != 'cuda')
       for key, fits in GENERATORS.items()},
    'resume_state.loader': _DICT,
    **dict.fromkeys([f'resume_state.loader.{key}' for key in ('batches', 'position', 'passes')],
                    _REACHED._replace(needed=True)),
    'resume_state.loader.seed': _COUNT._replace(needed=True),
    'resume_state.loader.images': Field('a whole number, 1 or more', lambda value: is_count(value) and value > 0, True),
    'resume_state.loader.sampler_seed': Field('a whole number, 0 or more, or None', or_none(is_count), True),
    'resume_state.loader.batch': Field('a whole number, 1 or more', lambda value: is_count(value) and value > 0),
    'resume_state.loader.length': Field('a whole number, 0 or more', or_none(is_count)),
    'resume_state.hooks': _DICT,
    'resume_state.hooks.*': Field('a list of dictionaries', list_of(is_dict)),
    'resume_state.hooks.DivergenceHook.*.losses': Field('finite losses', lambda value: isinstance(
        value, Tensor) and value.ndim == 1 and value.is_floating_point() and bool(torch.isfinite(value).all()), True),
    'resume_state.hooks.DivergenceHook.*.streak': Field(*_COUNT[:2], True),
    'resume_state.hooks.DivergenceHook.*.attempts': Field(*_COUNT[:2], True),
    'resume_state.hooks.DivergenceHook.*.target': Field('an iteration, or None', or_none(is_count), True),
    'resume_state.hooks.*EarlyStoppingHook.*.wait_count': Field(*_COUNT[:2], True),
    'resume_state.hooks.*EarlyStoppingHook.*.*_score': Field('a number', lambda value: isinstance(value, float)),
    'resume_state.hooks.*EarlyStoppingHook.*.stopped': Field('True or False', lambda value: isinstance(value, bool)),
    'resume_state.hooks.*EarlyStoppingHook.*.monitor': Field('the name of a metric', _is_name),
    'resume_state.gradients': Field('a list with an entry for each process', lambda value: isinstance(value, list)),
    'resume_state.gradients.*': Field('a dictionary of tensors by name', are_weights)}
