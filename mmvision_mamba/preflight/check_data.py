"""Check a config's data sets before a run: the files exist, the annotations are sound and fit the config's classes."""
import os
import os.path as osp
from collections.abc import Sequence
from dataclasses import dataclass, field

from mmengine import Config
from mmengine.dataset import BaseDataset

from ..datasets.folders import missing_files
from ..datasets.formats import file_of
from ..datasets.image_files import LOOKS_THE_SAME, missing
from ..datasets.image_loader import image_loader
from ..datasets.problems import Problem
from ..datasets.usage import Usage, built_usage
from ..errors import DataError
from ..text import shortened
from .annotation_files import (
    Annotations,
    annotation_file,
    coco_uses,
    image_folder,
    is_coco_evaluation,
    is_panoptic_evaluation,
    is_remote,
    joined,
    loads_annotations,
    mended_by,
    mends,
    reads_coco,
    reads_panoptic,
)
from .bit_depth import warn_of_depth
from .check_classes import check_classes
from .check_evaluators import check_evaluators, metrics_of
from .check_masks import build_listed, check_masks
from .datasets import SPLITS, data_root_advice, datasets_of, loads_seg_maps
from .image_sizes import warn_of_sizes
from .missing import check_present
from .panoptic import check_maps_present, check_panoptic_classes

# A part of a data path: how to get that data.
_SOURCES = {
    'shapes_objects': 'mmvision-mamba make-shapes --kind objects {root}',
    'shapes': 'mmvision-mamba make-shapes {root}',
    'imagenet': 'unpack ILSVRC2012_img_{{train,val}}.tar of https://image-net.org into one folder per class',
    'ADEChallengeData2016':
        'unpack http://data.csail.mit.edu/places/ADEchallenge/ADEChallengeData2016.zip so that these paths exist',
    'panoptic_val2017':
        'unpack train2017.zip, val2017.zip and panoptic_annotations_trainval2017.zip of '
        'https://cocodataset.org/#download, and in it panoptic_train2017.zip and panoptic_val2017.zip',
    '2017.json': 'unpack train2017.zip, val2017.zip and annotations_trainval2017.zip of '
                 'https://cocodataset.org/#download so that these paths exist',
}
_COCO_KEYS = ('images', 'annotations', 'categories')


def check_datasets(cfg: Config, splits: Sequence[str] = SPLITS, skip_missing: bool = False) -> list['CheckedData']:
    """Check files, folders and COCO categories of a config's data sets and evaluators; reads no image.

    Rejects only what is known to be wrong: data sets that aren't mmengine's, or lie on other storage than the local
    file system, are left to their classes. Each annotation file is parsed once.

    Args:
        cfg: the data sets of its `{split}_dataloader`, inside any wrappers, and its `{split}_evaluator` are checked.
        splits: of 'train', 'val', 'test'.
        skip_missing: let images and masks be missing, which are left out later. Default: False.

    Returns:
        For each data set what its loader uses, see `usage.check_usage`.

    Raises:
        DataError: a path does not exist (the message shows the expected layout), an annotation file is no JSON, lacks
            a list, or has a problem that would stop or spoil the run, or its categories are not the config's classes.
        ConfigError: an evaluator's annotation file has other images than its data set.
    """
    datasets = [leaf for split in splits for leaf in datasets_of(cfg, split)]
    metrics = [metric for split in splits for metric in metrics_of(cfg, split)]
    check_paths(cfg, datasets, metrics)

    annotations = Annotations(coco_uses(datasets, metrics))
    orders, checked = {}, []
    for where, dataset, cls in datasets:
        path = annotation_file(dataset, cls)
        if not path:
            built = build_listed(cfg, dataset, cls)
            if built is not None and not skip_missing:
                check_masks(built, dataset, cls)
            checked.append(CheckedData(where, dataset, cls, usage=_usage_of(built), built=built))
            continue
        # Test sets have no annotations, nor have the unlabelled images of semi-supervised training.
        labelled = where.startswith('train') and loads_annotations(dataset)
        if reads_coco(cls):
            summary = annotations.coco(path, _COCO_KEYS if labelled else ('images', 'categories'))
            check_classes(path, summary.categories, dataset, cls, orders, mends(cls))
            _check_file_names(path, summary.file_names, dataset, mends(cls))
            warn_of_sizes(path, image_folder(dataset) or '', summary.sizes, image_loader(dataset))
        elif reads_panoptic(cls):
            summary = annotations.coco(path, _COCO_KEYS if labelled else ('images', 'categories'))
            check_panoptic_classes(path, summary.categories, dataset, cls)
            _check_file_names(path, summary.file_names, dataset, mended=True)
            if where in summary.usages and not skip_missing:
                check_maps_present(path, summary.usages[where].map_names, dataset)
        else:
            summary = annotations.read(path)
        usage, folder = summary.usages.get(where), image_folder(dataset)
        if usage and (reads_coco(cls) or reads_panoptic(cls)) and osp.isdir(folder) and not skip_missing:
            check_present(path, [osp.join(folder, name) for name in usage.file_names])
        checked.append(CheckedData(where, dataset, cls, path, usage, summary.notes,
                                   summary.warnings, summary.mendable))
    for metric in metrics:
        if is_coco_evaluation(metric) or is_panoptic_evaluation(metric):
            annotations.coco(metric['ann_file'], _COCO_KEYS)
        elif metric['ann_file'].lower().endswith('.json'):
            annotations.read(metric['ann_file'])
    for split in splits:
        check_evaluators(cfg, split, [data for data in checked if data.where.startswith(f'{split}_')], annotations)
    return checked


