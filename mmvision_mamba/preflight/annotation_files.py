"""Annotation files of a config: who reads them and how; parsed once, of which the checks keep a summary."""
import os.path as osp
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from mmengine import Config

from ..datasets.coco_annotations import coco_problems
from ..datasets.coco_boxes import check_format
from ..datasets.coco_files import read_coco, read_json
from ..datasets.coco_repairs import repair
from ..datasets.merged_classes import Merged
from ..datasets.panoptic_annotations import panoptic_problems
from ..datasets.panoptic_files import kind_problem, read_panoptic
from ..datasets.problems import KINDS, Contents, Problem
from ..datasets.usage import Usage, coco_usage
from ..errors import ConfigError, DataError
from ..files import encoding_of
from ..printable import shown
from ..text import class_name
from .datasets import SPLITS, datasets_of, metainfo_of
from .image_sizes import sample_sizes

# Full paths, so that a config dumped into a work directory needs no import to find them.
_MENDED = dict(CocoDataset='mmvision_mamba.datasets.coco_dataset.MendedCocoDataset',
               CocoMetric='mmvision_mamba.evaluation.coco_metric.MendedCocoMetric')


def reads_coco(cls: type) -> bool:
    """Whether a data set class reads its annotation file as mmdet's CocoDataset does; most inherit that method."""
    return cls.load_data_list.__qualname__ == 'CocoDataset.load_data_list' and not reads_panoptic(cls)


def reads_panoptic(cls: type) -> bool:
    """Whether a data set class reads COCO's panoptic files."""
    return any(base.__name__ == 'CocoPanopticDataset' for base in cls.__mro__)


def annotation_file(dataset: dict, cls: type) -> str | None:
    """Path of a data set's JSON annotation file on the local file system; None where it has none there.

    What is read as COCO's is JSON whatever its name; of other classes a file whose name says so.
    """
    path = joined(dataset, dataset.get('ann_file'))
    is_json = path and (reads_coco(cls) or reads_panoptic(cls) or path.lower().endswith('.json'))
    return path if is_json and not is_remote(dataset, path) else None


def image_folder(dataset: dict) -> str:
    """The folder that a data set's images lie in, and the file names of a COCO annotation file start from; '' if it has
    none."""
    prefixes = dataset.get('data_prefix') or {}
    return joined(dataset, prefixes.get('img_path', prefixes.get('img', ''))) or ''


def map_folder(dataset: dict) -> str | None:
    """The folder that the file names of panoptic PNGs start from; None where a data set loads none."""
    folder = joined(dataset, (dataset.get('data_prefix') or {}).get('seg'))
    return folder if folder and not is_remote(dataset, folder) else None


def joined(dataset: dict, path: str | None) -> str | None:
    """A path of a data set below its `data_root`, as mmengine's `BaseDataset` joins them."""
    if not isinstance(path, str) or osp.isabs(path) or '://' in path or not dataset.get('data_root'):
        return path
    return osp.join(dataset['data_root'], path)


def is_remote(item: dict, path: str) -> bool:
    backend = (item.get('backend_args') or {}).get('backend', 'local')
    return '://' in path or backend not in ('local', 'disk')


def loads_annotations(dataset: dict) -> bool:
    """Whether a data set's pipeline loads annotations: not that of unlabelled images."""
    return any(name in str(dataset.get('pipeline')) for name in ('LoadAnnotations', 'LoadPanopticAnnotations'))


def mends(kind) -> bool:
    """Whether a data set or metric of this type mends its annotation file as it reads it."""
    return class_name(kind) in [path.rpartition('.')[2] for path in _MENDED.values()]


def use_mended_coco(cfg: Config, boxes: str | float | None = None, merged: Merged | None = None) -> None:
    """Have a config's data sets and metrics of the type CocoDataset and CocoMetric mend the files they read.

    Args:
        cfg: changed in place.
        boxes: what the boxes of the files are, see `convert_boxes`. Default: x, y, width, height in pixels.
        merged: which categories become one class, see `merge_categories`. Default: each is one of its own.

    Raises:
        ConfigError: `boxes` is no format, or categories are to be merged and a data set can not do that.
    """
    if boxes is not None:
        check_format(boxes)
    for split in SPLITS:
        parts = [dataset for _, dataset, _ in datasets_of(cfg, split)] + list(metrics_in(cfg.get(f'{split}_evaluator')))
        for part in parts:
            if part.get('type') in _MENDED:
                part['type'] = _MENDED[part['type']]
            if boxes is not None and mends(part.get('type')):
                part['boxes'] = boxes
            if merged is not None and mends(part.get('type')):
                part['merged'] = merged
        for where, dataset, _ in datasets_of(cfg, split) if merged is not None else ():
            if not mends(dataset.get('type')):
                raise ConfigError(f"custom_data.classes gives categories other names, which {where} can not do, a "
                                  f"{class_name(dataset.get('type'))}: set its type to CocoDataset")


