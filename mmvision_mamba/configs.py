"""Finds configs: those of this package by name, as 'ablations/baseline'; that of a run beside its checkpoints."""
import os
import zipfile
from pathlib import Path

from .checkout import CONFIGS
from .errors import ConfigError
from .text import did_you_mean

_HUB = ('hf://', 'hf-hub:')
_CHECKPOINTS = '.pth', '.pt', '.pth.tar', '.safetensors', '.bin', '.index.json'
# Published weights without a config of their own: the one that their image size and crop are in.
_TESTED_WITH = {'mambavision_base.in21k': 'mambavision_b_in1k', 'mambavision_large.in21k': 'mambavision_l_in1k'}
PREFIX = 'mmvision_mamba::'  # of a name where a path is expected otherwise: `_base_ = 'mmvision_mamba::NAME.py'`


def config_names() -> list[str]:
    """The names of all configs of experiments, without '.py', those of ablations last."""
    paths = (path.relative_to(CONFIGS) for path in CONFIGS.rglob('*.py'))
    names = (path.with_suffix('').as_posix() for path in paths if path.parts[0] != '_base_')
    return sorted(names, key=lambda name: ('/' in name, name))


def packaged_config(name: str) -> Path:
    """Path of a config that comes with this package.

    Args:
        name: with or without '.py', 'mmvision_mamba::' or the folder 'configs/' before it; also of a part, such as
            '_base_/default_runtime'; or of published weights that are tested with another's file.

    Raises:
        ConfigError: there is none of that name.
    """
    stem = name.removeprefix(PREFIX).removeprefix('configs/').removesuffix('.py')
    path = CONFIGS / f'{_TESTED_WITH.get(stem, stem)}.py'
    if not path.is_file():
        raise ConfigError(f'config file not found: {name}{did_you_mean(stem, config_names())}; '
                          '`mmvision-mamba config --list` lists those that need no path')
    return path


def find_config(path: str | os.PathLike) -> Path:
    """A config file by its path, or else by its name among those of this package; '.py' may be left out.

    Raises:
        ConfigError: there is neither.
    """
    for candidate in (Path(path), Path(f'{os.fspath(path)}.py')):
        if candidate.is_file():
            return candidate
    return packaged_config(os.fspath(path))


def is_config(path: str | os.PathLike) -> bool:
    """Whether `find_config` finds a config."""
    try:
        return find_config(path).is_file()
    except ConfigError:
        return False


def is_checkpoint(path: str | os.PathLike) -> bool:
    """Whether a path is a checkpoint's by its suffix, or a repository's on the Hub."""
    path = os.fspath(path)
    return path.startswith(_HUB) or (path.endswith(_CHECKPOINTS) and not is_exported(path))


def is_exported(path: str | os.PathLike) -> bool:
    """Whether a path is that of a file that `mmvision-mamba export` writes: by its suffix, which of .pt files torch's
    checkpoints have too; these hold no code."""
    path = os.fspath(path)
    if not path.endswith('.pt'):
        return path.endswith(('.onnx', '.pt2', '.xml', '.mnn'))
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.split('/')[1:2] == ['code'] for name in archive.namelist())
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return False


def config_of_run(checkpoint: str | os.PathLike) -> Path:
    """The config that a training wrote into the folder of its checkpoints.

    Raises:
        ConfigError: there is none, there are several, or the checkpoint isn't there.
    """
    remote = '://' in os.fspath(checkpoint) or os.fspath(checkpoint).startswith(_HUB)
    if not remote and not Path(checkpoint).is_file():
        raise ConfigError(f'checkpoint not found: {checkpoint}')
    found = sorted(Path(checkpoint).parent.glob('*.py'))
    if len(found) != 1:
        raise ConfigError(f'{checkpoint} is a checkpoint: name its config before it; beside it there is '
                          f'{"none" if not found else ", ".join(path.name for path in found)}')
    return found[0]
