"""What LVIS's evaluation needs of an annotation file beside what COCO's have."""
from ..limits import CATEGORIES
from .coco_files import read_json
from .json_numbers import is_integer

_LISTS = ('neg_category_ids', 'not_exhaustive_category_ids')


def lvis_problem(path: str) -> str | None:
    """What is missing in an annotation file; None where the package lvis can evaluate with it.

    Raises:
        DataError: it can't be read.
    """
    content = read_json(path)
    images, categories = (content.get(key) if isinstance(content, dict) else None for key in ('images', 'categories'))
    if not isinstance(images, list) or not isinstance(categories, list):
        return 'it has no list of images, or none of categories'
    if len(categories) > CATEGORIES.value:
        return f'it has {len(categories)} categories, and {CATEGORIES.value} are allowed ({CATEGORIES.way_out})'
    for i, category in enumerate(categories):
        if not isinstance(category, dict) or category.get('frequency') not in ('r', 'c', 'f'):
            return f"categories[{i}] has no frequency, one of 'r', 'c' and 'f'"
    for i, image in enumerate(images):
        for key in _LISTS:
            ids = image.get(key) if isinstance(image, dict) else None
            if not isinstance(ids, list) or not all(map(is_integer, ids)):
                return f'images[{i}] has no {key}, a list of ids of categories'
    return None
