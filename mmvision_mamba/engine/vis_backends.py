"""Visualisation backends, which write the training curves: chosen by name, and guarded against ending the run."""
import contextlib
import errno
import logging
import os
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.registry import VISBACKENDS
from mmengine.visualization import BaseVisBackend, LocalVisBackend, WandbVisBackend
from torch import nn

from ..errors import ConfigError
from ..text import class_name
from .config_files import write_config

CHOICES = dict(local='LocalVisBackend', tensorboard='TensorboardVisBackend', wandb='NonBlockingWandbVisBackend',
               mlflow='SafeMLflowVisBackend', clearml='SafeClearMLVisBackend', dvclive='SafeDVCLiveVisBackend',
               aim='SafeAimVisBackend', neptune='SafeNeptuneVisBackend', comet='CometVisBackend')
# The backends of mmengine that those stand for: one that a config names keeps its settings.
_PLAIN = {'NonBlockingWandbVisBackend': 'WandbVisBackend', **{
    f'Safe{name}VisBackend': f'{name}VisBackend' for name in ('MLflow', 'ClearML', 'DVCLive', 'Aim', 'Neptune')}}


def use_vis_backends(cfg: Config, chosen: str | None = None) -> None:
    """Set the backends of `cfg.visualizer`.

    Args:
        cfg: changed in place. Backends it names already keep their settings.
        chosen: comma-separated names of `CHOICES`, used besides 'local', which writes `scalars.json`; 'none': no
            backend at all. Default: those of the config, 'local', and TensorBoard where it is installed.

    Raises:
        ConfigError: an unknown name, or 'none' beside others.
    """
    if not cfg.get('visualizer'):
        cfg.visualizer = dict(type='Visualizer')
    present = cfg.visualizer.get('vis_backends') or []
    present = {b['type']: b for b in ([present] if isinstance(present, dict) else present)}
    if chosen is None:
        names = ['local', *(['tensorboard'] if find_spec('tensorboard') else [])]
        types = list(present) + [t for t in map(CHOICES.get, names) if t not in present]
    else:
        names = [name.strip() for name in chosen.split(',')]
        unknown = [name for name in names if name not in (*CHOICES, 'none')]
        if unknown or ('none' in names and len(names) > 1):
            raise ConfigError(f'--vis {chosen}: expected none, or some of {", ".join(CHOICES)}, with commas between')
        types = [] if names == ['none'] else list(dict.fromkeys(CHOICES[name] for name in ['local', *names]))
        types = [_PLAIN[t] if _PLAIN.get(t) in present else t for t in types]
    cfg.visualizer.vis_backends = [present.get(t, dict(type=t)) for t in types]


def guard_vis_backends(visualizer: dict) -> dict:
    """Copy of a visualizer's config in which a `GuardedVisBackend` of the same name wraps each backend.

    Guarded ones stay as they are.
    """
    backends = visualizer.get('vis_backends')
    if not backends:
        return dict(visualizer)
    backends = [backends] if isinstance(backends, dict | BaseVisBackend) else backends
    return {**visualizer, 'vis_backends': [_guarded(b) for b in backends]}


def _guarded(backend: dict | BaseVisBackend) -> dict | BaseVisBackend:
    """Config of a `GuardedVisBackend` that wraps `backend`, a config or a backend that is built already."""
    if isinstance(backend, BaseVisBackend):
        name, type_ = None, type(backend)
    else:
        backend = dict(backend)
        name, type_ = backend.pop('name', None), backend.get('type')
        if isinstance(type_, str):
            type_ = VISBACKENDS.get(type_) or type_  # unknown: building it says so
    if type_ is GuardedVisBackend:
        return backend if name is None else {**backend, 'name': name}
    # mmengine's name for it, by which `Visualizer.get_backend` finds it
    return dict(type='GuardedVisBackend', name=name or class_name(type_), backend=backend)


