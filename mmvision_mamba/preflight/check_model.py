"""Check that the parts of a model fit its backbone and its data sets; each error names the value to set."""
from collections.abc import Iterator, Sequence
from importlib import import_module

from mmengine import Config

from ..backbones.family import resolve_arch
from ..errors import ConfigError
from ..printable import shown
from ..text import class_name, did_you_mean, shortened
from .check_model_inputs import check_inputs, check_normalisation, check_test_modes
from .datasets import datasets_of, metainfo_of

# Necks that list their channels from the deepest level up, or of some levels only.
_OTHER_ORDER = ('YOLOV3Neck', 'SSDNeck', 'JPU')
# Parts whose number of classes is not the data set's: proposals are of one class; the stuff of HTC and SCNet has
# classes of its own. MOTChallenge's data set names thirteen classes, of which trackers have one.
_OTHER_CLASSES = ('backbone', 'neck', 'rpn_head', 'data_preprocessor', 'train_cfg', 'test_cfg')
_OTHER_CLASSES_TYPES = ('FusedSemanticHead', 'SCNetSemanticHead')
_OTHER_CLASSES_DATASETS = ('MOTChallengeDataset',)


def check_model(cfg: Config, splits: Sequence[str]) -> None:
    """Check the channels and numbers of classes of each model in `cfg.model` whose backbone is a MambaVision.

    Args:
        cfg: of an experiment; models inside others (teachers, test-time augmentation) are checked too.
        splits: of 'train', 'val', 'test': the data sets whose classes count.

    Raises:
        ConfigError: `in_channels` are not the backbone's channels, a number of classes is not the data set's, more
            instances are wanted than queries and classes give, a kind of NMS is none of mmcv's, or
            `check_inputs`, `check_normalisation` or `check_test_modes` raises one.
    """
    check_test_modes(cfg)
    check_inputs(cfg.model)
    check_nms(cfg.model, 'model')
    for where, model in _models(cfg.model, 'model'):
        _check_channels(where, model)
        check_normalisation(where, model, _bands(model['backbone']))
        if {'val', 'test'} & set(splits):
            _check_most_instances(where, model)
        if 'language_model' not in model:  # open-vocabulary heads have no fixed classes
            for split in splits:
                for place, dataset, cls in datasets_of(cfg, split):
                    if dataset.get('metainfo') is None and cls.__name__ in _OTHER_CLASSES_DATASETS:
                        continue
                    metainfo = metainfo_of(dataset, cls)
                    _check_classes(where, model, place, metainfo)


def check_nms(node, where: str) -> None:
    """Raise ConfigError where `nms.type` is no function of mmcv's, which looks for it in the first validation."""
    if isinstance(node, list | tuple):
        for i, item in enumerate(node):
            check_nms(item, f'{where}.{i}')
    elif isinstance(node, dict):
        for key, item in node.items():
            check_nms(item, f'{where}.{key}')
        kind = (node.get('nms') or {}).get('type') if isinstance(node.get('nms'), dict) else None
        if kind is not None:
            known = [name for name in dir(import_module('mmcv.ops.nms')) if 'nms' in name.split('_')]
            if kind not in known:
                raise ConfigError(f'{where}.nms.type is {shown(kind)!r}{did_you_mean(str(kind), known)}: expected a '
                                  f'function of mmcv.ops.\nSet {where}.nms.type=nms or soft_nms')


def _models(node, where: str) -> Iterator[tuple[str, dict]]:
    """(place, dict) of each model with a MambaVision as its backbone, wherever it is nested."""
    if isinstance(node, list | tuple):
        for i, item in enumerate(node):
            yield from _models(item, f'{where}.{i}')
    elif isinstance(node, dict):
        if isinstance(node.get('backbone'), dict) and _features(node['backbone']) is not None:
            yield where, node
        for key, item in node.items():
            yield from _models(item, f'{where}.{key}')


def _features(backbone: dict) -> list[int] | None:
    """Channels of the feature maps that a backbone returns; None if it is no MambaVision or its indices are invalid."""
    name = class_name(backbone.get('type'))
    if name == 'MambaVision':
        dim = resolve_arch(backbone.get('arch', 'tiny'))['dim']
    elif name == 'MM_mamba_vision' and isinstance(backbone.get('dim'), int):
        dim = backbone['dim']
    else:
        return None
    indices = backbone.get('out_indices', (0, 1, 2, 3))
    valid = isinstance(indices, list | tuple) and all(i in range(4) for i in indices)
    return [dim * 2**i for i in indices] if valid else None  # None: the backbone's own error says it best


def _bands(backbone: dict) -> int:
    """Bands of the images that a backbone takes."""
    if class_name(backbone['type']) != 'MambaVision':
        return 3
    return resolve_arch(backbone.get('arch', 'tiny'))['in_channels']


def _check_channels(where: str, model: dict) -> None:
    features = _features(model['backbone'])
    for place, part in _readers(where, model):
        for key, expected in _expected_channels(place, part, features):
            channels = part[key]
            if (list(channels) if isinstance(channels, list | tuple) else channels) != expected:
                value = str(expected).replace(' ', '')
                raise ConfigError(
                    f'{place}.{key} is {channels}, but the backbone gives {features} channels '
                    f'({_description(model["backbone"])}).\nSet {place}.{key}={value}')


def _description(backbone: dict) -> str:
    name = repr(backbone.get('arch', 'tiny')) if isinstance(backbone.get('arch', 'tiny'), str) else ''
    indices = tuple(backbone.get('out_indices', (0, 1, 2, 3)))
    return f'{backbone["type"]} {name if "dim" not in backbone else ""}'.strip() + f', out_indices {indices}'


