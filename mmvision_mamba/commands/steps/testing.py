"""Additions of the command `test` to a test run: pictures, kept predictions, test-time augmentation, metrics.json."""
import argparse
import json
import math
import os
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from copy import deepcopy
from functools import partial
from pathlib import Path

import mmengine.dist.utils
import numpy as np
from mmengine.config import Config, ConfigDict
from mmengine.device import get_device
from mmengine.dist import is_main_process
from mmengine.hooks import Hook

from ...datasets.image_names import image_names
from ...datasets.label_maps import meaning
from ...datasets.tile_grid import DEFAULT_OVERLAP, Tiling
from ...errors import ConfigError
from ...evaluation.digits import keep_digits, replaced
from ...evaluation.label_maps import LabelMaps
from ...files import replace
from ...inference.band_images import picture_reader
from ...inference.class_meta import reduces_zero_label
from ...inference.display import check_display
from ...inference.kept_classes import to_draw
from ...inference.precision import check_dtype
from ...inference.results import picture_suffix
from ...inference.toolboxes import use_scaling_visualizer
from ...preflight.annotation_files import is_panoptic_evaluation, metrics_in
from ...preflight.datasets import SPLITS, datasets_of, innermost
from ...preflight.tiles import tile_of, use_loop
from ...printable import shown
from ...processes import print_once
from ...text import class_name
from .named_images import naming_images

_PICKLED = dict(mmdet='detector', mmengine='classifier')  # scope -> model whose predictions are kept in a pickle file
_DRAWN = 'mmdet', 'mmseg'  # scopes whose predictions can be drawn


def prepare_dtype(cfg: Config, dtype: str | None) -> str:
    """What the test computes in; prints it where it is not float32.

    Args:
        cfg: its `test_cfg.fp16`, by which mmengine runs postprocessing and metrics in 16 bits too, is taken out.
        dtype: asked for on the command line. None: what the config says, with `fp16` bf16 on a CPU, as mmengine has it.

    Raises:
        ConfigError: see `check_dtype`.
    """
    device = get_device()
    test_cfg = cfg.get('test_cfg')
    if isinstance(test_cfg, dict) and test_cfg.pop('fp16', False) and dtype is None:
        dtype = 'bf16' if device == 'cpu' else 'fp16'
    check_dtype(dtype or 'float32', device)
    if dtype not in (None, 'float32'):
        print_once(f'Model: {dtype}, all beside it float32')
    return dtype or 'float32'


def prepare_drawing(cfg: Config, show: bool, show_dir: str | None) -> None:
    """Let the config's visualiser draw as `infer` does.

    Raises:
        ConfigError: --show or --show-dir can't work: a toolbox that draws nothing, no display, a file.
    """
    if not show and not show_dir:
        return
    if show:
        check_display('use --show-dir DIR')
    if cfg.default_scope not in _DRAWN:
        raise ConfigError(f'--show and --show-dir work with mmdet and mmseg configs, not with {cfg.default_scope!r}')
    if show_dir and Path(show_dir).is_file():
        raise ConfigError(f'--show-dir: {show_dir} is a file, expected a folder')
    use_scaling_visualizer(cfg)


def draw_predictions(cfg: Config, runner, show: bool, show_dir: str | None, wait_time: float) -> None:
    """Have the runner show pictures of its predictions, or write them to `show_dir`, one for each image.

    Raises:
        ConfigError: one would replace an image or a map of the data.
    """
    if show or show_dir:
        hook = (cfg.get('default_hooks') or {}).get('visualization') or {}
        options = dict(pred_score_thr=hook.get('score_thr', 0.3)) if cfg.default_scope == 'mmdet' else {}
        datasets = [dataset for _, dataset, _ in datasets_of(cfg, 'test')] or [innermost(cfg.test_dataloader.dataset)]
        names = image_names(runner.test_dataloader.dataset)
        if show_dir:
            _keep_inputs(cfg, runner.test_dataloader.dataset, (_picture(Path(show_dir), name, path)
                                                               for path, name in names.items()))
        runner.register_hook(_PicturesHook(show_dir, names, picture_reader(datasets[0]), show=show,
                                           wait_time=wait_time, **options))


