"""A folder in COCO format: its annotation files, told from other JSON by content, and the folders of their images."""
import filecmp
import mmap
import os.path as osp
import posixpath
from collections.abc import Sequence

from ..datasets import coco_files
from ..datasets.coco_annotations import check_files
from ..datasets.folders import IMAGES, missing_files, plain_name, walk
from ..datasets.split_names import SPLIT_NAMES, split_of, words
from ..errors import DataError
from ..files import open_file
from ..text import shortened

LAYOUT = """Expected: COCO annotation files with 'train' and 'val' in their names or folders, the images anywhere below:
  annotations/instances_train.json   annotations/instances_val.json   train/   val/        or
  train/_annotations.coco.json       valid/_annotations.coco.json (images beside them)      or the like"""
_DEPTH = 2  # levels of folders that annotation files are looked for in; image folders may lie a level deeper
_SAMPLE = 24  # names of images by which their folder is chosen
# Words in the names of COCO's other annotation files, such as stuff_val2017.json, which has the same keys.
_OTHER_ANNOTATIONS = ('panoptic', 'stuff', 'captions', 'keypoints', 'image')
# Kinds of JSON files, and what they are.
_OBJECTS, _KEYPOINTS, _UNANNOTATED, _UNKNOWN = range(4)  # in the order of preference
_OTHERS = {b'"segments_info"': 'COCO panoptic annotations', b'"caption"': 'COCO captions',
           b'"imagePath"': 'labelme files', b'"shapes":': 'labelme files',
           b'"shape_attributes"': 'VIA (VGG Image Annotator) files'}


def find_coco(root: str, settings: dict | None = None) -> dict[str, str]:
    """{split: annotation file relative to `root`} of a COCO-format folder; 'all' for one that names no split.

    Args:
        root: the folder.
        settings: {'train', 'val' or 'test': the file to take, whatever else there is}. Default: none.

    Raises:
        DataError: several files could be the one for training or validation, or one that is chosen isn't there.
    """
    candidates: dict[str, list] = {}
    for folder, names in walk(root, _DEPTH):
        for name in names:
            file = posixpath.join(folder, name)
            if name.lower().endswith('.json') and isinstance(kind := _kind(osp.join(root, file)), int):
                split = split_of(file)
                if kind < (_UNANNOTATED if split == 'test' else _UNKNOWN if split is None else _UNKNOWN + 1):
                    candidates.setdefault(split or 'all', []).append((_preference(file, kind), file))
    chosen = {}
    for split in ('all', *SPLIT_NAMES):
        if given := (settings or {}).get(split):
            if not osp.isfile(osp.join(root, given)):
                raise DataError(f'{osp.join(root, given)}: no such file (custom_data.{split})')
            chosen[split] = given
        elif found := candidates.get(split):
            best = min(found)[0]
            files = [file for preference, file in sorted(found) if preference == best]
            if len(files) > 1 and best[1] == _UNKNOWN:
                continue  # one file an image: none is COCO's
            files = _different(root, files)
            if len(files) > 1 and split != 'all':
                raise DataError(f'{root}: several annotation files could be the one for {split}: {shortened(files)}.\n'
                                f'Choose: set custom_data.{split}={files[0]}')
            if len(files) == 1:
                chosen[split] = files[0]
    return chosen


def _preference(file: str, kind: int) -> tuple:
    """Sorts the candidates of a split: those of `mmvision-mamba split-dataset` first."""
    stem = posixpath.basename(file)
    named = 0 if 'instances' in stem else 2 if not set(_OTHER_ANNOTATIONS).isdisjoint(words(stem)) else 1
    return not file.startswith('splits/'), kind, named


def _different(root: str, files: list[str]) -> list[str]:
    """The files without copies of, and links to, earlier ones."""
    kept = []
    for file in files:
        if not any(filecmp.cmp(osp.join(root, file), osp.join(root, other), shallow=False) for other in kept):
            kept.append(file)
    return kept


