"""COCO's panoptic files: a JSON file with the segments of each image, and PNGs whose colours are the segments' ids,
R + 256 G + 256² B; 0 is none (void)."""
from collections.abc import Collection

import numpy as np

from ..errors import DataError
from ..printable import shown
from .coco_files import check_lists, read_json
from .coco_repairs import repair_panoptic
from .image_files import decoded_by_opencv, file_content, image_problem


def is_panoptic(content) -> bool:
    """Whether the content of a COCO annotation file is panoptic: a record an image, with its segments."""
    annotations = content.get('annotations') if isinstance(content, dict) else None
    return isinstance(annotations, list) and any(
        isinstance(ann, dict) and 'segments_info' in ann for ann in annotations[:100])


def kind_problem(path: str, content, panoptic: bool) -> str | None:
    """What is wrong, in two lines, with an annotation file of the other kind; None where its kind is right or unknown.

    Args:
        path: of the file.
        content: of the file.
        panoptic: whether a panoptic file is wanted.
    """
    annotations = content.get('annotations') if isinstance(content, dict) else None
    if not annotations or not isinstance(annotations, list) or is_panoptic(content) == panoptic:
        return None
    if panoptic:
        return (f'{path}: no panoptic annotation file: its annotations have no segments_info.\n'
                'Way out: name the panoptic file, such as panoptic_val2017.json, or read this one with CocoDataset, '
                'LoadAnnotations and CocoMetric.')
    return (f'{path}: a panoptic annotation file (its annotations have segments_info) where one of instances is '
            'wanted.\n'
            'Way out: name the file of instances, such as instances_val2017.json, or read this one with '
            'CocoPanopticDataset, LoadPanopticAnnotations and CocoPanopticMetric.')


def read_panoptic(path: str) -> tuple[dict, list[str]]:
    """Read a panoptic annotation file, and mend what can be mended without a guess.

    Returns:
        Its content, whose `annotations` may be missing; and a note for each kind of repair, with counts.

    Raises:
        DataError: it can't be read, is no JSON, or no panoptic annotation file.
    """
    content = read_json(path)
    if problem := kind_problem(path, content, panoptic=True):
        raise DataError(problem)
    check_lists(path, content, 'panoptic')
    return content, repair_panoptic(content)


def segment_ids(rgb: np.ndarray) -> np.ndarray:
    """Ids `(H, W)`, int32, of the segments in an RGB image `(H, W, 3)`, uint8."""
    red, green, blue = (rgb[..., i].astype(np.int32) for i in range(3))
    return red | green << 8 | blue << 16


def id_colours(ids: np.ndarray) -> np.ndarray:
    """RGB image `(H, W, 3)`, uint8, of segment ids `(H, W)` below 2²⁴."""
    return np.stack([ids >> shift & 255 for shift in (0, 8, 16)], axis=-1).astype(np.uint8)


def read_segment_ids(path: str, shape: tuple[int, int] | None = None, backend_args: dict | None = None) -> np.ndarray:
    """Read a panoptic PNG.

    Args:
        path: of the file.
        shape: height and width of its image, in pixels. Default: any.
        backend_args: of mmengine's file backend. Default: the local file system.

    Returns:
        Segment ids `(H, W)`, int32.

    Raises:
        DataError: the file is missing, no image, has no three channels of 8 bits, or is of another size than `shape`.
    """
    try:
        content = file_content(path, backend_args)
    except OSError as error:
        problem = 'is missing' if isinstance(error, FileNotFoundError) else \
            f'can not be read ({error.strerror or shown(error)})'
        raise DataError(f'{path}: the panoptic PNG {problem}. Put it there, or correct data_prefix.seg (of a metric: '
                        'seg_prefix)') from error
    problem, picture = image_problem(content, quick=False), None
    try:
        picture = None if problem else decoded_by_opencv(content)
    except (DataError, MemoryError) as error:
        problem = str(error)
    if not problem and (picture is None or picture.ndim != 3 or picture.dtype != np.uint8):
        problem = 'not an RGB image of 8 bits, whose colours are ids of segments: R + 256 G + 256² B'
    elif not problem and shape and picture.shape[:2] != tuple(shape):
        problem = (f'the panoptic PNG is {picture.shape[1]} × {picture.shape[0]} pixels, its image '
                   f'{shape[1]} × {shape[0]}')
    if problem:
        raise DataError(f'{path}: {problem}')
    return segment_ids(picture[..., 2::-1])  # OpenCV has BGR, or BGRA


def check_ids(path: str, ids: np.ndarray, segments: Collection[int]) -> None:
    """Raise DataError where a panoptic PNG has none of the segments that the annotation file has for it.

    Args:
        path: of the file.
        ids: its content, from `read_segment_ids`.
        segments: ids in the annotation file.
    """
    if segments and not np.isin(ids, list(segments)).any():
        raise DataError(f'{path}: has none of the {len(segments)} segments that the annotation file has for it, such '
                        f'as {next(iter(segments))}: it belongs to another file, or its colours were changed.\n'
                        'Way out: export the PNGs and the annotation file together, the PNGs as RGB of 8 bits')


def number_segments(segments: np.ndarray, num_classes: int, instance_offset: int = 1000,
                    ignored: int | None = None) -> tuple[np.ndarray, list[dict]]:
    """Number the segments of a prediction for a panoptic PNG.

    Args:
        segments: `(H, W)`, label + `instance_offset` · instance, as mmdet's panoptic heads predict.
        num_classes: labels from this one on are void.
        instance_offset: see `segments`. Default: 1000.
        ignored: a further label that is void. Default: none.

    Returns:
        Ids `(H, W)`, int32, from 1 on, 0 for void; and for each its `id`, `label`, `area` in pixels and `bbox`, x, y,
        width and height.
    """
    values, inverse = np.unique(segments, return_inverse=True)
    inverse = inverse.reshape(segments.shape)
    labels = values % instance_offset
    real = (labels < num_classes) & (labels != ignored)
    numbers = np.where(real, np.cumsum(real), 0).astype(np.int32)
    infos = []
    for position in np.flatnonzero(real):
        mask = inverse == position
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        box = (columns[0], rows[0], columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1)
        infos.append(dict(id=int(numbers[position]), label=int(labels[position]), area=int(mask.sum()),
                          bbox=[int(side) for side in box]))
    return numbers[inverse], infos
