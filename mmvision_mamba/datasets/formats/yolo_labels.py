"""Where the label files of images lie, in YOLO's layouts."""
import os.path as osp
import posixpath

from ..folders import IMAGES, find_files, walk


class Labels:
    """The label files for images: in a folder 'labels' instead of 'images', or beside them.

    Args:
        folder: that all names start from.
    """

    def __init__(self, folder: str):
        self._folder, self._listed = folder, {}

    def of(self, image: str) -> str | None:
        """The label file of an image; None where it has none."""
        stem = posixpath.splitext(image)[0]
        for label in dict.fromkeys((f'{_labels_for(stem)}.txt', f'{stem}.txt')):
            if label in self._files_in(posixpath.dirname(label)):
                return label
        return None

    def _files_in(self, folder: str) -> set[str]:
        if folder not in self._listed:
            listed = next(iter(walk(osp.join(self._folder, folder), 0)), ('', []))[1] if osp.isdir(
                osp.join(self._folder, folder)) else []
            self._listed[folder] = {posixpath.join(folder, name) for name in listed if name.lower().endswith('.txt')}
        return self._listed[folder]

    def beside(self, images: set[str]) -> list[str]:
        """The label files in the folders that were looked into which belong to none of the images, nor to others."""
        stems = {posixpath.splitext(image)[0] for image in images}
        used = {f'{_labels_for(stem)}.txt' for stem in stems} | {f'{stem}.txt' for stem in stems}
        unused = sorted(set().union(*self._listed.values()) - used) if self._listed else []
        others = {_labels_for(posixpath.splitext(file)[0]) for file in find_files(self._folder or '.', IMAGES)} \
            if unused else set()
        return [label for label in unused if posixpath.splitext(label)[0] not in others]


def _labels_for(stem: str) -> str:
    parts = stem.split('/')
    for i in range(len(parts) - 2, -1, -1):
        if parts[i] == 'images':
            return '/'.join([*parts[:i], 'labels', *parts[i + 1:]])
    return stem