def _readers(where: str, model: dict) -> Iterator[tuple[str, dict]]:
    """(place, dict) of the parts that take the backbone's features: the first neck, or without one the heads."""
    if model.get('neck'):
        neck, several = model['neck'], isinstance(model['neck'], list | tuple)
        yield f'{where}.neck{".0" if several else ""}', neck[0] if several else neck
        return
    for key, heads in model.items():
        if key.endswith('head') and heads:
            several = isinstance(heads, list | tuple)
            for i, head in enumerate(heads if several else [heads]):
                yield f'{where}.{key}{f".{i}" if several else ""}', head


def _expected_channels(place: str, part: dict, features: list[int]) -> Iterator[tuple[str, int | list[int]]]:
    """(key, expected value) for each key of `part` that says the channels of its input features."""
    if class_name(part.get('type')) in _OTHER_ORDER:
        return
    several = isinstance(part.get('in_channels'), list | tuple)
    # mmseg's heads choose features by their positions; mmdet's take all, or the last.
    index = part.get('in_index', tuple(range(len(features))) if several else -1)
    positions = index if isinstance(index, list | tuple) else [index]
    outside = [i for i in positions if i not in range(-len(features), len(features))]
    if outside:
        raise ConfigError(f'{place}.in_index is {index}, but the backbone returns {len(features)} features: put '
                          f'positions from 0 to {len(features) - 1}, or add stages to backbone.out_indices')
    if 'in_channels' in part:
        yield 'in_channels', [features[i] for i in positions] if several else features[positions[-1]]
    if part.get('c1_in_channels'):  # DeepLabV3+
        yield 'c1_in_channels', features[0]


def class_counts(node, where: str) -> Iterator[tuple[str, dict, str]]:
    """(place, dict, key) of each number of classes in a model's config: the key is 'num_classes', or in panoptic heads
    'num_things_classes' and 'num_stuff_classes'."""
    if isinstance(node, list | tuple):
        for i, item in enumerate(node):
            yield from class_counts(item, f'{where}.{i}')
    elif isinstance(node, dict) and node.get('type') not in _OTHER_CLASSES_TYPES:
        for key, item in node.items():
            if key in ('num_classes', 'num_things_classes', 'num_stuff_classes') and isinstance(item, int):
                yield where, node, key
            elif key not in _OTHER_CLASSES:
                yield from class_counts(item, f'{where}.{key}')


def weights_of_classes(head: dict) -> list | None:
    """Class weights in a MaskFormer head's loss, the last of "no object"; None for other heads, or without weights."""
    weights = (head.get('loss_cls') or {}).get('class_weight')
    return weights if 'MaskFormer' in str(head.get('type')).replace('Mask2Former', 'MaskFormer') else None


def _check_classes(where: str, model: dict, place: str, metainfo: dict) -> None:
    classes = metainfo.get('classes')
    if not isinstance(classes, list | tuple):
        return
    things = len(metainfo.get('thing_classes') or classes)
    expected = dict(num_classes=things, num_things_classes=things,
                    num_stuff_classes=len(metainfo.get('stuff_classes') or ()))
    wrong = {}  # key: (value in the config, value to set)
    for part, head, key in class_counts(model, where):
        if head[key] != expected[key] and not (key == 'num_classes' and head.get('out_channels') == 1):
            wrong[f'{part}.{key}'] = (head[key], expected[key])
        weights, total = weights_of_classes(head), len(classes)
        if key != 'num_stuff_classes' and weights is not None and len(weights) != total + 1:
            value = ','.join(['1.0'] * total + ['0.1']) if total <= 8 else f'[1.0] * {total} + [0.1]'
            wrong[f'{part}.loss_cls.class_weight'] = (f'of length {len(weights)}', value)
    if wrong:
        current = ', '.join(f'{key} is {value}' for key, (value, _) in wrong.items())
        raise ConfigError(f'{current}, but {place} has {len(classes)} classes ({shortened(classes)}).\nSet '
                          + ' '.join(f'{key}={value}' for key, (_, value) in wrong.items()))


def _check_most_instances(where: str, model: dict) -> None:
    """Raise ConfigError where a model of queries shall find more instances than it has pairs of a query and a class.

    mmdet takes so many of the best pairs, and fails at the first image: "selected index k out of range".
    """
    test = model.get('test_cfg') or {}
    masks, boxes = model.get('panoptic_head') or {}, model.get('bbox_head') or {}
    if 'num_things_classes' in masks and test.get('instance_on'):
        place, key, most = f'{where}.panoptic_head', 'max_per_image', test.get('max_per_image', 100)
        queries = masks.get('num_queries', 100)
        classes = masks['num_things_classes'] + masks.get('num_stuff_classes', 0)
    elif 'num_queries' in model and 'num_classes' in boxes:
        place, key, most = where, 'max_per_img', test.get('max_per_img', 0)
        queries = model['num_queries']
        classes = boxes['num_classes'] if (boxes.get('loss_cls') or {}).get('use_sigmoid') else 1
    else:
        return
    if all(isinstance(n, int) for n in (most, queries, classes)) and most > queries * classes > 0:
        raise ConfigError(
            f'{where}.test_cfg.{key} is {most}, but {place}.num_queries={queries} and {classes} '
            f'class{"es" if classes > 1 else ""} make {queries * classes} candidates at most.\n'
            f'Set {where}.test_cfg.{key}={queries * classes}')
