"""A folder of images and masks: its splits, the lists of their names, the classes of the masks' pixel values."""
import os.path as osp
import posixpath
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ..datasets.class_names import class_colours, class_names, names_classes
from ..datasets.colour_maps import are_coloured
from ..datasets.folders import IMAGES, find_files, walk
from ..datasets.image_mask_lists import Pairs, pairs_of
from ..datasets.mask_names import apart
from ..datasets.mask_values import MaskValues, mask_values
from ..datasets.split_names import SPLIT_NAMES, split_of, words
from ..errors import DataError
from ..printable import shown
from ..processes import warn_once
from ..text import shortened

LAYOUT = """Expected: images, and masks of the same names whose pixel values are class numbers:
  images/{train,val}/   masks/{train,val}/          or
  {train,val}/images/   {train,val}/masks/          or
  {train,val}/ with x.jpg and x_mask.png            or
  images/   masks/   train.txt   val.txt (names without suffix)"""
# Names of folders, and below them words in names; a mask's word counts before an image's.
_NAMES = dict(mask=('masks', 'mask', 'annotations', 'annotation', 'labels', 'label', 'ann_dir', 'segmentationclass',
                    'gt', 'gtfine', 'semantic', 'segmentation'),
              image=('images', 'image', 'imgs', 'img', 'img_dir', 'jpegimages', 'leftimg8bit', 'rgb'))
_WORDS = dict(mask={*_NAMES['mask'], 'ann', 'anno', 'annot', 'annots', 'groundtruth', 'truth', 'seg', 'labelmaps'},
              image={*_NAMES['image'], 'photos', 'input', 'inputs', 'original', 'originals'})
# {a folder of masks: that of images beside it}: beside anything else these names mean nothing.
_TWINS = dict(y='x', target='input', targets='inputs', gts_for_participants='top')
_PICTURED = {'human', 'instance', 'instances', 'color', 'colour', 'vis', 'overlay'}  # of masks, beside those of classes
_DEPTH = 4


def find_image_mask(root: str, settings: dict | None = None) -> dict[str, dict]:
    """{split: arguments for `ImageMaskDataset`} of a folder of images and masks; 'all' where nothing splits it.

    Args:
        root: the folder.
        settings: {'train', 'val' or 'test': a text file of names to take, whatever else there is}. Default: none.

    Raises:
        DataError: a file in `settings` isn't there, or images and masks lie in pairs of folders.
    """
    candidates, lists = _contents(root)
    folders = {key: min(found)[-1] for key, found in candidates.items()}
    one_for_all = not any(('mask', split) in folders for split in SPLIT_NAMES)
    have_own = any(kind == 'mask' for kind, _ in folders)

    def pair(split):
        images = folders.get(('image', split))
        masks = folders.get(('mask', None if one_for_all else split))
        if not have_own and (images or split is None):
            images = images or ''
            masks = images if apart(find_files(osp.join(root, images)))[1] else None
        return dict(data_prefix=dict(img_path=images, seg_map_path=masks)) \
            if None not in (images, masks) else None

    splits = {}
    by_list = have_own or lists or any((settings or {}).get(split) for split in SPLIT_NAMES)
    whole = pair(None) if by_list or not any(('image', split) in folders for split in SPLIT_NAMES) else None
    for split in SPLIT_NAMES:
        if (given := (settings or {}).get(split)) and not osp.isfile(osp.join(root, given)):
            raise DataError(f'{osp.join(root, given)}: no such file (custom_data.{split})')
        names_file = given or lists.get(split)
        if names_file and pairs_of(osp.join(root, names_file)):
            splits[split] = dict(ann_file=names_file, data_prefix=dict(img_path='', seg_map_path=''))
        elif whole and names_file:
            splits[split] = dict(ann_file=names_file, **whole)
        elif found := pair(split):
            splits[split] = found
    if not splits and whole:
        splits['all'] = whole
    for split, dataset in splits.items():
        _check_is_only(root, dataset['data_prefix'], candidates, split)
    own = [dataset['data_prefix'] for split, dataset in splits.items() if split != 'all' and 'ann_file' not in dataset]
    if unsplit := dict.fromkeys(pair for prefix in own for pair in _alike(prefix, candidates, None)):
        warn_once(f'{shown(root)}: images and masks in folders named after no split, where others are, are left out: '
                  f'{shortened([f"{images} with {masks}" for images, masks in unsplit], 3)}')
    return splits


def _check_is_only(root: str, pair: dict[str, str], candidates: dict[tuple, list], split: str) -> None:
    """Raise DataError where other folders of images and masks differ from a split's by the same names above them.

    Args:
        root: of the data.
        pair: the folders of images and of masks that are taken.
        candidates: as `_contents` returns them.
        split: the name of the split.
    """
    images, masks = pair.values()
    own = next((key for key in (split, None) if any(
        folder == images for _, folder in candidates.get(('image', key), ()))), split)
    for other, twin in _alike(pair, candidates, own):
        raise DataError(f'{root}: images and masks lie in several pairs of folders, such as {images} with {masks}, and '
                        f'{other} with {twin}.\nName them in lists, with a line IMAGE MASK for each: '
                        'custom_data.train=train.txt and custom_data.val=val.txt')