def _kind(path: str) -> int | str | None:
    """What a JSON file is, by the keys in its text, which is not parsed: one may be half a gigabyte.

    Returns:
        A number for a file that may hold COCO annotations of objects, else what it is; None if it can't be read.
    """
    try:
        with open_file(path) as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
            def has(key):
                return text.find(key) >= 0
            other = next((what for key, what in _OTHERS.items() if has(key)), None)
            if other and not has(b'"bbox"'):
                return other
            if not has(b'"images"') or not has(b'"categories"'):
                return other or _UNKNOWN
            if has(b'"segments_info"'):
                return _OTHERS[b'"segments_info"']
            return _UNANNOTATED if not has(b'"annotations"') else _KEYPOINTS if has(b'"num_keypoints"') else _OBJECTS
    except ValueError:  # empty
        return _UNKNOWN
    except OSError:
        return None


def other_json(root: str) -> dict[str, list[str]]:
    """{what it is: files} of the JSON files in a folder that are no COCO annotations of objects."""
    found: dict[str, list[str]] = {}
    for folder, names in walk(root, _DEPTH):
        for name in names:
            if name.lower().endswith('.json'):
                kind = _kind(osp.join(root, folder, name))
                if kind is _UNKNOWN or isinstance(kind, str):
                    found.setdefault(kind if isinstance(kind, str) else 'other JSON', []).append(
                        posixpath.join(folder, name))
    return found


def read_coco(path: str, compact: bool = False) -> dict:
    """Content of a COCO annotation file, `compact` as for `coco_files.read_coco`.

    Raises:
        DataError: its images, annotations or categories can't be used.
    """
    content, _ = coco_files.read_coco(path, compact=compact)
    if not content['images']:
        check_files(content)  # which says why
    wrong = next((c for c in content['categories'] if not isinstance(c, dict) or not isinstance(c.get('name'), str)),
                 None)
    if wrong is not None:
        name = wrong.get('name') if isinstance(wrong, dict) else wrong
        raise DataError(f'{path}: a category has the name {name!r} ({type(name).__name__}), where a text is expected.\n'
                        'Write names in quotes, such as "name": "1"')
    if not content['images'] or not all(isinstance(i, dict) and isinstance(i.get('file_name'), str)
                                        and isinstance(i.get('id'), int | str) for i in content['images']):
        raise DataError(f'{path}: images is empty, or its items have no file_name or no id')
    annotations = content.get('annotations') or []
    if not isinstance(annotations, list) or not all(
            isinstance(a, dict) and isinstance(a.get('image_id'), int | str) for a in annotations):
        raise DataError(f'{path}: annotations is no list, or its items have no image_id')
    return content


def image_folder(root: str, ann_file: str, names: Sequence[str], split: str) -> str:
    """Folder that holds most of the images of an annotation file; of several such, one named after the split.

    Args:
        root: the data set's folder.
        ann_file: the annotation file, relative to `root`.
        names: its images, relative to the folder wanted.
        split: 'train', 'val' or 'test'.

    Returns:
        The folder, relative to `root`; '' for `root` itself.

    Raises:
        DataError: none has any of them.
    """
    names = [plain_name(name) for name in names]
    step = max(len(names) // _SAMPLE, 1)
    sample = [*names[::step][:_SAMPLE], names[-1]]
    beside = posixpath.dirname(ann_file)
    folders = dict.fromkeys([beside, *(folder for folder, _ in walk(root, _DEPTH + 1))])

    def rank(folder):
        named = split_of(folder)
        return (0 if named == split else 1 if named is None else 2, folder != beside, len(folder.split('/')), folder)

    best, most = '', 0
    for folder in sorted(folders, key=rank):
        held = sum(osp.isfile(osp.join(root, folder, name)) for name in sample)
        if held > most:
            best, most = folder, held
        if held == len(sample):
            break
    if not most:
        most = len(names) - len(missing_files(osp.join(root, beside, name) for name in names))
        best = beside
    if not most:
        raise DataError(f'{osp.join(root, ann_file)}: its images are nowhere below {root}; looked for {sample[0]}.\n'
                        f'{_hint(root, sample[0])}')
    return best


def _hint(root: str, name: str) -> str:
    """Where an image lies under another path or suffix, and what file_name should be."""
    stem = posixpath.splitext(posixpath.basename(name))[0].lower()
    alike = next((posixpath.join(folder, file) for folder, files in walk(root) for file in files
                  if posixpath.splitext(file)[0].lower() == stem and file.lower().endswith(IMAGES)), None)
    there = f'There is {alike}. ' if alike else ''
    return there + 'file_name is the path of an image from one folder, the same for all of them'