def metrics_in(evaluator) -> Iterator[dict]:
    """The configs of an evaluator's metrics."""
    if isinstance(evaluator, list | tuple):
        for item in evaluator:
            yield from metrics_in(item)
    elif isinstance(evaluator, dict):
        yield from metrics_in(evaluator['metrics']) if 'metrics' in evaluator else [evaluator]


@dataclass
class Use:
    """How data sets and metrics use an annotation file.

    Attributes:
        masks: whether its masks are loaded.
        evaluated: types of COCO's evaluation that read it.
        mended: whether all of them mend it as they read it.
        checked: whether one of them reads it as mmdet's CocoDataset does.
        panoptic: whether one of them reads COCO's panoptic files.
        boxes, merged: what its boxes are, and which categories become one class, as the config says.
        datasets: (place in the config, arguments for `coco_usage`) of each data set.
    """
    masks: bool = False
    evaluated: tuple[str, ...] = ()
    mended: bool = True
    checked: bool = False
    panoptic: bool = False
    boxes: str | float | None = None
    merged: Merged | None = None
    datasets: list[tuple[str, dict]] = field(default_factory=list)

    def read(self, path: str) -> tuple[dict, list[str]]:
        """Content of the file as these read it, and notes on its repair."""
        content, notes = read_panoptic(path) if self.panoptic else self._read(path)
        if self.checked and (problem := kind_problem(path, content, panoptic=False)):
            raise DataError(problem)
        return content, notes

    def _read(self, path: str) -> tuple[dict, list[str]]:
        if self.mended:
            return read_coco(path, self.boxes, self.merged, compact=True)
        mark = encoding_of(path)
        if mark != 'utf-8':
            raise DataError(f"{path}: it begins with a byte order mark ({mark}), which mmdet can't read.\n"
                            f'{mended_by(path)}')
        return read_json(path), []

    def problems(self, content: dict, contents: Contents | None = None) -> Iterator[Problem]:
        """Yield the problems of the content; fills in `contents`."""
        if self.panoptic:
            return panoptic_problems(content, contents)
        return coco_problems(content, self.masks, self.evaluated, contents, self.boxes)


def mended_by(path: str) -> str:
    return f'Way out: mmvision-mamba repair-annotations {path} NEW_FILE writes a file that works'


def coco_uses(datasets: list, metrics: list[dict]) -> dict[str, Use]:
    """{annotation file: how these data sets and metrics use it}."""
    uses = {}
    for where, dataset, cls in datasets:
        if path := annotation_file(dataset, cls):
            use = uses.setdefault(path, Use())
            masks = "'with_mask': True" in str(dataset.get('pipeline'))
            use.masks |= masks
            use.mended &= mends(cls)
            use.checked |= reads_coco(cls)
            use.panoptic |= reads_panoptic(cls)
            use.boxes = dataset.get('boxes', use.boxes)
            use.merged = dataset.get('merged', use.merged)
            in_training = where.startswith('train') and not dataset.get('test_mode')
            use.datasets.append((where, dict(
                classes=metainfo_of(dataset, cls).get('classes') if reads_coco(cls) or reads_panoptic(cls) else None,
                filter_cfg=dataset.get('filter_cfg') if in_training else None, indices=dataset.get('indices'),
                size_matters=where.startswith('train'), masks=masks and where.startswith('train'),
                left_out={osp.relpath(file, folder or '.') for file in dataset.get('left_out') or ()
                          for folder in (image_folder(dataset), map_folder(dataset))})))
    for metric in metrics:
        if is_panoptic_evaluation(metric):
            uses.setdefault(metric['ann_file'], Use()).panoptic = True
        if is_coco_evaluation(metric):
            evaluated = metric.get('metric', 'bbox')
            use = uses.setdefault(metric['ann_file'], Use(boxes=metric.get('boxes'), merged=metric.get('merged')))
            use.checked = True
            use.evaluated = (evaluated,) if isinstance(evaluated, str) else tuple(evaluated)
            use.mended &= mends(metric['type'])
    return uses


