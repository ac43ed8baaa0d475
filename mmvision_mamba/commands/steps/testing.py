"""Additions of the command `test` to a test run: pictures, kept predictions, test-time augmentation, metrics.json."""
import json
import math
from copy import deepcopy
from pathlib import Path

from mmengine.config import Config, ConfigDict
from mmengine.dist import is_main_process

from ...errors import ConfigError
from ...files import replace
from ...inference.display import check_display
from ...preflight.datasets import innermost
from ...text import class_name

_PICKLED = dict(mmdet='detector', mmengine='classifier')  # scope -> model whose predictions are kept in a pickle file
_VISUALIZATION_HOOKS = dict(mmdet='DetVisualizationHook', mmseg='SegVisualizationHook')


def show_predictions(cfg: Config, show: bool, show_dir: str | None, wait_time: float) -> None:
    """Turn the toolbox's visualisation hook on, as --show and --show-dir ask.

    Raises:
        ConfigError: a toolbox without such a hook, or no display to show pictures on.
    """
    if not show and not show_dir:
        return
    if show:
        check_display('use --show-dir DIR')
    if cfg.default_scope not in _VISUALIZATION_HOOKS:
        raise ConfigError(f'--show and --show-dir work with mmdet and mmseg configs, not with {cfg.default_scope!r}')
    hooks = cfg.setdefault('default_hooks', {})
    hook = hooks.setdefault('visualization', dict(type=_VISUALIZATION_HOOKS[cfg.default_scope]))
    hook.update(draw=True, show=show, wait_time=wait_time)
    if show_dir and cfg.default_scope == 'mmdet':
        hook['test_out_dir'] = show_dir
    elif show_dir:
        hook['interval'] = 1  # mmseg's default draws every fiftieth batch
        cfg.visualizer.save_dir = show_dir


def use_tta(cfg: Config) -> None:
    """Wrap the model and replace the test pipeline by the config's `tta_model` and `tta_pipeline`.

    A detector's config without them gets mmdet's default, a horizontal flip; DetTTAModel, which refuses masks, is
    replaced by InstanceSegTTAModel, which merges them.

    Raises:
        ConfigError: a segmentor's config without them.
    """
    dataset = innermost(cfg.test_dataloader.dataset)
    if cfg.default_scope == 'mmdet':
        model = cfg.get('tta_model') or dict(tta_cfg=dict(nms=dict(type='nms', iou_threshold=0.5), max_per_img=100))
        if class_name(model.get('type', 'DetTTAModel')) == 'DetTTAModel':
            model = dict(model, type='InstanceSegTTAModel')
        pipeline = cfg.get('tta_pipeline') or _flipped(dataset.pipeline)
    else:
        if 'tta_model' not in cfg or 'tta_pipeline' not in cfg:
            raise ConfigError('--tta: the config has no tta_model and tta_pipeline')
        model, pipeline = cfg.tta_model, cfg.tta_pipeline
    cfg.model = ConfigDict(model, module=cfg.model)
    dataset.pipeline = pipeline


def _flipped(pipeline: list) -> list:
    """Copy of a detector's test pipeline that yields each image twice, mirrored and as it is."""
    meta_keys = ('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor', 'flip', 'flip_direction')
    flips = [dict(type='RandomFlip', prob=1.), dict(type='RandomFlip', prob=0.)]
    pack = [dict(type='PackDetInputs', meta_keys=meta_keys)]
    return [*deepcopy(pipeline[:-1]), dict(type='TestTimeAug', transforms=[flips, pack])]


def check_out(cfg: Config, out: str) -> None:
    """Check that `--out` is what the toolbox can write, and have a segmentor's evaluator write it.

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
        metrics = cfg.test_evaluator if isinstance(cfg.test_evaluator, list) else [cfg.test_evaluator]
        metrics[0].update(output_dir=out, keep_results=True)
    else:
        raise ConfigError(f'--out works with mmdet, mmseg and classification configs, not with {cfg.default_scope!r}')


def keep_predictions(cfg: Config, runner, out: str) -> None:
    """Have the runner write predictions to the pickle file `out`.

    A segmentor's evaluator writes them, see `check_out`: for it, this does nothing.
    """
    if cfg.default_scope == 'mmdet':
        from mmdet.evaluation import DumpDetResults
        runner.test_evaluator.metrics.append(DumpDetResults(out_file_path=out))
    elif cfg.default_scope in _PICKLED:
        from mmengine.evaluator import DumpResults
        runner.test_evaluator.metrics.append(DumpResults(out_file_path=out))


def write_metrics(metrics: dict, work_dir: str) -> Path:
    """Write a test's metrics to `work_dir`/metrics.json, NaN as null, and print that path. Returns the path."""
    path = Path(work_dir) / 'metrics.json'
    if is_main_process():
        values = {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in metrics.items()}
        replace(path, lambda temporary: temporary.write_text(json.dumps(values, indent=2, default=float) + '\n'))
        print(f'metrics: {path}')
    return path
