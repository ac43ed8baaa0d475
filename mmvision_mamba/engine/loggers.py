"""mmengine's backends for experiment trackers, such that they ask nothing and write to the run's folder alone.

Without credentials ClearML, Comet and Neptune log offline, to be uploaded later. No code, checkpoints or environments
are sent. What the config gives a backend, such as `init_kwargs`, comes before all that.
"""
import json
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.registry import VISBACKENDS
from mmengine.visualization import (
    AimVisBackend,
    BaseVisBackend,
    ClearMLVisBackend,
    DVCLiveVisBackend,
    MLflowVisBackend,
    NeptuneVisBackend,
)
from mmengine.visualization.vis_backend import force_init_env

from ..text import class_name

_LONGEST = 500  # characters of a parameter, of which MLflow's servers take no more


@VISBACKENDS.register_module()
class SafeMLflowVisBackend(MLflowVisBackend):
    """mmengine's MLflow backend, for any config: its parameters are texts that every server takes.

    Args:
        As of `MLflowVisBackend`. `tracking_uri`: the server; default: the variable MLFLOW_TRACKING_URI, or else a
            database in the run's folder.
    """

    def _init_env(self) -> None:
        try:
            import mlflow
        except ImportError:
            raise _missing('mlflow') from None
        self._mlflow = mlflow
        uri, name = self._tracking_uri or os.environ.get('MLFLOW_TRACKING_URI'), self._exp_name or 'mmvision_mamba'
        location = self._artifact_location
        if uri is None:
            folder = Path(self._save_dir).absolute()
            folder.mkdir(parents=True, exist_ok=True)
            self._artifact_suffix = None  # they are beside it
            uri, location = f'sqlite:///{folder / "mlflow.db"}', location or (folder / 'mlflow').as_uri()
        mlflow.set_tracking_uri(uri)
        if mlflow.get_experiment_by_name(name) is None:
            mlflow.create_experiment(name, artifact_location=location)
        mlflow.set_experiment(name)
        mlflow.start_run(run_name=self._run_name or _run_name(self._save_dir))
        if self._tags is not None:
            mlflow.set_tags(self._tags)
        if self._params is not None:
            mlflow.log_params(self._params)

    def add_config(self, config: Config, **kwargs) -> None:
        self.experiment  # noqa: B018  begins the run
        self.cfg = config  # whose work directory `close` gathers
        tracked = self._tracked_config_keys
        values = _flat({key: config[key] for key in (config if tracked is None else tracked)})
        items = [(_name(key), str(value)[:_LONGEST]) for key, value in values.items()]
        for i in range(0, len(items), 100):  # that a server takes at once
            self._mlflow.log_params(dict(items[i:i + 100]))
        self._mlflow.log_text(_text(config), 'config.py')

    def add_image(self, name: str, image: np.ndarray, step: int = 0, **kwargs) -> None:
        self.experiment  # noqa: B018
        self._mlflow.log_image(image, f'images/{_name(name)}_{step}.png')

    def add_scalars(self, scalar_dict: dict, step: int = 0, file_path: str | None = None, **kwargs) -> None:
        self.experiment  # noqa: B018
        self._mlflow.log_metrics({_name(key): value for key, value in _numbers(scalar_dict).items()}, step)

    def close(self) -> None:
        if hasattr(self, 'cfg') and self._artifact_suffix is not None:
            super().close()
        elif hasattr(self, '_mlflow'):
            self._mlflow.end_run()


@VISBACKENDS.register_module()
class SafeClearMLVisBackend(ClearMLVisBackend):
    """mmengine's ClearML backend; without credentials (`clearml-init`) it logs offline.

    Args:
        As of `ClearMLVisBackend`; `artifact_suffix`: of files of the work directory that are uploaded at the end.
            Default: '.py', the config, without checkpoints.
    """

    def __init__(self, save_dir: str | None = None, init_kwargs: dict | None = None,
                 artifact_suffix: Sequence[str] = ('.py',)):
        super().__init__(save_dir, init_kwargs, tuple(artifact_suffix))

    def _init_env(self) -> None:
        try:
            import clearml
        except ImportError:
            raise _missing('clearml') from None
        if not _truthy('CLEARML_OFFLINE_MODE') and not _clearml_credentials():
            clearml.Task.set_offline(True)
            _say_offline('ClearML', 'clearml-init', '~/.clearml/cache/offline',
                         "python -c \"import clearml; clearml.Task.import_offline_session('FILE')\"")
        # Else it would hook into the parser of arguments, matplotlib, TensorBoard and torch.save, and send all that.
        self._init_kwargs = dict(dict(
            project_name='mmvision_mamba', task_name=_run_name(self._save_dir),
            auto_connect_arg_parser=False, auto_connect_frameworks=False, auto_connect_streams=False,
            auto_resource_monitoring=False, reuse_last_task_id=False), **(self._init_kwargs or {}))
        super()._init_env()

    def add_config(self, config: Config, **kwargs) -> None:
        self.experiment  # noqa: B018
        self.cfg = config
        self._task.connect_configuration(_plain(config.to_dict()))

    def add_scalars(self, scalar_dict: dict, step: int = 0, file_path: str | None = None, **kwargs) -> None:
        super().add_scalars(_numbers(scalar_dict), step)