def _keep_inputs(cfg: Config, dataset, written: Iterable[Path]) -> None:
    """Raise ConfigError where a picture that is to be written would replace an image or a map of the data.

    Args:
        cfg: whose data sets, of training too, have such in the folders of their `data_prefix`.
        dataset: that is tested, which tells its own one by one.
        written: the pictures.
    """
    there = [path for path in written if path.is_file()]
    if not there:
        return
    infos = (dataset.get_data_info(i) for i in range(len(dataset)))
    inputs = {os.path.realpath(info[key]) for info in infos for key in ('img_path', 'seg_map_path') if info.get(key)}
    folders = tuple(os.path.join(os.path.realpath(os.path.join(settings.get('data_root') or '', below)), '')
                    for split in SPLITS for _, settings, _ in datasets_of(cfg, split)
                    for below in (settings.get('data_prefix') or {}).values() if below and isinstance(below, str))
    for path in there:  # a link to an image may be one of the data
        if os.path.realpath(path) in inputs or str(path.parent.resolve() / path.name).startswith(folders):
            raise ConfigError(f"'{shown(path)}' is of the data, an image or a map, and a prediction would take its "
                              'place: name another folder')


def _picture(folder: Path, name: str, image: str) -> Path:
    """Where the picture of an image is written."""
    return folder / f'{name}{picture_suffix(Path(image).suffix)}'


class _PicturesHook(Hook):
    """Draws the predictions of a test run with the toolbox's visualiser.

    The toolboxes' own hooks call a picture after its image's base name: the same names in other folders would replace
    it.

    Args:
        folder: of the pictures. None: they are not written.
        names: the name of each image, by path.
        read: a path -> uint8 ``(H, W, 3)``, BGR.
        options: further arguments of the visualiser's `add_datasample`.
    """

    def __init__(self, folder: str | None, names: dict[str, str], read: Callable[[str], np.ndarray], **options):
        self.folder, self.names, self.read, self.options = folder and Path(folder), names, read, options

    def before_test(self, runner) -> None:
        with _as_main_process():
            runner.visualizer.dataset_meta = runner.test_dataloader.dataset.metainfo
        if not self.folder:
            runner.visualizer._vis_backends = {}  # mmengine 0.10.7 has no seam here: what is shown, it also records

    def after_test_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        classes = runner.test_dataloader.dataset.metainfo.get('classes') or ()
        for sample in outputs:
            sample = to_draw(sample, len(classes))
            image = np.ascontiguousarray(self.read(sample.img_path)[..., ::-1])
            name = self.names[sample.img_path]
            draw = partial(runner.visualizer.add_datasample, name, image, data_sample=sample, **self.options)
            if self.folder:
                path = _picture(self.folder, name, sample.img_path)
                with _as_main_process():
                    replace(path, lambda temporary, draw=draw: draw(out_file=str(temporary)))
            else:
                draw()


def _as_main_process() -> AbstractContextManager[None]:
    """Within it, visualisers draw in every process: each has images of its own."""
    # mmengine 0.10.7 has no seam here: what it decorates with `master_only` does nothing in other processes.
    return replaced(mmengine.dist.utils, 'is_main_process', lambda group=None: True)


def use_tta(cfg: Config) -> None:
    """Wrap the model and replace the test pipeline by the config's `tta_model` and `tta_pipeline`.

    A detector's config without them gets mmdet's default, a horizontal flip; DetTTAModel, which refuses masks, is
    replaced by InstanceSegTTAModel, which merges them.

    Raises:
        ConfigError: a segmentor's config without them, or a metric of panoptic segments.
    """
    if any(map(is_panoptic_evaluation, metrics_in(cfg.get('test_evaluator')))):
        raise ConfigError('--tta merges boxes and masks, not panoptic segments: test without it, or remove '
                          'CocoPanopticMetric from test_evaluator')
    datasets = [dataset for _, dataset, _ in datasets_of(cfg, 'test')] or [innermost(cfg.test_dataloader.dataset)]
    if cfg.default_scope == 'mmdet':
        model = cfg.get('tta_model') or dict(tta_cfg=dict(nms=dict(type='nms', iou_threshold=0.5), max_per_img=100))
        if class_name(model.get('type', 'DetTTAModel')) == 'DetTTAModel':
            model = dict(model, type='InstanceSegTTAModel')
        pipelines = [cfg.get('tta_pipeline') or _flipped(dataset.pipeline) for dataset in datasets]
    else:
        if 'tta_model' not in cfg or 'tta_pipeline' not in cfg:
            raise ConfigError('--tta: the config has no tta_model and tta_pipeline')
        model, pipelines = cfg.tta_model, [cfg.tta_pipeline] * len(datasets)
    cfg.model = ConfigDict(model, module=cfg.model)
    for dataset, pipeline in zip(datasets, pipelines):
        dataset.pipeline = pipeline


