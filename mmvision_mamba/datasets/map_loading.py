"""Segmentation maps by the colours of a mask, or drawn from outlines, when an image is loaded."""
import mmseg.datasets.transforms as mmseg_transforms
import numpy as np

from ..errors import DataError
from .colour_maps import labels_of_colours
from .image_files import file_content
from .map_drawing import draw


class LoadAnnotations(mmseg_transforms.LoadAnnotations):
    """mmseg's `LoadAnnotations`, for maps that a data set has as colours or outlines, too.

    Of an image's `results` it takes `colours` and the `colour_labels` of each for the mask at `seg_map_path`; or
    `shapes`, (label, COCO segmentation) in the order of drawing, `height` and `width`, and `uncovered`, the label of
    other pixels. Of a `tile`, (x, y, width, height), of a picture of `picture_shape` that part is drawn. Without either
    it does what mmseg's does.

    Raises:
        DataError: a mask has other colours, or outlines can't be drawn; names the file.
    """

    def _load_seg_map(self, results: dict) -> None:
        if results.get('shapes') is not None:
            seg_map = _drawn(results)
        elif results.get('colours'):
            path = results['seg_map_path']
            try:
                seg_map = labels_of_colours(file_content(path, self.backend_args), results['colours'],
                                            results.get('colour_labels'))
            except DataError as error:
                raise DataError(f'{path}: {error}') from error
        else:
            super()._load_seg_map(results)
            return
        results['gt_seg_map'] = seg_map
        results['seg_fields'].append('gt_seg_map')


def _drawn(results: dict) -> np.ndarray:
    window = results.get('tile')
    size = results['picture_shape'] if window else (results['height'], results['width'])
    try:
        if not window and results.get('ori_shape', size)[:2] != size:
            raise DataError(f'its outlines are for {size[1]} × {size[0]} pixels, and it has others')
        return draw(results['shapes'], *size, window, results.get('uncovered', 0))
    except DataError as error:
        raise DataError(f'{results["img_path"]}: {error}') from error
