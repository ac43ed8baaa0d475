"""Check a config's data sets before a run: the files exist, the annotations are sound and fit the config's classes."""
import json
import logging
import os
import os.path as osp
from collections.abc import Sequence

from mmengine import Config
from mmengine.logging import print_log

from ..datasets.coco_annotations import coco_problems
from ..datasets.folders import missing_files
from ..datasets.problems import KINDS
from ..errors import DataError
from ..files import read_text
from ..text import shortened
from .datasets import SPLITS, data_root_advice, datasets_of, loads_seg_maps, metainfo_of
from .missing import check_masks_present, check_present

# A part of a data path: how to get that data.
_SOURCES = {
    'shapes_objects': 'mmvision-mamba make-shapes --kind objects {root}',
    'shapes': 'mmvision-mamba make-shapes {root}',
    'imagenet': 'unpack ILSVRC2012_img_{{train,val}}.tar of https://image-net.org into one folder per class',
    'ADEChallengeData2016':
        'unpack http://data.csail.mit.edu/places/ADEchallenge/ADEChallengeData2016.zip so that these paths exist',
    '2017.json': 'unpack train2017.zip, val2017.zip and annotations_trainval2017.zip of '
                 'https://cocodataset.org/#download so that these paths exist',
}
_COCO_KEYS = ('images', 'annotations', 'categories')


def check_datasets(cfg: Config, splits: Sequence[str] = SPLITS, skip_missing: bool = False) -> None:
    """Check files, folders and COCO categories of a config's data sets and evaluators; reads no image.

    Rejects only what is known to be wrong: data sets that aren't mmengine's, or lie on other storage than the local
    file system, are left to their classes. Each annotation file is parsed once.

    Args:
        cfg: the data sets of its `{split}_dataloader`, inside any wrappers, and its `{split}_evaluator` are checked.
        splits: of 'train', 'val', 'test'.
        skip_missing: let images and masks be missing, which are left out later. Default: False.

    Raises:
        DataError: a path does not exist (the message shows the expected layout), an annotation file is no JSON, lacks
            a list, or has a problem that would stop or spoil the run, or its categories are not the config's classes.
    """
    datasets = [leaf for split in splits for leaf in datasets_of(cfg, split)]
    metrics = [metric for split in splits for metric in metrics_of(cfg, split)]
    check_paths(cfg, datasets, metrics)

    annotations = _Annotations(coco_uses(datasets, metrics))
    orders = {}
    for where, dataset, cls in datasets:
        path = annotation_file(dataset)
        if not path:
            if not skip_missing:
                check_masks_present(cfg, dataset, cls)
            continue
        if not reads_coco(cls):
            annotations.read(path)
            continue
        # Test sets have no annotations, nor have the unlabelled images of semi-supervised training.
        labelled = where.startswith('train') and 'LoadAnnotations' in str(dataset.get('pipeline'))
        summary = annotations.coco(path, _COCO_KEYS if labelled else ('images', 'categories'))
        check_classes(path, summary['categories'], dataset, cls, orders)
        _check_file_names(path, summary['file_names'], dataset, skip_missing)
    for metric in metrics:
        if metric['ann_file'].endswith('.json'):
            if _is_coco_evaluation(metric):
                annotations.coco(metric['ann_file'], _COCO_KEYS)
            else:
                annotations.read(metric['ann_file'])


def reads_coco(cls: type) -> bool:
    """Whether a data set class reads its annotation file as mmdet's CocoDataset does; most inherit that method."""
    return cls.load_data_list.__qualname__ == 'CocoDataset.load_data_list'


def annotation_file(dataset: dict) -> str | None:
    """Path of a data set's JSON annotation file on the local file system; None where it has none there."""
    path = joined(dataset, dataset.get('ann_file'))
    return path if path and path.endswith('.json') and not _is_remote(dataset, path) else None


def image_folder(dataset: dict) -> str | None:
    """The folder that the file names of a COCO annotation file start from."""
    return joined(dataset, (dataset.get('data_prefix') or {}).get('img', ''))


