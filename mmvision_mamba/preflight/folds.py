"""The folds that `mmvision-mamba split-dataset --folds` has written, of which `custom_data.fold` chooses one."""
import os
import os.path as osp

from ..datasets.split import FOLDER, fold_folder
from ..errors import ConfigError, DataError
from ..printable import shown


def use_fold(root: str, settings: dict) -> None:
    """Put the files of the chosen fold in the place of `fold`, as `train` and `val`.

    Args:
        root: the folder of the data.
        settings: of `custom_data`, changed in place.

    Raises:
        DataError: there is no such fold, or none is chosen of those that are there.
        ConfigError: `fold` is no number, or `train` or `val` are named besides.
    """
    fold, there = settings.pop('fold', None), _folds(root)
    named = [split for split in ('train', 'val') if settings.get(split)]
    if fold is None:
        if there and len(named) < 2:
            raise DataError(f'{osp.join(root, FOLDER)}: {len(there)} folds lie there, and none is chosen.\nChoose one, '
                            f'custom_data.fold={next(iter(there))}, or remove the folder')
        return
    if isinstance(fold, bool) or not isinstance(fold, int):
        raise ConfigError(f'custom_data.fold is {shown(fold)}: expected the number of a fold')
    if named:
        raise ConfigError(f'custom_data.fold and custom_data.{named[0]} are both set: a fold has its own {named[0]}')
    if fold not in there:
        raise DataError(f'{osp.join(root, FOLDER)}: there is no fold {fold}' + (
            f'; there are {", ".join(map(str, there))}' if there else
            f'.\nTo write some: mmvision-mamba split-dataset {root} --folds 5'))
    settings.update(there[fold])


def _folds(root: str) -> dict[int, dict[str, str]]:
    """{fold: {'train' and 'val': file, relative to `root`}}."""
    folder = osp.join(root, FOLDER)
    found = {}
    for fold in range(len(os.listdir(folder)) if osp.isdir(folder) else 0):
        for suffix in ('.json', '.txt'):
            files = {split: f'{FOLDER}/{fold_folder(fold)}/{split}{suffix}' for split in ('train', 'val')}
            if all(osp.isfile(osp.join(root, file)) for file in files.values()):
                found[fold] = files
    return found
