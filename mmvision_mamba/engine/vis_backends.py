"""Where training curves are written: visualisation backends that never stop the training they show."""
import logging
import os
from importlib.util import find_spec

from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.registry import VISBACKENDS
from mmengine.visualization import BaseVisBackend, LocalVisBackend, WandbVisBackend

from ..errors import ConfigError

CHOICES = dict(local='LocalVisBackend', tensorboard='TensorboardVisBackend', wandb='NonBlockingWandbVisBackend')


def use_vis_backends(cfg: Config, chosen: str | None = None) -> None:
    """Set the backends of `cfg.visualizer`.

    Args:
        cfg: changed in place. Backends it names already keep their settings.
        chosen: comma-separated names of `CHOICES`, written to beside `scalars.json`, or 'none', not even that. Default:
            those of the config, `scalars.json`, and TensorBoard where it is installed.

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
        if 'wandb' in names and 'WandbVisBackend' in present:  # the config's own, with its settings
            types[types.index(CHOICES['wandb'])] = 'WandbVisBackend'
    cfg.visualizer.vis_backends = [present.get(t, dict(type=t)) for t in types]


def guard_vis_backends(visualizer) -> None:
    """Have every backend but the local one switched off, with a warning, instead of raising."""
    for name, backend in visualizer._vis_backends.items():
        if not isinstance(backend, LocalVisBackend | GuardedVisBackend):
            visualizer._vis_backends[name] = GuardedVisBackend(backend)


class GuardedVisBackend:
    """A backend whose first failure switches it off: a warning is logged and whatever else it is told is dropped.

    Such failures are a package that isn't installed, a service that can't be reached, a full disk.

    Args:
        backend: the one to use. Its other attributes, as `experiment`, are this object's too.
    """

    def __init__(self, backend: BaseVisBackend):
        self._backend = backend
        self._failed = False

    def __getattr__(self, name):
        value = getattr(self._backend, name)
        if not callable(value) or not (name.startswith('add_') or name == 'close'):
            return value

        def guarded(*args, **kwargs):
            if self._failed:
                return
            try:
                value(*args, **kwargs)
            except Exception as error:
                self._failed = True
                print_log(f'{type(self._backend).__name__} failed and is switched off; the run goes on without it: '
                          f'{type(error).__name__}: {error}', logger='current', level=logging.WARNING)
        return guarded


@VISBACKENDS.register_module()
class NonBlockingWandbVisBackend(WandbVisBackend):
    """mmengine's W&B backend that waits for nobody: without an API key it logs offline instead of asking for one.

    Nor does it upload the Python files below the working directory, which may hold a whole virtual environment.

    Args:
        As of `WandbVisBackend`; `init_kwargs`, those of `wandb.init`, may set project, name, mode and so on.
    """

    def _init_env(self) -> None:
        import wandb
        options = dict(self._init_kwargs or {})
        if 'mode' not in options and 'WANDB_MODE' not in os.environ and not wandb.login(prompt=False):
            options['mode'] = 'offline'
            print_log(f'W&B: no API key found (wandb login), so the run is logged offline, to {self._save_dir}/wandb; '
                      '`wandb sync` uploads it later', logger='current', level=logging.WARNING)
        self._init_kwargs = options
        super()._init_env()

    def add_config(self, config: Config, **kwargs) -> None:
        self.experiment.config.update(config.to_dict(), allow_val_change=True)
