"""What the parts of batch inference hold of an image: a row of a Parquet file, or COCO's results."""
import io
import json
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from ..datasets.label_maps import segment_map
from ..errors import MissingExtraError
from .inferencer import Inferencer, Prediction
from .results import coco_results, panoptic_map, rle, to_dict
from .tiled.instances import Instance, check_size
from .tiled.instances import coco_results as tiled_results

Style = tuple[int, Sequence[Sequence[int]], bool]

EMPTY_ROW = dict(image_id=None, file_name=None, height=None, width=None, error=None, labels=None, scores=None,
                  bboxes=None, masks=None, sem_seg=None, panoptic=None, segments=None)


def parquet_row(prediction: Prediction, inferencer: Inferencer) -> dict:
    """An image's prediction as a row of a Parquet part.

    Rows have `image_id`, `file_name`, `height`, `width`, `error` (why the image failed, or null) and, null where the
    model predicts no such thing,

    - `labels`, `scores`, `bboxes` (x1, y1, x2, y2): lists over the instances; `masks`: the `counts` of COCO's
      run-length encoding, whose `size` is [height, width].
    - `sem_seg`: a PNG file of the label map; see `datasets.label_maps` for the values of pixels.
    - `panoptic`, `segments`: COCO's panoptic PNG file, and its `segments_info` as JSON.
    """
    sample = prediction.sample
    values = to_dict(sample)
    row = dict(height=prediction.image.shape[0], width=prediction.image.shape[1],
               **{key: values.get(key) for key in ('labels', 'scores', 'bboxes')})
    if 'masks' in values:
        row['masks'] = [mask['counts'] for mask in values['masks']]
    if 'sem_seg' in values:
        row['sem_seg'] = _png(segment_map(
            values['sem_seg'], len(inferencer.classes), inferencer.palette, inferencer.reduce_zero_label))
    if 'pred_panoptic_seg' in sample:
        image, segments = panoptic_map(sample, inferencer.ids.categories)
        row.update(panoptic=_png(image), segments=json.dumps(segments))
    return row


def coco_record(prediction: Prediction, inferencer: Inferencer, categories: Sequence[dict]) -> dict:
    """An image's `image` and `annotations` in a JSON part, still without the image's id."""
    sample = prediction.sample
    annotations = coco_results(sample.pred_instances, 0, categories) if 'pred_instances' in sample else []
    labels = to_dict(sample).get('sem_seg')
    if labels is not None and not annotations:
        values = [int(v) for v in np.unique(labels) if v < len(inferencer.classes)]
        annotations = [dict(category_id=categories[v]['id'], segmentation=mask)
                       for v, mask in zip(values, rle(np.stack([labels == v for v in values])) if values else ())]
    return dict(image=dict(height=prediction.image.shape[0], width=prediction.image.shape[1]), annotations=annotations)


def tiled_row(values: np.ndarray | list[Instance], height: int, width: int, style: Style) -> dict:
    """A picture's labels or instances, put together of its tiles, as `parquet_row` has an image's.

    Args:
        values: labels (H, W), or instances.
        height, width: of the picture.
        style: number of classes, palette, `reduce_zero_label`, see `segment_map`.
    """
    row = dict(height=height, width=width)
    if isinstance(values, np.ndarray):
        return row | dict(sem_seg=_png(segment_map(values, *style)))
    masks = [one.mask.in_picture(height, width)['counts'] for one in values if one.mask is not None]
    return row | dict(labels=[one.label for one in values], scores=[one.score for one in values],
                      bboxes=[list(one.box) for one in values], masks=masks if len(masks) == len(values) else None)


def tiled_record(values: np.ndarray | list[Instance], height: int, width: int, style: Style,
                 categories: Sequence[dict]) -> dict:
    """A picture's labels or instances, put together of its tiles, as `coco_record` has an image's."""
    image = dict(height=height, width=width)
    if not isinstance(values, np.ndarray):
        return dict(image=image, annotations=tiled_results(values, 0, categories, height, width))
    check_size(height, width)
    return dict(image=image, annotations=[
        dict(category_id=categories[label]['id'], segmentation=rle((values == label)[None])[0])  # one at a time
        for label in np.unique(values).tolist() if label < style[0]])


def is_annotation(found: object, image_ids: Collection[int | str]) -> bool:
    """Whether a value in a JSON part is an annotation of one of its images, as `coco_record` makes them."""
    if not isinstance(found, dict) or found.get('image_id') not in image_ids \
            or not isinstance(found.get('category_id'), int | str):
        return False
    box = found.get('bbox')
    return 'segmentation' in found if box is None else len(box) == 4 and all(
        isinstance(value, int | float) and -1e30 < value < 1e30 for value in (*box, found.get('score')))


def _png(image) -> bytes:
    image.save(out := io.BytesIO(), 'PNG')
    return out.getvalue()


def pyarrow():
    """The package, with its part for Parquet.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise MissingExtraError('batch inference into Parquet files (the format coco needs none)', 'ray') from None
    return pyarrow


def schema():
    """The columns of a Parquet part and their types."""
    pa = pyarrow()
    return pa.schema(dict(
        image_id=pa.int64(), file_name=pa.string(), height=pa.int32(), width=pa.int32(), error=pa.string(),
        labels=pa.list_(pa.int32()), scores=pa.list_(pa.float32()), bboxes=pa.list_(pa.list_(pa.float32())),
        masks=pa.list_(pa.string()), sem_seg=pa.binary(), panoptic=pa.binary(), segments=pa.string()))


def write_parquet(rows: list[dict], path: Path) -> None:
    """Write rows, as `parquet_row` makes them, to a file."""
    pa = pyarrow()
    pa.parquet.write_table(pa.Table.from_pylist(rows, schema()), path)
