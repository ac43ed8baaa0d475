"""What the four numbers of a COCO box are: recognised by statistics over a file, and converted."""
from collections.abc import Iterator

import numpy as np

from ..errors import ConfigError
from .coco_masks import mask_extent
from .json_numbers import is_number
from .problems import Problem

ORDERS = {  # name: (what the numbers are, function of their four columns that gives x, y, width, height)
    'xywh': ('x, y, width, height', lambda a, b, c, d: (a, b, c, d)),
    'xyxy': ('x1, y1, x2, y2', lambda a, b, c, d: (a, b, c - a, d - b)),
    'cxcywh': ('centre x, centre y, width, height', lambda a, b, c, d: (a - c / 2, b - d / 2, c, d)),
    'yxyx': ('y1, x1, y2, x2', lambda a, b, c, d: (b, a, d - b, c - a)),
}
FORMATS = (*ORDERS, *(f'relative_{name}' for name in ORDERS), 'masks')
"""Formats of boxes: in pixels, as fractions of the image, or, 'masks', whatever lies around the object's mask."""

_MOST = 50_000  # boxes that are looked at; larger files are sampled evenly


def check_format(boxes: str | float, where: str = 'custom_data.boxes') -> None:
    """Raise ConfigError unless `boxes` is one of `FORMATS` or a factor."""
    if boxes not in FORMATS and not (is_number(boxes) and boxes > 0):
        raise ConfigError(f'{where} is {boxes!r}: it must be one of {", ".join(FORMATS)}, or a factor that takes boxes '
                          "made for pictures of another size to these pictures' pixels, such as 0.5")


def convert_boxes(content: dict, boxes: str | float) -> str | None:
    """Convert the boxes of a COCO annotation file's content in place to x, y, width, height in pixels.

    Areas follow the boxes, unless there is a mask. What can't be converted stays: `coco_problems` names it.

    Args:
        content: the parsed JSON.
        boxes: what the boxes are: one of `FORMATS`, or a factor for all four numbers.

    Returns:
        A note with the number of boxes; None where nothing was to be done.

    Raises:
        ConfigError: `boxes` is neither.
    """
    check_format(boxes, 'boxes')
    if boxes == 'xywh':
        return None
    sizes, changed = _sizes(content), 0
    for ann in content.get('annotations') or ():
        if not isinstance(ann, dict) or not _is_box(ann.get('bbox')):
            continue
        if boxes == 'masks':
            box = mask_extent(ann.get('segmentation'))
        elif isinstance(boxes, str):
            size = sizes.get(ann.get('image_id')) if isinstance(ann.get('image_id'), int | str) else None
            box = size and _as_sizes(ann['bbox'], size, boxes)
        else:
            box = [value * boxes for value in ann['bbox']]
        if box is not None:
            ann['bbox'] = [round(float(value), 6) for value in box]
            if not ann.get('segmentation'):
                ann['area'] = ann['bbox'][2] * ann['bbox'][3]
            changed += 1
    meaning = f'boxes times {boxes:g}' if not isinstance(boxes, str) else 'boxes taken from masks' \
        if boxes == 'masks' else f'boxes read as {described(boxes)}'
    return f'{changed:,} {meaning}'


def described(boxes: str) -> str:
    """What the numbers of a format are, in words."""
    return ORDERS[boxes.removeprefix('relative_')][0] + \
        (' as fractions of the image' if boxes.startswith('relative_') else '')


def contradictions(content: dict) -> Iterator[Problem]:
    """Yield, at most once, what shows that a file's boxes are no x, y, width, height in its images' pixels."""
    sample = _Sample(content)
    if len(sample.boxes) >= 2:
        for find in (_against_masks, _fractions, _against_areas, _against_images):
            if problem := find(sample):
                yield problem
                return


