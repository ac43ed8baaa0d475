"""A shared model loaded from its folder or the Hub: the text of an ordinary config, and the file of its weights."""
import os
import shutil
from pathlib import Path
from typing import Any, NamedTuple

from mmengine import Config
from mmengine.registry import DefaultScope

from ..checkpoints import hub
from ..configs import PREFIX
from ..datasets.image_files import image_problem
from ..errors import CheckpointError, ConfigError
from ..files import open_file, read_bytes
from ..installation import needing
from ..limits import IMAGE_BYTES
from ..made_beside import clear
from ..preflight.datasets import SPLITS, datasets_of
from ..preflight.own_data import as_text
from ..printable import shown
from . import folder
from .allowed import check_allowed
from .shared import Shared

_RUNTIMES = dict(mmdet='_base_/mmdet_runtime.py', mmseg='_base_/mmseg_runtime.py',
                 mmengine='_base_/classification_runtime.py')


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
        clear(Path(path).absolute())  # of a save that was killed
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


def copied(saved: str | os.PathLike, target: Path) -> Path:
    """A copy of a saved folder, checked: what is pushed is what was checked, whatever is written there meanwhile.

    Args:
        saved: the folder. No file in it may be a link, which can lead to one that nobody means to give away.
        target: an empty folder.

    Returns:
        The target.

    Raises:
        ConfigError: a file is none of a saved model, or too large for one; see `fetch`.
    """
    others = sorted(name for name in os.listdir(saved) if name not in folder.MOST and not name.startswith('.'))
    if others:
        raise ConfigError(f"'{shown(saved)}' holds {shown(others[0])} besides the saved model, and the model's files "
                          'alone are pushed: move it away')
    for name, most in folder.MOST.items():
        path = Path(saved, name)
        if path.is_symlink():
            raise ConfigError(f"'{shown(path)}' is a link: a folder to push has its files in it. Copy the file there")
        try:
            with open_file(path) as source, open(target / name, 'wb') as copy:
                if os.fstat(source.fileno()).st_size > most:
                    raise ConfigError(f"'{shown(path)}' has more than {most} bytes, and is not pushed")
                shutil.copyfileobj(source, copy)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise ConfigError(f"'{shown(path)}' can not be copied: {error.strerror or error}") from None
    fetch(target)
    picture = target / folder.PICTURE
    if picture.is_file() and (problem := image_problem(read_bytes(picture, IMAGE_BYTES.value), quick=False)):
        raise ConfigError(f"'{shown(Path(saved, folder.PICTURE))}': {problem}")
    return target
