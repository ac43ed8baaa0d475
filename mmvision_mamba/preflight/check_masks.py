"""Check the images and masks of mmseg's data sets: all there, of one size, in a format that keeps class numbers."""
import os
import os.path as osp
from collections.abc import Mapping, Sequence

from mmengine import Config
from mmengine.dataset import BaseDataset, Compose

from ..datasets.folders import is_leftover
from ..datasets.image_loader import image_loader
from ..datasets.mask_values import LOSSY
from ..errors import ConfigError, DataError
from ..processes import warn_once
from ..text import class_name
from .annotation_files import image_folder, is_remote, metrics_in
from .bit_depth import warn_of_depth
from .datasets import build_without_pipeline, datasets_of, loads_seg_maps
from .image_sizes import SAMPLE, sizes_of, unlike_masks
from .missing import check_present
from .tiles import tile_of

_TRIED = 5  # images of a pipeline that seems to resize masks
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


def check_masks_stay(cfg: Config, splits: Sequence[str], built: Mapping[str, BaseDataset]) -> None:
    """Check that pipelines of validation and test leave masks as they are: predictions are as large as their images.

    Reads a few images where a step behind `LoadAnnotations` may change masks, else none.

    Args:
        cfg: of the run.
        splits: of 'train', 'val', 'test'.
        built: {place in the config: data set without its pipeline}; others are passed over.

    Raises:
        ConfigError: a mask comes out in another size than its image has.
    """
    for split in splits:
        metrics = [class_name(metric.get('type')) for metric in metrics_in(cfg.get(f'{split}_evaluator'))]
        if split == 'train' or 'IoUMetric' not in metrics or tile_of(cfg, split) is not None:
            continue
        for where, dataset, cls in datasets_of(cfg, split):
            names = [class_name(step.get('type')) for step in dataset.get('pipeline') or () if isinstance(step, dict)]
            if where not in built or not loads_seg_maps(dataset, cls) or 'LoadAnnotations' not in names:
                continue
            behind = [name for name in names[names.index('LoadAnnotations') + 1:] if not name.startswith('Pack')]
            for i in range(min(_TRIED, len(built[where]))) if behind else ():
                _check_mask_stays(where, behind, dataset, built[where].get_data_info(i))


def _check_mask_stays(where: str, behind: list[str], dataset: dict, info: dict) -> None:
    try:
        sample = Compose(dataset['pipeline'])(info)['data_samples']
        stored, mask = tuple(sample.ori_shape[:2]), tuple(sample.gt_sem_seg.shape[-2:])
    except Exception:  # whatever it is, loading the image for the model tells it
        return
    if stored != mask:
        raise ConfigError(
            f'{where}.pipeline changes masks, and predictions are as large as their image: that of {info["img_path"]} '
            f'has {stored[0]} × {stored[1]} pixels (height × width), its mask then {mask[0]} × {mask[1]}.\n'
            f'Put LoadAnnotations behind {", ".join(behind)}, just before PackSegInputs')