@VISBACKENDS.register_module()
class SafeNeptuneVisBackend(NeptuneVisBackend):
    """mmengine's Neptune backend; without NEPTUNE_API_TOKEN it logs offline.

    Args:
        As of `NeptuneVisBackend`.
    """

    def _init_env(self) -> None:
        try:
            import neptune  # noqa: F401
        except ImportError:
            raise _missing('neptune') from None
        options = dict(self._init_kwargs or {})
        if 'mode' not in options and not options.get('api_token') and not os.environ.get('NEPTUNE_API_TOKEN'):
            options['mode'] = 'offline'
            folder = os.environ.setdefault('NEPTUNE_DATA_DIRECTORY', str(Path(self._save_dir or '.', '.neptune')))
            _say_offline('Neptune', 'NEPTUNE_API_TOKEN', folder, f'neptune sync --path {Path(folder).parent}')
        self._init_kwargs = dict(dict(source_files=[], capture_stdout=False, capture_stderr=False,
                                      capture_hardware_metrics=False, git_ref=False), **options)
        super()._init_env()

    def add_config(self, config: Config, **kwargs) -> None:
        run = self.experiment
        from neptune.types import File
        run['config'].upload(File.from_content(_text(config)))

    def add_scalars(self, scalar_dict: dict, step: int = 0, file_path: str | None = None, **kwargs) -> None:
        super().add_scalars(_numbers(scalar_dict), step)


@VISBACKENDS.register_module()
class SafeDVCLiveVisBackend(DVCLiveVisBackend):
    """mmengine's DVCLive backend, which makes no repository of the working directory and commits nothing.

    Metrics, parameters and plots go to the folder `dvclive` beside the run's curves.

    Args:
        As of `DVCLiveVisBackend`, but no files are added to DVC by default.
    """

    def __init__(self, save_dir: str, artifact_suffix: Sequence[str] = (), init_kwargs: dict | None = None):
        super().__init__(save_dir, tuple(artifact_suffix), init_kwargs)

    def _init_env(self) -> None:
        try:
            from dvclive import Live
        except ImportError:
            raise _missing('dvclive') from None
        self._dvclive = Live(**dict(dict(dir=str(Path(self._save_dir, 'dvclive')), save_dvc_exp=False, dvcyaml=None,
                                         monitor_system=False), **(self._init_kwargs or {})))

    def add_config(self, config: Config, **kwargs) -> None:
        self.experiment.log_params(_plain(config.to_dict()))

    def add_scalars(self, scalar_dict: dict, step: int = 0, file_path: str | None = None, **kwargs) -> None:
        live = self.experiment
        live.step = step
        for key, value in _numbers(scalar_dict).items():
            live.log_metric(key, value)
        live.make_summary()


@VISBACKENDS.register_module()
class SafeAimVisBackend(AimVisBackend):
    """mmengine's Aim backend, whose repository is in the run's folder: `aim up --repo WORK_DIR/TIME/vis_data`.

    Args:
        As of `AimVisBackend`; `init_kwargs=dict(repo=…)`: one repository for several runs.
    """

    def _init_env(self) -> None:
        options = dict(self._init_kwargs or {})
        if 'repo' not in options:
            Path(self._save_dir or '.').mkdir(parents=True, exist_ok=True)
            options['repo'] = str(self._save_dir or '.')
        self._init_kwargs = dict(dict(system_tracking_interval=None, log_system_params=False,
                                      capture_terminal_logs=False), **options)
        super()._init_env()

    def add_config(self, config: Config, **kwargs) -> None:
        self.experiment['hparams'] = _plain(config.to_dict())

    def add_scalars(self, scalar_dict: dict, step: int = 0, file_path: str | None = None, **kwargs) -> None:
        super().add_scalars(_numbers(scalar_dict), step)


