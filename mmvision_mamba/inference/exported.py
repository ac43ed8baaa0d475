"""An exported file in the place of a config's model: what infers, tests and draws with a checkpoint does so with it."""
import hashlib
import os
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.registry import init_default_scope
from mmengine.structures import BaseDataElement, InstanceData, PixelData
from torch import Tensor

from ..checkpoints.local_files import digest
from ..errors import CheckpointError, ConfigError, DataError
from ..installation import needing
from ..preflight.datasets import SPLITS, datasets_of
from ..preflight.read import read_config
from ..printable import shown
from ..runtime.loaders import files_of, load_model
from ..runtime.standalone import Detections, Model, RuntimeInputError, resized
from ..text import class_name
from .class_meta import hue
from .precision import check_dtype

MODEL = 'mmvision_mamba.inference.exported.ExportedModel'
SCOPES = dict(detection='mmdet', segmentation='mmseg')
_BAND_LOADER = 'mmvision_mamba.datasets.band_loading.LoadImageFromFile'
_DATASETS = dict(mmdet='CocoDataset', mmseg='BaseSegDataset')
_PACK = dict(mmdet='PackDetInputs', mmseg='PackSegInputs')


class ExportedModel(BaseModel):
    """The model in an exported file, as the toolboxes call theirs. It runs on the CPU, one image after the other.

    Its images are not prepared: the file's metadata say how, and its runtime does it. Gradients there are none.

    Args:
        file, precision: as `runtime.loaders.load_model` takes them.
        threads: to compute with. Default: as many as torch.

    Attributes:
        file: the `runtime.standalone.Model`.
        dataset_meta: `classes` and `palette`, as the file has them.
        runs_on: the package that runs it. versions: of that.

    Raises:
        CheckpointError: the file can't be loaded, is none that `mmvision-mamba export` wrote, or only a backbone.
    """

    def __init__(self, file: str | os.PathLike, precision: str | None = None, threads: int | None = None):
        super().__init__()
        self.path, self._settings = str(file), (precision, threads)
        self.file = load_file(file, *self._settings)
        # So that the state tells files apart, as a model's weights do.
        self.register_buffer('sha256', torch.frombuffer(bytearray.fromhex(digest_of(file)), dtype=torch.uint8))
        classes = tuple(self.file.classes)
        palette = [tuple(colour) for colour in self.file.palette[:len(classes)]]
        self.dataset_meta = dict(classes=classes,
                                 palette=palette + [hue(i) for i in range(len(palette), len(classes))])
        self.runs_on = {'.onnx': 'onnxruntime', '.xml': 'openvino', '.mnn': 'mnn'}.get(Path(file).suffix, 'torch')
        self.versions = {self.runs_on: version(self.runs_on)}  # which results may depend on
        # Where the toolboxes' models have them.
        self.decode_head = SimpleNamespace(threshold=self.file.threshold)
        if queries := self.file.queries:
            self.panoptic_fusion_head = SimpleNamespace(test_cfg=dict(
                panoptic_on=bool(queries.get('panoptic')), instance_on=bool(queries.get('instances'))))

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in vars(self).items() if key != 'file'}  # sessions can't be copied

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.file = load_file(self.path, *self._settings)

    def forward(self, inputs, data_samples=None, mode: str = 'predict'):
        """As mmengine's models; there is no other mode than 'predict'."""
        if mode != 'predict':
            raise ConfigError(f'{shown(self.path)} is an exported file: it predicts, and does nothing else')
        return [self.predict(image, sample) for image, sample in zip(inputs, data_samples)]

    def test_step(self, data: dict) -> list[BaseDataElement]:
        """Predictions for a batch of images ``(C, H, W)`` as they are loaded, in their data samples."""
        return self.forward(data['inputs'], data['data_samples'])

    val_step = test_step

    def predict(self, image: Tensor, sample: BaseDataElement) -> BaseDataElement:
        """The prediction for an image ``(C, H, W)``, BGR or bands, in its data sample.

        Raises:
            DataError: the file takes no such image, or gives what no model does.
        """
        array = self._array(image)
        try:
            if self.file.has_logits:
                logits = torch.from_numpy(self.file.logits(array).astype(np.float32, copy=False))
                return _with_logits(sample, self._resized(logits, array.shape[:2]), self.file.threshold)
            found = self.file(array)
        except RuntimeInputError as error:
            raise DataError(str(error)) from error
        if isinstance(found, Detections):
            return self._with_found(sample, found)
        sample.pred_sem_seg = PixelData(data=torch.from_numpy(found)[None])
        return sample

    def _with_found(self, sample: BaseDataElement, found: Detections) -> BaseDataElement:
        if found.panoptic is not None:
            sample.pred_panoptic_seg = PixelData(sem_seg=torch.from_numpy(found.panoptic.astype(np.int32))[None])
            if not self.file.queries.get('instances'):
                return sample
        return _with_instances(sample, found)

    def prepare(self, image: Tensor) -> tuple[Tensor, tuple[float, float]]:
        """The file's input for an image ``(C, H, W)``, and the (vertical, horizontal) factor of its resize."""
        file, array = self.file, self._array(image)
        if file.takes_images:
            size = resized(*array.shape[:2], (None, None), **file.resize_rule)
            return torch.from_numpy(array), tuple(new / old for new, old in zip(size, array.shape))
        try:
            tensor, _, size = file.prepare(array)
        except RuntimeInputError as error:
            raise DataError(str(error)) from error
        return torch.from_numpy(tensor), tuple(new / old for new, old in zip(size, array.shape))

    def _array(self, image: Tensor) -> np.ndarray:
        """The image as the runtime takes it, RGB or bands ``(H, W, C)``."""
        array = image.permute(1, 2, 0).cpu().numpy()
        return np.ascontiguousarray(array if self.file.bands else array[..., ::-1])

    def _resized(self, logits: Tensor, size: Sequence[int]) -> Tensor:
        return F.interpolate(logits[None], tuple(size), mode='bilinear', align_corners=self.file.align_corners)[0]


