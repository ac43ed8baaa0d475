"""Check how a run goes through its data: what PyTorch and mmengine refuse late, with a traceback, or never end."""
import inspect
import warnings
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from numbers import Integral, Real
from types import MappingProxyType

from mmengine import Config
from mmengine.dataset import BaseDataset, Compose
from mmengine.registry import DATA_SAMPLERS, FUNCTIONS, OPTIMIZERS
from torch.utils.data import DataLoader

from ..datasets.image_files import size_of
from ..errors import ConfigError
from ..limits import check_workers
from ..processes import warn_once
from ..text import class_name
from .datasets import build_without_pipeline, datasets_of
from .image_sizes import sizes_of
from .keys import arguments_of
from .tiles import tile_of
from .value_types import check_argument_types

_OF_WORKERS = ('persistent_workers', 'prefetch_factor', 'timeout', 'multiprocessing_context')
_ENDLESS = ('InfiniteSampler', 'MultiSourceSampler', 'GroupMultiSourceSampler')  # of mmengine and mmdet
_BY_CONFIG = ('dataset', 'sampler', 'batch_sampler', 'batch_size', 'collate_fn', 'worker_init_fn')


def without_idle_options(loader: Mapping) -> dict:
    """A data loader's config without the options of workers where `num_workers` is 0, which PyTorch refuses there."""
    return {key: value for key, value in loader.items() if loader.get('num_workers') or key not in _OF_WORKERS}


def check_loaders(cfg: Config, splits: Sequence[str]) -> None:
    """Check the batch sizes, samplers and options of the data loaders of `splits`.

    Raises:
        ConfigError: PyTorch or mmengine would refuse them.
    """
    for split in splits:
        if isinstance(loader := cfg.get(f'{split}_dataloader'), Mapping):
            _check_loader(f'{split}_dataloader', loader)


def _check_loader(where: str, loader: Mapping) -> None:
    size = loader.get('batch_size', None if loader.get('batch_sampler') else 1)
    if not isinstance(size, Integral) or isinstance(size, bool) or size < 1:
        raise ConfigError(f'{where}.batch_size is {size!r}: expected a number of images, 1 or more')
    workers = loader.get('num_workers', 0)
    if not isinstance(workers, Integral) or isinstance(workers, bool):
        raise ConfigError(f'{where}.num_workers is {workers!r}: expected a number of processes, 0 or more')
    check_workers(int(workers), f'{where}.num_workers')
    collate = loader.get('collate_fn')
    name = collate.get('type') if isinstance(collate, Mapping) else None
    if isinstance(name, str) and '.' not in name and FUNCTIONS.get(name) is None:
        raise ConfigError(f"{where}.collate_fn is {name!r}, which is not registered: 'pseudo_collate' keeps images of "
                          "several sizes apart, 'default_collate' stacks them")
    if not loader.get('sampler'):
        raise ConfigError(f"{where} has no sampler: set {where}.sampler.type=DefaultSampler and "
                          f'{where}.sampler.shuffle={"train" in where}')
    known = inspect.signature(DataLoader).parameters
    options = {key: value for key, value in without_idle_options(loader).items()
               if key in known and key not in _BY_CONFIG}
    order = dict(batch_sampler=[[0]]) if loader.get('batch_sampler') else dict(batch_size=size, sampler=[0])
    try:
        with warnings.catch_warnings():  # of more workers than cores: said again when the loader is built
            warnings.simplefilter('ignore')
            DataLoader([0], **order, **options)
    except (ValueError, TypeError) as error:
        problem = str(error).split('\n')[0]
        hint = ''
        if 'mutually exclusive' in problem:
            hint = f'.\nThe order of images is {where}.sampler.shuffle, incomplete batches are ' \
                   f'{where}.batch_sampler.drop_last; remove both from {where} itself' if loader.get('batch_sampler') \
                   else f'.\nThe order of images is {where}.sampler.shuffle; remove shuffle from {where} itself'
        raise ConfigError(f'{where}: {problem}{hint}') from error


def check_training(cfg: Config) -> None:
    """Check that the training loop ends, does something, and validates and saves where it is meant to.

    Raises:
        ConfigError: a loop over epochs that never end, a length or an interval that is no positive number, a part of
            what validation needs is missing, or an argument has a value of another type.
    """
    check_argument_types(cfg)
    seed = (cfg.get('randomness') or {}).get('seed')
    if seed is not None and (not isinstance(seed, Integral) or not 0 <= seed < 2**32):
        raise ConfigError(f'randomness.seed is {seed!r}: expected a whole number from 0 to 2³² - 1')
    base = (cfg.get('auto_scale_lr') or {}).get('base_batch_size')
    if base is not None:
        _check_positive('auto_scale_lr.base_batch_size', base)
    _check_all_or_none(cfg, 'val')
    loop = cfg.get('train_cfg') or {}
    if 'type' not in loop and 'by_epoch' not in loop:
        raise ConfigError("train_cfg has no type: add type='EpochBasedTrainLoop' with max_epochs, or "
                          "type='IterBasedTrainLoop' with max_iters")
    if 'type' in loop and 'by_epoch' in loop:
        raise ConfigError('train_cfg has a type and by_epoch, which say the same: keep one of them')
    kind = class_name(loop['type']) if 'type' in loop else \
        'EpochBasedTrainLoop' if loop['by_epoch'] else 'IterBasedTrainLoop'
    if 'EpochBasedTrainLoop' in kind:
        _check_length('max_epochs', loop)
        _check_epochs_end(cfg)
    elif 'IterBasedTrainLoop' in kind:
        _check_length('max_iters', loop)
    else:
        return  # of another library: it knows its arguments
    length = loop.get('max_epochs', loop.get('max_iters'))
    if 'val_interval' in loop:
        _check_positive('train_cfg.val_interval', loop['val_interval'])
    if 'val_begin' in loop:
        _check_positive('train_cfg.val_begin', loop['val_begin'])
    if cfg.get('val_cfg') is not None and loop.get('val_begin', 1) > length:
        warn_once(f'train_cfg.val_begin is {loop["val_begin"]}, after the end of the training at {length}: it is never '
                  'validated.')
    _check_resumed_optimizer(cfg)
    logger = (cfg.get('default_hooks') or {}).get('logger') or {}
    if 'interval' in logger:
        _check_positive('default_hooks.logger.interval', logger['interval'])


