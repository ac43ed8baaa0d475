"""Unusable images: find them, and train and test without them."""
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import MappingProxyType

from mmengine import Config
from mmengine.dataset import BaseDataset
from mmengine.hooks import Hook
from mmengine.registry import DATASETS

from ..datasets.image_files import file_content, image_problem, missing
from ..datasets.image_loader import image_loader
from ..datasets.loading import CheckedLoadImageFromFile, annotated_size
from ..errors import DataError
from .datasets import SPLITS, build_without_pipeline, datasets_of, loads_seg_maps
from .image_sizes import unlike_masks

_FILE_KEYS = ('img_path', 'seg_map_path')

# Full paths, so that a config dumped into a work directory needs no import to find them.
_WITHOUT_IMAGES = f'{__name__}.dataset_without_images'
_EVALUATE_LOADED = f'{__name__}.EvaluateLoadedImages'


def bad_images(dataset: BaseDataset, seg_maps: bool = True,
               loader: CheckedLoadImageFromFile | None = None) -> list[tuple[str, str]]:
    """Decode every image and segmentation map of a built data set.

    Args:
        dataset: of mmdet, mmseg or any other toolbox, not a wrapper. Its pipeline is not used.
        seg_maps: look at the segmentation maps too.
        loader: of the images, which must be able to decode them. Default: none.

    Returns:
        (path, problem) for each file that is missing, truncated, damaged, not an image, or of another size than its
        annotations say, in the order of the data set; a file is read once, however often it is used. Segmentation maps
        of another size than their image follow.
    """
    backend_args = getattr(dataset, 'backend_args', None)

    def problem_of(path: str) -> str | None:
        try:
            if loader is None or path in maps:
                return image_problem(file_content(path, backend_args), quick=False)
            content = file_content(path, backend_args)
            if problem := loader.problem(content, quick=False):
                return problem
            image, problem = loader.decode(content)
            for size in () if problem else annotated.get(path, ()):
                problem = problem or loader.as_annotated(content, image, size)[1]
            return problem
        except FileNotFoundError:
            return missing(path)
        except Exception as e:  # other storage than the local file system raises its own
            return f'the file cannot be read ({e})'

    keys = _FILE_KEYS if seg_maps else _FILE_KEYS[:1]
    infos = [dataset.get_data_info(i) for i in range(len(dataset))]
    annotated: dict[str, set] = {}
    for info in infos:
        if size := annotated_size(info):
            for path in _files(info, _FILE_KEYS[:1]):
                annotated.setdefault(path, set()).add(size)
    maps = {path for info in infos for path in _files(info, _FILE_KEYS[1:])}
    paths = list(dict.fromkeys(path for info in infos for path in _files(info, keys)))
    with ThreadPoolExecutor(min(32, (os.cpu_count() or 1) + 4)) as pool:
        bad = {path: problem for path, problem in zip(paths, pool.map(problem_of, paths)) if problem}
    if seg_maps and not backend_args:
        bad.update({mask.path: f'the mask is {mask.size} pixels, its image {mask.image}' for mask
                    in unlike_masks([info for info in infos if bad.keys().isdisjoint(_files(info))], loader)})
    return list(bad.items())


def leave_out_bad_images(cfg: Config, splits: Sequence[str] = SPLITS,
                         built: Mapping[str, BaseDataset] = MappingProxyType({})) -> list[tuple[str, str]]:
    """Find the bad images of a config's data sets and make the config leave them out.

    A data set with bad images keeps its settings and gets `type=…dataset_without_images`, `dataset_type` (its own
    type) and `left_out` (the bad files' paths). mmengine's `indices` would list every good image instead: a hundred
    thousand lines of config in each checkpoint.

    Evaluation: a metric that reads its ground truth from a file (`CocoMetric`) would count the objects on left-out
    images as missed, so the config gets a hook that restricts the metric to the remaining images. Either way the
    result is not comparable with one on the whole data set.

    Args:
        cfg: changed in place.
        splits: of 'train', 'val', 'test'.
        built: {place in the config: data set without its pipeline}, of those that are built already.

    Returns:
        (path, problem) for each bad file.

    Raises:
        DataError: no image of a data set is good.
    """
    problems, in_evaluation = {}, False
    for split in splits:
        for where, dataset, cls in datasets_of(cfg, split):
            built_one = built.get(where) or build_without_pipeline(cfg, dataset)
            bad = dict(bad_images(built_one, loads_seg_maps(dataset, cls), image_loader(dataset)))
            if not bad:
                continue
            problems.update(bad)
            in_evaluation |= split != 'train'
            _good_indices(built_one, bad)  # raises where no image is left
            if dataset['type'] != _WITHOUT_IMAGES:
                dataset.update(type=_WITHOUT_IMAGES, dataset_type=dataset['type'], left_out=[])
            dataset['left_out'] = [*dataset['left_out'], *bad]
    hooks = cfg.get('custom_hooks') or []
    if in_evaluation and not any(hook.get('type') == _EVALUATE_LOADED for hook in hooks):
        cfg['custom_hooks'] = [*hooks, {'type': _EVALUATE_LOADED}]
    return list(problems.items())


def dataset_without_images(dataset_type: str | type, left_out: Sequence[str], **settings) -> BaseDataset:
    """Build a data set without the images whose file or segmentation map is among the paths `left_out`.

    Raises:
        DataError: no image is left.
    """
    dataset = DATASETS.build(dict(settings, type=dataset_type))
    if not settings.get('lazy_init'):  # a lazy data set is only asked for its classes
        dataset.get_subset_(_good_indices(dataset, left_out))
    return dataset


def _files(data_info: dict, keys: Sequence[str] = _FILE_KEYS) -> list[str]:
    """Paths of an item's image and segmentation map; mmdet also has items with a list of images."""
    lists = (path if isinstance(path, list) else [path] for path in map(data_info.get, keys))
    return [path for paths in lists for path in paths if path]


def _good_indices(dataset: BaseDataset, bad) -> list[int]:
    """Indices of the images without a file among the paths `bad`; raises DataError where there are none."""
    bad = set(bad)
    good = [i for i in range(len(dataset)) if bad.isdisjoint(_files(dataset.get_data_info(i)))]
    if not good:
        raise DataError(f'{dataset.ann_file or dataset.data_root}: none of its {len(dataset)} images can be used; '
                        f'{min(bad)} is one of the bad files')
    return good


class EvaluateLoadedImages(Hook):
    """Restrict metrics with a ground truth file of their own (`CocoMetric`, `LVISMetric`) to the data set's images."""

    def before_val(self, runner) -> None:
        _restrict(runner.val_evaluator, runner.val_dataloader.dataset)

    def before_test(self, runner) -> None:
        _restrict(runner.test_evaluator, runner.test_dataloader.dataset)


def _restrict(evaluator, dataset) -> None:
    """Set `img_ids` of each metric that evaluates every image of its file, which None means there."""
    metrics = [metric for metric in evaluator.metrics if getattr(metric, 'img_ids', ()) is None]
    if metrics:
        image_ids = [dataset.get_data_info(i)['img_id'] for i in range(len(dataset))]
        for metric in metrics:
            metric.img_ids = image_ids
