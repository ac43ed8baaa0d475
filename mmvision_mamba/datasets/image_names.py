"""Names of what is written for the images of a data set."""
import os.path as osp

from ..errors import ConfigError
from ..naming import output_names, relative_paths


def image_names(dataset) -> dict[str, str]:
    """{image path, as the data set gives it: path of its outputs, relative and without suffix}; see `output_names`.

    Names are the paths below the data set's image folder, or, where an image lies elsewhere, below the folder that all
    have in common. They don't depend on which of a folder's images are used.

    Args:
        dataset: one of mmengine's data sets, also in a wrapper such as ConcatDataset.

    Raises:
        ConfigError: the data set does not tell its images without loading them.
    """
    if not hasattr(dataset, 'get_data_info'):
        raise ConfigError(f'{type(dataset).__name__}: a data set without get_data_info does not say which images it '
                          'has, so what is written for them has no names')
    infos = (dataset.get_data_info(i) for i in range(len(dataset)))
    paths = list(dict.fromkeys(info['img_path'] for info in infos))
    searched = _image_folders(dataset)
    folders = [next((folder for folder in searched if osp.abspath(path).startswith(osp.join(folder, ''))), None)
               for path in paths]
    below = relative_paths(paths, None if None in folders else folders)  # type: ignore[arg-type]
    return dict(zip(paths, output_names(below)))


def _image_folders(dataset) -> list[str]:
    """The absolute paths of the folders that hold the images, of all data sets inside wrappers."""
    if hasattr(dataset, 'datasets'):
        return [folder for part in dataset.datasets for folder in _image_folders(part)]
    if hasattr(dataset, 'dataset'):
        return _image_folders(dataset.dataset)
    prefix = getattr(dataset, 'data_prefix', None) or {}
    folder = prefix.get('img_path', prefix.get('img'))
    return [osp.abspath(folder)] if isinstance(folder, str) and folder else []
