"""Sizes of images, by their headers, against those of their annotations and masks: else these lie elsewhere in them."""
import os.path as osp
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from PIL import Image

from ..datasets.image_files import open_file_picture, open_picture
from ..datasets.image_formats import read_header
from ..datasets.loading import CheckedLoadImageFromFile
from ..datasets.mask_values import is_lossy
from ..printable import shown
from ..processes import warn_once

SAMPLE = 24  # images of an annotation file that are looked at
_EXIF_ORIENTATION = 0x0112  # its values 5 to 8: turned by 90°


class Sizes(NamedTuple):
    """What an image file says of itself.

    Attributes:
        stored, upright: (width, height) as stored, and as its EXIF header turns it.
        lossy: whether its format changes values.
    """
    stored: tuple[int, int]
    upright: tuple[int, int]
    lossy: bool = False


def sizes_of(path: str) -> Sizes | None:
    """The sizes of an image on the local file system; None where it is no image that Pillow takes."""
    try:
        with open_file_picture(path) as image:
            return _sizes(image)
    except Exception:  # Pillow's plug-ins may raise anything
        return None


def sizes_in(content: bytes) -> Sizes:
    """The sizes of an image that `image_problem` finds good."""
    try:
        with open_picture(content) as image:
            return _sizes(image)
    except Exception:  # an EXIF header that is broken, or a format that only OpenCV takes
        header = read_header(content)[1]
        return Sizes((header.width, header.height), (header.width, header.height))


def _sizes(image: Image.Image) -> Sizes:
    # Pillow decodes a whole PNG to look for EXIF behind it.
    exif = image.getexif() if image.format != 'PNG' or 'exif' in image.info else {}
    turned = exif.get(_EXIF_ORIENTATION, 1) >= 5
    return Sizes(image.size, image.size[::-1] if turned else image.size, is_lossy(image))


def loaded_size(sizes: Sizes, loader: CheckedLoadImageFromFile | None) -> tuple[int, int]:
    """(width, height) of an image out of a pipeline's loader; None: of one that never turns images."""
    turns = loader is not None and loader.color_type in ('color', 'grayscale')
    return sizes.upright if turns else sizes.stored


class UnlikeMask(NamedTuple):
    """A mask of another size, 'WIDTH × HEIGHT', than its image; `turned`: it fits the image without its EXIF turn."""
    path: str
    size: str
    image: str
    turned: bool


def unlike_masks(infos: Sequence[Mapping], loader: CheckedLoadImageFromFile | None) -> list[UnlikeMask]:
    """The masks of another size than their images as a pipeline loads these.

    Args:
        infos: items of a data set of mmseg's. Files that are missing or no images are passed over.
        loader: of the images, see `loaded_size`.
    """
    infos = [info for info in infos if isinstance(info.get('img_path'), str) and info.get('seg_map_path')]
    with ThreadPoolExecutor() as pool:
        images = pool.map(sizes_of, [info['img_path'] for info in infos])
        masks = pool.map(sizes_of, [info['seg_map_path'] for info in infos])
        return [UnlikeMask(info['seg_map_path'], '{} × {}'.format(*mask.stored), '{} × {}'.format(*size),
                           mask.stored == image.stored)
                for info, image, mask in zip(infos, images, masks)
                if image and mask and mask.stored != (size := loaded_size(image, loader))]


def sample_sizes(content: dict) -> list[tuple[str, int, int]]:
    """(file name, width, height) of up to `SAMPLE` images, evenly spread over those of a COCO file with annotations."""
    annotations = content.get('annotations')
    annotated = {ann['image_id'] for ann in (annotations if isinstance(annotations, list) else ())
                 if isinstance(ann, dict) and isinstance(ann.get('image_id'), int | str)}
    images = [image for image in content['images'] if isinstance(image, dict) and isinstance(image.get('id'), int | str)
              and image['id'] in annotated and isinstance(image.get('file_name'), str)]
    return [(image['file_name'], image.get('width'), image.get('height'))
            for image in images[::max(len(images) // SAMPLE, 1)][:SAMPLE]]


def warn_of_sizes(source: str, folder: str, sizes: Sequence[tuple[str, int, int]]) -> None:
    """Log a warning where images have another size, as stored or as their EXIF header turns them, than is said.

    Args:
        source: the annotation file, to name it.
        folder: that the file names start from.
        sizes: as `sample_sizes` returns them. Files that are missing or no images are passed over.
    """
    wrong, read = [], 0
    for name, *said in sizes:
        if (found := sizes_of(osp.join(folder, name))) is None:  # other checks name it, or only OpenCV takes it
            continue
        read += 1
        if tuple(said) not in found[:2]:
            width, height = found.upright
            wrong.append(f'{name} is {width} × {height}, not {shown(said[0], 40)} × {shown(said[1], 40)}')
    if wrong:
        warn_once(f'{source}: {len(wrong)} of {read} images looked at have another size than it says, the first: '
                  f'{wrong[0]}. Boxes and masks lie elsewhere in them, unless the file errs in the sizes alone. '
                  '`mmvision-mamba check-dataset CONFIG` lists all')
