"""`Model`: one object over train, test, infer and export, which calls the commands' own functions."""
import hashlib
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.logging import MessageHub

from ..checkpoints.local_files import is_remote
from ..checkpoints.resuming import POINTER
from ..commands import call, options_of
from ..commands.errors import raising_user_errors
from ..commands.export import SCOPES
from ..commands.steps.folder import plan, weights_of_run
from ..commands.steps.tested import base_name, write_config
from ..configs import config_of_run, find_config, is_checkpoint, is_config, is_exported
from ..errors import ConfigError
from ..export import FORMATS
from ..files import read_text, replace
from ..inference.exported import check_alone, check_overrides
from ..inference.inferencer import ImageLike, Inferencer
from ..preflight.keys import KEYS
from ..preflight.own_data import config_for
from ..preflight.read import read_config
from ..preflight.schedule import set_epochs
from ..printable import shown
from ..processes import print_once
from ..published import WORD, published, published_weights
from ..sharing import folder as shared_folder
from ..sharing.bounds import bounded
from ..sharing.licence import Licence, licence_of
from ..sharing.loading import fetch
from ..sharing.picture import example
from ..sharing.push import push
from ..text import check_names, did_you_mean
from .results import Metrics, Predictions, table

_OURS = ('config', 'checkpoint', 'work_dir', 'cfg_options')  # options of the commands that `Model` sets itself
_PREDICTING = ('device', 'dtype', 'classes')  # of the Inferencer


