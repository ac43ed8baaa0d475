"""Find misspelt keys of a config, which mmengine would ignore in silence or answer with a traceback."""
import difflib
import inspect
import os
import re
import sys

from mmengine.config import Config
from mmengine.runner import Runner

from ..errors import ConfigError
from ..text import did_you_mean

KEYS = {*inspect.signature(Runner.__init__).parameters, 'auto_scale_lr', 'custom_imports', 'tta_model', 'tta_pipeline',
        'runner_type', 'find_unused_parameters', 'model_wrapper_cfg'} - {'self'}
_VARIABLES = {'train_pipeline', 'val_pipeline', 'test_pipeline'}


def check_keys(cfg: Config, path: str | os.PathLike) -> None:
    """Raise ConfigError for a top-level key that is nearly one that a run reads, such as `optim_wraper`.

    Other unknown keys are allowed, as by mmengine: configs keep variables there.
    """
    for key in cfg:
        close = difflib.get_close_matches(key, KEYS, n=1, cutoff=0.85) if key not in KEYS | _VARIABLES else ()
        if close and len(key) >= 8 and (close[0] not in key or key == f'{close[0]}s'):
            raise ConfigError(f"{path}: nothing reads the key '{key}' (did you mean '{close[0]}'?).\n"
                              'Correct it; if it is a variable of yours, give it a name less alike.')


def unknown_argument(error: TypeError, built: type | None) -> str | None:
    """Message for a TypeError that an argument in a config caused; None where it may be a bug.

    Args:
        error: with its traceback.
        built: the class that was being built from the config, if any.
    """
    text = str(error)
    match = re.search(r"([\w.]+)\(\) got an unexpected keyword argument '(\w+)'", text)
    name = match[1].removesuffix('.__init__').split('.')[-1] if match else None
    if built is not None and (not match or name in {'__init__', *(cls.__name__ for cls in built.__mro__)}):
        if match:
            return (f"{built.__name__} has no argument '{match[2]}'{_valid_arguments(match[2], built)}.\n"
                    'If it is from a config that yours builds on, put _delete_=True beside the type')
        if 'takes no arguments' in text:
            return f'{built.__name__} takes no arguments: remove all but its type'
        if 'required positional argument' in text or 'required keyword' in text:
            return f'{built.__name__}: {error}'
    if _raised_in_openmmlab(error):  # in a call with arguments from the config
        if match:
            suggestion = _dataloader_suggestion(match[2]) if name == 'DataLoader' else ''
            return f"{name} has no argument '{match[2]}'{suggestion}"
        if 'hook should be an instance of Hook or dict' in text:
            return f'default_hooks: {text}'
    return None


def _valid_arguments(name: str, cls: type) -> str:
    valid = arguments_of(cls)
    return f'{did_you_mean(name, valid)}; valid ones: {", ".join(valid) or "none"}'


def _dataloader_suggestion(name: str) -> str:
    from torch.utils.data import DataLoader
    return f'{did_you_mean(name, arguments_of(DataLoader))} (a dataloader of the config)'


def arguments_of(cls: type) -> list[str]:
    """Names of a constructor's arguments, and of its bases' where `**kwargs` pass theirs on."""
    return list(parameters_of(cls))


def parameters_of(cls: type) -> dict[str, inspect.Parameter]:
    """The arguments of a constructor, and of its bases' where `**kwargs` pass theirs on."""
    found: dict[str, inspect.Parameter] = {}
    for base in cls.__mro__:
        if '__init__' not in vars(base):
            continue
        parameters = inspect.signature(base.__init__).parameters.values()
        found = {p.name: p for p in parameters if p.name != 'self'
                 and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)} | found
        if not any(p.kind == p.VAR_KEYWORD for p in parameters):
            break
    return found


def _raised_in_openmmlab(error: Exception) -> bool:
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    name = traceback.tb_frame.f_globals.get('__name__', '') if traceback is not None else ''
    return name in sys.modules and name.startswith(('mmengine.', 'mmcv.'))
