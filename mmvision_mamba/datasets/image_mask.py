"""Folders of images and masks: any image format, nested folders, any pixel values for the classes."""
import os.path as osp
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from mmseg.datasets import BaseSegDataset
from PIL import Image

from ..errors import DataError

IMAGES = ('.jpg', '.jpeg', '.png', '.bmp', '.tif', '.tiff', '.webp')
MASKS = ('.png', '.bmp', '.tif', '.tiff', '.gif')


class ImageMaskDataset(BaseSegDataset):
    """mmseg's `BaseSegDataset` for images and masks of the same relative name, whatever their suffixes.

    Args:
        values: pixel value of each class, in the order of `metainfo['classes']`. Default: 0, 1, 2, …
        ignored: further pixel values that count as unlabelled, like 255. Default: none.
        ann_file: text file with the relative names of the images to use, without suffix, one a line. Default: all.
        **settings: as for `BaseSegDataset`.

    Raises:
        DataError: an image without a mask.
    """

    def __init__(self, values: Sequence[int] | None = None, ignored: Sequence[int] = (), **settings):
        self.values, self.ignored = values, ignored
        super().__init__(**settings)

    def load_data_list(self) -> list[dict]:
        label_map = dict.fromkeys(self.ignored, self.ignore_index)
        if self.values is not None:
            label_map.update({v: i for i, v in enumerate(self.values)})
        if all(value == label for value, label in label_map.items()):
            label_map = None
        images, masks = self.data_prefix['img_path'], self.data_prefix['seg_map_path']
        return [dict(img_path=image, seg_map_path=mask, label_map=label_map, reduce_zero_label=self.reduce_zero_label,
                     seg_fields=[]) for image, mask in image_mask_pairs(images, masks, self.ann_file or None)]


def image_mask_pairs(images: str, masks: str, names_file: str | None = None) -> list[tuple[str, str]]:
    """(image, mask) paths of the same relative name below two folders: of the names in a file, or of all, sorted.

    Raises:
        DataError: there is no image, an image has no mask, or a name in the file has no image.
    """
    files = {suffixes: {str(path.relative_to(folder).with_suffix('')): str(path) for path in Path(folder).rglob('*')
                        if path.suffix.lower() in suffixes} for folder, suffixes in ((images, IMAGES), (masks, MASKS))}
    names = sorted(files[IMAGES])
    if names_file:
        names = [line.strip() for line in Path(names_file).read_text().splitlines() if line.strip()]
        names = [osp.splitext(name)[0] if name.lower().endswith(IMAGES) else name for name in names]
    if not names:
        raise DataError(f'{names_file or images}: there are no images')
    for kind, suffixes, folder in (('image', IMAGES, images), ('mask', MASKS, masks)):
        missing = [name for name in names if name not in files[suffixes]]
        if missing:
            raise DataError(f'{len(missing)} of {len(names)} names have no {kind} in {folder}: {missing[0]} is the '
                            f'first.\nA mask has its image\'s name, and one of the suffixes {", ".join(MASKS)}')
    return [(files[IMAGES][name], files[MASKS][name]) for name in names]


def pixel_values(masks: Sequence[str]) -> dict[int, str]:
    """{pixel value: the first mask that has it}, over all mask images.

    Raises:
        DataError: a file that is no image, has several channels, or values above 255.
    """
    def values_of(path):
        try:
            with Image.open(path) as image:
                pixels = np.asarray(image)
        except Exception as error:
            raise DataError(f'{path}: it is not an image, or damaged ({error})') from error
        if pixels.ndim > 2:
            raise DataError(f'{path}: the mask is a colour picture ({pixels.shape[2]} channels).\nA mask has one '
                            "channel: each pixel's value, 0 to 255, is the number of its class")
        return path, np.unique(pixels).astype(int).tolist()

    first = {}
    with ThreadPoolExecutor() as pool:
        for path, values in pool.map(values_of, masks):
            for value in values:
                first.setdefault(value, path)
    if first and (max(first) > 255 or min(first) < 0):
        value = max(first) if max(first) > 255 else min(first)
        raise DataError(f'{first[value]}: the mask has the value {value}; mmseg takes 0 to 255')
    return dict(sorted(first.items()))
