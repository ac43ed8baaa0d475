"""The licence of a model's weights: that of the pretrained weights that its training began with."""
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from ..errors import ConfigError
from ..limits import NAME
from ..printable import is_name, shown

_PUBLISHED = 'cc-by-nc-sa-4.0'
_OWNER = 'huggingface.co/nvidia/'


class Licence(NamedTuple):
    """A licence, and why it is this one.

    Attributes:
        name: as the Hub writes it. None: nobody has given one.
        why: a sentence.
        pretrained: the weights that training began with. None: it began with random ones.
    """
    name: str | None
    why: str
    pretrained: str | None = None

    @classmethod
    def read(cls, found: Any) -> 'Licence':
        """The licence that a file tells; raises ConfigError for anything else."""
        fields = [found.get(key) for key in cls._fields] if isinstance(found, dict) else [0]
        if not all(value is None or (isinstance(value, str) and len(value) <= NAME and is_name(value))
                   for value in fields):
            raise ConfigError(f'licence: expected {", ".join(cls._fields)}, each a line of text or null')
        return cls(fields[0], fields[1] or '', fields[2])


def licence_of(model: Mapping[str, Any], given: str | None = None, began: str | None = None) -> Licence:
    """The licence of weights that were trained with a model's config.

    Args:
        model: `cfg.model`.
        given: what its author chose. Default: the licence of the pretrained weights; none where there are none.
        began: the checkpoint that training began with. Default: the one that the config names.

    Raises:
        ConfigError: `given` is no name of a licence.
    """
    if given is not None and not (given and given.isascii() and given.replace('-', '').replace('.', '').isalnum()):
        raise ConfigError(f"licence is '{shown(given)}': expected a name as the Hub writes it, such as cc-by-nc-sa-4.0")
    pretrained = began or next(_pretrained(model), None)
    name = None if pretrained is None else pretrained.split('?')[0].rstrip('/').rsplit('/', 1)[-1]
    if given is not None:
        return Licence(given.lower(), 'The author of these weights chose it.', name)
    if pretrained is None:
        return Licence(None, 'Training began with random weights, and no licence was chosen.')
    if _OWNER in pretrained or pretrained.startswith(('hf://nvidia/', 'hf-hub:nvidia/')):
        return Licence(_PUBLISHED, f'Training began with {name}, whose weights are published under CC-BY-NC-SA-4.0 by '
                       'their README and tagged nvclv1 on the Hub: neither allows commercial use, and what is made '
                       'of them stays under their terms.', name)
    return Licence('other', f'Training began with the weights {name}, whose licence holds for these, too.', name)


def _pretrained(value: Any) -> Iterator[str]:
    """The checkpoints that a model's config names."""
    if isinstance(value, Mapping):
        init = value.get('init_cfg')
        for found in (init.get('checkpoint') if isinstance(init, Mapping) else None, value.get('pretrained')):
            if isinstance(found, str) and found:
                yield found
        for item in value.values():
            yield from _pretrained(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _pretrained(item)