class Model:
    """A detector, segmentor or classifier with its weights, data and work directory.

    It does what the commands do, by their own functions: the same files, messages and errors. A training ends with its
    best weights, or, without validation, its last; Ctrl-C ends one with its last checkpoint. Options of a command are
    arguments here, `amp=True` for --amp; any other name is a key of the config.

    Args:
        config: a config file, the name of one that comes with this package, or a checkpoint alone, where a training
            wrote its config beside it. Or a folder of data, which chooses the config and the settings, as for the
            command `train`. Or a file that `export` wrote, which predicts, and is tested on `data`.
        weights: checkpoint file, URL or hf://OWNER/REPO, or 'published': to test, predict and export with, and to train
            from. None: training begins with the pretrained weights that the config names; a published model without
            `data` is tested and predicts with its published weights. Default: None.
        data: folder of the data, laid out as the config's own or, for detectors and segmentors, as `custom_data` takes
            it: objects in COCO's or another format, or images and masks. Default: where the config has its data.
        work_dir: where logs, checkpoints, metrics and the config go. Default: work_dirs/CONFIG_NAME.
        cfg_options: settings of the config to override in all calls, by dotted keys. Default: none.

    Attributes:
        name: of the config.
        weights: the present ones: those given, or those of the last training.
        work_dir: the folder.
        metrics: of the last test.

    Raises:
        ConfigError, DataError: the config or the folder can't be used.
    """

    def __init__(self, config: str | os.PathLike, weights: str | os.PathLike | None = None,
                 data: str | os.PathLike | None = None, work_dir: str | os.PathLike | None = None,
                 cfg_options: dict[str, Any] | None = None):
        _check_paths(dict(config=config), none=False)
        _check_paths(dict(weights=weights, data=data, work_dir=work_dir))
        if cfg_options is not None and not isinstance(cfg_options, Mapping):
            raise ConfigError(f'cfg_options is {shown(repr(cfg_options), 100)}: expected a dict of settings by dotted '
                              'keys')
        self._most_per_batch: int | None = None  # for a folder, see `Plan`
        if os.path.isdir(config) and not is_config(config):
            if data is not None:
                raise ConfigError(f"data is set, and '{shown(config)}' is a folder of data itself: leave one out")
            planned = plan(config, cfg_options, work_dir=work_dir, resume=True)  # nothing begins here
            print_once(f'{shown(config)}: {planned.found}')
            config, cfg_options, work_dir = planned.config, planned.options, planned.work_dir
            self._most_per_batch = planned.most_per_batch
        if weights is None and is_checkpoint(config):
            config, weights = config_of_run(config), config
        self._tested_on: str | None = None  # the folder of an exported file without a config
        if is_exported(config):
            check_alone(config, weights)
            check_overrides(config, None, cfg_options)
            weights, self._tested_on = config, None if data is None else os.path.abspath(os.path.expanduser(data))
            data = None
        self._config = Path(config).absolute() if is_exported(config) else find_config(config).resolve()
        self.name = self._config.stem
        if weights == WORD:
            weights = published_weights(config)
        self.weights: str | None = None if weights is None else str(weights) if is_remote(weights) else \
            os.path.abspath(weights)
        self._began = self.weights if self.weights is not None and is_remote(self.weights) else None
        self.cfg_options = dict(cfg_options or {})
        self.metrics = Metrics()
        self._text: str | None = None  # of the config that inherits from `_config`
        self._trained: Path | None = None  # the config that the last training wrote
        self._inferencers: dict[tuple, Inferencer] = {}
        self._licence: Licence | None = None  # of the weights, where they were shared
        self._published = published(config) if data is None and not is_exported(config) else None
        if data is not None:
            cfg = read_config(self._config, self.cfg_options, find_data=False)
            self._text = config_for(base_name(self._config), cfg, data)
            if self._text is None:
                self.cfg_options['data_root'] = os.path.abspath(os.path.expanduser(data))
        self.work_dir = Path(work_dir or Path('work_dirs') / self.name).absolute()

    def __repr__(self) -> str:
        return f'Model({self.name!r}, weights={None if self.weights is None else str(self.weights)!r})'

    def _repr_html_(self) -> str:
        return table([('config', self.name), ('weights', self.weights), ('work_dir', self.work_dir),
                      *self.metrics.items()])

    @property
    def cfg(self) -> Config:
        """The config as the commands read it, with its data found: of the last training, where there was one."""
        self._check_has_config()
        return read_config(self._written(), self._overrides(), ('model',))

    def train(self, epochs: int | None = None, batch: int | None = None, lr: float | None = None,
              **options: Any) -> 'Model':
        """Train, from the present weights where there are some; `resume=True` goes on with the last training, if any.

        Args:
            epochs: passes through the data; schedules are stretched or shrunk alike. Default: the config's length.
            batch: images per process. Default: the config's.
            lr: learning rate, taken as it is for that batch. Default: the config's, scaled where that says so.
            options: of the command `train`, or keys of the config: `**{'train_cfg.val_interval': 1}`.

        Returns:
            This model.

        Raises:
            UserError: what the command would print.
        """
        self._check_trained('train')
        command, settings = _split('train', options)
        settings = {**_run_settings(batch, lr), **settings}
        config = self._written(anew=True)
        if epochs is not None:
            cfg = read_config(config, {**self.cfg_options, **settings}, ('model', 'train_dataloader'))
            set_epochs(cfg, epochs)
            length = {f'train_cfg.{key}': value for key, value in cfg.train_cfg.items() if key != 'type'}
            interval = cfg.get('default_hooks', {}).get('checkpoint', {}).get('interval')
            if interval is not None:
                length['default_hooks.checkpoint.interval'] = interval
            if cfg.get('param_scheduler'):
                length['param_scheduler'] = cfg.param_scheduler
            settings = {**length, **settings}
        if lr is not None and 'auto_scale_lr' not in settings:
            settings.update({'auto_scale_lr.enable': False} if read_config(
                config, self.cfg_options, find_data=False).get('auto_scale_lr') else {})
        resumes = bool(command.get('resume') or settings.get('resume'))
        if self.weights is not None and not settings.get('resume'):  # where --resume finds nothing, too
            settings.setdefault('load_from', self.weights)
        if batch is lr is None is not self._most_per_batch and 'train_dataloader.batch_size' not in settings:
            command.setdefault('auto_batch', self._most_per_batch)
        before, runner = self._pointer(), MessageHub.get_current_instance()
        try:
            call('train', config=str(config), work_dir=str(self.work_dir),
                 cfg_options={**self.cfg_options, **settings}, **command)
        finally:
            began = MessageHub.get_current_instance() is not runner  # else what that says is of an earlier training
            if began and (resumes or self._pointer() != before):  # else it saved nothing
                self._adopt()
        return self

    def test(self, **options: Any) -> Metrics:
        """The metrics of the present weights on the test data.

        Args:
            options: of the command `test`, or keys of the config.

        Raises:
            UserError: what the command would print, or there are no weights yet.
        """
        command, settings = _split('test', options)
        files: dict[str, Any] = dict(config=str(self._written()), checkpoint=self._needed_weights())
        if is_exported(self._config):
            files = dict(config=self.weights, data=self._tested_on)
        call('test', **files, work_dir=str(self.work_dir), cfg_options={**self._overrides(), **settings}, **command)
        self.metrics = Metrics(json.loads(read_text(self.work_dir / 'metrics.json')))
        return self.metrics

    def predict(self, images: ImageLike | Sequence[ImageLike], batch_size: int = 1,
                score_thr: float | str = 0.3, **options: Any) -> Predictions:
        """What the `Inferencer` predicts: a data sample for each image.

        Args:
            images, batch_size: as for `Inferencer.predict`.
            score_thr: in a notebook, instances with a lower score are not drawn; 'auto': the best threshold of each
                class, from the report beside the weights. Default: 0.3.
            options: device, dtype and classes of the `Inferencer`.

        Raises:
            UserError: an image can't be read; the weights are not of this model; there is no such threshold.
        """
        inferencer = self.inferencer(**options)
        inferencer.check_score_thr(score_thr)
        several = isinstance(images, (list, tuple))
        return Predictions(inferencer.predict(images, batch_size), images if several else [images],  # type: ignore[list-item, arg-type]
                           inferencer, score_thr)

    def inferencer(self, **options: Any) -> Inferencer:
        """The `Inferencer` of the present weights, for folders, videos and written results; built once.

        Args:
            options: device, dtype and classes.
        """
        check_names(options, _PREDICTING, 'the Inferencer has no option')
        weights = self._needed_weights()
        stamp = os.stat(weights).st_mtime_ns if os.path.isfile(weights) else 0
        key = (weights, stamp, *(repr(options.get(name)) for name in _PREDICTING))
        if key not in self._inferencers:
            self._inferencers.clear()  # one model in memory
            with raising_user_errors():
                model = self._config if is_exported(self._config) else read_config(
                    self._written(), self._overrides(), trained=True)
                self._inferencers[key] = Inferencer(
                    model, None if model is self._config else weights, show_progress=False, **options)
        return self._inferencers[key]

    def export(self, format: str = 'onnx', out: str | os.PathLike | None = None, **options: Any) -> Path:
        """Write a file that runs elsewhere, checked against PyTorch; returns its path.

        Args:
            format: see the command `export`. Default: 'onnx'.
            out: the file. Default: the part's name in the work directory.
            options: of that command, or keys of the config.

        Raises:
            UserError: what the command would print. ExportError: the file computes something else.
        """
        self._check_trained('export')
        command, settings = _split('export', options)
        check_names([format], FORMATS, 'export has no format')
        config = self._written()
        if out is None:
            part = command.get('part') or SCOPES.get(read_config(config, find_data=False).default_scope, 'backbone')
            out = self.work_dir / f'{part}{FORMATS[format]}'
        call('export', config=str(config), checkpoint=self._needed_weights(), format=format, out=Path(out),
             cfg_options={**self._overrides(), **settings}, **command)
        return Path(out)

    def save(self, folder: str | os.PathLike, licence: str | None = None, picture: bool = True) -> Path:
        """Write the model to a folder that anyone can load without running code: `Model.load(FOLDER)`.

        It holds `config.json` (the config as data, classes and colours, preprocessing, the metrics of the last test),
        `model.safetensors`, and the card README.md. A classifier's is one that timm and transformers load, too.

        Args:
            folder: a new one, or one that was saved earlier, which is replaced.
            licence: of the weights, as the Hub writes licences. Default: that of the pretrained weights that training
                began with; where it began with random ones, none is named.
            picture: draw the first test image, where it is there, for the card. Default: True.

        Returns:
            The folder.

        Raises:
            ConfigError: something in the config is no data, or of a type that nobody else has: named by its key; the
                folder holds something else; there are no weights yet; a classifier's backbone or test pipeline is
                none that timm has.
        """
        self._check_trained('save')
        self._needed_weights()
        shared_folder.check_target(Path(folder).absolute())
        inferencer = self.inferencer()
        return shared_folder.save(
            folder, inferencer, self.name, self.metrics,
            licence_of(inferencer.cfg.model, licence, self._began) if licence or not self._licence else self._licence,
            example(inferencer) if picture else None)

    @classmethod
    def load(cls, path: str | os.PathLike, data: str | os.PathLike | None = None,
             work_dir: str | os.PathLike | None = None, cfg_options: dict[str, Any] | None = None) -> 'Model':
        """A model that `save` wrote, built of registered types of mmdet, mmseg and this package alone.

        Args:
            path: the folder, or `hf://OWNER/REPO[@REVISION]`.
            data, work_dir, cfg_options: see `Model`. The config goes to a folder in WORK_DIR/loaded.

        Raises:
            ConfigError: the config says what no saved model's does, named by its key. CheckpointError: the weights
                don't fit, or can't be had.
        """
        shared, text, weights = fetch(path)
        folder = Path(work_dir or Path('work_dirs') / shared.name)
        digest = hashlib.sha256(text.encode()).hexdigest()[:12]  # another version's of the same name has its own
        config = folder / 'loaded' / digest / f'{shared.name}.py'
        replace(config, lambda temporary: temporary.write_text(text, encoding='utf-8'))
        model = cls(config, weights, None, folder, cfg_options)
        with bounded(weights):  # built before anything else of this config is
            built = model.inferencer().model
        number = max(n for module in built.modules() if isinstance(n := getattr(module, 'num_classes', 0), int))
        if number not in (0, len(shared.classes)):
            raise ConfigError(f"'{shown(path)}': the model has {number} classes, and config.json names "
                              f'{len(shared.classes)}')
        if data is not None:
            model = cls(config, weights, data, folder, cfg_options)
        model.metrics, model._licence = Metrics(shared.metrics), shared.licence
        return model

    def push(self, repo: str, private: bool = False, yes: bool = False, licence: str | None = None,
             picture: bool = True) -> str:
        """Save the model to a repository on the Hugging Face Hub, `Model.load('hf://OWNER/NAME')` loads it from there.

        Args:
            repo: 'OWNER/NAME'; made where it is not there yet.
            private: make it a private one. Default: False.
            yes: replace what the repository holds of the same names. Default: False.
            licence, picture: see `save`.

        Returns:
            Where it went.

        Raises:
            ConfigError: there is no token, the repository holds something, or the Hub refuses; see `save`.
        """
        with tempfile.TemporaryDirectory() as temporary:
            return push(repo, lambda: self.save(Path(temporary, 'model'), licence, picture), private, yes)

    def _check_has_config(self) -> None:
        if is_exported(self._config):
            raise ConfigError(f'{shown(self._config)} is an exported file, and has no config')

    def _check_trained(self, what: str) -> None:
        """Raise ConfigError where an exported file is to be trained, exported or saved."""
        if self.weights is not None and is_exported(self.weights):
            raise ConfigError(f'{what}: {shown(self.weights)} is an exported file, which predicts and is tested alone: '
                              'take the checkpoint that it was made of')

    def _needed_weights(self) -> str:
        if self.weights is None and self._published is not None:
            return self._published.url
        if self.weights is None:
            raise ConfigError(f'{self.name} has no weights yet: train it, or name a checkpoint, '
                              f'Model({self.name!r}, CHECKPOINT)')
        return self.weights

    def _written(self, anew: bool = False) -> Path:
        """The config to call a command with; what `data` made of it is written to the work directory.

        Args:
            anew: not the one that the last training wrote. Default: False.
        """
        if self._trained is not None and not anew:
            return self._trained
        if self._text is None:
            return self._config
        return write_config(self.work_dir, self.name, self._text)

    def _overrides(self) -> dict[str, Any]:
        """Those that the config to call a command with does not hold already."""
        return {} if self._trained is not None else self.cfg_options

    def _pointer(self) -> tuple | None:
        path = self.work_dir / POINTER
        return (path.stat().st_mtime_ns, read_text(path)) if path.is_file() else None

    def _adopt(self) -> None:
        """Take the weights and the config of the training that has just ended."""
        found = weights_of_run(self.work_dir)
        config = self.work_dir / f'{self.name}.py'
        if found is not None and config.is_file():
            self.weights, self._trained = os.path.abspath(found), config
            self.metrics = Metrics()


