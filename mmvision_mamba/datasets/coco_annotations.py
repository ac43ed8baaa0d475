"""Find the problems of a COCO annotation file, item by item. Looks at its JSON only, not at images or configs."""
import math
from collections.abc import Iterator

from .coco_boxes import contradictions
from .coco_masks import rle_problem
from .json_numbers import is_id, is_integer, is_number
from .problems import Contents, Problem


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
    contents = Contents() if contents is None else contents
    images, names = {}, {}
    yield from image_problems(content['images'], images)
    yield from category_problems(content['categories'], names)
    contents.images = len(content['images'])
    contents.classes.update(dict.fromkeys(names.values(), 0))
    if boxes != 'xywh':
        yield from contradictions(content)
    ids, images_with_objects = set(), set()
    annotations = content.get('annotations')
    for key, known in (('category_id', names), ('image_id', images)):
        yield from _shifted_ids(key, known, annotations)
    for index, ann in enumerate(annotations if isinstance(annotations, list) else ()):
        problems = list(_annotation_problems(ann, images, names, masks, evaluated))
        if isinstance(ann, dict) and is_id(ann.get('id')):
            if ann['id'] in ids:
                problems.append(Problem('duplicate annotation id', '', f'id {ann["id"]}'))
            ids.add(ann['id'])
        for problem in problems:
            yield problem._replace(where=_place(ann, index, images))
        if all(p.kind in _HARMLESS for p in problems):
            contents.add_box(names[ann['category_id']], *ann['bbox'][2:])
            contents.crowds += bool(ann.get('iscrowd'))
            images_with_objects.add(ann['image_id'])
    contents.empty = contents.images - len(images_with_objects)


# Objects with only these problems are used all the same, and counted.
_HARMLESS = ('annotation id 0', 'box sticks out', 'polygon short')


def image_problems(records, images: dict) -> Iterator[Problem]:
    """Yield the problems of `images`; fill in {id: (file name, width, height)} of the usable ones."""
    file_names = set()
    for index, image in enumerate(records):
        where = f'images[{index}]'
        if not isinstance(image, dict):
            yield Problem('image record', where, f'is {type(image).__name__}')
            continue
        name = file_name(image)
        where = name or where
        if not name:
            yield Problem('image record', where, 'no file_name')
        elif not is_id(image.get('id')):
            yield Problem('image record', where, f'id is {image.get("id")!r}')
        elif not all(is_number(image.get(key)) and 1 <= image[key] <= 1e6 for key in ('width', 'height')):
            yield Problem('image record', where, f'width × height is {image.get("width")!r} × {image.get("height")!r}')
        elif _differs(image['id'], images):
            yield Problem('image record', where, f'id is {image["id"]!r}, the first is {next(iter(images))!r}')
        elif image['id'] in images:
            yield Problem('duplicate image id', where, f'id {image["id"]} is that of {images[image["id"]][0]}')
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
    for index, category in enumerate(records):
        named = isinstance(category, dict) and isinstance(category.get('name'), str)
        if not named or not is_id(category.get('id')):
            yield Problem('category record', f'categories[{index}]', f'{category!r:.60}')
        elif _differs(category['id'], names):
            yield Problem('category record', f'categories[{index}]',
                          f'id is {category["id"]!r}, the first is {next(iter(names))!r}')
        elif category['id'] in names or category['name'] in names.values():
            yield Problem('category record', f'categories[{index}]',
                          f'id {category["id"]} or name {category["name"]!r} a second time')
        else:
            names[category['id']] = category['name']


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


def _place(ann, index: int, images: dict) -> str:
    if not isinstance(ann, dict) or not is_id(ann.get('id')):
        return f'annotations[{index}]'
    image = images.get(ann['image_id']) if is_id(ann.get('image_id')) else None
    return f'annotation {ann["id"]}' + (f' ({image[0]})' if image else '')


def _annotation_problems(ann, images: dict, names: dict, masks: bool,
                         evaluated: tuple[str, ...]) -> Iterator[Problem]:
    key_problem = _key_problem(ann, evaluated)
    if key_problem:
        yield Problem('annotation record', '', key_problem)
        return
    if ann['id'] == 0 and evaluated:
        yield Problem('annotation id 0', '')
    box = ann['bbox']
    if not isinstance(box, list) or len(box) != 4 or not all(map(is_number, box)):
        yield Problem('box not finite', '', f'bbox is {box!r:.60}')
        return
    if ann['category_id'] not in names:
        yield Problem('unknown category', '', f'category {ann["category_id"]!r:.20}')
    if ann['image_id'] not in images:
        yield Problem('unknown image', '', f'image {ann["image_id"]!r:.20}')
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
                                  'segm' in evaluated)


def _key_problem(ann, evaluated) -> str | None:
    """The first key of an annotation that is missing or has a value of the wrong type, as a phrase; None if none is."""
    if not isinstance(ann, dict):
        return f'is {type(ann).__name__}'
    required = {'id': is_integer, 'image_id': is_id, 'category_id': is_id, 'area': is_number, 'bbox': bool}
    for key, is_right in required.items():
        if key not in ann:
            return f'no {key}'
        if key != 'bbox' and not is_right(ann[key]):
            return f'{key} is {ann[key]!r:.40}'
    if evaluated and 'iscrowd' not in ann:
        return 'no iscrowd'
    if ann.get('iscrowd') not in ((0, 1) if evaluated else (None, 0, 1)):  # True and False are equal to these
        return f'iscrowd is {ann["iscrowd"]!r:.40}'
    return None


def _mask_problems(mask, width: float, height: float, required: bool, evaluated: bool) -> Iterator[Problem]:
    if not mask:
        if required:
            yield Problem('no mask', '')
    elif isinstance(mask, list):
        reach = 10 * max(width, height)  # pycocotools walks along every pixel of an outline, in the image or not
        for polygon in mask:
            if not isinstance(polygon, list) or not _are_within(polygon, reach):
                yield Problem('polygon broken', '', f'{polygon!r:.60}')
                return
        short = [polygon for polygon in mask if len(polygon) < 6 or len(polygon) % 2]
        if short:
            yield Problem('polygon short, evaluated' if evaluated else 'polygon short', '', f'{short[0]!r:.60}')
    elif isinstance(mask, dict):
        problem = rle_problem(mask, width, height)
        if problem:
            yield Problem('run lengths broken', '', problem)
    else:
        yield Problem('polygon broken', '', f'{mask!r:.60}')


def _are_within(values: list, reach: float) -> bool:
    """Whether all are numbers from -reach to reach; fast, since a file may have hundreds of thousands of polygons."""
    return {*map(type, values)} <= {int, float} and -reach <= min(values, default=0) \
        and max(values, default=0) <= reach and not math.isnan(sum(values))
