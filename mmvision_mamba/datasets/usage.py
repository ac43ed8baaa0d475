"""What a data set's loader uses of its images and objects, counted by mmdet's own rules, and why not the rest."""
import os.path as osp
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import numpy as np

from ..text import shortened
from .json_numbers import is_number


@dataclass
class Usage:
    """Counts of one data set.

    Attributes:
        images, used_images: those that the annotations name, and those that are loaded.
        objects, used_objects: annotations, and those that a detector learns from or is measured by.
        classes: {class name: used objects}.
        lost: {why: objects} that are not used, but for those of other classes.
        other_classes: objects of categories that are not among the config's classes.
        lost_images: {why: images}.
        file_names: of the images that are loaded, of a COCO annotation file.
        map_names: of their panoptic PNGs.
    """
    images: int = 0
    used_images: int = 0
    objects: int = 0
    used_objects: int = 0
    classes: Counter = field(default_factory=Counter)
    lost: Counter = field(default_factory=Counter)
    other_classes: int = 0
    lost_images: Counter = field(default_factory=Counter)
    file_names: list[str] = field(default_factory=list)
    map_names: list[str] = field(default_factory=list)

    def __add__(self, other: 'Usage') -> 'Usage':
        total = Usage(**{name: getattr(self, name) + getattr(other, name) for name in (
            'images', 'used_images', 'objects', 'used_objects', 'other_classes', 'lost', 'lost_images', 'file_names',
            'map_names')})
        total.classes.update(self.classes)
        total.classes.update(other.classes)  # `+` would drop classes with no object
        return total

    @property
    def unused_classes(self) -> list[str]:
        return [name for name, count in self.classes.items() if not count]

    @property
    def reasons(self) -> list[str]:
        """Why objects and images are not used, with counts: '3 objects are crowds'."""
        reasons = [f'{count:,} {why}' for why, count in self.lost.most_common()]
        if self.other_classes:
            reasons.append(f'{self.other_classes:,} of other classes')
        return reasons + [f'{count:,} {"image" if count == 1 else "images"} {why}'
                          for why, count in self.lost_images.most_common()]

    @property
    def loses_much(self) -> bool:
        """Whether more than a tenth of the objects or of the images is not used, but for what a config leaves out on
        purpose: other classes, and images without objects."""
        images = self.lost_images.total() - self.lost_images[EMPTY]
        return self.lost.total() > (self.objects - self.other_classes) / 10 or images > self.images / 10

    def line(self) -> str:
        """One line: '5 of 6 images, 9 of 12 objects used, 75.0% (cat 5, dog 4); not used: 3 crowds'."""
        line = f'{self.used_images:,} of {self.images:,} images'
        if self.objects or self.classes:
            line += f', {self.used_objects:,} of {self.objects:,} objects'
        line += ' used'
        if 0 < self.used_objects < self.objects:
            line += f', {self.used_objects / self.objects:.1%}'
        if self.classes:
            line += f' ({shortened([f"{name} {count:,}" for name, count in self.classes.most_common()])})'
        return line + (f'; not used: {", ".join(self.reasons)}' if self.reasons else '')


EMPTY = 'without objects'
NO_MASK = 'without a mask'


def coco_usage(content: dict, classes: Collection[str] | None = None, filter_cfg: dict | None = None,
               indices: int | Sequence[int] | None = None, left_out: Collection[str] = (),
               size_matters: bool = True, masks: bool = False) -> Usage:
    """Count what mmdet's `CocoDataset` uses of a COCO annotation file.

    Args:
        content: its content; items that mmdet would stop on are not used.
        classes: of the config. None: all categories.
        filter_cfg: of a data set in training: `filter_empty_gt`, `min_size`. Default: keeps all images.
        indices: of the images to use, after the filter: their number, from the end where negative, or a list.
            Default: all.
        left_out: normalised file names of images, or of their panoptic PNGs, that are left out.
        size_matters: boxes that are empty or outside are not used. False: as the evaluation counts, which keeps them.
        masks: objects without a mask are not used: with all polygons under three points. Default: False.
    """
    names = {c['id']: c['name'] for c in content.get('categories') or () if isinstance(c, dict)
             and isinstance(c.get('name'), str) and isinstance(c.get('id'), int | str)}
    wanted = set(names.values()) if classes is None else set(classes)
    usage = Usage(classes=Counter(dict.fromkeys(names.values() if classes is None else classes, 0)))
    images, min_size, drops_empty = {}, (filter_cfg or {}).get('min_size', 0), (filter_cfg or {}).get('filter_empty_gt')
    for image in content.get('images') or ():
        if isinstance(image, dict) and isinstance(image.get('id'), int | str):
            images[image['id']] = image
    annotations = _objects(content.get('annotations'))
    usage.images, usage.objects = len(images), len(annotations)
    records = content['annotations'] if annotations is not content.get('annotations') and annotations else ()
    maps = {record['image_id']: record['file_name'] for record in records if isinstance(record, dict)
            and _is_in(record, 'image_id', images) and isinstance(record.get('file_name'), str)}
    kept = _kept_images(images, maps, min_size, left_out, usage)
    if drops_empty:
        annotated = {a['image_id'] for a in annotations if isinstance(a, dict) and _is_in(a, 'category_id', names)
                     and names[a['category_id']] in wanted and _is_in(a, 'image_id', images)}
        usage.lost_images[EMPTY] += len(kept - annotated)
        kept &= annotated
    if indices is not None:
        order = [i for i in images if i in kept]
        chosen = set((order[:indices] if indices >= 0 else order[indices:]) if isinstance(indices, int) else
                     [order[i] for i in indices if -len(order) <= i < len(order)])
        usage.lost_images['beyond its indices'] += len(kept - chosen)
        kept = chosen
    usage.used_images = len(kept)
    usage.file_names = [name for i, image in images.items()
                        if i in kept and isinstance(name := image.get('file_name'), str)]
    usage.map_names = [maps[i] for i in images if i in kept and i in maps]
    for ann in annotations:
        why = _why_unused(ann, images, kept, names, size_matters)
        if not why and masks and _lacks_mask(ann):
            why = NO_MASK
        if why:
            usage.lost[why] += 1
        elif names[ann['category_id']] not in wanted:
            usage.other_classes += 1
        else:
            usage.classes[names[ann['category_id']]] += 1
            usage.used_objects += 1
    usage.lost_images += Counter()  # without those that are 0
    return usage


