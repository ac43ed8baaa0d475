"""Which layout the data below a folder have."""
import os.path as osp

from ..datasets import formats
from ..errors import DataError
from ..printable import shown
from ..text import shortened
from . import coco_folder, mask_folder
from .datasets import SPLITS
from .other_layouts import seen_instead

OBJECTS = ('coco', *formats.FORMATS)
"""Layouts of objects, for detectors and, drawn as maps, for segmentors."""


def find_objects(root: str, settings: dict, maps: bool = False,
                 masks: bool = False) -> tuple[str, dict[str, str]]:
    """As `seek_objects`; raises DataError where none is there.

    Args:
        root, settings, masks: see there.
        maps: whether masks would have done as well, for the message. Default: False.
    """
    found = seek_objects(root, settings, masks)
    if found is None:
        raise DataError(_nothing_found(root, _wanted(root, settings), maps))
    return found


def seek_objects(root: str, settings: dict, masks: bool = False) -> tuple[str, dict[str, str]] | None:
    """(one of `OBJECTS`, {split: its COCO annotation file or `formats.Source` by name}) of a folder; None without any.

    What `mmvision-mamba split-dataset` has written comes first, see `preferred` for the rest.

    Args:
        root: the folder.
        settings: `format`, where the search should not decide, and what to take for 'train', 'val' and 'test'.
        masks: whether objects need outlines or masks. Default: False.

    Raises:
        DataError: several are there.
    """
    wanted = _wanted(root, settings)
    found: dict[str, dict[str, str]] = {}
    for layout in [wanted] if wanted else OBJECTS:
        if splits := _splits(root, layout, settings, wanted):
            found[layout] = splits
            if any(path.startswith('splits/') for path in splits.values()):
                return layout, splits
    found = preferred(found, masks)
    if len(found) > 1:
        seen = '; '.join(f'{layout}: {shortened(sorted({*splits.values()}), 3)}' for layout, splits in found.items())
        raise DataError(f'{root}: annotations of several formats lie there ({seen}).\nChoose: set custom_data.format='
                        f'{next(iter(found))}')
    return next(iter(found.items()), None)


def _wanted(root: str, settings: dict) -> str | None:
    """The layout that the settings choose."""
    named = [source for split in SPLITS
             if (name := settings.get(split)) and (source := formats.source_of(osp.join(root, name)))]
    return settings.get('format') or (named[0].format if named else None)


def preferred(found: dict[str, dict[str, str]], masks: bool = False) -> dict[str, dict[str, str]]:
    """What is found in a folder without what else shows the same objects.

    COCO's files come before LabelMe's, from which they were made; of Pascal VOC's, masks where they are needed, else
    boxes, which more images have; labels alone after annotations that name their classes.

    Args:
        found: {one of `OBJECTS`: {split: its file or source by name}}.
        masks: whether objects need outlines or masks. Default: False.
    """
    left = dict(found)
    if 'coco' in left:
        left.pop('labelme', None)
    if {'voc', 'voc_instances'} <= left.keys():
        left.pop('voc' if masks else 'voc_instances')
    if len(left) > 1 and any(name.startswith('#') for name in left.get('yolo', {}).values()):
        left.pop('yolo')
    return left


def _splits(root: str, layout: str, settings: dict, wanted: str | None) -> dict[str, str]:
    if layout == 'coco':
        return coco_folder.find_coco(root, settings)
    splits = {split: str(source) for split, source in formats.find(root, layout).items()}
    given = {split: name for split in SPLITS if (name := settings.get(split))}
    files = [split for split, name in given.items() if formats.source_of(osp.join(root, name)) is None]
    if files and layout == wanted:
        raise DataError(f'custom_data.{files[0]} is {shown(given[files[0]])}: for this format expected a name such as '
                        f'{next(iter(splits.values()), f"PATH#{layout}-train")}')
    return {} if files else {**splits, **given}


def _nothing_found(root: str, wanted: str | None, maps: bool) -> str:
    seen = seen_instead(root, 'image_mask' if maps else 'objects')
    if wanted == 'coco':
        return f'{root}: no COCO annotation file (.json) there{seen}.\n{coco_folder.LAYOUT}'
    if wanted:
        return f'{root}: not what custom_data.format={wanted} stands for{seen}.\nExpected: {formats.LAYOUTS[wanted]}'
    others = '\n'.join(f'  or {layout}' for layout in formats.LAYOUTS.values())
    if maps:
        return (f'{root}: no folders of images and masks there, nor outlines of objects{seen}.\n{mask_folder.LAYOUT}\n'
                f'  or COCO annotations with outlines\n{others}')
    return f'{root}: no COCO annotation file (.json) there, nor another format{seen}.\n{coco_folder.LAYOUT}\n{others}'
