"""Overrides that would do nothing, since nothing reads the key; the error names the key that is read."""
from collections.abc import Iterator, Mapping

from mmengine.config import Config

from ..errors import ConfigError
from ..printable import is_name, shown
from ..text import did_you_mean, shortened
from .datasets import SPLITS, datasets_of, value_at
from .keys import KEYS

_READ = KEYS | {'custom_data', 'data_root', 'sync_bn', 'compile', 'activation_checkpointing', 'efficient_conv_bn_eval'}
# Names in configs of older versions and of other projects: name here.
_FORMER = dict(samples_per_gpu='batch_size', workers_per_gpu='num_workers', workers='num_workers',
               epochs='max_epochs', total_epochs='max_epochs', iters='max_iters', total_iters='max_iters',
               learning_rate='lr')
_MOST = 4  # keys to suggest


def check_overrides(cfg: Config, options: Mapping[str, object]) -> None:
    """Raise ConfigError for an override of a variable of the config file, or of a key that nothing reads.

    The file's variables have done their work when it has been read: only what a run reads can be changed after that.
    Keys and values with line breaks or other control characters are refused: libraries have them in their messages.

    Args:
        cfg: as read from its file, without the overrides.
        options: {dotted key: value}.
    """
    for key, value in options.items():
        if not all(map(is_name, _texts(key, value))):
            raise ConfigError(f"the override of '{shown(key)}' as '{shown(value)}': keys and values are one line, "
                              'without control characters.\nThe config file itself may have such values')
        top = key.split('.')[0]
        if top in _READ:
            continue
        suggested = _read_instead(cfg, key)
        way_out = f'Set {", ".join(suggested[:_MOST])}' if suggested else \
            f'Keys that are read begin with {shortened([k for k in cfg if k in _READ], 20)}'
        reason = f'{top} is a variable of the config file, used up when that is read' if top in cfg else \
            f'there is no key {top!r}{did_you_mean(top, _READ)}'
        raise ConfigError(f'the override of {key} would do nothing: {reason}.\n{way_out}')


def _texts(*values: object) -> Iterator[str]:
    """All texts in values and in the containers among them."""
    for value in values:
        if isinstance(value, str):
            yield value
        elif isinstance(value, Mapping):
            yield from _texts(*value, *value.values())
        elif isinstance(value, list | tuple | set):
            yield from _texts(*value)


def _read_instead(cfg: Config, key: str) -> list[str]:
    """The keys under which a run reads what `key` seems to mean."""
    parts = key.split('.')
    split = next((split for split in SPLITS if parts[0].startswith(f'{split}_')), '')
    places = [(place, value) for place, value in _places({k: cfg[k] for k in cfg if k in _READ and k != 'data_root'})
              if place.startswith(split)]
    for end in range(1, len(parts) + 1):  # the variable, or the part of it, that stands there
        value = value_at(cfg, '.'.join(parts[:end]))
        if (isinstance(value, dict | list | tuple) and len(value)) or (isinstance(value, str) and len(value) > 3):
            found = [place for place, other in places if other == value and type(other) is type(value)]
            if found:
                return ['.'.join([place, *parts[end:]]) for place in found]
    if parts[-1] == 'classes':  # which need not be there
        return [f'{place}.metainfo.classes' for split in SPLITS for place, *_ in datasets_of(cfg, split)]
    name = _FORMER.get(parts[-1], parts[-1])
    return sorted((place for place, _ in places if place.split('.')[-1] == name),
                  key=lambda place: (not place.startswith(('train', 'model', 'optim')), place.count('.')))


def _places(value, where: str = '') -> Iterator[tuple[str, object]]:
    """(dotted key, value) of everything below a value."""
    if where:
        yield where, value
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list | tuple) else ()
    for key, item in items:
        yield from _places(item, f'{where}.{key}' if where else str(key))
