"""Files below a folder, as people have them: linked, beside leftovers of other programs, listed in text files."""
import os
import os.path as osp
import posixpath
from collections import Counter
from collections.abc import Collection, Iterable, Iterator

from ..errors import DataError
from ..files import read_text
from ..limits import LINKS, TEXT_BYTES
from ..printable import shown
from ..text import shortened

IMAGES = ('.jpg', '.jpeg', '.jfif', '.jpe', '.png', '.bmp', '.tif', '.tiff', '.webp', '.gif', '.ppm', '.pgm', '.jp2',
          '.avif')
# Of systems and file servers; a name that begins with a dot, such as .ipynb_checkpoints or ._IMAGE.jpg, is one too.
_LEFTOVERS = ('__macosx', '@eadir', 'thumbs.db', 'desktop.ini', '#recycle', '#snapshot', '$recycle.bin',
              'system volume information', 'lost+found')
_MOST_LINKS = 3  # along one path: folders that link to each other end there


def is_leftover(name: str) -> bool:
    """Whether a file or folder of this name is hidden, or a leftover of a program, and so no part of a data set."""
    return name.startswith('.') or name.lower() in _LEFTOVERS


def walk(root: str | os.PathLike, depth: int | None = None) -> Iterator[tuple[str, list[str]]]:
    """Yield (folder, names of its files) for `root` and all folders below it, without leftovers.

    Symbolic links to folders are followed, but none to a folder that the path has come through.

    Args:
        root: the folder to begin with.
        depth: levels of folders below `root` to look into. Default: all.

    Yields:
        folder, relative to `root`, '' for itself, with slashes; names, sorted. A folder comes before those in it.

    Raises:
        DataError: a folder can't be read, or more links than `LINKS` would be followed.
    """
    followed = 0

    def visit(folder, passed, links):
        nonlocal followed
        try:
            with os.scandir(osp.join(root, folder)) as found:
                entries = sorted((entry for entry in found if not is_leftover(entry.name)), key=lambda e: e.name)
        except OSError as error:
            raise DataError(f'{osp.join(root, folder)}: the folder cannot be read '
                            f'({error.strerror or error})') from error
        folders, files = [], []
        for entry in entries:
            (folders if _is_folder(entry) else files).append(entry)
        yield folder, [entry.name for entry in files]
        if depth is not None and len(folder.split('/')) - (not folder) >= depth:
            return
        for entry in folders:
            linked = entry.is_symlink()
            path = osp.realpath(entry.path) if linked else osp.join(passed[-1], entry.name)
            if not linked or (links < _MOST_LINKS and not any(_contains(path, above) for above in passed)):
                followed += linked
                if followed > LINKS.value:
                    raise DataError(f'{shown(root)}: more than {LINKS.value} links to folders lie on the ways through '
                                    f'it, the last at {shown(posixpath.join(folder, entry.name))}: folders that link '
                                    f'to each other multiply. Remove the links, or {LINKS.way_out}')
                yield from visit(posixpath.join(folder, entry.name), (*passed, path), links + linked)

    yield from visit('', (osp.realpath(root),), 0)


def _is_folder(entry: os.DirEntry) -> bool:
    return osp.isdir(entry.path) if entry.is_symlink() else entry.is_dir()  # `is_dir` raises on links in a circle


def _contains(folder: str, path: str) -> bool:
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


def find_files(root: str | os.PathLike, suffixes: Collection[str] | None = None) -> list[str]:
    """Paths, relative to `root` and with slashes, of the files below it that end in one of `suffixes`, in any case."""
    return [posixpath.join(folder, name) for folder, names in walk(root) for name in names
            if suffixes is None or osp.splitext(name)[1].lower() in suffixes]


def missing_files(paths: Iterable[str]) -> list[str]:
    """Those of the paths that are no files; lists each folder once, rather than ask for each file."""
    listed: dict[str, frozenset] = {}
    missing = []
    for path in paths:
        folder, name = osp.split(path)
        if folder not in listed:
            listed[folder] = frozenset(os.listdir(folder or '.')) if osp.isdir(folder or '.') else frozenset()
        if name not in listed[folder] or not name:
            missing.append(path)
    return [path for path in missing if not osp.isfile(path)]  # a name of another case may do, or '..' after a link


def other_kinds(paths: Iterable[str], suffixes: Collection[str]) -> str | None:
    """'12 files that are no images (10 .heic, 2 .npy)' of those that end in none of `suffixes`; None without any."""
    others = Counter(osp.splitext(path)[1].lower() or 'without suffix' for path in paths
                     if osp.splitext(path)[1].lower() not in suffixes)
    kinds = shortened([f'{count} {suffix}' for suffix, count in others.most_common()], 4)
    return f'{others.total()} files of other kinds ({kinds})' if others else None


def plain_name(name: str) -> str:
    """A relative name from a list or an annotation file, with slashes for Windows' separators and without './'."""
    name = name.replace('\\', '/')
    return posixpath.normpath(name) if name else name


def read_lines(path: str | os.PathLike) -> list[str]:
    """Lines of a text file, stripped, those with text in them.

    Raises:
        DataError: it can't be read, or is not text in UTF-8 or UTF-16.
    """
    return [line for line in _stripped(path) if line]


def read_names(path: str | os.PathLike, most: int | None = None) -> list[str]:
    """Names of classes in a text file, one a line in the order of their numbers.

    Args:
        path: of the file.
        most: bytes that it may have. Default: `TEXT_BYTES`.

    Raises:
        DataError: as of `read_lines`, or a line before a name is blank.
    """
    lines = _stripped(path, most)
    while lines and not lines[-1]:
        lines.pop()
    if '' in lines:  # labelImg and darknet count it, CVAT and others do not
        raise DataError(f'{path}, line {lines.index("") + 1}: a blank line before a name, which some tools take for a '
                        'class and others for nothing: the numbers of the classes behind it are uncertain.\n'
                        'Remove it, or write a name there')
    return lines


def _stripped(path: str | os.PathLike, most: int | None = None) -> list[str]:
    try:
        return [line.strip() for line in read_text(path, most or TEXT_BYTES.value).splitlines()]
    except UnicodeDecodeError as error:
        raise DataError(f'{path}: it is no text in UTF-8 ({error.reason} at byte {error.start}). Save it in '
                        'UTF-8') from error
    except OSError as error:
        raise DataError(f'{path}: cannot be read ({error.strerror or error})') from error
