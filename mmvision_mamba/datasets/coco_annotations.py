"""Find the problems of a COCO annotation file, item by item. Looks at its JSON only, not at images or configs."""
from collections import Counter
from collections.abc import Iterator

import numpy as np

from ..errors import DataError
from ..limits import CATEGORIES, FILE_NAME, NAME, OBJECTS, PIXELS
from ..printable import is_name, shown
from .coco_boxes import contradictions
from .coco_masks import Bounds, bitmaps_problem, broken_polygon, rle_problem, size_problem
from .formats.content import Content
from .json_numbers import as_written, is_id, is_integer, is_number
from .problems import KINDS, Contents, Problem


def coco_problems(content: dict, masks: bool = False, evaluated: tuple[str, ...] = (),
                  contents: Contents | None = None, boxes: str | float | None = None) -> Iterator[Problem]:
    """Yield every problem in the content of a COCO annotation file.

    Args:
        content: the parsed JSON, with the lists `images` and `categories`; `annotations` may be missing.
        masks: whether segmentations are loaded. Default: False.
        evaluated: types of COCO's evaluation that read this file: 'bbox', 'segm'. Default: none.
        contents: statistics to fill in. Default: none.
        boxes: what they were read as, if the user said so; with 'xywh' nothing speaks against that. Default: none.
    """
    problems = _problems(content, masks, evaluated, Contents() if contents is None else contents, boxes)
    for problem in problems:
        if isinstance(content, Content) and 'repair-annotations' in (problem.fix or KINDS[problem.kind].fix):
            problem = problem._replace(fix='correct them where they were made')  # that command takes COCO's files
        yield problem


def _problems(content: dict, masks: bool, evaluated: tuple[str, ...], contents: Contents,
              boxes: str | float | None) -> Iterator[Problem]:
    images, names = {}, {}
    yield from getattr(content, 'problems', ())
    yield from image_problems(content['images'], images)
    yield from category_problems(content['categories'], names)
    contents.images = len(content['images'])
    contents.classes.update(dict.fromkeys(names.values(), 0))
    if boxes != 'xywh':
        yield from contradictions(content)
    ids, images_with_objects, bounds = set(), set(), Bounds.now()
    annotations = content.get('annotations')
    sources = {image['id']: image['source'] for image in content['images']} if isinstance(content, Content) else {}
    for key, known in (('category_id', names), ('image_id', images)):
        yield from _shifted_ids(key, known, annotations)
    for index, ann in enumerate(annotations if isinstance(annotations, list) else ()):
        problems = list(_annotation_problems(ann, images, names, masks, evaluated, bounds))
        if isinstance(ann, dict) and is_id(ann.get('id')):
            if ann['id'] in ids:
                problems.append(Problem('duplicate annotation id', '', f'id {ann["id"]}'))
            ids.add(ann['id'])
        for problem in problems:
            yield problem._replace(where=_place(ann, index, images, sources))
        if all(p.kind in _HARMLESS for p in problems):
            contents.add_box(names[ann['category_id']], *ann['bbox'][2:])
            contents.crowds += bool(ann.get('iscrowd'))
            images_with_objects.add(ann['image_id'])
    contents.empty = contents.images - len(images_with_objects)
    yield from _count_problems(annotations if isinstance(annotations, list) else (), images, masks)


def unreadable(content: dict) -> list[Problem]:
    """The files, lines and objects that could not be read into content of another format than COCO's."""
    return [problem for problem in getattr(content, 'problems', ()) if KINDS[problem.kind].level == 'error']


def check_files(content: dict) -> None:
    """Raise DataError where content of another format than COCO's lacks what could not be read."""
    if wrong := unreadable(content):
        raise DataError(f'{shown(wrong[0].where, 500)}: {wrong[0].detail}.\n{len(wrong)} '
                        f'{KINDS[wrong[0].kind].what}: {KINDS[wrong[0].kind].fix}')


def _count_problems(annotations, images: dict, masks: bool) -> Iterator[Problem]:
    """Yield a problem for each image that has too many objects, or too many masks for its size."""
    most = OBJECTS.value
    objects = Counter(ann['image_id'] for ann in annotations
                      if isinstance(ann, dict) and isinstance(ann.get('image_id'), int | str))
    for image_id, count in objects.items():
        name, width, height = images.get(image_id, ('', 0, 0))
        if count > most:
            yield Problem('too many objects', name or f'image {shown(image_id, 40)}',
                          f'{count}, and {most} are allowed ({OBJECTS.way_out})')
        elif masks and (problem := bitmaps_problem(count, width, height)):
            yield Problem('too many objects', name, problem)


