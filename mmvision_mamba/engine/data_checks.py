"""Data sets, looked at before a run: do they lie where the config says, do their annotations fit it?"""
import copy
import json
import logging
import os
import os.path as osp
from collections.abc import Sequence

from mmengine import Config
from mmengine.logging import print_log

from ..datasets.coco_annotations import coco_problems
from ..datasets.problems import KINDS
from ..errors import DataError
from .bad_images import bad_images, leave_out_bad_images
from .dataset_configs import SPLITS, data_root_variable, datasets_of, loads_seg_maps, override_data_root

__all__ = ['bad_images', 'check_datasets', 'leave_out_bad_images', 'override_data_root']

# What a path of the data set contains, and how to get such data.
_SOURCES = {
    'shapes_objects': 'tools/make_shapes.py --kind objects {root}',
    'shapes': 'tools/make_shapes.py {root}',
    'imagenet': 'unpack ILSVRC2012_img_{{train,val}}.tar of https://image-net.org into one folder per class',
    'ADEChallengeData2016':
        'unpack http://data.csail.mit.edu/places/ADEchallenge/ADEChallengeData2016.zip so that these paths exist',
    '2017.json': 'unpack train2017.zip, val2017.zip and annotations_trainval2017.zip of '
                 'https://cocodataset.org/#download so that these paths exist',
}
_SHOWN = 8  # names in a message
_COCO_KEYS = ('images', 'annotations', 'categories')


def check_datasets(cfg: Config, splits: Sequence[str] = SPLITS) -> None:
    """Check files, folders and COCO categories of a config's data sets and evaluators; reads no image.

    Only what is known to be wrong is rejected: data sets that aren't mmengine's, or lie on other storage than the local
    file system, are left to their classes. Each annotation file is parsed once.

    Args:
        cfg: its `{split}_dataloader` and `{split}_evaluator` are looked at, wrappers of data sets included.
        splits: of 'train', 'val', 'test'.

    Raises:
        DataError: a path does not exist (the message shows the expected layout), an annotation file is no JSON, lacks
            something or holds what would stop or spoil the run, or its categories are not the config's classes.
    """
    datasets = [leaf for split in splits for leaf in datasets_of(cfg, split)]
    metrics = [metric for split in splits for metric in metrics_of(cfg, split)]
    check_paths(cfg, datasets, metrics)

    annotations = _Annotations(coco_uses(datasets, metrics))
    orders = {}
    for where, dataset, cls in datasets:
        path = annotation_file(dataset)
        if not path:
            continue
        if not reads_coco(cls):
            annotations.read(path)
            continue
        # Test sets have no annotations, nor have the unlabelled images of semi-supervised training.
        labelled = where.startswith('train') and 'LoadAnnotations' in str(dataset.get('pipeline'))
        found = annotations.coco(path, _COCO_KEYS if labelled else ('images', 'categories'))
        check_classes(path, found['categories'], dataset, cls, orders)
        _check_file_names(path, found, joined(dataset, (dataset.get('data_prefix') or {}).get('img', '')))
    for metric in metrics:
        if metric['ann_file'].endswith('.json'):
            if metric.get('type') == 'CocoMetric' and not metric.get('format_only'):
                annotations.coco(metric['ann_file'], _COCO_KEYS)
            else:
                annotations.read(metric['ann_file'])


def reads_coco(cls: type) -> bool:
    """Whether a data set reads its annotation file as mmdet's CocoDataset does, which most inherit from."""
    return cls.load_data_list.__qualname__ == 'CocoDataset.load_data_list'


def annotation_file(dataset: dict) -> str | None:
    """Path of a data set's JSON file where it lies on the local file system."""
    path = joined(dataset, dataset.get('ann_file'))
    return path if path and path.endswith('.json') and not _is_remote(dataset, path) else None


def coco_uses(datasets: list, metrics: list[dict]) -> dict[str, dict]:
    """{annotation file: what of it is used, as arguments for `coco_problems`}."""
    uses = {}
    for _, dataset, _ in datasets:
        use = uses.setdefault(annotation_file(dataset), dict(masks=False, evaluated=()))
        use['masks'] |= "'with_mask': True" in str(dataset.get('pipeline'))
    for metric in metrics:
        if metric.get('type') == 'CocoMetric' and not metric.get('format_only'):
            kinds = metric.get('metric', 'bbox')
            uses.setdefault(metric['ann_file'], dict(masks=False))['evaluated'] = \
                (kinds,) if isinstance(kinds, str) else tuple(kinds)
    return uses


def metrics_of(cfg: Config, split: str) -> list[dict]:
    evaluator = cfg.get(f'{split}_evaluator')
    if isinstance(evaluator, dict):
        evaluator = evaluator.get('metrics', [evaluator])
    metrics = [evaluator] if isinstance(evaluator, dict) else evaluator or []
    return [m for m in metrics if isinstance(m, dict) and isinstance(m.get('ann_file'), str) and m['ann_file']
            and not _is_remote(m, m['ann_file'])]


