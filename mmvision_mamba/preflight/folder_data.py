"""What can be learned from a folder of data of one's own, and how much of it there is."""
import os.path as osp
import statistics
from collections.abc import Mapping
from typing import NamedTuple

from ..datasets import formats
from ..datasets.coco_annotations import check_files
from ..datasets.json_numbers import is_number
from ..errors import ConfigError, DataError
from ..printable import shown
from ..text import check_names
from . import coco_folder, mask_folder
from .datasets import SPLITS
from .folds import use_fold
from .image_sizes import sizes_of
from .layouts import find_objects, seek_objects
from .splitting import Divisible, masked, objects

TASKS = dict(detect='boxes', instances='outlines', semantic='maps')
"""--task: what is learned."""
_LEARNS = dict(boxes='boxes', outlines='boxes and outlines', maps='the class of each pixel')
_SAMPLE = 100  # images whose headers are read


class FolderData(NamedTuple):
    """The data of a folder.

    Attributes:
        what: is learned from them: 'boxes', 'outlines' or 'maps'.
        images: to train with, those that are yet to be set aside among them.
        side: the short side of an image in pixels, the median. None: not known.
        unsplit: the images that a validation split is to be taken from. None: there is one.
        note: on them, for the user.
    """
    what: str
    images: int
    side: int | None
    unsplit: Divisible | None
    note: str


def look_at(root: str, settings: Mapping[str, object], task: str | None = None) -> FolderData:
    """Look at a folder: which annotations lie there, and what a model learns from them.

    Args:
        root: the folder.
        settings: of `custom_data`, where the user has some.
        task: one of `TASKS`. None: from outlines instances, from boxes alone detection, from masks segmentation.

    Raises:
        DataError: nothing of use lies there, or annotations of several formats.
        ConfigError: it can not be told what to learn, or not `task`.
    """
    if task is not None:
        check_names([task], TASKS, '--task: there is no')
    settings = dict(settings)
    use_fold(root, settings)
    wanted = settings.get('format')
    named = [name for name in map(settings.get, SPLITS) if isinstance(name, str)]
    are_objects = wanted not in (None, 'image_mask') or any(
        name.endswith('.json') or formats.source_of(osp.join(root, name)) for name in named)
    masks = {} if are_objects else mask_folder.find_image_mask(root, settings)
    if wanted == 'image_mask' and not masks:
        raise DataError(f'{root}: no folders of images and masks there.\n{mask_folder.LAYOUT}')
    # Lists that are named, or a fold's, are of names of images, which no file of annotations is.
    lists = bool(masks and named) and all(name.lower().endswith('.txt') for name in named)
    found = None if wanted == 'image_mask' or lists else seek_objects(root, settings, masks=task == 'instances')
    if not masks:
        return _of_objects(root, (found or find_objects(root, settings, maps=True))[1], task)
    if found is None:
        _check_task(root, task, ('maps',))
        return _of_masks(root, masks)
    _, files = found
    if task is None:
        raise ConfigError(f'{root}: both masks of classes and annotations of objects lie there ({_first(masks)}; '
                          f'{next(iter(files.values()))}).\nChoose: --task semantic, or --task detect or instances')
    return _of_masks(root, masks) if TASKS[task] == 'maps' else _of_objects(root, files, task)


def _first(masks: dict[str, dict]) -> str:
    dataset = next(iter(masks.values()))
    return dataset.get('ann_file') or dataset['data_prefix']['seg_map_path']


def _check_task(root: str, task: str | None, possible: tuple[str, ...]) -> None:
    """Raise ConfigError where the data don't show what the task is to learn."""
    if task is not None and TASKS[task] not in possible:
        names = [name for name, what in TASKS.items() if what in possible]
        raise ConfigError(f'--task {task}: {root} has no annotations for {_LEARNS[TASKS[task]]}.\nIt has some for '
                          f'{" and ".join(f"--task {name}" for name in names)}')


def _of_objects(root: str, files: dict[str, str], task: str | None) -> FolderData:
    """The data of a folder of annotated objects, {split: its annotations}."""
    source = files.get('train', files.get('all', next(iter(files.values()))))
    path = osp.join(root, source)
    content = coco_folder.read_coco(path)
    annotations = content.get('annotations') or []
    outlined = sum(bool(annotation.get('segmentation')) for annotation in annotations)
    shaped = any(map(_has_shape, annotations))
    if not annotations:
        check_files(content)  # where none could be read, that is the reason
        raise DataError(f'{path}: there are no objects to learn')
    possible = ('boxes', 'outlines', 'maps') if outlined else ('boxes',)
    _check_task(root, task, possible)
    what = TASKS[task] if task else 'outlines' if shaped and outlined >= len(annotations) / 2 else 'boxes'
    sides = [min(image['width'], image['height']) for image in content['images']
             if is_number(image.get('width')) and is_number(image.get('height'))]
    few = f', {outlined} of them with outlines' if 0 < outlined < len(annotations) else ''
    return FolderData(
        what, len(content['images']), _median(sides), None if 'val' in files or ('train' not in files and
        'all' not in files) else objects(path, content), f'{len(annotations)} objects{few} in {source}')


def _has_shape(annotation: dict) -> bool:
    """Whether an annotation has a mask that is more than its box."""
    mask = annotation.get('segmentation')
    try:
        if not isinstance(mask, list) or len(mask) != 1 or len(mask[0]) != 8:
            return bool(mask)
        x, y, width, height = annotation['bbox']
        return {*map(round, mask[0][::2])} != {round(x), round(x + width)} \
            or {*map(round, mask[0][1::2])} != {round(y), round(y + height)}
    except (KeyError, TypeError, ValueError, OverflowError):
        return True


def _of_masks(root: str, masks: dict[str, dict]) -> FolderData:
    """The data of a folder of images and masks, as `find_image_mask` returns it."""
    split = next((split for split in ('train', 'all') if split in masks), next(iter(masks)))
    dataset = masks[split]
    pairs = mask_folder.pairs_in(root, dataset).pairs
    found = map(sizes_of, [image for image, _ in pairs[::max(len(pairs) // _SAMPLE, 1)][:_SAMPLE]])
    return FolderData('maps', len(pairs), _median([min(sizes.upright) for sizes in found if sizes]),
                      None if 'val' in masks else masked(root, dataset, split == 'all'),
                      f'masks in {shown(_first(masks))}')


def _median(sides: list) -> int | None:
    return int(statistics.median_low(sides)) if sides else None
