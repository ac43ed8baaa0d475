"""Read COCO annotation files as label tools write them, into the form that mmdet and pycocotools expect."""
import gc
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from itertools import count

import numpy as np

from ..errors import DataError
from ..files import encoding_of, read_text
from ..limits import TEXT_BYTES
from . import formats
from .coco_boxes import convert_boxes
from .coco_repairs import repair
from .merged_classes import Merged, merge_categories

_KEPT: ContextVar[dict[tuple, tuple[dict, list[str]]] | None] = ContextVar('kept', default=None)


@contextmanager
def reading_once() -> Iterator[None]:
    """Within, what `read_coco` reads compactly is kept for its next readers, until `drop_kept`.

    A run reads its annotations to find its classes, to check them, and to learn from them.
    """
    token = _KEPT.set({})
    try:
        yield
    finally:
        _KEPT.reset(token)


def drop_kept() -> None:
    """Forget what `reading_once` has kept, and keep no more: the data sets are built."""
    _KEPT.set(None)


def read_coco(path: str | os.PathLike, boxes: str | float | None = None, merged: Merged | None = None,
              compact: bool = False, last: bool = False) -> tuple[dict, list[str]]:
    """Read a COCO annotation file, and mend what can be mended without a guess.

    Args:
        path: of the file, or the name of a data set in another format, see `formats`.
        boxes: what its boxes are, see `convert_boxes`. Default: x, y, width, height in pixels.
        merged: which categories become one class, see `merge_categories`. Default: each is one of its own.
        compact: sound polygons are arrays in the place of lists, in a quarter of the memory. Default: False.
        last: the caller may change the content, which is kept for no other. Default: False.

    Returns:
        Its content, of which `coco_problems` says what is still wrong; and a note for each kind of repair, with counts.

    Raises:
        DataError: it can't be read, is no JSON, or no object with the lists images and categories.
    """
    kept = _KEPT.get() if compact and merged is None else None  # merging changes the content
    key = os.path.abspath(path), *_stamp(path), boxes
    if kept and key in kept:
        return kept.pop(key) if last else kept[key]
    with _not_collecting():
        found = _read(path, boxes, compact)
        if merged is not None:
            merge_categories(found[0], merged)
    if kept is not None and not last:
        kept[key] = found
    return found


def _stamp(path: str | os.PathLike) -> tuple:
    """Size and time of the last change of a file; of other formats, of the file or folder that describes the data."""
    try:
        status = os.stat(formats.file_of(os.fspath(path)))
        return status.st_size, status.st_mtime_ns
    except (OSError, ValueError):  # reading it will say why
        return ()


def _read(path: str | os.PathLike, boxes: str | float | None, compact: bool) -> tuple[dict, list[str]]:
    if formats.source_of(path):
        content = formats.read(path)
        return content, content.notes
    content = read_json(path, _with_arrays if compact else None)
    check_lists(path, content)
    notes = repair(content)
    if boxes is not None and (note := convert_boxes(content, boxes)):
        notes.append(note)
    mark = encoding_of(path)
    return content, [f'it begins with a byte order mark ({mark})', *notes] if mark != 'utf-8' else notes


def check_lists(path: str | os.PathLike, content, kind: str = 'COCO') -> None:
    """Raise DataError unless the content of an annotation file is an object with the lists images and categories, and
    without annotations or with a list of them.

    Args:
        path: of the file.
        content: the parsed JSON.
        kind: of the file, for the message. Default: 'COCO'.
    """
    missing = [key for key in ('images', 'categories')
               if not isinstance(content, dict) or not isinstance(content.get(key), list)]
    if not missing and not isinstance(content.get('annotations'), list | None):
        missing = ['annotations']
    if missing:
        raise DataError(f'{path}: a {kind} annotation file has the lists images, annotations and categories; this one '
                        f'has no {" and no ".join(missing)}')


def ids_of_classes(categories: Sequence[dict], classes: Sequence[str],
                   used: Iterable[int | str] = ()) -> list[int | str]:
    """The category id of each class, by name; for one that the file lacks a new id, which nothing has.

    So all files of a config number its classes alike.

    Args:
        categories: of the file, each with `id` and `name`.
        classes: of the config.
        used: category ids of annotations, some perhaps of no category: none of them is new. Default: none.
    """
    ids = {category['name']: category['id'] for category in categories}
    numbers = [id_ for id_ in ids.values() if isinstance(id_, int)]
    new = count(1 + max((*numbers, *(id_ for id_ in used if isinstance(id_, int))), default=0))
    return [ids[name] if name in ids else next(new) if len(numbers) == len(ids) else f'absent: {name}'
            for name in classes]


def _with_arrays(item: dict) -> dict:
    """An object of a JSON file, the polygons of its segmentation turned to arrays where all are numbers."""
    polygons = item.get('segmentation')
    if type(polygons) is list:
        for i, polygon in enumerate(polygons):
            if type(polygon) is list and {*map(type, polygon)} <= {int, float}:
                with suppress(OverflowError):  # a number of hundreds of digits
                    polygons[i] = np.array(polygon, float)
    return item


def read_json(path: str | os.PathLike, change: Callable[[dict], dict] | None = None):
    """Content of a JSON annotation file, in UTF-8 or with a byte order mark.

    Args:
        path: of the file.
        change: gives what stands for each object in it. Default: the object.

    Raises:
        DataError: the file can't be read, or is no JSON; with the place where it breaks off.
    """
    try:
        text = read_text(path, TEXT_BYTES.value)
        with _not_collecting():
            return json.loads(text, object_hook=change)
    except json.JSONDecodeError as e:
        end = len(text.rstrip())
        if not end:
            problem = 'is empty'
        elif e.pos >= end or e.msg.startswith('Unterminated string'):
            problem = 'is truncated'
        else:
            problem = f'is not JSON: {e.msg}'
        raise DataError(f'{path}: the annotation file {problem} (line {e.lineno}, byte {len(text[:e.pos].encode())} of '
                        f'{os.path.getsize(path)}). Download or export it again.') from e
    except UnicodeError as e:
        raise DataError(f'{path}: the annotation file is no text in UTF-8 ({e}). Save it as UTF-8, or export it '
                        'again.') from e
    except RecursionError as e:
        raise DataError(f'{path}: the annotation file is nested too deeply for JSON of annotations. Download or export '
                        'it again.') from e
    except ValueError as e:  # Python's bound on the digits of whole numbers
        raise DataError(f'{path}: the annotation file has a number of thousands of digits ({e}). Download or export it '
                        'again.') from e
    except MemoryError as e:
        raise DataError(f'{path}: there is too little memory to read the annotation file of '
                        f'{os.path.getsize(path):,} bytes. Split it, or use a machine with more.') from e
    except OSError as e:
        raise DataError(f'{path}: the annotation file cannot be read ({e.strerror or e})') from e


@contextmanager
def _not_collecting() -> Iterator[None]:
    """Garbage collection off: it would look at millions of new objects again and again, and find none to free."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()
