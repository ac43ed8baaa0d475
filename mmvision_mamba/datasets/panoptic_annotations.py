"""Find the problems of COCO's panoptic files: of the annotation file, and of its PNGs."""
from collections.abc import Collection, Iterator

import numpy as np

from ..errors import DataError
from ..limits import OBJECTS
from ..printable import shown
from ..text import shortened
from .coco_annotations import category_problems, image_problems
from .coco_masks import bitmaps_problem
from .json_numbers import as_written, is_id, is_integer, is_number
from .panoptic_files import read_segment_ids
from .problems import Contents, Problem

LARGEST_ID = 256 ** 3 - 1


def panoptic_problems(content: dict, contents: Contents | None = None) -> Iterator[Problem]:
    """Yield every problem in the content of a panoptic annotation file.

    Args:
        content: the parsed JSON, with the lists `images` and `categories`; `annotations` may be missing.
        contents: statistics to fill in. Default: none.
    """
    contents = Contents() if contents is None else contents
    images, names = {}, {}
    yield from image_problems(content['images'], images)
    yield from category_problems(content['categories'], names)
    for category in content['categories']:
        if isinstance(category, dict) and category.get('isthing') not in (0, 1):
            yield Problem('isthing', f'category {shown(category.get("name", category), 60)}',
                          f'isthing is {shown(category.get("isthing"), 20)}')
    things = {category.get('id') for category in content['categories']
              if isinstance(category, dict) and is_id(category.get('id')) and category.get('isthing')}
    contents.images = len(content['images'])
    contents.classes.update(dict.fromkeys(names.values(), 0))
    annotated, maps = set(), set()
    annotations = content.get('annotations') or []
    for index, record in enumerate(annotations):
        problem = _record_problem(record, images, annotated, maps)
        where = f'annotations[{index}]'
        if problem:
            yield Problem('panoptic record', where, problem)
            continue
        if record['image_id'] not in images:
            yield Problem('unknown image', where, f'image {shown(record["image_id"], 20)}')
            continue
        annotated.add(record['image_id'])
        maps.add(record['file_name'])
        count, (name, width, height) = len(record['segments_info']), images[record['image_id']]
        problem = f'{count}, and {OBJECTS.value} are allowed ({OBJECTS.way_out})' if count > OBJECTS.value else \
            bitmaps_problem(count, width, height)
        if problem:
            yield Problem('too many objects', name, problem)
        yield from _segment_problems(record, names, things, contents)
    for image_id, image in images.items() if annotations else ():
        if image_id not in annotated:
            yield Problem('no segments', image[0])
    contents.empty = contents.images - len(annotated)


def _record_problem(record, images: dict, annotated: set, maps: set) -> str | None:
    """What is wrong with the record of an image, as a phrase; None if nothing is."""
    if not isinstance(record, dict):
        return f'is {type(record).__name__}'
    wanted = {'image_id': is_id, 'file_name': lambda value: isinstance(value, str) and value,
              'segments_info': lambda value: isinstance(value, list)}
    for key, is_right in wanted.items():
        if key not in record:
            return f'no {key}'
        if not is_right(record[key]):
            return f'{key} is {as_written(record[key])}'
    if record['image_id'] in annotated:
        return f'image {record["image_id"]} a second time'
    return f'file_name {record["file_name"]} a second time' if record['file_name'] in maps else None


def _segment_problems(record: dict, names: dict, things: set, contents: Contents) -> Iterator[Problem]:
    ids = set()
    for index, segment in enumerate(record['segments_info']):
        where = f'segments_info[{index}] ({record["file_name"]})'
        problem = _key_problem(segment)
        if problem:
            yield Problem('segment record', where, problem)
            continue
        where = f'segment {segment["id"]} ({record["file_name"]})'
        if segment['id'] in ids:
            yield Problem('duplicate segment id', where)
        ids.add(segment['id'])
        _, _, width, height = segment['bbox']
        if segment['category_id'] not in names:
            yield Problem('unknown category', where, f'category {shown(segment["category_id"], 20)}')
        elif width < 1 or height < 1 or segment.get('area', 1) <= 0:
            yield Problem('box empty', where, f'bbox is {segment["bbox"]}, area {segment.get("area")}')
        elif segment['category_id'] in things:
            contents.add_box(names[segment['category_id']], width, height)
            contents.crowds += bool(segment.get('iscrowd'))
        else:
            contents.classes[names[segment['category_id']]] += 1


def _key_problem(segment) -> str | None:
    """The first key of a segment that is missing or has a wrong value, as a phrase; None if none is."""
    if not isinstance(segment, dict):
        return f'is {type(segment).__name__}'
    for key in ('id', 'category_id', 'bbox'):
        if key not in segment:
            return f'no {key}'
    box = segment['bbox']
    right = dict(id=is_integer(segment['id']) and 1 <= segment['id'] <= LARGEST_ID,
                 category_id=is_id(segment['category_id']),
                 bbox=isinstance(box, list) and len(box) == 4 and all(map(is_number, box)),
                 iscrowd=segment.get('iscrowd', 0) in (0, 1), area=is_number(segment.get('area', 0)))
    return next((f'{key} is {as_written(segment[key])}' for key, is_right in right.items() if not is_right), None)


def map_problem(path: str, shape: tuple[int, int] | None, ids: Collection[int]) -> str | None:
    """What is wrong with a panoptic PNG, as a phrase; None if nothing is.

    Args:
        path: of the file.
        shape: height and width of its image, in pixels. None: unknown.
        ids: of the segments that the annotation file has for it.
    """
    try:
        found = np.unique(read_segment_ids(path, shape))
    except DataError as error:
        return str(error).removeprefix(f'{path}: ')
    known = np.array([id_ for id_ in ids if is_integer(id_)], np.int64)
    extra, missing = np.setdiff1d(found, [0, *known]), np.setdiff1d(known, found)
    parts = []
    if len(extra):
        parts.append(f'{len(extra)} ids in no segments_info: {shortened(extra, 5)}')
    if len(missing):
        parts.append(f'{len(missing)} ids of its segments_info without a pixel: {shortened(missing, 5)}')
    return '; '.join(parts) or None
