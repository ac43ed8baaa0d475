"""Read the config of an experiment: apply overrides, check its keys, find custom data."""
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from mmengine.config import Config
from mmengine.registry import init_default_scope

from ..configs import find_config, is_checkpoint
from ..errors import ConfigError, UserError
from ..installation import explaining, problem
from ..printable import shown
from ..processes import print_once
from ..published import LICENCE, WORD, published_weights
from .bounds import check_files, check_numbers
from .custom_data import use_custom_data
from .datasets import override_data_root, read_class_names, unwrap_data_roots
from .keys import check_keys
from .overrides import check_overrides
from .panoptic import name_parts
from .value_types import check_override_types

_BUILDING = threading.RLock()


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """For functions that read a config, or build by one: they run in one thread at a time.

    mmengine's default scope, by which types are looked up, is the process's, and looking one up changes it for a while.
    """
    with _BUILDING:
        yield


@explaining('reading a config')  # a toolbox is imported; it asserts, for example, that it takes mmcv's version
@one_at_a_time()
def read_config(path: str | os.PathLike, options: Mapping | None = None, needs: Sequence[str] = ('model',),
                find_data: bool = True, refuse_broken: bool = False, trained: bool = False, tests: bool = False,
                model_classes: Sequence[str] | None = None) -> Config:
    """Read the config of an experiment, and import its toolbox.

    Args:
        path: config file, or the name of one that comes with this package; see `find_config`.
        options: settings to override, by dotted keys; `data_root` moves every path below the old one. Default: none.
        needs: top-level keys that must be there. Default: ('model',).
        find_data: replace `custom_data` by what lies below `data_root`; see `use_custom_data`. Default: True.
        refuse_broken: raise for broken masks among that data, rather than leave them to later checks. Default: False.
        trained: a checkpoint is to be loaded into the model; see `use_bands`. Default: False.
        tests, model_classes: see `use_custom_data`.

    Raises:
        ConfigError: the file is missing, is no valid config, lacks a key, or an override can't be applied.
    """
    if is_checkpoint(path):
        raise ConfigError(f'{path} is a checkpoint: a config is expected here, as it lies beside a checkpoint of a run')
    path = find_config(path)
    check_files(Path(path))
    try:
        cfg = Config.fromfile(path)
    except SyntaxError as error:  # mmengine executes a copy: name the file as the user knows it
        raise ConfigError(f'{path}: syntax error in line {error.lineno}: {error.msg}: '
                          f'{shown((error.text or "").strip(), 200)}') from error
    except UserError:
        raise
    except Exception as error:
        if (known := problem(error, str(path))) is not None:
            raise known from error
        raise ConfigError(f'{path} can not be read as a config: {type(error).__name__}: '
                          f'{shown(" ".join(str(error).split()), 500)}') from error
    options = dict(options or {})
    data_root = options.pop('data_root', None)  # a folder may have any name
    check_overrides(cfg, options)
    check_override_types(cfg, options)
    try:
        cfg.merge_from_dict(options)
    except (KeyError, TypeError, AssertionError, IndexError) as error:
        raise ConfigError(f'the override of {", ".join(options)} can not be applied: {error}') from error
    if cfg.get('load_from') == WORD:
        cfg.load_from = published_weights(path)
        print_once(f'Licence of the weights: {LICENCE}')
    check_numbers(cfg._cfg_dict)
    check_keys(cfg, path)
    if not cfg.get('default_scope'):
        raise ConfigError(f"{path} has no default_scope: add default_scope = 'mmdet' or 'mmseg'")
    if not str(cfg.default_scope).isidentifier():
        raise ConfigError(f'default_scope is {shown(cfg.default_scope)!r}: expected the name of a package')
    for key in needs:
        if not cfg.get(key):
            raise ConfigError(f"{path} has no '{key}': it is not the config of an experiment")
    if data_root is not None and cfg.get('custom_data'):
        cfg.data_root = str(data_root)
    elif data_root is not None:
        override_data_root(cfg, str(data_root))
    try:
        init_default_scope(cfg.default_scope)
    except ImportError as error:
        if (known := problem(error, str(path))) is not None:
            raise known from error
        raise ConfigError(f'{path} needs {cfg.default_scope}: {error}') from error
    name_parts(cfg._cfg_dict)
    for note in read_class_names(cfg):
        print_once(note)
    if find_data and (summary := use_custom_data(
            cfg, refuse_broken, 'model' in needs, trained, tests, model_classes)):
        print_once(summary)
    unwrap_data_roots(cfg)
    return cfg