@VISBACKENDS.register_module()
class GuardedVisBackend(BaseVisBackend):
    """Wraps a backend so that its failures don't end the training.

    - `LocalVisBackend`: a full disk is logged as an error, and the record is lost. Other errors are raised.
    - Any other: its first failure (a package that isn't installed, a service that can't be reached, a full disk)
      switches it off. A warning is logged, and all later records are dropped.

    Args:
        backend: the wrapped backend, or its config. Its other attributes, such as `experiment`, can be read here too.
        save_dir: folder of the wrapped backend, unless its config names one or it is built already.
    """

    _backend: BaseVisBackend | None = None
    _failed = False

    def __init__(self, backend: dict | BaseVisBackend, save_dir: str):
        if isinstance(backend, BaseVisBackend):
            super().__init__(save_dir)
            self._name, self._backend = type(backend).__name__, backend
            return
        super().__init__(backend.get('save_dir', save_dir))
        self._name = class_name(backend.get('type'))
        try:
            self._backend = VISBACKENDS.build({**backend, 'save_dir': self._save_dir})
        except ImportError as error:  # most import their package later, at the first record
            self._switch_off(error)

    def _init_env(self) -> None:
        """Do nothing: the wrapped backend initialises itself at its first record."""

    @property
    def experiment(self) -> Any:
        return self._backend.experiment

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def add_config(self, config: Config, **kwargs) -> None:
        self._call('add_config', config, **kwargs)
        # mmengine 0.10.7 has no seam here: it dumps the config by itself.
        if self._name == 'LocalVisBackend' and (path := getattr(self._backend, '_config_save_file', None)):
            with contextlib.suppress(OSError):  # where `_call` has logged it
                write_config(config, Path(path))

    def add_graph(self, model: nn.Module, data_batch: Sequence[dict], **kwargs) -> None:
        self._call('add_graph', model, data_batch, **kwargs)

    def add_image(self, name: str, image: np.ndarray, step: int = 0, **kwargs) -> None:
        self._call('add_image', name, image, step, **kwargs)

    def add_scalar(self, name: str, value: float, step: int = 0, **kwargs) -> None:
        self._call('add_scalar', name, value, step, **kwargs)

    def add_scalars(self, scalar_dict: dict, step: int = 0, file_path: str | None = None, **kwargs) -> None:
        self._call('add_scalars', scalar_dict, step, file_path, **kwargs)

    def close(self) -> None:
        self._call('close')

    def _call(self, method: str, *args, **kwargs) -> None:
        """Call a method of the wrapped backend, and handle its errors as the class says."""
        if self._failed:
            return
        try:
            getattr(self._backend, method)(*args, **kwargs)
        except (Exception, SystemExit) as error:  # some packages end the process where they can't go on
            if not isinstance(self._backend, LocalVisBackend):
                self._switch_off(error)
            elif isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                print_log(f'{method}: {error.strerror}; training goes on without this record.', logger='current',
                          level=logging.ERROR)
            else:
                raise

    def _switch_off(self, error: Exception) -> None:
        self._failed = True
        print_log(f'{self._name} failed and is switched off; the run goes on without it: {type(error).__name__}: '
                  f'{error}', logger='current', level=logging.WARNING)


@VISBACKENDS.register_module()
class NonBlockingWandbVisBackend(WandbVisBackend):
    """mmengine's W&B backend without its prompt: where there is no API key, it logs offline.

    Nor does it upload the Python files below the working directory, which may hold a whole virtual environment.

    Args:
        As of `WandbVisBackend`; `init_kwargs`, those of `wandb.init`, may set project, name, mode and so on.
    """

    def _init_env(self) -> None:
        import wandb
        # mmengine 0.10.7 has no seam here: one method completes the arguments of `wandb.init` and calls it.
        options = dict(self._init_kwargs or {})
        if 'mode' not in options and 'WANDB_MODE' not in os.environ and not wandb.login(prompt=False):
            options['mode'] = 'offline'
            print_log(f'W&B: no API key found (wandb login), so the run is logged offline, to {self._save_dir}/wandb; '
                      '`wandb sync` uploads it later', logger='current', level=logging.WARNING)
        self._init_kwargs = options
        super()._init_env()

    def add_config(self, config: Config, **kwargs) -> None:
        self.experiment.config.update(config.to_dict(), allow_val_change=True)
