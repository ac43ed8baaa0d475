"""Images in one folder per class, as ImageNet is unpacked."""
import os
from pathlib import Path

from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS

from ..datasets.folders import IMAGES, find_files, is_leftover
from ..errors import DataError
from ..text import shortened


@DATASETS.register_module()
class ImageFolder(BaseDataset):
    """`data_root/data_prefix['img_path']/CLASS/**/*.jpg` (or another suffix of `datasets.folders.IMAGES`).

    Labels number the classes' folders in alphabetical order, as torchvision's data set of that name does, or in the
    order of `metainfo['classes']`. Arguments are those of mmengine's `BaseDataset`, without an annotation file.

    Raises:
        DataError: there are no folders, they differ from the config's classes, or one has no image.
    """

    def load_data_list(self) -> list[dict]:
        root = Path(self.data_prefix.get('img_path') or self.data_root or '.')
        if not root.is_dir():
            raise DataError(f'{root}: no such folder; expected {root}/CLASS/*.jpg')
        folders = sorted(path.name for path in root.iterdir() if path.is_dir() and not is_leftover(path.name))
        if not folders:
            raise DataError(f'{root}: there is no folder in it; images are expected in one folder per class, '
                            f'{root}/CLASS/*.jpg')
        classes = list(self._metainfo.get('classes') or folders)
        if sorted(classes) != folders:
            missing, extra = sorted(set(classes) - set(folders)), sorted(set(folders) - set(classes))
            problems = [f'{title} {shortened(names, 5)}' for title, names in (
                ('no folder for', missing), ("folders that metainfo['classes'] lacks:", extra)) if names]
            raise DataError(f'{root}: {"; ".join(problems) or "a class twice"}')
        self._metainfo['classes'] = tuple(classes)
        data, empty = [], []
        for label, name in enumerate(classes):
            paths = sorted(os.path.join(root, name, file) for file in find_files(root / name, IMAGES))
            data += [dict(img_path=path, gt_label=label) for path in paths]
            empty += [] if paths else [name]
        if empty:
            raise DataError(f'{root}: no image in {shortened(empty, 5)}; image files end in '
                            f'{", ".join(IMAGES)}')
        return data
