"""Repairs of COCO annotations that take no guess: ids of another type, missing keys, categories that are headings."""
from collections import Counter
from collections.abc import Iterator

from ..printable import shown
from ..text import shortened
from .coco_masks import mask_area, mask_extent
from .json_numbers import is_id, is_integer, is_number, number, whole_number

_BESIDES = ('_background_', '__background__', '__ignore__')  # names of labelme's


def repair(content: dict) -> list[str]:
    """Mend a COCO annotation file's content in place.

    What can't be mended so stays as it is, for `coco_problems` to name.

    Args:
        content: the parsed JSON, with the lists `images` and `categories`; their items may be anything.

    Returns:
        A note for each kind of repair, with counts. None: nothing was changed.
    """
    images, categories, annotations = (
        [item for item in items if isinstance(item, dict)] if isinstance(items := content.get(key), list) else []
        for key in ('images', 'categories', 'annotations'))
    notes = [*_file_names(images), *_sizes(images), *_categories(categories)]
    notes += _ids('image', images, annotations)
    notes += _ids('category', categories, annotations)
    notes += _annotation_ids(annotations)
    notes += [*_polygons(annotations), *_missing_keys(annotations)]
    notes += _headings(content, categories, annotations)
    return notes


def repair_panoptic(content: dict) -> list[str]:
    """Mend the content of a panoptic annotation file in place, as `repair` does; returns notes as that does."""
    images, categories, records = (
        [item for item in items if isinstance(item, dict)] if isinstance(items := content.get(key), list) else []
        for key in ('images', 'categories', 'annotations'))
    segments = [segment for record in records if isinstance(record.get('segments_info'), list)
                for segment in record['segments_info'] if isinstance(segment, dict)]
    for segment in segments:
        if 'id' in segment:
            segment['id'] = whole_number(segment['id'])
    return [*_file_names(images), *_file_names(records), *_sizes(images), *_categories(categories),
            *_ids('image', images, records), *_ids('category', categories, segments), *_missing_keys(segments)]


def _count(number_: int, what: str) -> str:
    """'1 box' or '3 boxes', for the forms 'box|boxes' of `what`."""
    one, many = what.split('|')
    return f'{number_:,} {one if number_ == 1 else many}'


def _file_names(images: list[dict]) -> Iterator[str]:
    changed = 0
    for image in images:
        name = image.get('file_name')
        if isinstance(name, str) and '\\' in name:
            image['file_name'] = name.replace('\\', '/')
            changed += 1
    if changed:
        yield f'{_count(changed, "file name|file names")} with back slashes, read as /'


def _sizes(images: list[dict]) -> Iterator[str]:
    changed = 0
    for image in images:
        for key in ('width', 'height'):
            value = number(image.get(key))
            if isinstance(image.get(key), str) and is_number(value):
                image[key] = value
                changed += 1
    if changed:
        yield f'{_count(changed, "width or height|widths and heights")} in quotes, read as numbers'


def _categories(categories: list[dict]) -> Iterator[str]:
    changed = 0
    for category in categories:
        name = category.get('name')
        if isinstance(name, str) and name != name.strip():
            category['name'] = name.strip()
            changed += 1
    if changed:
        yield f'white space around {_count(changed, "category name|category names")}, left out'


def _ids(kind: str, records: list[dict], annotations: list[dict]) -> Iterator[str]:
    """Give the ids of images or categories and the annotations' references to them one type."""
    key = f'{kind}_id'
    places = [(record, 'id') for record in records if 'id' in record]
    defined = [record['id'] for record, _ in places]
    types = {*map(type, defined), *(type(a[key]) for a in annotations if key in a)}
    if types <= {int} or types <= {str} or not all(map(_may_be_id, defined)):
        return
    numbers = [whole_number(value) for value in defined]
    if all(map(is_integer, numbers)) and len(set(numbers)) == len(set(defined)):
        read, what = whole_number, 'read as numbers'
    elif all(isinstance(value, str) for value in defined):
        known = set(defined)
        read, what = (lambda value: str(value) if is_integer(value) and str(value) in known else value), 'read as text'
    else:
        return
    changed = 0
    for item, name in (*places, *((a, key) for a in annotations if key in a)):
        value = item[name]
        if type(value) in (int, str, float) and type(new := read(value)) is not type(value):
            item[name] = new
            changed += 1
    if changed:
        yield f'{_count(changed, f"{kind} id|{kind} ids")} of another type (such as "1" or 1.0), {what}'


def _may_be_id(value) -> bool:
    return is_id(value) or isinstance(value, float)


