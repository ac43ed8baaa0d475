"""Names of outputs: one for each input of a run, no two the same, on any file system."""
import hashlib
import os
import posixpath
import unicodedata
from collections import Counter
from collections.abc import Collection, Sequence

LONGEST = 180  # bytes of a part of a path; file systems take 255, and names get suffixes and temporary ones
_FORBIDDEN = {*'<>:"|?*\\', *map(chr, range(32)), '\x7f'}  # by Windows, or by terminals
_DEVICES = {'CON', 'PRN', 'AUX', 'NUL', *(f'{port}{i}' for port in ('COM', 'LPT') for i in range(1, 10))}  # Windows'


def relative_paths(paths: Sequence[str | os.PathLike],
                   folders: Sequence[str | os.PathLike] | None = None) -> list[str]:
    """The paths below their common folder, with forward slashes; links are not followed.

    Args:
        paths: absolute, or relative to the working directory.
        folders: for each path the folder above it that was searched. Default: the folder that holds it.
    """
    absolute = [os.path.abspath(path) for path in paths]
    folders = [os.path.dirname(path) for path in absolute] if folders is None else [*map(os.path.abspath, folders)]
    try:
        common = os.path.commonpath(folders) if folders else ''
        return [os.path.relpath(path, common).replace(os.sep, '/') for path in absolute]
    except ValueError:  # on several drives of Windows
        return [path.replace(os.sep, '/') for path in absolute]


def output_names(paths: Sequence[str], folders: Collection[int] = ()) -> list[str]:
    """A path without suffix for the output of each input: all differ, on file systems that ignore case too.

    A name is the input's relative path without its suffix; characters that some system forbids become ``_``, and parts
    that are too long are shortened. Inputs whose names would be the same get the suffix too (``a_jpg``, ``a_png``), and
    where that is not enough a digest of the path: no name depends on the order of the inputs. An input that is there
    several times has ``_2``, … at the end.

    With any suffix of their own, outputs don't hide folders of others: where there is a folder ``a.png``, the output of
    ``a.jpg`` is not called ``a``.

    Args:
        paths: relative, with forward slashes, such as from `relative_paths`.
        folders: indices of the inputs whose outputs are folders, a video's frames. Default: none.
    """
    seen: Counter = Counter()
    repeats = []  # for each input, how many of the same path come before it
    for path in paths:
        repeats.append(seen[path])
        seen[path] += 1
    levels = [0] * len(paths)
    while True:
        names = [_name(*item) for item in zip(paths, levels, repeats)]
        keys = [unicodedata.normalize('NFC', unicodedata.normalize('NFC', name).casefold()) for name in names]
        taken, parents = Counter(keys), {parent for key in keys for parent in _parents(key)}
        hidden = {prefix for folder in parents.union(keys[i] for i in folders) for prefix in _before_dots(folder)}
        clashing = [i for i, key in enumerate(keys)
                    if taken[key] > 1 or key in hidden or (i in folders and key in parents)]
        if not clashing:
            return names
        for i in clashing:
            levels[i] += 1


def _name(path: str, level: int, repeats: int) -> str:
    """The input's name, made more distinct from level to level."""
    stem, suffix = posixpath.splitext(path)
    if level >= 1 and suffix:
        stem += f'_{suffix[1:]}'
    if level >= 2:
        stem += f'_{_digest(path)[:8 * (level - 1)]}'
    if repeats:
        stem += f'_{repeats + 1}'
    return '/'.join(map(_portable, stem.strip('/').split('/')))


def _portable(part: str) -> str:
    """A part of a path that every system takes as a file's name."""
    safe = ''.join('_' if c in _FORBIDDEN or unicodedata.category(c) == 'Cs' else c for c in part) or '_'
    kept = safe.rstrip('. ')  # Windows drops them
    safe = kept + '_' * (len(safe) - len(kept))
    if safe.partition('.')[0].rstrip().upper() in _DEVICES:
        safe = f'_{safe}'
    if len(safe.encode()) > LONGEST:
        safe = f'{safe.encode()[:LONGEST - 9].decode(errors="ignore").rstrip(". ")}~{_digest(part)[:8]}'
    return safe


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors='surrogatepass')).hexdigest()


def _parents(key: str) -> list[str]:
    return [key[:i] for i, c in enumerate(key) if c == '/']


def _before_dots(folder: str) -> list[str]:
    """The names that become that of the folder with some suffix."""
    last = folder.rfind('/') + 1
    return [folder[:i] for i, c in enumerate(folder) if c == '.' and i > last]
