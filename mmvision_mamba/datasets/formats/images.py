"""The images of a folder, found by what annotations call them."""
import posixpath
from collections.abc import Iterable

from ..folders import IMAGES, find_files, plain_name
from ..image_sizes import upright_size
from ..json_numbers import is_integer, whole_number
from ..split_names import split_of

_MASKS = {f'Segmentation{what}{how}' for what in ('Class', 'Object') for how in ('', 'PNG', 'Raw', 'Visualization')}


class Images:
    """The images below a folder, but for Pascal VOC's masks.

    Args:
        root: the folder.
    """

    def __init__(self, root: str):
        self._root = root
        self.files = [file for file in find_files(root, IMAGES) if _MASKS.isdisjoint(file.split('/')[:-1])]
        self._known = set(self.files)
        self._by_stem: dict[str, list[str]] = {}
        for file in self.files:
            self._by_stem.setdefault(stem_of(file), []).append(file)

    def of(self, annotations: str, names: Iterable[str] = (), size: tuple | None = None) -> str | None:
        """The image that a file of annotations belongs to; None where there is none.

        Args:
            annotations: the file, relative to the folder.
            names: what it calls its image, from its own folder. Default: the image has its name. One beside it that
                has its name comes first: files are renamed, and what they call each other stays.
            size: (width, height) that it says its image has; of several by that name those that do come first.
        """
        folder = posixpath.dirname(annotations)
        named = [posixpath.normpath(posixpath.join(folder, plain_name(name))) for name in names]
        beside = [image for image in self._by_stem.get(stem_of(annotations), ()) if posixpath.dirname(image) == folder]
        if known := [path for path in named if path in (beside or self._known)] or beside:
            return known[0]
        stems = [stem_of(annotations), *(stem_of(plain_name(name)) for name in names)]
        found = next((self._by_stem[stem] for stem in stems if stem in self._by_stem), [])
        if len(found) > 1 and size is not None:
            found = [image for image in found if size_of(posixpath.join(self._root, image)) == size] or found
        return min(found, key=lambda image: _distance(image, annotations), default=None)


def size_of(path: str) -> tuple[int, int] | None:
    """(width, height) of an image, upright; None where it is none."""
    try:
        return upright_size(path)
    except Exception:  # Pillow's plug-ins may raise anything
        return None


def announced_size(width: object, height: object) -> tuple[int, int] | None:
    """(width, height) that a file says its annotations are for; None where it doesn't say so.

    It is compared with the image when that is loaded: one that was resized since is an error, one that its EXIF header
    turns stays as it was annotated.
    """
    sides = whole_number(width), whole_number(height)
    return sides if all(is_integer(side) and side > 0 for side in sides) else None


def stem_of(path: str) -> str:
    return posixpath.splitext(posixpath.basename(path))[0]


def _distance(image: str, annotations: str) -> tuple:
    """Sorts the images that annotations may be for: of the same split, in folders of the same names, near."""
    folders = [set(posixpath.dirname(path).split('/')) for path in (image, annotations)]
    return (split_of(posixpath.dirname(image)) != split_of(posixpath.dirname(annotations)),
            len(folders[0] ^ folders[1]), image)
