"""Find the data sets that a config names, build them, and move them to another data root."""
import copy
import os
import os.path as osp
import re
from collections.abc import Iterator

from mmengine import Config
from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS

from ..datasets.folders import read_names
from ..errors import ConfigError, DataError, UserError
from ..printable import shown
from .keys import arguments_of

SPLITS = ('train', 'val', 'test')


def value_at(cfg, place: str):
    """The value at a dotted place of a config, None where there is none."""
    for key in place.split('.'):
        if isinstance(cfg, list | tuple):
            cfg = cfg[int(key)] if key.isdigit() and int(key) < len(cfg) else None
        else:
            cfg = cfg.get(key) if isinstance(cfg, dict | Config) else None
    return cfg


def datasets_of(cfg: Config, split: str) -> list[tuple[str, dict, type]]:
    """(place in the config, config dict, class) of each mmengine data set of a split, inside any wrappers."""

    def leaves(dataset, where):
        if isinstance(dataset, list | tuple):
            for i, item in enumerate(dataset):
                yield from leaves(item, f'{where}.{i}')
        elif isinstance(dataset, dict):
            wrapped = [key for key in ('dataset', 'datasets') if key in dataset]
            for key in wrapped:
                yield from leaves(dataset[key], f'{where}.{key}')
            cls = None if wrapped else _dataset_class(dataset, cfg.get('default_scope'))
            if isinstance(cls, type) and issubclass(cls, BaseDataset):
                yield where, dataset, cls

    loader = cfg.get(f'{split}_dataloader')
    return list(leaves(loader.get('dataset'), f'{split}_dataloader.dataset')) if isinstance(loader, dict) else []


def innermost(dataset: dict) -> dict:
    """A data set's config without the wrappers around it, such as RepeatDataset; of ConcatDataset's the first."""
    while 'dataset' in dataset or dataset.get('datasets'):
        dataset = dataset['dataset'] if 'dataset' in dataset else dataset['datasets'][0]
    return dataset


def build_without_pipeline(cfg: Config, dataset: dict) -> BaseDataset:
    """Build a data set of a config to look at its annotations: no pipeline, never lazily, and of whole images.

    Raises:
        DataError: an XML file of it is broken; names the file.
    """
    settings = dict(copy.deepcopy(dataset), pipeline=[], lazy_init=False)
    settings.pop('tile', None)
    settings.setdefault('_scope_', cfg.get('default_scope'))
    cls = _dataset_class(dataset, cfg.get('default_scope'))
    if isinstance(cls, type) and 'serialize_data' in arguments_of(cls):
        settings['serialize_data'] = False  # which fails without any item
    try:
        return DATASETS.build(settings)
    except Exception as error:  # whatever the class stumbles over in a broken file
        if isinstance(error, UserError | OSError) or (path := _xml_file(error.__traceback__)) is None:
            raise
        raise DataError(f'{path}: {getattr(cls, "__name__", cls)} can not read it ({type(error).__name__}: '
                        f'{shown(error, 200)})') from error


def _xml_file(traceback) -> str | None:
    """The file that mmdet's `XMLDataset` was reading when it failed; None for other data sets."""
    path = None
    while traceback is not None:
        if traceback.tb_frame.f_code.co_name == 'parse_data_info':
            # mmdet 3.3 has no seam here: its errors don't name the file
            path = (traceback.tb_frame.f_locals.get('img_info') or {}).get('xml_path', path)
        traceback = traceback.tb_next
    return path


def _dataset_class(dataset: dict, scope: str | None):
    """The class of a data set's config (of the one inside `dataset_without_images`); None where it is unknown."""
    name = dataset.get('dataset_type', dataset.get('type'))
    if not isinstance(name, str):
        return name
    with DATASETS.switch_scope_and_registry(dataset.get('_scope_', scope)) as registry:
        try:
            return registry.get(name)
        except RuntimeError:  # unknown: the runner's error says it best
            return None


def metainfo_of(dataset: dict, cls: type[BaseDataset]) -> dict:
    """Meta information, such as the classes, that a data set of this class and config has without its files."""
    # mmengine 0.10.7 has no seam here: a data set tells its meta information only once it is built.
    return cls._load_metainfo(copy.deepcopy(dataset.get('metainfo')))


def loads_seg_maps(dataset: dict, cls: type) -> bool:
    """Whether a data set's pipeline reads segmentation maps: a test set may name maps that don't exist."""
    steps = str(dataset.get('pipeline'))
    if any(base.__module__.startswith('mmseg.') for base in cls.__mro__):
        return 'LoadAnnotations' in steps
    return "'with_seg': True" in steps or 'LoadPanopticAnnotations' in steps


def data_root_variable(cfg: Config) -> str | None:
    """Name of the environment variable that a config reads its `data_root` from, or None. A base may read another."""
    values = re.findall(r'^data_root\s*=\s*(.+)', cfg.text or '', re.MULTILINE)  # the bases' text comes first
    match = re.match(r"['\"]\{\{\$(\w+):", values[-1]) if values else None
    return match[1] if match else None


