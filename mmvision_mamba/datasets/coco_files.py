"""Read COCO annotation files as label tools write them, into the form that mmdet and pycocotools expect."""
import gc
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count

from ..errors import DataError
from ..files import encoding_of, read_text
from ..limits import TEXT_BYTES
from . import formats
from .coco_boxes import convert_boxes
from .coco_repairs import repair
from .merged_classes import Merged, merge_categories


def read_coco(path: str | os.PathLike, boxes: str | float | None = None,
              merged: Merged | None = None) -> tuple[dict, list[str]]:
    """Read a COCO annotation file, and mend what can be mended without a guess.

    Args:
        path: of the file, or the name of a data set in another format, see `formats`.
        boxes: what its boxes are, see `convert_boxes`. Default: x, y, width, height in pixels.
        merged: which categories become one class, see `merge_categories`. Default: each is one of its own.

    Returns:
        Its content, of which `coco_problems` says what is still wrong; and a note for each kind of repair, with counts.

    Raises:
        DataError: it can't be read, is no JSON, or no object with the lists images and categories.
    """
    with _not_collecting():
        content, notes = _read(path, boxes)
        if merged is not None:
            merge_categories(content, merged)
        return content, notes


def _read(path: str | os.PathLike, boxes: str | float | None) -> tuple[dict, list[str]]:
    if formats.source_of(path):
        content = formats.read(path)
        return content, content.notes
    content = read_json(path)
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


def read_json(path: str | os.PathLike):
    """Content of a JSON annotation file, in UTF-8 or with a byte order mark.

    Raises:
        DataError: the file can't be read, or is no JSON; with the place where it breaks off.
    """
    try:
        text = read_text(path, TEXT_BYTES.value)
        with _not_collecting():
            return json.loads(text)
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
