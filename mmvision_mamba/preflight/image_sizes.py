"""Images of another size than their annotations say: boxes and masks lie elsewhere in them."""
import os.path as osp
from collections.abc import Sequence

from ..datasets.image_files import size_of
from ..processes import warn_once

SAMPLE = 24  # images of an annotation file that are looked at


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
        try:
            size = size_of(osp.join(folder, name))
        except Exception:  # other checks name it, or a format that only OpenCV takes
            continue
        read += 1
        if sorted(said, key=str) != sorted(size, key=str):
            wrong.append(f'{name} is {size[0]} × {size[1]}, not {said[0]} × {said[1]}')
    if wrong:
        warn_once(f'{source}: {len(wrong)} of {read} images looked at have another size than it says, the first: '
                  f'{wrong[0]}. Boxes and masks lie elsewhere in them, unless the file errs in the sizes alone. '
                  '`mmvision-mamba check-dataset CONFIG` lists all')
