"""What mmdet's and mmseg's visualisers draw, in the manner of `drawing`: a base class for subclasses of both."""
from collections.abc import Iterable, Sequence
from functools import lru_cache

import numpy as np
from mmengine.structures import InstanceData, PixelData

from .class_meta import hue
from .drawing import draw_instances, draw_segments
from .fonts import drawable
from .results import boxes_of

_drawable = lru_cache(16)(drawable)


class ScalingVisualizer:
    """To be the first base class of a subclass of a toolbox's visualiser, whose drawing it replaces.

    Lines and labels scale with the picture, and labels find places where they don't cover each other, with all scripts
    that an installed font has. Instances, and the pixels of segments, may have the field `numbers`, which is drawn
    before their names.

    Only `add_datasample` draws: `get_image` returns its picture without what mmengine's own methods draw into a figure.
    """

    def set_image(self, image: np.ndarray) -> None:
        self._image = image

    def get_image(self) -> np.ndarray:
        return self._image

    def _draw_instances(self, image: np.ndarray, instances: InstanceData, classes: Sequence[str] | None,
                        palette: Sequence | None) -> np.ndarray:
        labels, masks = instances.labels.tolist(), instances.get('masks')
        names, colours = _of_labels(labels, classes, palette)
        if 'label_names' in instances:  # of a model for any classes
            names = drawable(instances.label_names)
        if masks is not None:
            masks = np.asarray(masks.to_ndarray() if hasattr(masks, 'to_ndarray') else masks, bool)
        scores, numbers = (instances[key].tolist() if key in instances else None for key in ('scores', 'numbers'))
        return self._drawn(draw_instances(image, np.asarray(boxes_of(instances)), names, colours, masks, scores,
                                          numbers))

    def _draw_sem_seg(self, image: np.ndarray, sem_seg: PixelData, classes: Sequence[str], palette: Sequence | None,
                      with_labels: bool | None = True) -> np.ndarray:
        segments = np.asarray(sem_seg.get('data' if 'data' in sem_seg else 'sem_seg'))[0]  # mmseg's field, or mmdet's
        segments = segments.astype(int, copy=False)  # floats, of a model with a single logit
        names, colours = _of_labels(range(len(classes)), classes, palette)
        return self._drawn(draw_segments(image, segments, names if with_labels else [''] * len(names), colours,
                                         _numbers(sem_seg, segments, range(len(classes)))))

    def _draw_panoptic_seg(self, image: np.ndarray, panoptic_seg: PixelData, classes: Sequence[str],
                           palette: Sequence | None) -> np.ndarray:
        from mmdet.evaluation import INSTANCE_OFFSET
        values = np.asarray(panoptic_seg.sem_seg)[0]
        ids, segments = np.unique(values, return_inverse=True)
        labels = ids % INSTANCE_OFFSET
        names, colours = _of_labels(labels.tolist(), classes, palette)
        segments = segments.reshape(image.shape[:2])
        segments[(labels >= len(classes))[segments]] = -1  # void
        return self._drawn(draw_segments(image, segments, names, colours, _numbers(panoptic_seg, values, ids.tolist()),
                                         outlines=True))

    def _drawn(self, picture: np.ndarray) -> np.ndarray:
        self.set_image(picture)  # mmdet's `add_datasample` would do so itself, mmseg's leaves it to what draws
        return picture


def _numbers(seg: PixelData, segments: np.ndarray, ids: Iterable[int]) -> list[int] | None:
    """The number of each segment, 0 where it has no pixel; None where the map has no field `numbers`."""
    if 'numbers' not in seg:
        return None
    found, first = np.unique(segments, return_index=True)
    number_of = dict(zip(found.tolist(), np.asarray(seg.numbers).ravel()[first].tolist()))
    return [number_of.get(i, 0) for i in ids]


def _of_labels(labels: Sequence[int], classes: Sequence[str] | None, palette: Sequence | None) -> tuple[list, list]:
    """The name and colour of each label; made up where there are none."""
    names, palette = _drawable(tuple(classes or ())), palette if isinstance(palette, (list, tuple)) else ()
    return ([names[label] if label < len(names) else f'class {label}' for label in labels],
            [palette[label] if label < len(palette) else hue(label) for label in labels])