def _flipped(pipeline: list) -> list:
    """Copy of a detector's test pipeline that yields each image twice, mirrored and as it is."""
    meta_keys = ('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor', 'flip', 'flip_direction')
    flips = [dict(type='RandomFlip', prob=1.), dict(type='RandomFlip', prob=0.)]
    pack = [dict(type='PackDetInputs', meta_keys=meta_keys)]
    return [*deepcopy(pipeline[:-1]), dict(type='TestTimeAug', transforms=[flips, pack])]


def check_out(cfg: Config, out: str) -> None:
    """Check that `--out` is what the toolbox's predictions can be kept in.

    Raises:
        ConfigError: not a .pkl file for a detector or classifier, a file for a segmentor, or another toolbox.
    """
    if cfg.default_scope in _PICKLED:
        if not out.endswith(('.pkl', '.pickle')):
            raise ConfigError(f'--out: predictions of a {_PICKLED[cfg.default_scope]} are kept in a .pkl file, got '
                              f'{out}')
    elif cfg.default_scope == 'mmseg':
        if Path(out).is_file():
            raise ConfigError(f'--out: predictions of a segmentor are kept in a folder, and {out} is a file')
    else:
        raise ConfigError(f'--out works with mmdet, mmseg and classification configs, not with {cfg.default_scope!r}')


def keep_predictions(cfg: Config, runner, out: str) -> None:
    """Have the runner write predictions: to the pickle file `out`, or a segmentor's to a folder of label maps.

    Raises:
        ConfigError: a label map would replace an image or a map of the data.
    """
    metrics = runner.test_evaluator.metrics
    if cfg.default_scope == 'mmdet':
        from mmdet.evaluation import DumpDetResults
        from mmengine.evaluator import DumpResults
        # By tiles masks are encoded already, and there are none of the truth.
        metrics.append((DumpResults if tile_of(cfg, 'test') else DumpDetResults)(out_file_path=out))
    elif cfg.default_scope in _PICKLED:
        from mmengine.evaluator import DumpResults
        metrics.append(DumpResults(out_file_path=out))
    else:
        reduced = reduces_zero_label(cfg)
        maps = LabelMaps(out, image_names(runner.test_dataloader.dataset), reduced)
        _keep_inputs(cfg, runner.test_dataloader.dataset, map(maps.path, maps.names))
        maps.dataset_meta = runner.test_evaluator.dataset_meta
        # One that only formats, for test sets without annotations, needs a folder of its own to do that.
        metrics[:] = [m for m in metrics if not getattr(m, 'format_only', False) or getattr(m, 'output_dir', None)]
        metrics.append(maps)
        print_once(f'label maps: {shown(out)} ({meaning(reduced)})')


def measure(runner, work_dir: str) -> Path:
    """Run the test and write its metrics, unrounded, to `work_dir`/metrics.json; prints and returns that path.

    What is no number, such as the IoU of a class that is nowhere, is null there.
    """
    for metric in runner.test_evaluator.metrics:
        keep_digits(metric)
    with naming_images(runner):
        metrics = runner.test()
    path = Path(work_dir) / 'metrics.json'
    if is_main_process():
        values = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in metrics.items()}
        replace(path, lambda temporary: temporary.write_text(json.dumps(values, indent=2, default=float) + '\n'))
        print(f'metrics: {shown(path)}{"" if values else " (empty: nothing could be measured)"}')
    return path


def use_tiles(cfg: Config, args: argparse.Namespace) -> None:
    """Have the test evaluate whole pictures by tiles where --tile or the config's `test_cfg` says so; prints it.

    Raises:
        ConfigError: --tile or --overlap is out of range, or doesn't go with other options.
    """
    tile = tile_of(cfg, 'test') if args.tile is None else args.tile
    if args.overlap is not None and not tile:
        raise ConfigError('--overlap needs --tile, the side of the windows that overlap')
    if args.tile == 0:
        use_loop(cfg, 'test', None)
    elif args.tile is not None or args.overlap is not None:
        use_loop(cfg, 'test', Tiling(tile, DEFAULT_OVERLAP if args.overlap is None else args.overlap))
    if not tile:
        return
    for option in ('tta', 'show', 'show_dir'):
        if getattr(args, option):
            way_out = '' if option == 'tta' else '; `mmvision-mamba infer --tile` draws them, reduced'
            raise ConfigError(f'--{option.replace("_", "-")} is for pictures that are tested as a whole: leave it out, '
                              f'or test without tiles (--tile 0){way_out}')
    settings = cfg.test_cfg
    print_once(f'Test: whole pictures by tiles of {tile} × {tile} pixels that share {settings.overlap:g} of their side '
               'at least')
