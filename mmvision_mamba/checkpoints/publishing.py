"""Checkpoints to give away: the weights alone, named after their hash."""
import hashlib
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from ..errors import CheckpointError, ConfigError
from .local_files import is_remote
from .reading import extract_state_dict, read_checkpoint
from .writing import commit, save_checkpoint

META = ('dataset_meta', 'epoch', 'iter')  # what is kept of a run's bookkeeping: no paths of its machine

_OTHER_FORMATS = re.compile(r'\.safetensors$|(\.safetensors|\.bin)\.index\.json$')


def publish(source: str | os.PathLike, out: str | os.PathLike | None = None) -> Path:
    """Write the weights of a checkpoint, without the optimiser and all else that resuming needs.

    Of a run that averages its weights (EMA) they are the averages, which validation scored: its checkpoints keep those
    under `state_dict`.

    Args:
        source: checkpoint file or URL, see `read_checkpoint`.
        out: the new file's name, in which the hash goes before the suffix. Default: `source` itself, in its folder, as
            `.pth` where it is safetensors.

    Returns:
        The new file, `NAME-HASH.pth`: the first 8 digits of its SHA-256, as torch.hub and OpenMMLab name theirs. The
        same weights always give the same file.

    Raises:
        CheckpointError: `source` can't be read or has no weights, or the new file can't be written.
        ConfigError: `out` is a `.safetensors`.
    """
    name = str(source).partition('#')[0]
    target = Path(out or _OTHER_FORMATS.sub('.pth', Path(name).name if is_remote(name) else name))
    if target.suffix == '.safetensors':
        raise ConfigError(f'{target}: a file as torch.save writes it is published; name it .pth')
    checkpoint = read_checkpoint(source)
    weights = {key: value.detach().clone() for key, value in extract_state_dict(checkpoint, prefix='').items()}
    meta = checkpoint.get('meta') if isinstance(checkpoint, Mapping) else None
    kept = {key: meta[key] for key in META if key in meta} if isinstance(meta, Mapping) else {}
    unnamed = target.with_name(f'{target.stem}.unnamed')
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        save_checkpoint(dict(state_dict=weights, meta=kept), unnamed)
        with unnamed.open('rb') as file:
            digest = hashlib.file_digest(file, 'sha256') if hasattr(hashlib, 'file_digest') else \
                hashlib.sha256(file.read())  # Python 3.10
        named = target.with_name(f'{target.stem}-{digest.hexdigest()[:8]}{target.suffix or ".pth"}')
        commit(unnamed, named)
    except OSError as error:
        raise CheckpointError(f'{target.parent}: can not be written to ({error.strerror or error})') from error
    finally:
        with suppress(OSError):
            unnamed.unlink()
    return named
