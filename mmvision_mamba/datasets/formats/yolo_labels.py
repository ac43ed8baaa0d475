"""Where the label files of images lie, in YOLO's layouts."""
import os
import os.path as osp
import posixpath
from collections.abc import Iterable

from ..folders import IMAGES, find_files, walk


class Labels:
    """The label files for images: in a folder 'labels' instead of 'images', or beside them. Case does not count.

    Args:
        folder: that all names start from.
    """

    def __init__(self, folder: str):
        self._folder = folder
        self._listed: dict[str, dict[str, str]] = {}  # {folder: {label file without suffix: that file}}
        self._called: dict[str, str] = {}  # {folder: what 'labels' is called in it}

    def of(self, image: str) -> str | None:
        """The label file of an image; None where it has none."""
        stem = posixpath.splitext(image)[0]
        for label in dict.fromkeys((self._for(stem), stem)):
            if found := self._files_in(posixpath.dirname(label)).get(label):
                return found
        return None

    def place(self, image: str) -> str:
        """Where the label file of an image belongs."""
        return f'{self._for(posixpath.splitext(image)[0])}.txt'

    def elsewhere(self, images: Iterable[str]) -> tuple[str, str] | None:
        """(image, a text file of its name below the folder that is no other's label file); None without any."""
        named = {posixpath.splitext(posixpath.basename(image))[0]: image for image in images}
        texts = [file for file in find_files(self._folder or '.', ('.txt',))
                 if posixpath.splitext(posixpath.basename(file))[0] in named]
        stems = [posixpath.splitext(file)[0] for file in find_files(self._folder or '.', IMAGES)] if texts else []
        places = {*stems, *map(self._for, stems)}
        free = (file for file in texts if posixpath.splitext(file)[0] not in places)
        return next(((named[posixpath.splitext(posixpath.basename(file))[0]], file) for file in free), None)

    def _for(self, stem: str) -> str:
        """Where the label file of an image would lie, without suffix, if that is in a folder for labels."""
        parts = stem.split('/')
        for i in range(len(parts) - 2, -1, -1):
            if parts[i].lower() == 'images':
                return '/'.join([*parts[:i], self._labels_in('/'.join(parts[:i])), *parts[i + 1:]])
        return stem

    def _labels_in(self, folder: str) -> str:
        if folder not in self._called:
            try:
                names = os.listdir(osp.join(self._folder, folder) or '.')
            except OSError:  # what lies in it may be read all the same
                names = []
            self._called[folder] = 'labels' if 'labels' in names else next(
                (name for name in sorted(names) if name.lower() == 'labels'), 'labels')
        return self._called[folder]

    def _files_in(self, folder: str) -> dict[str, str]:
        if folder not in self._listed:
            path = osp.join(self._folder, folder)
            listed = next(iter(walk(path, 0)), ('', []))[1] if osp.isdir(path) else []
            files = [posixpath.join(folder, name) for name in listed if name.lower().endswith('.txt')]
            files.sort(key=lambda file: file.endswith('.txt'))  # of x.TXT and x.txt the latter
            self._listed[folder] = {posixpath.splitext(file)[0]: file for file in files}
        return self._listed[folder]

    def beside(self, images: set[str]) -> list[str]:
        """The label files in the folders that were looked into which belong to none of the images, nor to others."""
        stems = {posixpath.splitext(image)[0] for image in images}
        used = {self._for(stem) for stem in stems} | stems
        unused = {label: file for files in self._listed.values() for label, file in files.items() if label not in used}
        others = {self._for(posixpath.splitext(file)[0]) for file in find_files(self._folder or '.', IMAGES)} \
            if unused else set()
        return sorted(file for label, file in unused.items() if label not in others)
