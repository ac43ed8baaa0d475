"""The images of a folder, found by what annotations call them."""
import posixpath
from collections.abc import Iterable

from ..folders import IMAGES, find_files, plain_name
from ..image_sizes import upright_size
from ..split_names import split_of

_MASKS = {f'Segmentation{what}{how}' for what in ('Class', 'Object') for how in ('', 'PNG', 'Raw', 'Visualization')}


class Images:
    """The images below a folder, but for Pascal VOC's masks.

    Args:
        root: the folder.
    """

    def __init__(self, root: str):
        self.files = [file for file in find_files(root, IMAGES) if _MASKS.isdisjoint(file.split('/')[:-1])]
        self._known = set(self.files)
        self._by_stem: dict[str, list[str]] = {}
        for file in self.files:
            self._by_stem.setdefault(stem_of(file), []).append(file)

    def of(self, annotations: str, names: Iterable[str] = ()) -> str | None:
        """The image that a file of annotations belongs to; None where there is none.

        Args:
            annotations: the file, relative to the folder.
            names: what it calls its image, from its own folder. Default: the image has its name.
        """
        for name in names:
            path = posixpath.normpath(posixpath.join(posixpath.dirname(annotations), plain_name(name)))
            if path in self._known:
                return path
        stems = [stem_of(annotations), *(stem_of(plain_name(name)) for name in names)]
        found = next((self._by_stem[stem] for stem in stems if stem in self._by_stem), [])
        return min(found, key=lambda image: _distance(image, annotations), default=None)


def size_of(path: str) -> tuple[int, int] | None:
    """(width, height) of an image, upright; None where it is none."""
    try:
        return upright_size(path)
    except Exception:  # Pillow's plug-ins may raise anything
        return None


def stem_of(path: str) -> str:
    return posixpath.splitext(posixpath.basename(path))[0]


def _distance(image: str, annotations: str) -> tuple:
    """Sorts the images that annotations may be for: of the same split, in folders of the same names, near."""
    folders = [set(posixpath.dirname(path).split('/')) for path in (image, annotations)]
    return (split_of(posixpath.dirname(image)) != split_of(posixpath.dirname(annotations)),
            len(folders[0] ^ folders[1]), image)