def joined(dataset: dict, path: str | None) -> str | None:
    """As mmengine's `BaseDataset` does it."""
    if not isinstance(path, str) or osp.isabs(path) or '://' in path or not dataset.get('data_root'):
        return path
    return osp.join(dataset['data_root'], path)


def _is_remote(item: dict, path: str) -> bool:
    backend = (item.get('backend_args') or {}).get('backend', 'local')
    return '://' in path or backend not in ('local', 'disk')


def check_paths(cfg: Config, datasets: list, metrics: list) -> None:
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
    first = missing[0]
    root = next((root.rstrip('/') for root in roots if first.startswith(root.rstrip('/') + '/')),
                osp.dirname(first) or '.')
    name = first if osp.isdir(root) else root
    lines = [f'{name}: no such file or folder{"" if osp.isabs(name) else " in " + os.getcwd()} ({expected[first]}). '
             'Expected:']
    lines += [f'  {"missing" if path in missing else "found  "}  {path}' for path in expected]
    recipe = next((recipe for mark, recipe in _SOURCES.items() if any(mark in path for path in expected)), None)
    if recipe:
        lines.append('To get it: ' + recipe.format(root=root))
    variable = data_root_variable(cfg)
    lines.append(f'Data elsewhere: {f"{variable}=FOLDER in the environment, or " if variable else ""}'
                 '--cfg-options data_root=FOLDER')
    return '\n'.join(lines)


class _Annotations:
    """Annotation files, parsed once; of their content only what the checks use is kept."""

    def __init__(self, uses: dict[str, dict]):
        self._found, self._uses = {}, uses

    def read(self, path: str) -> dict:
        """{'keys': [...], 'file_names': [...], 'categories': [...], 'errors': {kind: problems}} of a JSON file."""
        if path not in self._found:
            content = read_json(path)
            found = {'keys': [], 'file_names': [], 'categories': [], 'errors': {}}
            if isinstance(content, dict):
                found['keys'] = [key for key, value in content.items() if isinstance(value, list)]
                found['categories'] = content.get('categories', [])
                images = content.get('images')
                if isinstance(images, list) and images:
                    sample = (images[0], images[len(images) // 2], images[-1])
                    found['file_names'] = [i['file_name'] for i in sample if isinstance(i, dict)
                                           and isinstance(i.get('file_name'), str)]
                if path in self._uses and {'images', 'categories'} <= set(found['keys']):
                    for problem in coco_problems(content, **self._uses[path]):
                        if KINDS[problem.kind].level == 'error':
                            found['errors'].setdefault(problem.kind, []).append(problem)
            self._found[path] = found
        return self._found[path]

    def coco(self, path: str, keys: Sequence[str]) -> dict:
        found = self.read(path)
        lacking = [key for key in keys if key not in found['keys']]
        if lacking:
            raise DataError(f'{path}: a COCO annotation file has the lists {", ".join(keys)}; '
                            f'this one has no {" and no ".join(lacking)}')
        if not all(isinstance(c, dict) and 'id' in c and 'name' in c for c in found['categories']):
            raise DataError(f'{path}: every item of categories needs an id and a name')
        if not found['file_names']:
            raise DataError(f'{path}: images is empty or its items have no file_name')
        if found['errors']:
            kind, problems = next(iter(found['errors'].items()))
            detail = f': {problems[0].detail}' if problems[0].detail else ''
            raise DataError(f'{path}: {len(problems)} {KINDS[kind].what}; the first: {problems[0].where}{detail}.\n'
                            f'Way out: {KINDS[kind].fix}. `tools/check_dataset.py CONFIG` lists all problems.')
        return found


def read_json(path: str):
    try:
        with open(path, encoding='utf-8') as file:
            text = file.read()
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
    classes = cls._load_metainfo(copy.deepcopy(dataset.get('metainfo'))).get('classes')
    if not isinstance(classes, list | tuple):
        return
    names = [c['name'] for c in categories]
    missing = [name for name in classes if name not in names]
    if missing:
        wanted = f'({", ".join(map(repr, names))},)' if len(names) <= _SHOWN else "(the file's names)"
        raise DataError(
            f"{path}: {len(missing)} of the config's {len(classes)} classes are not among its categories: "
            f'{_shortened(missing)}. The file has: {_shortened(names)}.\n'
            f'Way out: metainfo=dict(classes={wanted}) in each data set of the config, and '
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


def _check_file_names(path: str, found: dict, folder: str | None) -> None:
    if folder is not None and osp.isdir(folder) and not any(
            osp.exists(osp.join(folder, name)) for name in found['file_names']):
        raise DataError(f'{path}: its images are not in {folder}; looked for {_shortened(found["file_names"])}. '
                        "Set the data set's data_prefix=dict(img=FOLDER).")


def _shortened(names: Sequence) -> str:
    shown = ', '.join(map(str, names[:_SHOWN]))
    return shown + (f', … ({len(names)} in all)' if len(names) > _SHOWN else '')
