"""Sizes of images, by their headers, against those of their annotations and masks: else these lie elsewhere in them."""
import functools
import io
import os.path as osp
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

from PIL import Image

from ..datasets.image_files import open_file_picture, open_picture
from ..datasets.image_formats import jpeg_markers, read_header
from ..datasets.image_sizes import Sizes, picture_sizes, tiff_sizes
from ..files import open_file
from ..printable import shown
from ..processes import warn_once

if TYPE_CHECKING:  # the runner imports this file, perhaps while mmcv is being imported
    from ..datasets.loading import CheckedLoadImageFromFile

SAMPLE = 24  # images of an annotation file that are looked at


def sizes_of(path: str, loader: 'CheckedLoadImageFromFile | None' = None) -> Sizes | None:
    """The sizes of an image on the local file system; None where it is no image that Pillow takes, and no TIFF.

    Args:
        path: of its file.
        loader: whose decoder is asked how it turns the image: each knows other headers. Default: Pillow is.
    """
    try:
        with open_file_picture(path) as image:
            sizes = picture_sizes(image)
            may_turn = image.format in ('JPEG', 'MPO') and not _TURNING.isdisjoint(image.info)
        if _turns(loader) and (may_turn or sizes.upright != sizes.stored):
            sizes = sizes._replace(upright=_turned_by(loader, path, sizes.stored))
        return sizes
    except Exception:  # Pillow's plug-ins may raise anything
        return tiff_sizes(path) if path else None


def _turns(loader: 'CheckedLoadImageFromFile | None') -> bool:
    return loader is not None and loader.color_type in ('color', 'grayscale')


def _turned_by(loader: 'CheckedLoadImageFromFile', path: str, stored: tuple[int, int]) -> tuple[int, int]:
    """(width, height) of an image out of a loader. Of a JPEG a small one with its headers is decoded in its place."""
    with open_file(path) as file:
        content = file.read(2**20)
        try:
            content, sides = _with_headers_of(content), _SMALL
        except (IndexError, ValueError):  # no JPEG, or one of longer headers
            content, sides = content + file.read(), stored
    image = loader.decode(content)[0]
    turned = image is not None and image.shape[:2] == sides and sides[0] != sides[1]
    return stored[::-1] if turned else stored


_SMALL = 8, 16  # width and height
_TURNING = {'exif', 'xmp'}  # Pillow's names of headers that may turn an image


def _with_headers_of(jpeg: bytes) -> bytes:
    """A small JPEG that has the EXIF and XMP of another."""
    if not jpeg.startswith(b'\xff\xd8'):
        raise ValueError('no JPEG')
    return b'\xff\xd8' + b''.join(b'\xff\xe1' + jpeg[at:at + int.from_bytes(jpeg[at:at + 2], 'big')]
                                  for marker, at in jpeg_markers(jpeg) if marker == 0xe1) + _small_jpeg()[2:]


@functools.cache
def _small_jpeg() -> bytes:
    Image.new('RGB', _SMALL).save(out := io.BytesIO(), 'JPEG')
    return out.getvalue()


def sizes_in(content: bytes) -> Sizes:
    """The sizes of an image that `image_problem` finds good."""
    try:
        with open_picture(content) as image:
            return picture_sizes(image)
    except Exception:  # an EXIF header that is broken, or a format that only OpenCV takes
        header = read_header(content)[1]
        return Sizes((header.width, header.height), (header.width, header.height))


def loaded_size(sizes: Sizes, loader: 'CheckedLoadImageFromFile | None') -> tuple[int, int]:
    """(width, height) of an image out of a pipeline's loader; None: of one that never turns images."""
    return sizes.upright if _turns(loader) else sizes.stored


class UnlikeMask(NamedTuple):
    """A mask of another size, 'WIDTH × HEIGHT', than its image; `turned`: it fits the image without its EXIF turn."""
    path: str
    size: str
    image: str
    turned: bool


def unlike_masks(infos: Sequence[Mapping], loader: 'CheckedLoadImageFromFile | None') -> list[UnlikeMask]:
    """The masks of another size than their images as a pipeline loads these.

    Args:
        infos: items of a data set of mmseg's. Files that are missing or no images are passed over.
        loader: of the images, see `loaded_size`.
    """
    infos = [info for info in infos if isinstance(info.get('img_path'), str) and info.get('seg_map_path')]
    with ThreadPoolExecutor() as pool:
        images = pool.map(functools.partial(sizes_of, loader=loader), [info['img_path'] for info in infos])
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


def warn_of_sizes(source: str, folder: str, sizes: Sequence[tuple[str, int, int]],
                  loader: 'CheckedLoadImageFromFile | None' = None) -> None:
    """Log a warning where images have another size, as stored or as their header turns them, than is said.

    Args:
        source: the annotation file, to name it.
        folder: that the file names start from.
        sizes: as `sample_sizes` returns them. Files that are missing or no images are passed over.
        loader: of the images, see `sizes_of`.
    """
    wrong, read = [], 0
    for name, *said in sizes:
        if (found := sizes_of(osp.join(folder, name), loader)) is None:  # other checks name it, or only OpenCV takes it
            continue
        read += 1
        if tuple(said) not in found[:2]:
            width, height = found.upright
            wrong.append(f'{name} is {width} × {height}, not {shown(said[0], 40)} × {shown(said[1], 40)}')
    if wrong:
        warn_once(f'{source}: {len(wrong)} of {read} images looked at have another size than it says, the first: '
                  f'{wrong[0]}. Boxes and masks lie elsewhere in them, unless the file errs in the sizes alone. '
                  '`mmvision-mamba check-dataset CONFIG` lists all')
