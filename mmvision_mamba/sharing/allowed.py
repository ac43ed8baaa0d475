"""What a config from elsewhere may say: types of OpenMMLab's toolboxes and this package, and no file or code besides.

A config is built by name: a name that is a dotted path would be imported, some classes load files or write them, and
some texts are paths. So nothing is built of a config before all of it has passed these checks. What is saved passes
them, too, so that whoever gets it can load it.

A type is one that is registered where it will be looked up, and a class of the toolboxes' own. Any other key may name a
type, too (`ema_type`, `policy`), and so no text has a dot but file names of the data, and none is a class that is
refused: what a registry makes of a single word is registered, or nothing (`registration.py`).
"""
import inspect
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import mmengine.registry as registries
from mmengine.registry import Registry

from ..errors import ConfigError
from ..limits import FILE_NAME
from ..printable import is_name, shown
from ..text import did_you_mean

# What is shared of a config. The others are a run's, or variables of the config file.
KEYS = ('default_scope', 'data_root', 'model', 'train_dataloader', 'val_dataloader', 'test_dataloader', 'train_cfg',
        'val_cfg', 'test_cfg', 'val_evaluator', 'test_evaluator', 'optim_wrapper', 'param_scheduler', 'auto_scale_lr',
        'default_hooks', 'custom_hooks', 'log_processor', 'tta_model', 'tta_pipeline', 'randomness',
        'find_unused_parameters')
SCOPES = ('mmdet', 'mmseg')
CLASSIFIERS = 'mmengine'  # the scope of this package's classifiers
_MODELS = ('model', 'tta_model')
_SCOPED = (*SCOPES, 'mmengine', 'mmcv', 'mmvision_mamba')
_PACKAGES = (*_SCOPED, 'torch', 'timm')  # whose classes are built, of those that are registered
_OWN = {  # this package's, which configs name by their path
    'mmvision_mamba.datasets.image_mask.ImageMaskDataset', 'mmvision_mamba.datasets.drawn_maps.DrawnMapDataset',
    'mmvision_mamba.datasets.map_loading.LoadAnnotations', 'mmvision_mamba.datasets.coco_dataset.MendedCocoDataset',
    'mmvision_mamba.datasets.band_loading.LoadImageFromFile', 'mmvision_mamba.datasets.band_distortion.BandDistortion',
    'mmvision_mamba.datasets.band_padding.Pad',
    'mmvision_mamba.datasets.band_preprocessor.BandPreprocessor',
    'mmvision_mamba.datasets.seg_band_preprocessor.SegBandPreprocessor',
    'mmvision_mamba.engine.hooks.band_pictures.BandVisualizationHook',
    'mmvision_mamba.evaluation.coco_metric.MendedCocoMetric', 'mmvision_mamba.evaluation.lvis_metric.LVISMetric',
    'mmvision_mamba.inference.tiled.loops.TiledValLoop', 'mmvision_mamba.inference.tiled.loops.TiledTestLoop'}
# Below which key a registry builds. Types are looked up in these alone.
_BUILT_BY = {
    'model': ('MODELS', 'TASK_UTILS', 'WEIGHT_INITIALIZERS'), 'tta_model': ('MODELS', 'TASK_UTILS'),
    'tta_pipeline': ('TRANSFORMS',), **dict.fromkeys(
        ('train_dataloader', 'val_dataloader', 'test_dataloader'), ('DATASETS', 'TRANSFORMS', 'DATA_SAMPLERS')),
    **dict.fromkeys(('train_cfg', 'val_cfg', 'test_cfg'), ('LOOPS',)),
    **dict.fromkeys(('val_evaluator', 'test_evaluator'), ('METRICS', 'EVALUATOR', 'TASK_UTILS')),
    'optim_wrapper': ('OPTIM_WRAPPERS', 'OPTIMIZERS', 'OPTIM_WRAPPER_CONSTRUCTORS'),
    'param_scheduler': ('PARAM_SCHEDULERS',), 'log_processor': ('LOG_PROCESSORS',),
    **dict.fromkeys(('default_hooks', 'custom_hooks'), ('HOOKS', 'TRANSFORMS', 'MODELS'))}