def _alike(pair: dict[str, str], candidates: dict[tuple, list], split: str | None) -> Iterator[tuple[str, str]]:
    """Yield the other folders of images and of masks of a split, None of no split, that lie as a pair does."""
    images, masks = pair.values()
    chosen, beside = images.split('/'), masks.split('/')
    preference = {folder: rank for (kind, _), found in candidates.items() if kind == 'image' for rank, folder in found}
    among = {folder for (kind, _), found in candidates.items() if kind == 'mask' for _, folder in found}
    for rank, other in candidates.get(('image', split), ()):
        if other == images or rank != preference.get(images):
            continue
        twin = [*beside]
        for i, part in enumerate(other.split('/')):
            if twin[i:i + 1] == chosen[i:i + 1]:
                twin[i] = part
        if twin != beside and '/'.join(twin) in among:
            yield other, '/'.join(twin)


def _contents(root: str) -> tuple[dict[tuple, list], dict[str, str]]:
    """({('image' or 'mask', split or None): (preference, folder) of those}, {split: its list of names})."""
    holds, lists = {}, {}  # {folder: whether images lie in it or below}
    for folder, names in walk(root):
        if any(name.lower().endswith(IMAGES) for name in names):
            parts = folder.split('/')
            holds.update(dict.fromkeys('/'.join(parts[:i]) for i in range(1, len(parts) + 1)))
        for name in names:
            stem, suffix = posixpath.splitext(name.lower())
            for split in SPLIT_NAMES if suffix == '.txt' and len(folder.split('/')) <= _DEPTH + 1 else ():
                if stem in SPLIT_NAMES[split]:
                    lists.setdefault(split, []).append(posixpath.join(folder, name))
    candidates: dict[tuple, list] = {}
    twins = _twins(holds)
    for folder in holds:
        if folder and len(folder.split('/')) <= _DEPTH:
            (kind, preference), split = _kind(folder), split_of(folder)
            if folder in twins:
                kind, preference, split = 'mask', (1, preference[1]), split_of(twins[folder])
            elif folder in twins.values():
                kind, preference = 'image', (1, preference[1])
            if kind or split:  # a folder named after a split alone holds images
                candidates.setdefault((kind or 'image', split), []).append((preference, folder))
    inside = tuple(f'{folder}/' for found in candidates.values() for _, folder in found)
    chosen = {}
    for split, files in lists.items():
        if outside := [file for file in files if not file.startswith(inside)]:
            chosen[split] = min(outside, key=lambda file: (
                not file.startswith('splits/'), 'segmentation' not in file.lower(), file.count('/'), file))
    return candidates, chosen


def _twins(folders: Collection[str]) -> dict[str, str]:
    """{a folder of masks: that of its images, which alone says what it is}: y beside x, trainannot beside train."""
    called = {folder.lower(): folder for folder in folders}
    twins = {}
    for folder in folders:
        parts = folder.lower().split('/')
        for i, part in enumerate(parts):
            names = [name for names in SPLIT_NAMES.values() for name in names
                     if part.startswith(name) and part[len(name):] in _WORDS['mask']]
            for name in [_TWINS[part]] if part in _TWINS else names:
                if twin := called.get('/'.join([*parts[:i], name, *parts[i + 1:]])):
                    twins[folder] = twin
    return twins


def _kind(folder: str) -> tuple[str | None, tuple]:
    """('image', 'mask' or None, key that sorts folders of one kind) of a relative path."""
    parts = folder.split('/')
    for kind in ('mask', 'image'):
        if any(part.lower() in _NAMES[kind] for part in parts):
            return kind, (0, len(parts))
    for kind in ('mask', 'image'):
        if any(not _WORDS[kind].isdisjoint(words(part)) for part in parts):
            pictured = kind == 'mask' and any(not _PICTURED.isdisjoint(words(part)) for part in parts)
            return kind, (1 + pictured, len(parts))
    return None, (2, len(parts))