def _kept_images(images: dict, maps: dict, min_size: float, left_out: Collection[str], usage: Usage) -> set:
    """Ids of the images that are large enough and not left out; the others are counted in `usage`."""
    kept = set()
    for image_id, image in images.items():
        width, height = image.get('width'), image.get('height')
        files = (image.get('file_name'), maps.get(image_id)) if left_out else ()
        if any(osp.normpath(str(file)) in left_out for file in files):
            usage.lost_images['left out as bad'] += 1
        elif is_number(width) and is_number(height) and min(width, height) < min_size:
            usage.lost_images[f'under min_size={min_size}'] += 1
        else:
            kept.add(image_id)
    return kept


def _why_unused(ann, images: dict, kept: set, names: dict, size_matters: bool) -> str | None:
    """Why an annotation is not learned from, in the plural; None if it is, or has a category."""
    box = ann.get('bbox') if isinstance(ann, dict) else None
    if not isinstance(box, list) or len(box) != 4 or not all(map(is_number, box)):
        return 'without a usable box'
    if not _is_in(ann, 'image_id', images):
        return 'of unknown images'
    if not _is_in(ann, 'category_id', names):
        return 'of unknown categories'
    if ann.get('iscrowd'):
        return 'crowds'
    if ann.get('ignore'):
        return 'to be ignored'
    if ann['image_id'] not in kept:
        return 'on images that are not used'
    if not size_matters:
        return None
    image, area, (x, y, w, h) = images[ann['image_id']], ann.get('area'), box
    width, height = image.get('width'), image.get('height')
    if not is_number(width) or not is_number(height):
        return 'on images of unknown size'
    if w < 1 or h < 1:
        return 'under a pixel'
    if min(x + w, width) <= max(x, 0) or min(y + h, height) <= max(y, 0):
        return 'outside their image'
    return None if is_number(area) and area > 0 else 'of area 0'


def _lacks_mask(ann: dict) -> bool:
    """Whether an object's polygons are all too short: mmdet ignores it then."""
    mask = ann.get('segmentation')
    return isinstance(mask, list) and all(
        isinstance(polygon, list | np.ndarray) and (len(polygon) < 6 or len(polygon) % 2) for polygon in mask)


def _objects(annotations) -> list:
    """The annotations; those of a panoptic file hold several objects each."""
    annotations = annotations if isinstance(annotations, list) else []
    if not annotations or not isinstance(annotations[0], dict) or 'segments_info' not in annotations[0]:
        return annotations
    return [dict(segment, image_id=ann.get('image_id')) for ann in annotations if isinstance(ann, dict)
            and isinstance(ann.get('segments_info'), list) for segment in ann['segments_info']
            if isinstance(segment, dict)]


def _is_in(ann: dict, key: str, known: dict) -> bool:
    return isinstance(ann.get(key), int | str) and ann[key] in known


def built_usage(dataset, learns: bool = True) -> Usage:
    """Count what a built data set of mmdet's holds, as `Usage`: its own class has left out the rest.

    Args:
        dataset: built without pipeline.
        learns: whether objects are counted. Default: True.
    """
    names = list(dataset.metainfo.get('classes') or ())
    usage = Usage(images=len(dataset), used_images=len(dataset))
    if not learns:
        return usage
    usage.classes.update(dict.fromkeys(names, 0))
    for info in map(dataset.get_data_info, range(len(dataset))):
        for instance in info.get('instances') or ():
            usage.objects += 1
            label = instance.get('bbox_label')
            if instance.get('ignore_flag'):
                usage.lost['crowds or difficult'] += 1
            else:
                usage.classes[names[label] if isinstance(label, int) and label < len(names) else str(label)] += 1
                usage.used_objects += 1
    return usage