_loaded: WeakValueDictionary[tuple, Model] = WeakValueDictionary()


def load_file(path: str | os.PathLike, precision: str | None = None, threads: int | None = None) -> Model:
    """The runtime of an exported file, for the commands; its maps are enlarged by torch.

    Loading takes a second or two: while someone holds the runtime of a file, others get the same.

    Raises:
        CheckpointError: see `ExportedModel`.
    """
    threads = threads or torch.get_num_threads()
    try:
        key = (os.path.realpath(path), *((found.st_mtime_ns, found.st_size, found.st_ino)
                                         for found in map(os.stat, files_of(path))), precision, threads)
    except OSError as error:
        raise CheckpointError(f'{shown(path)}: {error.strerror or error}') from None
    if (model := _loaded.get(key)) is None:
        model = _loaded[key] = _load(path, precision, threads)
    return model


def _load(path: str | os.PathLike, precision: str | None, threads: int) -> Model:
    try:
        model = load_model(path, threads=threads, precision=precision)
    except RuntimeInputError as error:
        raise CheckpointError(str(error)) from error
    if model.task not in SCOPES:
        raise CheckpointError(f'{shown(path)} is a backbone: it has features, and predicts nothing.\n'
                              'mmvision_mamba.runtime.loaders.load_model runs it')
    if model.task == 'detection' and not model.classes:
        raise CheckpointError(f'{shown(path)} names no classes in its metadata, and instances are told by them: export '
                              'the model again')
    if model.channels != 3 and not model.bands:
        raise CheckpointError(f'{shown(path)} takes arrays of {model.channels} channels, and its metadata name no '
                              'bands of image files.\nmmvision_mamba.runtime.loaders.load_model runs it')
    model.bilinear = _bilinear
    return model