@dataclass
class CheckedData:
    """A data set of a config that passed the checks.

    Attributes:
        where, dataset, cls: its place in the config, config and class.
        path: its JSON annotation file. None: it has none on the local file system.
        usage: what its loader uses; in validation and testing, what its evaluation counts. None: not known.
        notes: repairs of its annotation file.
        warnings: problems of the file as a whole that don't stop a run.
        mendable: whether `repair` would mend what stops the run.
        built: the data set without its pipeline. None: it takes long to build.
    """
    where: str
    dataset: dict
    cls: type
    path: str | None = None
    usage: Usage | None = None
    notes: list[str] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    mendable: bool = False
    built: BaseDataset | None = None

    def count_again(self, cfg: Config) -> None:
        """Count anew what the loader uses, after the config has left out images."""
        if self.built is not None:
            self.built = build_listed(cfg, self.dataset, self.cls)
            self.usage = _usage_of(self.built)
        elif self.path and self.usage:
            uses = coco_uses([(self.where, self.dataset, self.cls)], [])
            self.usage = Annotations(uses).read(self.path).usages[self.where]


def _usage_of(built: BaseDataset | None) -> Usage | None:
    return None if built is None else built_usage(
        built, any(base.__name__ == 'XMLDataset' for base in type(built).__mro__))


def check_paths(cfg: Config, datasets: list, metrics: list) -> None:
    """Raise DataError where a local path that data sets or metrics name is missing, or an empty folder."""
    expected = {}  # path: place in the config
    for where, dataset, cls in datasets:
        prefixes = dataset.get('data_prefix') or {}
        keys = ['img', 'img_path']
        if loads_seg_maps(dataset, cls):
            keys += ['seg', 'seg_map_path']
        for path in (dataset.get('ann_file') or None, *map(prefixes.get, keys)):
            path = joined(dataset, path)
            if isinstance(path, str) and not is_remote(dataset, path):
                expected.setdefault(path or '.', where)
    for metric in metrics:
        for path in (metric['ann_file'], metric.get('seg_prefix')):
            if isinstance(path, str) and path:
                expected.setdefault(path, 'the evaluator')

    missing = [path for path in expected if not osp.exists(file_of(path))]
    if missing:
        raise DataError(_layout(cfg, expected, missing, [d['data_root'] for _, d, _ in datasets if d.get('data_root')]))
    for path, where in expected.items():
        if osp.isdir(path) and next(os.scandir(path), None) is None:
            raise DataError(f'{path}: the folder is empty ({where})')


def _layout(cfg: Config, expected: dict[str, str], missing: list[str], roots: list[str]) -> str:
    """Error message for missing paths: the expected layout, how to get the data, how to use data elsewhere."""
    first = missing[0]
    root = next((root.rstrip('/') for root in roots if first.startswith(root.rstrip('/') + '/')),
                osp.dirname(first) or '.')
    name = first if osp.isdir(root) else root
    lines = [f'{name}: no such file or folder{"" if osp.isabs(name) else " in " + os.getcwd()} ({expected[first]}). '
             'Expected:']
    lines += [f'  {"missing" if path in missing else "found  "}  {path}' for path in expected]
    recipe = next((recipe for part, recipe in _SOURCES.items() if any(part in path for path in expected)), None)
    if recipe:
        lines.append('To get it: ' + recipe.format(root=root))
    lines.append(f'Data elsewhere: {data_root_advice(cfg)}')
    return '\n'.join(lines)


def _check_file_names(path: str, file_names: list[str], dataset: dict, mended: bool) -> None:
    folder = image_folder(dataset)
    if not osp.isdir(folder):
        return
    paths = [osp.join(folder, name) for name in file_names]
    if not any(map(osp.exists, (paths[0], paths[len(paths) // 2], paths[-1]))) and \
            len(missing_files(paths)) == len(paths):
        way_out = mended_by(path) if not mended and osp.exists(paths[0].replace('\\', '/')) else \
            f'{paths[0]}: {said}.' if (said := missing(paths[0])).endswith(LOOKS_THE_SAME) else \
            "Set the data set's data_prefix=dict(img=FOLDER)."
        raise DataError(f'{path}: its images are not in {folder}; looked for {shortened(file_names)}.\n{way_out}')
    warn_of_depth(path, paths, dataset)