_COLLATE = ('pseudo_collate', 'default_collate')  # functions that make batches
_OPERATORS = ('nms', 'soft_nms', 'RoIAlign', 'RoIPool', 'DeformRoIPool')  # of mmcv, which models name
# Registered classes that read what their arguments name, from disks or networks, write, or look names up elsewhere.
_REFUSED = (
    'ATSSVLFusionHead', 'Albu', 'AppearanceFreeLink', 'BertModel', 'CLIPTextEncoder', 'COCOCaptionMetric',
    'CameraMotionCompensation', 'CocoOccludedSeparatedMetric', 'DecathlonDataset', 'Detectron2Wrapper',
    'DumpDetResults', 'DumpODVGResults', 'DumpProposals', 'DumpResults', 'GLIP', 'GroundingDINO',
    'KnowledgeDistillationSingleStageDetector', 'LAD', 'LoadBiomedicalAnnotation', 'LoadBiomedicalData',
    'LoadBiomedicalImageFromFile', 'LoadProposals', 'MOTChallengeMetric', 'NPUProfilerHook',
    'ODVGDataset', 'OpenImagesChallengeDataset', 'OpenImagesDataset', 'Pretrained', 'PretrainedInit', 'ProfilerHook',
    'RFSearchHook', 'RandomSamplingNegPos', 'RefCocoDataset', 'SubmitFormatHook', 'TIMMBackbone', 'VPD')
# Keys of types: those that classes look up besides 'type', too.
_TYPES = ('type', 'dataset_type', 'resize_type', 'ema_type', 'conv_type', 'constructor')
_READS = ('checkpoint', 'extra_ann_file', 'pretrained', 'load_from', 'resume_from', 'tokenizer_name',
          'language_model', 'dataset_name',
          'tf_preprocessing')
_WRITES = ('out_dir', 'output_dir', 'out_file', 'out_file_path', 'outfile_prefix', 'save_dir', 'test_out_dir',
           'work_dir', 'published_keys')
_FILES = ('data_root', 'ann_file', 'seg_prefix', 'img', 'img_path', 'seg', 'seg_map_path', 'img_suffix',
          'seg_map_suffix', 'depth_map_path', 'sub_data_root')  # keys of data sets, whose texts are paths
_METRICS = ('save_best', 'rule', 'key_indicator', 'monitor')  # keys whose texts are metrics, coco/bbox_mAP say
_POLICY = re.compile(r'[a-z0-9]+(-[a-z]+(\d+(\.\d+)?)?)*')  # of timm's augmentations, rand-m9-mstd0.5-inc1 say
_WORDS = re.compile(r'[\w +-]*', re.ASCII)  # names of options, classes, metrics: no path, URL or dotted name
_STORAGE = ('backend_args', 'file_client_args')  # where files lie: some reach other machines, or import modules
_KEY = re.compile(r'[\w ./+-]+', re.ASCII)  # mmengine writes keys as they are, between quotes
_LOADED = ('.pkl', '.pickle', '.py', '.pth', '.pt', '.npy', '.npz', '.bin', '.so', '.yml', '.yaml')
_LARGEST = 10**7  # whole number in a model: lists of so many items are made
_VIEWS = 1000  # of test-time augmentation, each a pipeline that is built
_FORMATS = ('pkl', 'pickle', 'yml', 'yaml')  # that run code; mmengine reads a file of such a name as one, without a dot


def check_allowed(config: Mapping[str, Any], where: str = 'config') -> None:
    """Raise ConfigError for what a shared config may not have; names its place.

    Args:
        config: plain data, its toolbox imported.
        where: what to call it in messages. Default: 'config'.
    """
    for key in config:
        if key not in KEYS:
            raise ConfigError(f"{where}: the key '{shown(key)}' is not one of a shared config"
                              f'{did_you_mean(key, KEYS)}: nothing is imported or inherited there')
    scope = config.get('default_scope')
    if scope not in (*SCOPES, CLASSIFIERS):
        raise ConfigError(f"{where}.default_scope is '{shown(scope)}': expected one of "
                          f"{', '.join((*SCOPES, CLASSIFIERS))}")
    for key in _MODELS:
        if key in config and not isinstance(config[key], Mapping):
            raise ConfigError(f"{where}.{key} is '{shown(config[key])}': expected an object")
    if scope == CLASSIFIERS and (model := config.get('model') or {}).get('type') != 'ImageClassifier':
        raise ConfigError(f"{where}.model.type is '{shown(model.get('type'))}': expected ImageClassifier, or a model "
                          f"of {', '.join(SCOPES)}")
    for key, value in config.items():
        if (views := _views(value)) > _VIEWS:
            raise ConfigError(f'{where}.{key}: TestTimeAug makes {views} views, and {_VIEWS} are allowed')
        _check(value, f'{where}.{key}', scope, key, key)