def is_coco_evaluation(metric: dict) -> bool:
    return class_name(metric.get('type')) in ('CocoMetric', 'MendedCocoMetric') and not metric.get('format_only')


def is_panoptic_evaluation(metric: dict) -> bool:
    return class_name(metric.get('type')) == 'CocoPanopticMetric' and not metric.get('format_only')


@dataclass
class Summary:
    """What the checks keep of an annotation file.

    Attributes:
        keys: of its lists.
        file_names: of its images.
        ids: {file name: id} of its images.
        sizes: of a sample of its images, as `sample_sizes` returns them.
        categories: its items.
        errors: {kind: problems}.
        mendable: whether `repair` would leave no error.
        warnings, notes, usages: see `CheckedData`; {place of the data set: its usage}.
    """
    keys: list[str] = field(default_factory=list)
    file_names: list[str] = field(default_factory=list)
    ids: dict[str, int | str] = field(default_factory=dict)
    sizes: list[tuple[str, int, int]] = field(default_factory=list)
    categories: list = field(default_factory=list)
    errors: dict[str, list[Problem]] = field(default_factory=dict)
    mendable: bool = False
    warnings: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    usages: dict[str, Usage] = field(default_factory=dict)


class Annotations:
    """Parses each annotation file once, and keeps only the summary that the checks use."""

    def __init__(self, uses: dict[str, Use]):
        self._summaries, self._uses = {}, uses

    def read(self, path: str) -> Summary:
        """Summary of a JSON file of whatever kind."""
        if path not in self._summaries:
            use = self._uses.get(path)
            content, notes = use.read(path) if use else (read_json(path), [])
            summary = self._summaries[path] = Summary(notes=notes)
            if isinstance(content, dict):
                summary.keys = [key for key, value in content.items() if isinstance(value, list)]
                summary.categories = content.get('categories', [])
                images = content.get('images')
                if isinstance(images, list):
                    summary.file_names = [i['file_name'] for i in images if isinstance(i, dict)
                                          and isinstance(i.get('file_name'), str)]
                    summary.ids = {i['file_name']: i['id'] for i in images if isinstance(i, dict)
                                   and isinstance(i.get('file_name'), str) and isinstance(i.get('id'), int | str)}
                    summary.sizes = sample_sizes(content)
                if use and {'images', 'categories'} <= set(summary.keys):
                    self._check(content, use, summary)
        return self._summaries[path]

    def _check(self, content: dict, use: Use, summary: Summary) -> None:
        for problem in use.problems(content) if use.checked or use.panoptic else ():
            if KINDS[problem.kind].level == 'error':
                summary.errors.setdefault(problem.kind, []).append(problem)
            elif KINDS[problem.kind].of_file:
                summary.warnings.append(problem)
        summary.usages = {where: coco_usage(content, **settings) for where, settings in use.datasets}
        nothing = any(usage.objects and not usage.used_objects for usage in summary.usages.values())
        if use.checked and not use.mended and (summary.errors or nothing):
            repair(content)
            summary.mendable = not any(KINDS[problem.kind].level == 'error' for problem in use.problems(content)) \
                and all(coco_usage(content, **settings).used_objects for _, settings in use.datasets)

    def coco(self, path: str, keys: Sequence[str]) -> Summary:
        """Summary of a COCO annotation file; raises DataError where it lacks a list of `keys` or has an error."""
        summary = self.read(path)
        missing = [key for key in keys if key not in summary.keys]
        if missing:
            raise DataError(f'{path}: a COCO annotation file has the lists {", ".join(keys)}; '
                            f'this one has no {" and no ".join(missing)}')
        if not all(isinstance(c, dict) and 'id' in c and 'name' in c for c in summary.categories):
            raise DataError(f'{path}: every item of categories needs an id and a name')
        if not summary.file_names:
            raise DataError(f'{path}: images is empty or its items have no file_name')
        if summary.errors:
            kind, problems = next(iter(summary.errors.items()))
            first = shown(': '.join(filter(None, problems[0][1:3])), 500)
            what = f'{KINDS[kind].what}: {first}' if KINDS[kind].of_file else \
                f'{len(problems)} {KINDS[kind].what}; the first: {first}'
            fix = mended_by(path) if summary.mendable else f'Way out: {problems[0].way_out(path)}'
            raise DataError(f'{path}: {what}.\n{fix}. `mmvision-mamba check-dataset CONFIG` lists all problems.')
        return summary
