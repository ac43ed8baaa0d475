"""Images and masks that a data set names and that are not there."""
import os
import os.path as osp
from collections.abc import Sequence

from mmengine import Config

from ..datasets.folders import is_leftover, missing_files
from ..errors import DataError
from .annotation_files import image_folder, is_remote
from .bit_depth import warn_of_depth
from .datasets import build_without_pipeline, loads_seg_maps


def check_present(source: str, paths: Sequence[str], kind: str = 'images') -> None:
    """Raise DataError where files are missing: how many, and the first.

    Args:
        source: the annotation file, list or folder that names them.
        paths: of the files.
        kind: what they are: 'images', 'masks', …
    """
    missing = missing_files(paths)
    if missing:
        some = ', or leave them out: --skip-bad-images' if len(missing) < len(paths) else ''
        raise DataError(f'{source}: {len(missing)} of {len(paths)} {kind} are missing, the first: {missing[0]}.'
                        f'{_alike(missing[0])}\nWay out: add them{some}')


def check_masks_present(cfg: Config, dataset: dict, cls: type) -> None:
    """Raise DataError where images or masks of a data set of mmseg are missing, or images lie in leftovers.

    Args:
        cfg, dataset, cls: of the data set; one of another toolbox, or on other storage than the local file system,
            passes.
    """
    if not any(base.__module__.startswith('mmseg.') for base in cls.__mro__) or not loads_seg_maps(dataset, cls) \
            or is_remote(dataset, image_folder(dataset)):
        return
    built = build_without_pipeline(cfg, dataset)
    infos = [built.get_data_info(i) for i in range(len(built))]
    folder = (built.data_prefix or {}).get('img_path') or dataset.get('data_root') or ''
    source = built.ann_file or folder
    leftovers = [info['img_path'] for info in infos
                 if any(map(is_leftover, osp.relpath(info['img_path'], folder or '.').split(os.sep)))]
    leftovers = [path for path in leftovers if '..' not in osp.relpath(path, folder or '.')]
    if leftovers:
        raise DataError(f'{source}: {len(leftovers)} images lie in hidden folders that a program has left there, which '
                        f'{cls.__name__} reads: {leftovers[0]}.\nRemove that folder')
    warn_of_depth(source, [info['img_path'] for info in infos if info.get('img_path')], dataset)
    for kind, key in (('images', 'img_path'), ('masks', 'seg_map_path')):
        check_present(source, [info[key] for info in infos if info.get(key)], kind)


def _alike(path: str) -> str:
    """' There is …' for a file whose name begins with that of a missing one; '' without any."""
    folder, name = osp.split(path)
    stem = osp.splitext(name)[0]
    alike = sorted(name for name in os.listdir(folder) if name.startswith(stem)) if osp.isdir(folder) else []
    return f' There is {alike[0]}: it is looked for by its whole name, suffix included.' if alike else ''