class _Sample:
    """Boxes of objects, no crowds, and what else the file says about them.

    Attributes:
        boxes: (N, 4), the four numbers as they are.
        sizes: (N, 2), width and height of the images.
        areas: (N,), NaN where there is none.
        images: number of images.
        masked: indices of the boxes with a mask.
        extents: (len(masked), 4), x, y, width, height around these masks.
    """

    def __init__(self, content: dict):
        sizes, rows, extents, images = _sizes(content), [], [], set()
        annotations = content.get('annotations')
        annotations = annotations if isinstance(annotations, list) else []
        self.masked = []
        for ann in annotations[::max(1, len(annotations) // _MOST)]:
            if not isinstance(ann, dict) or ann.get('iscrowd') or not _is_box(ann.get('bbox')):
                continue
            image_id = ann.get('image_id')
            size = sizes.get(image_id) if isinstance(image_id, int | str) else None
            if size is None:
                continue
            if ann.get('segmentation') and (extent := mask_extent(ann['segmentation'])) and min(extent[2:]) > 0:
                self.masked.append(len(rows))
                extents.append(extent)
            area = ann.get('area')
            rows.append((*ann['bbox'], *size, area if is_number(area) else np.nan))
            images.add(image_id)
        table = np.array(rows, float).reshape(-1, 7)
        self.boxes, self.sizes, self.areas, self.images = table[:, :4], table[:, 4:6], table[:, 6], len(images)
        self.extents = np.array(extents, float).reshape(-1, 4)


def _against_masks(sample: _Sample) -> Problem | None:
    count = len(sample.masked)
    boxes, sizes = sample.boxes[sample.masked], sample.sizes[sample.masked]
    overlap = _iou(boxes, sample.extents)
    unlike = int((overlap < 0.5).sum())
    if unlike < 2 or unlike <= count / 10:
        return None
    detail = f'{unlike:,} of {count:,} boxes overlap their own mask by less than half (IoU)'
    if (sample.extents[:, :2] + sample.extents[:, 2:]).max() <= 1.001 < boxes.max():
        return Problem('boxes unlike masks', 'annotations', f'{detail}; the masks lie between 0 and 1: fractions?',
                       'polygons are in pixels: multiply them by width and height')
    means = {name: _iou(_as_sizes(boxes.T, sizes.T, name), sample.extents).mean() for name in FORMATS[1:-1]}
    best = max(means, key=means.get)
    if means[best] > max(0.8, overlap.mean() + 0.2):
        return _other_format(best, f'{detail}; read as {described(best)} they agree with the masks')
    scaled, factor = boxes, 1.
    sides = boxes[:, 2:].sum(1) > 0
    if sides.any():
        factor = float(np.median(sample.extents[sides, 2:].sum(1) / boxes[sides, 2:].sum(1)))
        scaled = boxes * factor
    if _iou(scaled, sample.extents).mean() > 0.8:
        detail += f'; as if made for pictures {1 / factor:.3g} times as large: times {factor:.3g} they agree'
    return Problem('boxes unlike masks', 'annotations', detail, _ways_out('masks'))


def _fractions(sample: _Sample) -> Problem | None:
    boxes = sample.boxes
    if boxes.max() > 1.001 or boxes.min() < -0.001 or sample.sizes.min() <= 2 or not boxes[:, 2:].max() > 0:
        return None
    inside = {name: _inside(_as_sizes(boxes.T, (1, 1), name), (1, 1), 0.01).all() for name in ORDERS}
    order = 'xywh' if inside['xywh'] else 'xyxy' if _corners(boxes).all() else 'cxcywh' if inside['cxcywh'] else 'xywh'
    name = f'relative_{order}'
    return _other_format(name, f'all numbers of {len(boxes):,} boxes lie between 0 and 1')


def _against_areas(sample: _Sample) -> Problem | None:
    known = np.isfinite(sample.areas) & (sample.areas > 0)
    x, y, w, h = sample.boxes[known].T
    areas = sample.areas[known]
    if len(areas) < 3 or np.isclose(w * h, areas, rtol=0.05).mean() > 0.1:
        return None
    agree = int((np.isclose((w - x) * (h - y), areas, rtol=0.02) & (w > x) & (h > y)).sum())
    if agree < 0.9 * len(areas):
        return None
    return _other_format('xyxy', f'in {agree:,} of {len(areas):,} the area is that of corners')


def _against_images(sample: _Sample) -> Problem | None:
    boxes, sizes = sample.boxes, sample.sizes
    count, margin = len(boxes), 0.05 * sizes
    x, y, w, h = boxes.T
    far_out = ((boxes[:, :2] + boxes[:, 2:] > sizes + margin) | (boxes[:, :2] < -margin)).any(1)
    factors = [float(((x + w) / sizes[:, 0]).max()), float(((y + h) / sizes[:, 1]).max())]
    if far_out.sum() >= 2 and far_out.mean() > 0.1:
        detail = f'as sizes {int(far_out.sum()):,} of {count:,} stick far out of their images'
        for name, valid in (('xyxy', _corners(boxes)), ('cxcywh', w > 0)):
            fits = valid & _inside(_as_sizes(boxes.T, sizes.T, name), sizes, 1)
            if count >= 4 and far_out.mean() >= 0.25 and fits.mean() >= 0.99:
                return _other_format(name, f'{detail}, and none does as {described(name)}')
        if _inside(boxes, sizes[:, ::-1], 1).mean() >= 0.99:
            return Problem('boxes of another scale', 'annotations', f'{detail}, and none does with width and height of '
                           'the images exchanged', 'exchange width and height of the images in the file, if the '
                           'pictures themselves are so')
        outside = (boxes[:, :2] >= sizes).any(1)  # boxes that people draw stick out, but begin in the image
        if outside.any() and (outside.mean() > 0.1 or max(factors) < 1.25 * min(factors)):
            return Problem('boxes of another scale', 'annotations',
                           f'{detail}, as if made for pictures {max(factors):.2g} times as large', _ways_out('FACTOR'))
    if count >= 20 and sample.images >= 10 and 0 < max(factors) < 0.5:
        return Problem('boxes of another scale', 'annotations',
                       f'all {count:,} lie in the upper left {factors[0]:.0%} × {factors[1]:.0%} of their images',
                       _ways_out('FACTOR'))
    return None


def _other_format(name: str, detail: str) -> Problem:
    kind = 'boxes as fractions' if name.startswith('relative_') else 'boxes in another format'
    return Problem(kind, 'annotations', f'{described(name)}: {detail}', _ways_out(name))


def _ways_out(boxes: str) -> str:
    return (f'--cfg-options custom_data.boxes={boxes} with a custom config, or, for any config, a corrected file: '
            f'mmvision-mamba repair-annotations FILE NEW_FILE --boxes {boxes}')


def _as_sizes(columns, size, boxes: str) -> np.ndarray:
    """x, y, width, height (…, 4) in pixels of boxes in one of `FORMATS`: four numbers or columns; image's size."""
    columns = [np.asarray(column, float) for column in columns]
    if boxes.startswith('relative_'):
        width, height = size[::-1] if boxes.endswith('yxyx') else size
        columns = [columns[0] * width, columns[1] * height, columns[2] * width, columns[3] * height]
    return np.stack(ORDERS[boxes.removeprefix('relative_')][1](*columns), -1)


def _corners(boxes: np.ndarray) -> np.ndarray:
    """Which boxes (N, 4) could be corners: x1 < x2 and y1 < y2."""
    return (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])


def _inside(boxes: np.ndarray, sizes, margin: float) -> np.ndarray:
    """Which boxes x, y, width, height (N, 4) lie in their images, width and height (N, 2)."""
    return ((boxes[:, :2] >= -margin) & (boxes[:, :2] + boxes[:, 2:] <= np.asarray(sizes) + margin)).all(1)


def _iou(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Intersection over union of boxes x, y, width, height (N, 4), one by one; 0 for one without an area."""
    sides = np.minimum(boxes[:, :2] + boxes[:, 2:], others[:, :2] + others[:, 2:]) \
        - np.maximum(boxes[:, :2], others[:, :2])
    shared = np.where((boxes[:, 2:] > 0).all(1), sides.clip(0).prod(1), 0)
    union = boxes[:, 2:].clip(0).prod(1) + others[:, 2:].prod(1) - shared
    return shared / np.maximum(union, 1e-9)


def _sizes(content: dict) -> dict:
    """{image id: (width, height)} of the usable images."""
    return {image['id']: (image['width'], image['height']) for image in content['images']
            if isinstance(image, dict) and isinstance(image.get('id'), int | str)
            and all(is_number(image.get(key)) and image[key] > 0 for key in ('width', 'height'))}


def _is_box(box) -> bool:
    return isinstance(box, list) and len(box) == 4 and all(map(is_number, box))
