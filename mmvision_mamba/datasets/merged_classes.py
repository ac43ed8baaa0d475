"""Classes that stand for several categories of an annotation file, or for one of another name."""
from collections.abc import Iterable, Sequence

Merged = Sequence[tuple[str, Sequence[str]]]
"""(class, names of the categories that it stands for) of each class; all others are left out."""


def merge_categories(content: dict, merged: Merged) -> None:
    """Give the categories that a class stands for its name and one id, in place.

    The ids ascend in the order of the classes. A category that no class stands for keeps its id and name, unless a
    class has that name; a class none of whose categories are in the file is not in it.

    Args:
        content: of a COCO annotation file; what is broken in it stays as it is.
        merged: see `Merged`.
    """
    class_of = {name: class_ for class_, names in merged for name in names}
    categories = [category for category in content['categories'] if isinstance(category, dict)
                  and isinstance(category.get('name'), str) and isinstance(category.get('id'), int | str)]
    meant = [category for category in categories if category['name'] in class_of]
    present = {class_of[category['name']]: category for category in reversed(meant)}
    ids = sorted((category['id'] for category in meant), key=lambda id_: (isinstance(id_, str), id_))
    new_ids = dict(zip([class_ for class_, _ in merged if class_ in present], ids))
    new = {category['id']: new_ids[class_of[category['name']]] for category in meant}
    for annotation in content.get('annotations') or ():
        if isinstance(annotation, dict) and isinstance(id_ := annotation.get('category_id'), int | str) and id_ in new:
            annotation['category_id'] = new[id_]
    taken = set(map(id, meant))
    left = [category for category in content['categories'] if id(category) not in taken]
    names = {class_ for class_, _ in merged} | {category['name'] for category in categories}
    for category in left:
        if isinstance(category, dict) and category.get('name') in new_ids:
            category['name'] = _unlike(category['name'], names)
    content['categories'] = [dict(present[class_], id=id_, name=class_) for class_, id_ in new_ids.items()] + left


def _unlike(name: str, names: Iterable[str]) -> str:
    """A name that is none of `names`."""
    while name in names:
        name += ' (left out)'
    return name