def coco_uses(datasets: list, metrics: list[dict]) -> dict[str, dict]:
    """{annotation file: arguments for `coco_problems`}: whether its masks are loaded, and which metrics evaluate it."""
    uses = {}
    for _, dataset, _ in datasets:
        use = uses.setdefault(annotation_file(dataset), dict(masks=False, evaluated=()))
        use['masks'] |= "'with_mask': True" in str(dataset.get('pipeline'))
    for metric in metrics:
        if _is_coco_evaluation(metric):
            evaluated = metric.get('metric', 'bbox')
            uses.setdefault(metric['ann_file'], dict(masks=False))['evaluated'] = \
                (evaluated,) if isinstance(evaluated, str) else tuple(evaluated)
    return uses


def _is_coco_evaluation(metric: dict) -> bool:
    return metric.get('type') == 'CocoMetric' and not metric.get('format_only')


def metrics_of(cfg: Config, split: str) -> list[dict]:
    """Configs of a split's metrics that read their ground truth from a local file, `ann_file`."""
    evaluator = cfg.get(f'{split}_evaluator')
    if isinstance(evaluator, dict):
        evaluator = evaluator.get('metrics', [evaluator])
    metrics = [evaluator] if isinstance(evaluator, dict) else evaluator or []
    return [m for m in metrics if isinstance(m, dict) and isinstance(m.get('ann_file'), str) and m['ann_file']
            and not _is_remote(m, m['ann_file'])]


def joined(dataset: dict, path: str | None) -> str | None:
    """A path of a data set below its `data_root`, as mmengine's `BaseDataset` joins them."""
    if not isinstance(path, str) or osp.isabs(path) or '://' in path or not dataset.get('data_root'):
        return path
    return osp.join(dataset['data_root'], path)


def _is_remote(item: dict, path: str) -> bool:
    backend = (item.get('backend_args') or {}).get('backend', 'local')
    return '://' in path or backend not in ('local', 'disk')


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
            if isinstance(path, str) and not _is_remote(dataset, path):
                expected.setdefault(path or '.', where)
    for metric in metrics:
        expected.setdefault(metric['ann_file'], 'the evaluator')

    missing = [path for path in expected if not osp.exists(path)]
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


class _Annotations:
    """Parses each annotation file once, and keeps only the summary that the checks use."""

    def __init__(self, uses: dict[str, dict]):
        self._summaries, self._uses = {}, uses

    def read(self, path: str) -> dict:
        """Summary of a JSON file, with the keys of its lists and the names of its images:
        {'keys': [...], 'file_names': [...], 'categories': [...], 'errors': {kind: problems}}."""
        if path not in self._summaries:
            content = read_json(path)
            summary = {'keys': [], 'file_names': [], 'categories': [], 'errors': {}}
            if isinstance(content, dict):
                summary['keys'] = [key for key, value in content.items() if isinstance(value, list)]
                summary['categories'] = content.get('categories', [])
                images = content.get('images')
                if isinstance(images, list):
                    summary['file_names'] = [i['file_name'] for i in images if isinstance(i, dict)
                                             and isinstance(i.get('file_name'), str)]
                if path in self._uses and {'images', 'categories'} <= set(summary['keys']):
                    for problem in coco_problems(content, **self._uses[path]):
                        if KINDS[problem.kind].level == 'error':
                            summary['errors'].setdefault(problem.kind, []).append(problem)
            self._summaries[path] = summary
        return self._summaries[path]

    def coco(self, path: str, keys: Sequence[str]) -> dict:
        """Summary of a COCO annotation file; raises DataError where it lacks a list of `keys` or has an error."""
        summary = self.read(path)
        missing = [key for key in keys if key not in summary['keys']]
        if missing:
            raise DataError(f'{path}: a COCO annotation file has the lists {", ".join(keys)}; '
                            f'this one has no {" and no ".join(missing)}')
        if not all(isinstance(c, dict) and 'id' in c and 'name' in c for c in summary['categories']):
            raise DataError(f'{path}: every item of categories needs an id and a name')
        if not summary['file_names']:
            raise DataError(f'{path}: images is empty or its items have no file_name')
        if summary['errors']:
            kind, problems = next(iter(summary['errors'].items()))
            detail = f': {problems[0].detail}' if problems[0].detail else ''
            raise DataError(f'{path}: {len(problems)} {KINDS[kind].what}; the first: {problems[0].where}{detail}.\n'
                            f'Way out: {KINDS[kind].fix}. `mmvision-mamba check-dataset CONFIG` lists all problems.')
        return summary