def _check(value: Any, where: str, scope: str, part: str, name: str) -> None:
    """Check what lies below a top-level key, `part`, as the value of the key `name`."""
    if isinstance(value, Mapping):
        scope = _scope(value, where, scope)
        for key, item in value.items():
            place = f'{where}.{shown(key, 100)}'
            if not _KEY.fullmatch(key) or (key.startswith('_') and key != '_scope_'):
                raise ConfigError(f'{place}: no key of a shared config')
            if key in _READS and item and not isinstance(item, Mapping):
                raise ConfigError(f"{place} is '{shown(item)}': a shared config reads no other file")
            if key in _WRITES and item:
                raise ConfigError(f"{place} is '{shown(item)}': a shared config says not where to write")
            if key in _STORAGE and item and not (isinstance(item, Mapping) and dict(item) == dict(backend='local')):
                raise ConfigError(f"{place} is '{shown(item)}': a shared config reads files of this machine alone")
            if key in _TYPES:
                _check_type(item, place, scope, part, name)
            elif key != '_scope_':
                _check(item, place, scope, part, key)
    elif isinstance(value, list | tuple):
        for i, item in enumerate(value):
            _check(item, f'{where}.{i}', scope, part, name)
    elif isinstance(value, str):
        _check_text(value, where, part in _MODELS, name)
    elif isinstance(value, int) and abs(value) > _LARGEST and part in _MODELS:
        raise ConfigError(f'{where} is {shown(value)}: whole numbers of a model are at most {_LARGEST}')


def _views(value: Any) -> int:
    """Pipelines that the lists of a TestTimeAug make together, of the largest one in a value."""
    if isinstance(value, Mapping):
        lists = value.get('transforms')
        inner = max(map(_views, value.values()), default=1)
        if str(value.get('type')).endswith('TestTimeAug') and isinstance(lists, list | tuple):
            return inner * math.prod(len(one) for one in lists if isinstance(one, list | tuple))
        return inner
    return max(map(_views, value), default=1) if isinstance(value, list | tuple) else 1


def _scope(value: Mapping, where: str, scope: str) -> str:
    own = value.get('_scope_', scope)
    if own not in _SCOPED:
        raise ConfigError(f"{where}._scope_ is '{shown(own)}': expected one of {', '.join(_SCOPED)}")
    return own


def _check_text(text: str, where: str, in_model: bool, name: str) -> None:
    parts = re.split(r'[/\\]', text)
    problem = None
    if not is_name(text) or len(text) > FILE_NAME:
        problem = 'no text of a config'
    elif name == 'auto_augment' and _POLICY.fullmatch(text):
        return
    elif parts[-1].lower() in _FORMATS or text.lower().endswith(_LOADED):
        problem = 'a shared config has no files loaded'
    elif text in _REFUSED:
        problem = 'a shared config has no such type'
    elif in_model or name not in _FILES:
        if not _WORDS.fullmatch(text.replace('/', '') if name in _METRICS else text):
            problem = 'texts of a shared config are words, no paths, but for files of its data'
    elif text.startswith(('/', '~', '\\')) or ':' in text or '..' in parts:
        problem = 'a shared config names no files but below its data_root'
    if problem:
        raise ConfigError(f"{where} is '{shown(text)}': {problem}")


def _check_type(type_: Any, where: str, scope: str, part: str, name: str) -> None:
    """Raise ConfigError unless a type is a registered class of the toolboxes or this package, and a harmless one."""
    if isinstance(type_, str) and type_ in _OWN:
        return
    prefix, _, word = type_.rpartition('.') if isinstance(type_, str) else ('', '', '')
    if not word.isidentifier() or prefix not in ('', *_SCOPED):
        raise ConfigError(f"{where} is '{shown(type_)}': expected the name of a registered type of mmdet, mmseg or "
                          'mmvision_mamba')
    if word in _REFUSED:
        raise ConfigError(f"{where} is '{shown(type_)}', which reads or writes files of its own: a shared config has "
                          'no such type')
    if (name == 'collate_fn' and type_ in _COLLATE) or (part in _MODELS and type_ in _OPERATORS):
        return
    if not _is_registered(word, prefix or scope, _BUILT_BY.get(part, ())):
        raise ConfigError(f"{where} is '{shown(type_)}': no class of that name is registered by mmdet, mmseg or "
                          f'mmvision_mamba for the {part} of a config')


def _is_registered(word: str, scope: str, names: Sequence[str]) -> bool:
    """Whether a word names classes of the toolboxes, and no others, in registries."""
    found = []
    for name in names:
        root = getattr(registries, name)
        with root.switch_scope_and_registry(scope if scope in SCOPES else None) as here:
            found += [cls for cls in (_look_up(here, word), _look_up(root, word)) if cls is not None]
    return bool(found) and all(inspect.isclass(cls) and cls.__module__.partition('.')[0] in _PACKAGES for cls in found)


def _look_up(registry: Registry, name: str) -> Any:
    """What is registered under a name; never what `Registry.get` would import for it."""
    registry.import_from_location()
    return registry.module_dict.get(name)