def _bilinear(maps: np.ndarray, size: Sequence[int], align_corners: bool = False,
              rows: slice = slice(None)) -> np.ndarray:
    """As `standalone.bilinear`, several times faster."""
    if maps.ndim != 3 or 0 in maps.shape:
        raise ValueError(f'maps of shape {maps.shape} can not be enlarged')
    maps = torch.from_numpy(np.ascontiguousarray(maps))[None].float()
    return F.interpolate(maps, tuple(size), mode='bilinear', align_corners=align_corners)[0, :, rows].numpy()


def digest_of(path: str | os.PathLike) -> str:
    """The SHA-256 of an exported model; of one in two files, that of both theirs."""
    digests = [digest(part) for part in files_of(path)]
    return digests[0] if len(digests) == 1 else hashlib.sha256(''.join(digests).encode()).hexdigest()


def _with_instances(sample: BaseDataElement, found: Detections) -> BaseDataElement:
    sample.pred_instances = InstanceData(
        bboxes=torch.from_numpy(found.boxes), scores=torch.from_numpy(found.scores),
        labels=torch.from_numpy(found.labels.astype(np.int64)))
    if found.masks is not None:
        sample.pred_instances.masks = torch.from_numpy(found.masks)
    return sample


def _with_logits(sample: BaseDataElement, logits: Tensor, threshold: float) -> BaseDataElement:
    """As mmseg's `postprocess_result`, which makes probabilities of a single logit."""
    labels = logits.argmax(0, keepdim=True) if len(logits) > 1 else (logits.sigmoid_() > threshold).to(logits)
    sample.seg_logits, sample.pred_sem_seg = PixelData(data=logits), PixelData(data=labels)
    return sample


def config_of_file(path: str | os.PathLike, model: Model, config: str | os.PathLike | Config | None = None,
                   cfg_options: Mapping | None = None, dtype: str | None = None) -> Config:
    """A config whose model is an exported file.

    Args:
        path: the file.
        model: it, loaded.
        config: one that names test data, see `use_file`. None: the file's metadata alone.
        cfg_options: settings of that config to override. Default: none.
        dtype: see `use_file`.

    Raises:
        ConfigError: the config can't be used, is of another task, or an override is of its model.
    """
    check_overrides(path, config, cfg_options)
    if config is None:
        cfg = _from_metadata(model)
    elif isinstance(config, Config):
        cfg = config.copy()
        cfg.merge_from_dict(dict(cfg_options or {}))
    else:
        cfg = read_config(config, cfg_options, ('model', 'test_dataloader'), trained=True)
    use_file(cfg, path, model, dtype)
    return cfg


def check_overrides(path: str | os.PathLike, config: object, cfg_options: Mapping | None) -> None:
    """Raise ConfigError where settings of a config are to be overridden that an exported file does not have."""
    for key in cfg_options or {}:
        if config is None or str(key).split('.')[0] == 'model':
            raise ConfigError(f'--cfg-options {shown(key)}: {shown(path)} is an exported file, whose model stays as it '
                              'was exported.\nExport it again with that setting')


def check_alone(path: str | os.PathLike, weights: object) -> None:
    """Raise ConfigError where weights are given beside an exported file that stands for the config."""
    if weights is not None:
        raise ConfigError(f'{shown(path)} is an exported file, which has weights of its own: leave out '
                          f'{shown(str(weights))}')


def check_settings(path: str | os.PathLike, device: str | None, dtype: str | None) -> str:
    """The device that an exported file runs on.

    Raises:
        ConfigError: another one is wanted, or another dtype; of OpenVINO's files bf16 may be.
    """
    if dtype == 'bf16' and Path(path).suffix == '.xml':
        check_dtype(dtype, 'cpu')
    elif dtype not in (None, 'float32'):
        raise ConfigError(f'dtype {dtype}: {shown(path)} is an exported file, and computes in what it was exported in; '
                          'those of --format openvino in bf16, too')
    if device is not None and torch.device(device).type != 'cpu':
        raise ConfigError(f'device {shown(device)!r}: {shown(path)} is an exported file, which runs on the CPU here: '
                          "leave it out, or use 'cpu'")
    return 'cpu'