def data_root_advice(cfg: Config) -> str:
    """How to point a config at data elsewhere, for error messages."""
    variable = data_root_variable(cfg)
    return (f'{f"{variable}=FOLDER in the environment, or " if variable else ""}--cfg-options data_root=FOLDER '
            '(in Python cfg_options)')


def override_data_root(cfg: Config, new_root: str | os.PathLike) -> None:
    """Move every path of a config that lies under its `data_root`, annotation files of evaluators included.

    Args:
        cfg: changed in place. Without a top-level `data_root` the one that its data sets agree on counts.
        new_root: the new data root; `~` is expanded.

    Raises:
        ConfigError: there is no data root, the data sets' differ, or none of them lies under the top-level one.
    """
    new_root = osp.expanduser(os.fspath(new_root)).rstrip('/') or '/'
    roots = dict(_data_roots({key: cfg[key] for key in cfg}))
    listed = ', '.join(f'{where}={root!r}' for where, root in roots.items())
    old_roots = {cfg['data_root'].rstrip('/')} if cfg.get('data_root') else {r.rstrip('/') for r in roots.values()}
    if not old_roots:
        raise ConfigError('data_root: the config has none to replace; give the paths of its data sets one by one')
    if len(old_roots) > 1:
        raise ConfigError(f'data_root: the data sets have different ones, so set each by its own name: {listed}')
    old_root, = old_roots
    if not any(_lies_under(old_root, root) for where, root in roots.items() if where != 'data_root'):
        raise ConfigError(f'data_root: no data set lies under {old_root!r}, so set each by its own name: {listed}')

    def moved(value):
        # Builds new dicts: places that share a dict would have its paths moved twice.
        if isinstance(value, dict):
            return type(value)({k: moved(v) for k, v in value.items()})
        if isinstance(value, list | tuple):
            return type(value)(moved(v) for v in value)
        if isinstance(value, str) and _lies_under(old_root, value):
            return new_root + value[len(old_root):]
        return value

    for key in list(cfg):
        cfg[key] = moved(cfg[key])


def _lies_under(root: str, path: str) -> bool:
    return path == root or path.startswith(root + '/')


def _data_roots(value, where: str = '') -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, item in value.items():
            if key == 'data_root' and isinstance(item, str) and item:
                yield f'{where}{key}', item
            yield from _data_roots(item, f'{where}{key}.')
    elif isinstance(value, list | tuple):
        for i, item in enumerate(value):
            yield from _data_roots(item, f'{where}{i}.')


def unwrap_data_roots(cfg: Config) -> None:
    """Let a `data_root` be the very folder that the paths of its data set begin with.

    An ADE20K_ROOT may name the folder that holds ADEChallengeData2016, or that folder itself, whatever it is called.

    Args:
        cfg: changed in place: paths lose their first folder where they only exist without it.
    """
    for split in SPLITS:
        for _, dataset, _ in datasets_of(cfg, split):
            root, prefixes = dataset.get('data_root'), dataset.get('data_prefix') or {}
            holders = [dataset.get('ann_file'), *prefixes.values()]
            paths = [path for path in holders if isinstance(path, str) and path]
            if not isinstance(root, str) or not paths or any(map(osp.isabs, paths)):
                continue
            first = {path.split('/')[0] for path in paths}
            inner = [path.partition('/')[2] for path in paths]
            if len(first) == 1 and all(inner) and not osp.exists(osp.join(root, *first)) and all(
                    osp.exists(osp.join(root, path)) for path in inner):
                prefixes.update({key: path.partition('/')[2] for key, path in prefixes.items() if path})
                if dataset.get('ann_file'):
                    dataset['ann_file'] = dataset['ann_file'].partition('/')[2]


def read_class_names(cfg: Config) -> list[str]:
    """Turn classes that a config gives as text into a tuple: the lines of a file of that name, or one class.

    Args:
        cfg: changed in place, in the `metainfo` of its data sets.

    Returns:
        A line for each text that is taken for one class.

    Raises:
        ConfigError: the text looks like a file's name, and there is no such file; or the key is 'CLASSES'.
    """
    notes = []
    for split in SPLITS:
        for where, dataset, _ in datasets_of(cfg, split):
            metainfo = dataset.get('metainfo') or {}
            for key, value in metainfo.items() if isinstance(metainfo, dict) else ():
                if key.lower() == 'classes' != key:
                    raise ConfigError(f"{where}.metainfo has the key '{key}', which nothing reads.\nWrite it 'classes'")
                if (key != 'classes' and not key.endswith('_classes')) or not isinstance(value, str):
                    continue
                place = f'{where}.metainfo.{key}'
                if osp.isfile(value):
                    metainfo[key] = tuple(read_names(value))
                elif value.endswith('.txt') or not value.strip():
                    raise ConfigError(f'{place} is {value!r}: no such file. Expected: a tuple of names, or a text file '
                                      'with one a line')
                else:
                    metainfo[key] = (value,)
                    notes.append(f"{place} is the text {value!r}: taken for one class (a tuple of one is ('{value}',), "
                                 'with a comma)')
    return notes