def _check_resumed_optimizer(cfg: Config) -> None:
    """Raise ConfigError where a run that resumes has an optimiser with the arguments of another."""
    optimizer = (cfg.get('optim_wrapper') or {}).get('optimizer') or {}
    kind = OPTIMIZERS.get(optimizer['type']) if cfg.get('resume') and isinstance(optimizer.get('type'), str) else None
    if kind is None:
        return
    others = [key for key in optimizer if key not in ('type', *arguments_of(kind))]
    if others:
        raise ConfigError(f'optim_wrapper.optimizer: {kind.__name__} has no {", ".join(others)}; and a run is resumed '
                          'with the optimizer of its checkpoint alone.\nTo train on from its weights with another: '
                          'load_from=CHECKPOINT, without --resume, and _delete_=True in the optimizer of your config')


def _check_all_or_none(cfg: Config, split: str) -> None:
    keys = [f'{split}_{part}' for part in ('dataloader', 'cfg', 'evaluator')]
    missing = [key for key in keys if cfg.get(key) is None]
    if 0 < len(missing) < len(keys):
        raise ConfigError(f'{" and ".join(missing)} {"is" if len(missing) == 1 else "are"} None or not there, unlike '
                          f'{" and ".join(key for key in keys if key not in missing)}.\nTo leave it out set all three '
                          f'to None: {" ".join(f"{key}=None" for key in keys)}')


def _check_length(key: str, loop: Mapping) -> None:
    if key not in loop:
        other = 'max_iters' if key == 'max_epochs' else 'max_epochs'
        raise ConfigError(f'train_cfg has no {key}, the length of the training'
                          + (f': {other} is of the other kind of loop' if other in loop else ''))
    _check_positive(f'train_cfg.{key}', loop[key])


def _check_positive(key: str, value: object) -> None:
    # A float such as 1e5 is one too: mmengine takes it.
    if not isinstance(value, Real) or isinstance(value, bool) or value < 1 or value % 1:
        raise ConfigError(f'{key} is {value!r}: expected a whole number, 1 or more')


def _check_epochs_end(cfg: Config) -> None:
    sampler = cfg.train_dataloader.get('sampler')
    if not isinstance(sampler, Mapping):
        return
    kind = DATA_SAMPLERS.get(sampler['type']) if isinstance(sampler.get('type'), str) else sampler.get('type')
    if is_endless(kind):
        raise ConfigError(
            f'train_cfg counts epochs, and train_dataloader.sampler, {class_name(kind)}, has no end: the first epoch '
            'would last for ever.\nSet train_dataloader.sampler.type=DefaultSampler, or '
            'train_cfg.type=IterBasedTrainLoop with max_iters')


def is_endless(sampler: type | None) -> bool:
    """Whether samplers of this class give images without end."""
    return any(cls.__name__ in _ENDLESS for cls in getattr(sampler, '__mro__', ()))


def check_sizes(cfg: Config, splits: Sequence[str], built: Mapping[str, BaseDataset] = MappingProxyType({})) -> None:
    """Check that a segmentor's batches of several test images are of one size: mmseg stacks them as they are.

    Reads images of `splits` other than 'train', where the batch is larger than 1, until two sizes are known.

    Args:
        cfg: of the run.
        splits: of 'train', 'val', 'test'.
        built: {place in the config: data set without its pipeline}, of those that are built already.

    Raises:
        ConfigError: the images have several sizes.
    """
    if class_name((cfg.model.get('data_preprocessor') or {}).get('type')) not in (
            'SegDataPreProcessor', 'SegBandPreprocessor'):
        return
    for split in splits:
        size = (cfg.get(f'{split}_dataloader') or {}).get('batch_size', 1)
        looked_at = split != 'train' and size > 1 and tile_of(cfg, split) is None
        found = list(islice(_sizes(cfg, split, built), 2)) if looked_at else []
        if len(found) == 2:
            first, second = ('{} × {}'.format(*shape) for shape in found)
            raise ConfigError(
                f'{split}_dataloader.batch_size is {size}, but the images have several sizes (height × width: {first}, '
                f'{second}, …), which a segmentor can not stack.\nSet {split}_dataloader.batch_size=1, or Resize with '
                'keep_ratio=False in its pipeline')


def _sizes(cfg: Config, split: str, ready: Mapping[str, BaseDataset]) -> Iterator[tuple[int, int]]:
    """Different (height, width) of the images of a split, as they leave its pipeline."""
    seen, found = set(), set()  # what files say of their sizes and turns, and sizes out of the pipeline
    for where, dataset, _ in datasets_of(cfg, split):
        built = ready.get(where) or build_without_pipeline(cfg, dataset)
        pipeline = Compose(dataset['pipeline'])
        for i in range(len(built)):
            info = built.get_data_info(i)
            try:
                stored = sizes_of(info['img_path']) or size_of(info['img_path'])
                if stored in seen:
                    continue
                shape = tuple(pipeline(info)['inputs'].shape[-2:])
            except Exception:  # whatever it is, loading the image for the model tells it
                continue
            seen.add(stored)
            if shape not in found:
                found.add(shape)
                yield shape