def _split(command: str, options: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Options of a command, and settings of the config, among arguments."""
    own = options_of(command)
    known = [*own, *(('epochs', 'batch', 'lr') if command == 'train' else ())]
    for name in options:
        if name in _OURS:
            raise ConfigError(f'{name} is set by Model: give it to Model itself')
        if name not in own and name not in KEYS and '.' not in name and (hint := did_you_mean(name, known)):
            raise ConfigError(f"{command} has no option, and a config no key '{shown(name)}'{hint}")
    return ({name: value for name, value in options.items() if name in own},
            {name: value for name, value in options.items() if name not in own})


def _run_settings(batch: int | None, lr: float | None) -> dict[str, Any]:
    if lr is not None and (isinstance(lr, bool) or not isinstance(lr, int | float) or not 0 < lr < float('inf')):
        raise ConfigError(f'lr is {shown(lr)}: expected a number above 0')
    if batch is not None and (isinstance(batch, bool) or not isinstance(batch, int) or batch < 1):
        raise ConfigError(f'batch is {shown(batch)}: expected a whole number above 0')
    found = {'train_dataloader.batch_size': batch, 'optim_wrapper.optimizer.lr': lr}
    return {key: value for key, value in found.items() if value is not None}


def _check_paths(values: Mapping[str, Any], none: bool = True) -> None:
    """Raise ConfigError where an argument, by its name, is neither a path nor a name, nor None where that may be."""
    for name, value in values.items():
        if value is None and none:
            continue
        if not isinstance(value, str | os.PathLike) or not isinstance(os.fspath(value), str) or not os.fspath(value):
            raise ConfigError(f'{name} is {shown(repr(value), 100)}: expected the path of a file or folder, or a name')