@VISBACKENDS.register_module()
class CometVisBackend(BaseVisBackend):
    """Logs to Comet; without COMET_API_KEY offline, to a file in the run's folder.

    Args:
        save_dir: of the run's curves.
        init_kwargs: arguments of `comet_ml.Experiment`, or of `OfflineExperiment` without a key, such as
            `project_name` and `workspace`. Default: none.
    """

    def __init__(self, save_dir: str, init_kwargs: dict | None = None):
        super().__init__(save_dir)
        self._init_kwargs = dict(init_kwargs or {})

    def _init_env(self) -> None:
        try:
            import comet_ml
        except ImportError:
            raise _missing('comet_ml') from None
        quiet = dict(log_code=False, log_graph=False, auto_param_logging=False, auto_metric_logging=False,
                     auto_output_logging=False, log_env_details=False, parse_args=False, display_summary_level=0)
        options = {**quiet, **self._init_kwargs}
        if options.get('api_key') or comet_ml.config.get_config('comet.api_key'):
            self._comet = comet_ml.Experiment(**options)
            return
        Path(self._save_dir).mkdir(parents=True, exist_ok=True)
        options.setdefault('offline_directory', self._save_dir)
        self._comet = comet_ml.OfflineExperiment(**options)
        _say_offline('Comet', 'COMET_API_KEY', self._save_dir, 'comet upload FILE.zip')

    @property
    @force_init_env
    def experiment(self) -> Any:
        """The experiment of comet_ml."""
        return self._comet

    def add_config(self, config: Config, **kwargs) -> None:
        self.experiment.log_parameters({key: str(value)[:_LONGEST] for key, value in _flat(config.to_dict()).items()})
        self._comet.log_asset_data(_text(config), name='config.py')

    def add_image(self, name: str, image: np.ndarray, step: int = 0, **kwargs) -> None:
        self.experiment.log_image(image, name=name, step=step)

    def add_scalar(self, name: str, value: Any, step: int = 0, **kwargs) -> None:
        self.add_scalars({name: value}, step)

    def add_scalars(self, scalar_dict: dict, step: int = 0, file_path: str | None = None, **kwargs) -> None:
        self.experiment.log_metrics(_numbers(scalar_dict), step=step)

    def close(self) -> None:
        if hasattr(self, '_comet'):
            self._comet.end()


def _run_name(save_dir: str | None) -> str | None:
    """'WORK_DIR TIME' of the folder WORK_DIR/TIME/vis_data."""
    return ' '.join(Path(save_dir or '').absolute().parts[-3:-1]) or None


def _missing(package: str) -> ImportError:
    return ImportError(f'{package} is not installed: pip install {package}')


def _say_offline(service: str, credentials: str, where: object, upload: str) -> None:
    print_log(f'{service}: no credentials found ({credentials}), so the run is logged offline, to {where}; `{upload}` '
              'uploads it later', logger='current', level=logging.WARNING)


def _truthy(variable: str) -> bool:
    return os.environ.get(variable, '').lower() in ('1', 'true', 'yes', 'y')


def _clearml_credentials() -> bool:
    from clearml.backend_api.session import Session
    from clearml.config import config_obj
    keys = (os.environ.get('CLEARML_API_ACCESS_KEY') or config_obj.get('api.credentials.access_key', None),
            os.environ.get('CLEARML_API_SECRET_KEY') or config_obj.get('api.credentials.secret_key', None))
    return all(keys) and keys != (Session.default_key, Session.default_secret)


def _numbers(scalars: Mapping[str, Any]) -> dict[str, float]:
    """Those values that are numbers, as Python's."""
    found = {}
    for key, value in scalars.items():
        if isinstance(value, str | Mapping | list | tuple) or value is None:
            continue
        try:
            found[str(key)] = float(value)
        except (TypeError, ValueError):
            continue
    return found


def _text(config: Config) -> str:
    """A config as Python, or as JSON where values of it can't be written as that."""
    try:
        return config.pretty_text
    except (SyntaxError, ValueError, TypeError):
        return json.dumps(_plain(config.to_dict()), indent=1)


def _plain(value: Any) -> Any:
    """A value as JSON has it: classes by their names, what is none of its types as text."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [*map(_plain, value)]
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, str | int | float | bool) or value is None:
        return value
    return class_name(value) if isinstance(value, type) else str(value)


def _flat(value: Any, where: str = '') -> dict[str, Any]:
    """{dotted key: value} of everything in a value that holds no more."""
    if isinstance(value, Mapping):
        items: Any = value.items()
    elif isinstance(value, list | tuple) and any(isinstance(item, Mapping | list | tuple) for item in value):
        items = enumerate(value)
    else:
        return {where: _plain(value)}
    found: dict[str, Any] = {}
    for key, item in items:
        found.update(_flat(item, f'{where}.{key}' if where else str(key)))
    return found


def _name(name: str) -> str:
    """A name of the characters that MLflow takes."""
    return ''.join(c if c.isascii() and (c.isalnum() or c in '_-. /') else '_' for c in name)[:250].strip('/ ') or '_'