def precision_of(path: str | os.PathLike, dtype: str | None) -> str | None:
    """What `load_file` is to be given for a dtype that `check_settings` takes."""
    return (dtype or 'float32') if Path(path).suffix == '.xml' else None


def _from_metadata(model: Model) -> Config:
    """A config of no data: its test data set has the file's classes, and a pipeline that loads images."""
    scope = SCOPES[model.task]
    with needing(f'inference with {scope}', 'openmmlab'):
        init_default_scope(scope)
    dataset: dict[str, Any] = dict(
        type=_DATASETS[scope], metainfo=dict(classes=tuple(model.classes), palette=model.palette), test_mode=True,
        pipeline=[dict(type='LoadImageFromFile'), dict(type=_PACK[scope])])
    if scope == 'mmseg':
        dataset['reduce_zero_label'] = model.reduce_zero_label
    return Config(dict(default_scope=scope, model=dict(), test_dataloader=dict(batch_size=1, dataset=dataset)))


def use_file(cfg: Config, path: str | os.PathLike, model: Model, dtype: str | None = None) -> None:
    """Put an exported file in the place of a config's model, in place.

    Its pipelines keep what loads images and annotations: the file resizes, pads and normalises by itself.

    Args:
        cfg: of mmdet or mmseg.
        path: the file.
        model: it, loaded, with that precision.
        dtype: that an OpenVINO file is computed in; see `check_settings`. Default: float32.

    Raises:
        ConfigError: the config is of another task, or of bands where the file takes colours.
    """
    if cfg.get('default_scope') != SCOPES[model.task]:
        raise ConfigError(f'{shown(path)} is a {"detector" if model.task == "detection" else "segmentor"}, and the '
                          f'config is of {shown(cfg.get("default_scope"))}: name one of {SCOPES[model.task]}')
    cfg.model, cfg.load_from = dict(type=MODEL, file=os.path.abspath(path), precision=precision_of(path, dtype)), None
    for key in ('tta_pipeline', 'data_preprocessor'):  # the runner would give the latter to the model
        cfg.pop(key, None)
    for split in SPLITS:  # those of others are not used, and so may not be refused for what they do
        for where, dataset, _ in datasets_of(cfg, split):
            dataset['pipeline'] = _loading(dataset.get('pipeline') or (), model, f'{where}.pipeline')


def _loading(pipeline: Sequence[Mapping], model: Model, where: str) -> list[dict]:
    steps = [dict(step) for step in pipeline if class_name(step.get('type')).startswith(('Load', 'Pack'))]
    for i, step in enumerate(steps):
        if class_name(step['type']) != 'LoadImageFromFile':
            continue
        step.pop('to_float32', None)
        kept = {key: step[key] for key in ('ignore_empty', 'backend_args') if key in step}
        if model.bands:
            numbers, places = model.bands['numbers'], model.bands.get('shown')
            steps[i] = dict(type=_BAND_LOADER, bands=numbers, fill=model.bands['fill'],
                            shown=places and [numbers[place] for place in places],
                            file_bands=model.bands.get('file_bands'), dtype=model.bands.get('dtype'), **kept)
        elif 'bands' in step:
            raise ConfigError(f'{where}.{i}: it loads bands, and the exported file takes images in colour')
    return steps


def check_classes(path: str | os.PathLike, classes: Sequence[str], tested: Sequence[str]) -> None:
    """Raise CheckpointError where a data set has other classes than an exported file, or in another order."""
    if [str(name).lower() for name in tested] == [name.lower() for name in classes]:
        return
    missing, more = ([name for name in one if name not in other] for one, other in (
        (classes, tested), (tested, classes)))
    parts = [f'without {shown(", ".join(missing), 200)}'] * bool(missing) + [
        f'with {shown(", ".join(map(str, more)), 200)}'] * bool(more)
    raise CheckpointError(f'{shown(path)} has the classes {shown(", ".join(classes), 300)}, and the test data have '
                          f'others: {" and ".join(parts) or "the same in another order"}.\nName the classes of the '
                          'data alike, by test_dataloader.dataset.metainfo.classes, or of a folder by '
                          'custom_data.classes')