# Objects with only these problems are used all the same, and counted.
_HARMLESS = ('annotation id 0', 'box sticks out', 'polygon short')


def image_problems(records, images: dict) -> Iterator[Problem]:
    """Yield the problems of `images`; fill in {id: (file name, width, height)} of the usable ones."""
    file_names, pixels = set(), PIXELS.value
    for index, image in enumerate(records):
        where = f'images[{index}]'
        if not isinstance(image, dict):
            yield Problem('image record', where, f'is {type(image).__name__}')
            continue
        name = file_name(image)
        where = name or where
        if not name or not image.get('file_name'):  # mmdet's CocoDataset takes no URL in its place
            yield Problem('image record', f'images[{index}]', 'no file_name')
        elif not is_name(name):
            yield Problem('image record', where, 'its file_name has control characters')
        elif not is_id(image.get('id')):
            yield Problem('image record', where, f'id is {as_written(image.get("id"))}')
        elif len(name) > FILE_NAME:
            yield Problem('image record', f'images[{index}]', f'file_name has {len(name)} characters')
        elif not all(is_number(image.get(key)) and 1 <= image[key] <= 1e6 for key in ('width', 'height')):
            yield Problem('image record', where,
                          f'width × height is {as_written(image.get("width"))} × {as_written(image.get("height"))}')
        elif image['width'] * image['height'] > pixels:
            yield Problem('image record', where, f'width × height is {image["width"]} × {image["height"]}, and '
                          f'{pixels} pixels are allowed ({PIXELS.way_out})')
        elif _differs(image['id'], images):
            first = next(iter(images))
            yield Problem('image record', where, f'id is {as_written(image["id"])}, the first is {as_written(first)}')
        elif image['id'] in images:
            yield Problem('duplicate image id', where,
                          f'id {shown(image["id"], 40)} is that of {images[image["id"]][0]}')
        else:
            images[image['id']] = (name, image['width'], image['height'])
        if name in file_names:
            yield Problem('duplicate file name', where)
        file_names.add(name)


def file_name(image: dict) -> str | None:
    """File name of an item of `images`, relative to the image folder; in LVIS the end of its URL. None without one."""
    name, url = image.get('file_name'), image.get('coco_url')
    if isinstance(name, str) and name:
        return name
    return '/'.join(url.split('/')[-2:]) if isinstance(url, str) else None


def category_problems(records, names: dict) -> Iterator[Problem]:
    """Yield the problems of `categories`; fill in {id: name} of the usable ones."""
    if len(records) > CATEGORIES.value:
        yield Problem('too many categories', 'categories',
                      f'it has {len(records)}, and {CATEGORIES.value} are allowed ({CATEGORIES.way_out})')
        return
    known = set()  # their names
    for index, category in enumerate(records):
        where, name = f'categories[{index}]', category.get('name') if isinstance(category, dict) else None
        if not isinstance(name, str) or not is_name(name) or not is_id(category.get('id')):
            yield Problem('category record', where, shown(category, 60))
        elif len(name) > NAME:
            yield Problem('category record', where, f'its name has {len(name)} characters, and {NAME} are allowed')
        elif _differs(category['id'], names):
            first = next(iter(names))
            yield Problem('category record', where,
                          f'id is {as_written(category["id"])}, the first is {as_written(first)}')
        elif category['id'] in names or name in known:
            yield Problem('category record', where, f'id {shown(category["id"], 40)} or name {name!r} a second time')
        else:
            names[category['id']] = name
            known.add(name)


def _differs(item_id: int | str, known: dict) -> bool:
    """Whether an id is a number and those before it strings, or the reverse: COCO's evaluation sorts them."""
    return bool(known) and type(item_id) is not type(next(iter(known)))


def _shifted_ids(key: str, known: dict, annotations) -> Iterator[Problem]:
    """Yield a problem where annotations refer to one id beyond one end of the known ids, and to none at the other end.
    """
    if not known or not isinstance(annotations, list) or not all(map(is_integer, known)):
        return
    used = {ann[key] for ann in annotations if isinstance(ann, dict) and is_integer(ann.get(key))}
    unknown = used - known.keys()
    for step in (1, -1):
        if len(unknown) == 1 and all(i + step in known for i in used):
            what = key.removesuffix('_id')
            yield Problem('ids shifted', f'annotations, {key}', f'they run from {min(used)} to {max(used)}, the ids of '
                          f'{"categories" if what == "category" else "images"} from {min(known)} to {max(known)}',
                          f'add {step} to each {key}, which mmvision-mamba repair-annotations FILE NEW_FILE '
                          f'--shift-{what}-ids {step} does; or remove the annotations of {what} {unknown.pop()}')


