"""Check COCO's panoptic data against a config: things and stuff, and where the PNGs are."""
import os.path as osp
from collections.abc import Iterator, Sequence

from ..datasets.panoptic_annotations import map_problem
from ..errors import DataError
from ..text import class_name, shortened
from .annotation_files import map_folder
from .datasets import metainfo_of
from .missing import check_present

PARTS = 'CocoPanopticDataset', 'LoadPanopticAnnotations', 'CocoPanopticMetric'


def name_parts(node) -> None:
    """Name mmdet's parts for panoptic files as the registries do, in place, where a config has the classes themselves.

    The registries have parts here under these names, which don't need panopticapi. A config that imports mmdet's
    classes, or has their dotted paths, would pass them by.
    """
    if isinstance(node, dict):
        kind = node.get('type')
        place = kind.__module__ if isinstance(kind, type) else str(kind)
        if place.startswith('mmdet.') and class_name(kind) in PARTS:
            node['type'] = f'mmdet.{class_name(kind)}'
    for item in node.values() if isinstance(node, dict) else node if isinstance(node, list | tuple) else ():
        name_parts(item)


def check_panoptic_classes(path: str, categories: Sequence[dict], dataset: dict, cls: type) -> None:
    """Check that a config's classes are categories of a panoptic file, things before stuff, as the file has them.

    Args:
        path: of the annotation file.
        categories: its items, each with a name.
        dataset, cls: config and class of the data set.

    Raises:
        DataError: no class is a category, or `thing_classes` and `stuff_classes` are not the things and stuff of
            `classes` in that order: mmdet's panoptic heads number labels so.
    """
    metainfo = metainfo_of(dataset, cls)
    classes = metainfo.get('classes')
    if not isinstance(classes, list | tuple):
        return
    things, stuff = (tuple(metainfo.get(f'{kind}_classes') or ()) for kind in ('thing', 'stuff'))
    is_thing = {category['name']: bool(category.get('isthing')) for category in categories}
    absent = [name for name in classes if name not in is_thing]
    if len(absent) < len(classes):
        right = tuple(name for name in classes if is_thing.get(name, name in things))
        others = tuple(name for name in classes if not is_thing.get(name, name in things))
        if (tuple(classes), things, stuff) == (right + others, right, others):
            return
        problem = (f"the config's classes are not its things, then its stuff: {shortened(classes)}; "
                   f'thing_classes: {shortened(things) or "none"}; stuff_classes: {shortened(stuff) or "none"}')
    else:
        problem = f"none of the config's classes is among its categories: {shortened(list(is_thing))}"
        right, others = (tuple(name for name, thing in is_thing.items() if thing is kind) for kind in (True, False))
    if len(right + others) <= 12:
        value = f'dict(classes={right + others}, thing_classes={right}, stuff_classes={others})'
    else:
        value = 'dict(classes=(things, then stuff), thing_classes=…, stuff_classes=…)'
    raise DataError(f'{path}: {problem}.\nWay out: metainfo={value} in each data set of the config, and these numbers '
                    'in its heads.')


def check_maps_present(path: str, names: Sequence[str], dataset: dict) -> None:
    """Raise DataError where PNGs of a panoptic annotation file are missing; `names`: of those that are loaded."""
    folder = map_folder(dataset)
    if folder and 'LoadPanopticAnnotations' in str(dataset.get('pipeline')):
        check_present(path, [osp.join(folder, name) for name in names], 'panoptic PNGs')


class PanopticMap:
    """A PNG of a data set, and the ids that it should have.

    Args:
        path: of the PNG.
        segments: its `segments_info`.
    """

    def __init__(self, path: str, segments: Sequence[dict]):
        self.path = path
        self.ids = {segment['id'] for segment in segments
                    if isinstance(segment, dict) and isinstance(segment.get('id'), int | float | str)}

    def problems(self, size: tuple[int, int] | None) -> Iterator[tuple[str, str, str]]:
        """Yield (kind, place, detail) of its problems; `size`: the image's width and height."""
        if problem := map_problem(self.path, size and size[::-1], self.ids):
            yield 'panoptic PNG', self.path, problem


def maps_of(content: dict, dataset: dict) -> dict:
    """{image id: `PanopticMap`} of a panoptic annotation file; none where the data set loads none. The first counts."""
    folder = map_folder(dataset)
    records = content.get('annotations') if folder else None
    return {record['image_id']: PanopticMap(osp.join(folder, record['file_name']), record['segments_info'])
            for record in reversed(records or ())
            if isinstance(record, dict) and isinstance(record.get('file_name'), str)
            and isinstance(record.get('image_id'), int | str) and isinstance(record.get('segments_info'), list)}
