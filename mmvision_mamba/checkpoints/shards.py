"""Weights in several files, with an index beside them: `model.safetensors.index.json`, which is what one names."""
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import CheckpointError
from ..files import read_text
from ..printable import shown

SUFFIX = '.index.json'  # of an index
LARGEST = 2**24  # bytes of an index
_SHARD = re.compile(r'\w[\w.+-]*\.(safetensors|bin)', re.ASCII)
_WAY_OUT = 'Download or copy all of its files again, into one folder.'


def is_index(path: str | os.PathLike) -> bool:
    """Whether a path is an index's by its suffix."""
    return os.fspath(path).endswith(SUFFIX)


def shards_of(index: str | os.PathLike) -> dict[str, str]:
    """What an index says: by the names of weights, the names of the files beside it that hold them.

    Raises:
        CheckpointError: it is no index, or names files elsewhere.
    """
    try:
        found = json.loads(read_text(index, LARGEST))
    except OSError as error:
        raise CheckpointError(f'{index}: {error.strerror}') from None
    except (ValueError, RecursionError):
        found = None
    shards = found.get('weight_map') if isinstance(found, dict) else None
    if not isinstance(shards, dict) or not shards:
        raise CheckpointError(f'{index} is no index of weights in several files: it has no weight_map.\n{_WAY_OUT}')
    for shard in shards.values():
        if not isinstance(shard, str) or not _SHARD.fullmatch(shard):
            raise CheckpointError(f'{index}: {shown(shard, 100)} is refused: expected the names of .safetensors or '
                                  f'.bin files beside it.\n{_WAY_OUT}')
    return shards


def shards_beside(index: str | os.PathLike) -> dict[Path, set[str]]:
    """The files of an index, sorted, with the names of the weights that it says they hold.

    Raises:
        CheckpointError: it is no index, or a file is missing.
    """
    expected: dict[str, set[str]] = {}
    for key, name in shards_of(index).items():
        expected.setdefault(name, set()).add(key)
    for name in expected:
        if not Path(index).with_name(name).is_file():
            raise CheckpointError(f'{index}: {name} is not beside it.\n{_WAY_OUT}')
    return {Path(index).with_name(name): expected[name] for name in sorted(expected)}


def read_shards(index: str | os.PathLike, read: Callable[[Path], Any]) -> dict[str, Any]:
    """The weights of all files of an index by name; `read` reads one.

    Raises:
        CheckpointError: a file is missing, or has other weights than the index says.
    """
    weights: dict[str, Any] = {}
    for shard, expected in shards_beside(index).items():
        content = read(shard)
        if not isinstance(content, dict) or content.keys() != expected:
            raise CheckpointError(f'{index}: {shard.name} holds other weights than it says.\n{_WAY_OUT}')
        weights.update(content)
    return weights