def read_json(path: str):
    """Content of a JSON annotation file; raises DataError with the place where it breaks off."""
    try:
        text = read_text(path)
        return json.loads(text)
    except json.JSONDecodeError as e:
        end = len(text.rstrip())
        if not end:
            problem = 'is empty'
        elif e.pos >= end or e.msg.startswith('Unterminated string'):
            problem = 'is truncated'
        else:
            problem = f'is not JSON: {e.msg}'
        raise DataError(f'{path}: the annotation file {problem} (line {e.lineno}, byte {len(text[:e.pos].encode())} of '
                        f'{os.path.getsize(path)}). Download or export it again.') from e
    except (UnicodeDecodeError, RecursionError) as e:
        raise DataError(f'{path}: the annotation file is not JSON ({e}). Download or export it again.') from e
    except OSError as e:
        raise DataError(f'{path}: the annotation file cannot be read ({e.strerror or e})') from e


def check_classes(path: str, categories: list[dict], dataset: dict, cls: type, orders: dict) -> None:
    """Check that the classes of a data set's config are among the categories of its annotation file.

    Args:
        path: of the annotation file.
        categories: its items, each with a name.
        dataset, cls: config and class of the data set.
        orders: {classes: (path, their order)} of the first file with these classes; filled in here.

    Raises:
        DataError: a class is no category, or the categories come in another order than in the first file.
    """
    classes = metainfo_of(dataset, cls).get('classes')
    if not isinstance(classes, list | tuple):
        return
    names = [c['name'] for c in categories]
    missing = [name for name in classes if name not in names]
    if missing:
        names_value = f'({", ".join(map(repr, names))},)' if len(names) <= 8 else "(the file's names)"
        raise DataError(
            f"{path}: {len(missing)} of the config's {len(classes)} classes are not among its categories: "
            f'{shortened(missing)}. The file has: {shortened(names)}.\n'
            f'Way out: metainfo=dict(classes={names_value}) in each data set of the config, and '
            f'num_classes={len(names)} in its heads.')
    # mmdet numbers labels in the order of the file's categories, whatever the order of the classes.
    order = [name for name in names if name in classes]
    first_path, first_order = orders.setdefault(frozenset(classes), (path, order))
    if order != first_order:
        raise DataError(f'{path}: its categories come in another order than those of {first_path}, and mmdet numbers '
                        'labels in that order. Sort the categories of one file like the other.')
    if order != list(classes) and path == first_path:
        print_log(f"{path}: the categories come in another order than the config's classes; mmdet numbers labels in "
                  "the file's order, so names drawn on images will be wrong", logger='current', level=logging.WARNING)


def _check_file_names(path: str, file_names: list[str], dataset: dict, skip_missing: bool) -> None:
    folder = image_folder(dataset)
    if folder is None or not osp.isdir(folder):
        return
    paths = [osp.join(folder, name) for name in file_names]
    if not any(map(osp.exists, (paths[0], paths[len(paths) // 2], paths[-1]))) and \
            len(missing_files(paths)) == len(paths):
        raise DataError(f'{path}: its images are not in {folder}; looked for {shortened(file_names)}. '
                        "Set the data set's data_prefix=dict(img=FOLDER).")
    if not skip_missing:
        left_out = set(map(osp.normpath, dataset.get('left_out') or ()))
        check_present(path, [image for image in paths if osp.normpath(image) not in left_out])
