"""Check the images and masks of mmseg's data sets: all there, of one size, in a format that keeps class numbers."""
import os
import os.path as osp

from mmengine import Config
from mmengine.dataset import BaseDataset

from ..datasets.folders import is_leftover
from ..datasets.loading import image_loader
from ..datasets.mask_values import LOSSY
from ..errors import DataError
from ..processes import warn_once
from .annotation_files import image_folder, is_remote
from .bit_depth import warn_of_depth
from .datasets import build_without_pipeline, loads_seg_maps
from .image_sizes import SAMPLE, sizes_of, unlike_masks
from .missing import check_present

_MOST = 20_000  # images whose sizes are looked at, spread over all


def build_listed(cfg: Config, dataset: dict, cls: type) -> BaseDataset | None:
    """A data set of mmseg's, or of Pascal VOC's boxes, built without its pipeline; None for others, which may take
    long, for those on other storage than the local file system, and where its class fails."""
    if not {base.__name__ for base in cls.__mro__} & {'XMLDataset', 'BaseSegDataset'} \
            or is_remote(dataset, image_folder(dataset)):
        return None
    try:
        return build_without_pipeline(cfg, dataset)
    except DataError:
        raise
    except Exception:  # the runner's error says it best
        return None


def check_masks(built: BaseDataset, dataset: dict, cls: type) -> None:
    """Check the files of a data set of mmseg's whose pipeline loads masks; others pass.

    Args:
        built: the data set, see `build_listed`.
        dataset, cls: its config and class.

    Raises:
        DataError: images or masks are missing or lie in leftovers, or a mask has another size than its image.
    """
    if not any(base.__module__.startswith('mmseg.') for base in cls.__mro__) or not loads_seg_maps(dataset, cls):
        return
    infos = [built.get_data_info(i) for i in range(len(built))]
    folder = (built.data_prefix or {}).get('img_path') or dataset.get('data_root') or ''
    source = built.ann_file or folder
    below = [osp.relpath(info['img_path'], folder or '.').split(os.sep) for info in infos]
    leftovers = [info['img_path'] for info, parts in zip(infos, below)
                 if '..' not in parts and any(map(is_leftover, parts))]
    if leftovers:
        raise DataError(f'{source}: {len(leftovers)} images lie in hidden folders that a program has left there, which '
                        f'{cls.__name__} reads: {leftovers[0]}.\nRemove that folder')
    warn_of_depth(source, [info['img_path'] for info in infos if info.get('img_path')], dataset)
    for kind, key in (('images', 'img_path'), ('masks', 'seg_map_path')):
        check_present(source, [info[key] for info in infos if info.get(key)], kind)

    unlike = unlike_masks(infos[::-(-len(infos) // _MOST) or 1], image_loader(dataset))
    if unlike:
        some = ', or leave them out: --skip-bad-images' if len(unlike) < len(infos) else ''
        stored = (", load images as stored, where an EXIF header turns them, by LoadImageFromFile's "
                  "color_type='color_ignore_orientation'") if any(mask.turned for mask in unlike) else ''
        raise DataError(f'{source}: {len(unlike)} of {len(infos)} masks have another size than their image; the first, '
                        f'{unlike[0].path}, is {unlike[0].size} pixels, its image {unlike[0].image}.\nWay out: make '
                        f'each as large as its image (nearest neighbour){stored}{some}')
    for info in infos[::max(len(infos) // SAMPLE, 1)]:
        if (sizes := sizes_of(info.get('seg_map_path'))) and sizes.lossy:
            warn_once(f'{info["seg_map_path"]}: {LOSSY}')
            break