def _annotation_ids(annotations: list[dict]) -> Iterator[str]:
    """COCO's evaluation takes 0 for 'no match', and needs numbers; nothing refers to them."""
    seen, wrong = set(), []
    for ann in annotations:
        value = ann.get('id')
        if type(value) is not int:
            value = ann['id'] = whole_number(value)
        if not is_integer(value) or not 0 < value < 2**53 or value in seen:
            wrong.append(ann)
        else:
            seen.add(value)
    start = max(seen, default=0) + 1
    for new, ann in enumerate(wrong, start):
        ann['id'] = new
    if wrong:
        yield f'{_count(len(wrong), "annotation id|annotation ids")} missing, 0, used twice or no number, given anew'


def _polygons(annotations: list[dict]) -> Iterator[str]:
    """Put a polygon that stands alone, a flat list of numbers, into a list of polygons."""
    changed = 0
    for ann in annotations:
        mask = ann.get('segmentation')
        if isinstance(mask, list) and len(mask) >= 6 and len(mask) % 2 == 0 and all(map(is_number, mask)):
            ann['segmentation'] = [mask]
            changed += 1
    if changed:
        yield f'{_count(changed, "polygon|polygons")} not in a list, read as one of its object'


def _missing_keys(annotations: list[dict]) -> Iterator[str]:
    changed = Counter()
    for ann in annotations:
        flag = ann.get('iscrowd')
        if flag is None:
            ann['iscrowd'] = 0
            changed['iscrowd'] += 1
        elif type(flag) is not int:
            ann['iscrowd'] = whole_number(flag)
        box = ann.get('bbox')
        if not box and 'segments_info' not in ann and (extent := mask_extent(ann.get('segmentation'))):
            box = ann['bbox'] = list(extent)
            changed['bbox'] += 1
        if not (isinstance(box, list) and len(box) == 4):
            continue
        x, y, w, h = box
        if type(x) is str or type(y) is str or type(w) is str or type(h) is str:
            box[:] = map(number, box)
            changed['text'] += 1
        area = ann.get('area')
        if type(area) is str:
            area = ann['area'] = number(area)
        if type(area) in (int, float) and area > 0:
            continue
        if (area is None or (is_number(area) and area <= 0)) and all(map(is_number, box)) and min(box[2:]) >= 1:
            from_mask = mask_area(ann.get('segmentation'))
            ann['area'] = from_mask or box[2] * box[3]
            changed['area of mask' if from_mask else 'area of box'] += 1
    words = {'iscrowd': 'annotation without iscrowd, taken as 0|annotations without iscrowd, taken as 0',
             'bbox': 'box missing, derived from its mask|boxes missing, derived from their masks',
             'text': 'box in quotes, read as numbers|boxes in quotes, read as numbers',
             'area of mask': 'area missing or 0, derived from its mask|areas missing or 0, derived from their masks',
             'area of box': 'area missing or 0, derived from its box|areas missing or 0, derived from their boxes'}
    return (_count(changed[key], what) for key, what in words.items() if changed[key])


def _headings(content: dict, categories: list[dict], annotations: list[dict]) -> Iterator[str]:
    """Drop categories without annotations that are another's supercategory, in whatever case, which is a tool's name
    for the data set, or that labelme writes besides the classes."""
    used = {ann['category_id'] for ann in annotations if is_id(ann.get('category_id'))}
    above = Counter(name for c in categories if (name := _folded(c.get('supercategory'))) is not None)
    dropped = []
    for category in categories:
        name, own = _folded(category.get('name')), _folded(category.get('supercategory'))
        if name is not None and (above[name] > (own == name) or name in _BESIDES) and is_id(category.get('id')) \
                and category['id'] not in used:
            dropped.append(category)
            if own is not None:
                above[own] -= 1
    if dropped:
        left_out = set(map(id, dropped))
        content['categories'] = [c for c in content['categories'] if id(c) not in left_out]
        names = shortened([f'{shown(c["name"], 60)} (id {shown(c["id"], 40)})' for c in dropped])
        yield f'no annotations in {names}, the supercategory of others or what is no object: no class'


def _folded(name) -> str | None:
    """A name without case and white space around it, in which tools write it differently; None if it is no text."""
    return name.strip().casefold() if isinstance(name, str) else None


def shift_ids(content: dict, key: str, step: int) -> int:
    """Add `step` to each annotation's `key`, 'category_id' or 'image_id', in place; returns how many were changed."""
    changed = [ann for ann in content.get('annotations') or () if isinstance(ann, dict) and is_integer(ann.get(key))]
    for ann in changed:
        ann[key] += step
    return len(changed)
