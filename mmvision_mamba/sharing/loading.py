"""A shared model loaded from its folder or the Hub: the text of an ordinary config, and the file of its weights."""
import contextlib
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from mmengine import Config
from mmengine.registry import DefaultScope
from torch.utils._python_dispatch import TorchDispatchMode

from ..checkpoints import hub
from ..configs import PREFIX
from ..errors import CheckpointError, ConfigError
from ..installation import needing
from ..preflight.datasets import SPLITS, datasets_of
from ..preflight.own_data import as_text
from ..printable import shown
from . import folder
from .allowed import check_allowed
from .shared import Shared

_RUNTIMES = dict(mmdet='_base_/mmdet_runtime.py', mmseg='_base_/mmseg_runtime.py')
_BESIDES = 2**28  # bytes that a model may hold besides its weights: anchors, tables of positions


class Loaded(NamedTuple):
    """A shared model.

    Attributes:
        shared: what its `config.json` says.
        text: of a config file that says so.
        weights: their file.
    """
    shared: Shared
    text: str
    weights: Path


def fetch(path: str | os.PathLike) -> Loaded:
    """A model from a folder that `save` wrote, or `hf://OWNER/REPO[@REVISION]`; nothing is built yet.

    Raises:
        ConfigError: it is no such folder, or `config.json` says what no shared model does; names the key.
        CheckpointError: there are no weights, or see `hub_file`.
    """
    if hub.is_reference(path):
        config, weights = _from_hub(str(path))
    else:
        config, weights = Path(path, folder.CONFIG), Path(path, folder.WEIGHTS)
        if not config.is_file():
            raise ConfigError(f"'{shown(path)}': no folder of a saved model: it has no {folder.CONFIG}")
        if not weights.is_file():
            raise CheckpointError(f"'{shown(path)}' has no {folder.WEIGHTS}: copy the whole folder again")
    try:
        shared = folder.read(config)
    except ConfigError as error:
        raise ConfigError(f'{shown(path)}: {error}') if hub.is_reference(path) else error from None
    scope = shared.config.get('default_scope')
    try:
        if scope not in _RUNTIMES:  # before it is imported
            raise ConfigError(f"config.default_scope is '{shown(scope)}': expected one of {', '.join(_RUNTIMES)}")
        with needing(f'this model of {scope}', 'openmmlab'), DefaultScope.overwrite_default_scope(scope):
            check_allowed(shared.config)
            text = _text(shared, scope)
    except ConfigError as error:
        raise ConfigError(f"'{shown(config)}': {error}") from None
    return Loaded(shared, text, weights)


def _from_hub(path: str) -> tuple[Path, Path]:
    reference = hub.parsed(path)
    assert reference is not None
    if reference.file is not None:
        raise ConfigError(f'{shown(path)}: a model is named as hf://OWNER/REPO, without a file')
    config = hub.hub_file(reference._replace(file=folder.CONFIG), most=folder.LARGEST)
    # Both of one commit, whatever is pushed meanwhile.
    return config, hub.hub_file(reference._replace(revision=config.parent.name, file=folder.WEIGHTS))


def _text(shared: Shared, scope: str) -> str:
    cfg = Config(shared.config)
    meta: dict[str, Any] = dict(classes=tuple(shared.classes), palette=[tuple(rgb) for rgb in shared.palette])
    for split in SPLITS:
        for _, dataset, _ in datasets_of(cfg, split):
            dataset['metainfo'] = meta
    return as_text({key: cfg[key] for key in cfg}, PREFIX + _RUNTIMES[scope])


@contextlib.contextmanager
def bounded(weights: Path) -> Iterator[None]:
    """Within it, a model may be built of about as many numbers as its file of weights holds.

    A config of some bytes can ask for layers that no memory holds; the file shows how large the model really is.

    Raises:
        CheckpointError: it takes far more.
    """
    bound = _Bounded(4 * os.path.getsize(weights) + _BESIDES)
    try:
        with bound:
            yield
    except CheckpointError:
        if bound.left >= 0:
            raise
        raise CheckpointError(f"'{shown(weights)}': the config beside it is of a far larger model than these weights "
                              'are') from None


class _Bounded(TorchDispatchMode):
    _MADE = ('empty', 'empty_strided', 'full', 'new_empty', 'new_full', 'new_ones', 'new_zeros', 'ones', 'rand',
             'randn', 'repeat', 'zeros')  # operators whose first list is the size of what they make

    def __init__(self, most: int):
        super().__init__()
        self.left = most

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func._schema.name.partition('::')[2] in self._MADE:
            self.left -= 4 * math.prod(next((arg for arg in args if isinstance(arg, list | tuple)), ()))
            if self.left < 0:
                raise CheckpointError('too large')  # the libraries that build the model put words of theirs before it
        return func(*args, **(kwargs or {}))