def classes_of_values(root: str, mask_with: dict[int, str], names: Sequence[str] | None) -> tuple[tuple, tuple, tuple]:
    """(classes, pixel value of each, further values that count as unlabelled); 255 is a class only if it must be.

    Args:
        root: of the data.
        mask_with: {pixel value: a mask that has it}.
        names: of the classes, from classes.txt or the config. None: made up.

    Raises:
        DataError: there are not as many names as values, a name comes twice, or there is one class alone.
    """
    present, labels = list(mask_with), [v for v in mask_with if v != 255]
    binary, ignored = present == [0, 255], ()
    if names is None:
        names, values = ('background', 'foreground') if binary else tuple(f'class_{v}' for v in labels), labels
    elif set(labels) <= set(range(len(names))):
        values = range(len(names))
    elif set(labels) <= set(range(len(names) + 1)):
        values, ignored = range(1, len(names) + 1), (0,)
    elif len(names) in (len(labels), len(present)):
        values = labels if len(names) == len(labels) else present
    else:
        surplus = next((v for v in labels if v >= len(names)), labels[-1])
        raise DataError(f'{root}: classes.txt or metainfo.classes names {len(names)} classes, but the masks have the '
                        f'values {shortened(present, 20)}: {surplus} is in {mask_with[surplus]}.\nName as many classes '
                        'as there are values other than 255, in their order')
    if binary and len(names) == 2:
        values = present
    if max(values, default=0) > 255:
        raise DataError(f'{root}: classes.txt or metainfo.classes names {len(names)} classes, and the values of masks, '
                        'which have 8 bits, end at 255.\nName the classes that the masks have, in the order of their '
                        'values')
    if len(set(names)) < len(names):
        twice = next(name for name in names if list(names).count(name) > 1)
        raise DataError(f'{root}: two classes have the name {twice!r}. Give each a name of its own, in classes.txt or '
                        'metainfo.classes')
    if len(names) < 2:
        raise DataError(f'{root}: the masks tell {len(names)} class from nothing else (pixel values '
                        f'{", ".join(map(str, present))}).\nGive the background a class of its own, such as 0')
    return tuple(names), tuple(values), ignored


def pairs_in(root: str, dataset: Mapping) -> Pairs:
    """The images and masks of a split, as `find_image_mask` returns it."""
    from ..datasets.image_mask import find_pairs  # imports mmseg
    folders = [osp.join(root, dataset['data_prefix'][key]) for key in ('img_path', 'seg_map_path')]
    return find_pairs(*folders, osp.join(root, dataset['ann_file']) if dataset.get('ann_file') else None)


def folder_of_names(root: str, splits: Mapping[str, dict]) -> str:
    """The folder whose files name the classes: `root`, else the first below it on the way to all masks that has one.

    Args:
        root: of the data.
        splits: as `find_image_mask` returns them.
    """
    ways = [dataset['data_prefix']['seg_map_path'] or posixpath.dirname(dataset.get('ann_file') or '')
            for dataset in splits.values()]
    shared = posixpath.commonpath(ways) if all(ways) and not any(map(osp.isabs, ways)) else ''
    parts = shared.split('/')
    below = (osp.join(root, *parts[:i]) for i in range(1, len(parts) + 1))
    return next((folder for folder in (root, *below) if names_classes(folder)), root)


class Values(NamedTuple):
    """What the grey masks of a folder hold.

    Attributes:
        classes, values, ignored: as `classes_of_values` returns them.
        found: the values of the masks of all splits.
        of: {split: the values of its masks}.
    """
    classes: tuple[str, ...]
    values: tuple[int, ...]
    ignored: tuple[int, ...]
    found: MaskValues
    of: dict[str, MaskValues]


def read_values(root: str, splits: Mapping[str, Pairs], names: Sequence[str] | None,
                way_out: str | None) -> Values:
    """The pixel values of all masks, and the classes that they stand for.

    Args:
        root: of the data.
        splits: {split: its images and masks}.
        names: of the classes, see `classes_of_values`.
        way_out: of a mask that is broken, for the error. None: it is passed over.

    Raises:
        DataError: the masks can't be used.
    """
    of = {split: mask_values(list(dict.fromkeys(pairs.masks))) for split, pairs in splits.items()}
    first, *others = of.values()
    found = sum(others, first)
    if way_out is not None and found.broken:
        path, problem = next(iter(found.broken.items()))
        raise DataError(f'{path}: {problem}. {way_out}')
    found.check_resampled()
    found.check_lossy(names and len(names))
    return Values(*classes_of_values(root, found.first, names), found, of)


class Maps(NamedTuple):
    """What the masks of a folder hold.

    Attributes:
        classes: their names.
        settings: arguments for `ImageMaskDataset` in all splits: `values` and `ignored`, or `colours`.
        named: whether a file names the classes.
    """
    classes: tuple[str, ...]
    settings: dict[str, Any]
    named: bool


def read_masks(root: str, splits: Mapping[str, dict]) -> Maps:
    """The classes of a folder of images and masks; reads all masks.

    Args:
        root: the folder.
        splits: as `find_image_mask` returns them.

    Raises:
        DataError: the masks can't be used.
    """
    pairs = {split: pairs_in(root, dataset) for split, dataset in splits.items()}
    first = next((mask for found in pairs.values() for mask in found.masks), None)
    if first is None:
        raise DataError(f'{root}: there are no masks for its images')
    colours = class_colours(folder := folder_of_names(root, splits))
    if colours and are_coloured(first):
        return Maps(tuple(colours), dict(colours=[list(colour) for colour in colours.values()]), True)
    names = class_names(folder)
    read = read_values(root, pairs, names, 'Replace the file')
    return Maps(read.classes, dict(values=read.values, ignored=read.ignored), names is not None)