def _place(ann, index: int, images: dict, sources: dict[int, str]) -> str:
    if sources:  # read from another format, whose ids are made up
        return f'{sources[ann["image_id"]]}, {ann["place"]}'
    if not isinstance(ann, dict) or not is_id(ann.get('id')):
        return f'annotations[{index}]'
    image = images.get(ann['image_id']) if is_id(ann.get('image_id')) else None
    return f'annotation {shown(ann["id"], 40)}' + (f' ({image[0]})' if image else '')


def _annotation_problems(ann, images: dict, names: dict, masks: bool,
                         evaluated: tuple[str, ...], bounds: Bounds) -> Iterator[Problem]:
    key_problem = _key_problem(ann, evaluated)
    if key_problem:
        yield Problem('annotation record', '', key_problem)
        return
    if ann['id'] == 0 and evaluated:
        yield Problem('annotation id 0', '')
    box = ann['bbox']
    if not isinstance(box, list) or len(box) != 4 or not all(map(is_number, box)):
        yield Problem('box not finite', '', f'bbox is {shown(box, 60)}')
        return
    if ann['category_id'] not in names:
        yield Problem('unknown category', '', f'category {shown(ann["category_id"], 20)}')
    if ann['image_id'] not in images:
        yield Problem('unknown image', '', f'image {shown(ann["image_id"], 20)}')
        return
    _, width, height = images[ann['image_id']]
    x, y, w, h = box
    description = f'bbox is {box}'
    is_used = False
    if w < 1 or h < 1 or ann['area'] <= 0:
        yield Problem('box empty', '', f'{description}, area {ann["area"]}')
    elif x >= width or y >= height or x + w <= 0 or y + h <= 0:
        yield Problem('box outside', '', f'{description}, the image is {width} × {height}')
    else:
        is_used = True
        if x < -1 or y < -1 or x + w > width + 1 or y + h > height + 1:
            yield Problem('box sticks out', '', f'{description}, the image is {width} × {height}')
    if masks or 'segm' in evaluated:
        yield from _mask_problems(ann.get('segmentation'), width, height, is_used or bool(evaluated),
                                  'segm' in evaluated, bounds)


def _as_list(polygon) -> str:
    return shown(polygon.tolist() if isinstance(polygon, np.ndarray) else polygon, 60)


def _key_problem(ann, evaluated) -> str | None:
    """The first key of an annotation that is missing or has a value of the wrong type, as a phrase; None if none is."""
    if not isinstance(ann, dict):
        return f'is {type(ann).__name__}'
    required = {'id': is_integer, 'image_id': is_id, 'category_id': is_id, 'area': is_number, 'bbox': bool}
    for key, is_right in required.items():
        if key not in ann:
            return f'no {key}'
        if key != 'bbox' and not is_right(ann[key]):
            return f'{key} is {as_written(ann[key])}'
    if evaluated and 'iscrowd' not in ann:
        return 'no iscrowd'
    if ann.get('iscrowd') not in ((0, 1) if evaluated else (None, 0, 1)):  # True and False are equal to these
        return f'iscrowd is {as_written(ann["iscrowd"])}'
    return None


def _mask_problems(mask, width: float, height: float, required: bool, evaluated: bool,
                   bounds: Bounds) -> Iterator[Problem]:
    if not mask:
        if required:
            yield Problem('no mask', '')
    elif isinstance(mask, list):
        broken = broken_polygon(mask, width, height)
        if broken is not None:
            yield Problem('polygon broken', '', _as_list(broken))
            return
        if problem := size_problem(mask, width, height, bounds):
            yield Problem('mask too large', '', problem)
        short = [polygon for polygon in mask if len(polygon) < 6 or len(polygon) % 2]
        if short:
            yield Problem('polygon short, evaluated' if evaluated else 'polygon short', '',
                          _as_list(short[0]))
    elif isinstance(mask, dict):
        problem = rle_problem(mask, width, height)
        if problem:
            yield Problem('run lengths broken', '', problem)
    else:
        yield Problem('polygon broken', '', shown(mask, 60))
