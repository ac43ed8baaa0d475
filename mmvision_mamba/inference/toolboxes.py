"""The toolbox of a config, mmdet, mmseg or this package's classifiers: its model, test pipeline and visualiser."""
import copy
import warnings

from mmengine.config import Config

from ..errors import ConfigError
from ..installation import needing
from ..preflight.check_model import check_nms
from ..preflight.check_model_inputs import check_inputs, check_test_modes
from ..preflight.datasets import datasets_of
from ..preflight.pretrained import drop_pretrained
from ..preflight.value_types import check_sizes
from ..text import class_name
from .scopes import in_scope
from .toolbox_base import ToolboxBase

CLASSIFIERS = 'mmengine'  # the scope of their configs
VISUALIZERS = dict(mmdet='DetLocalVisualizer', mmseg='SegLocalVisualizer')
SCALING_VISUALIZERS = dict(mmdet='mmvision_mamba.inference.det_toolbox.ScalingDetVisualizer',
                           mmseg='mmvision_mamba.inference.seg_toolbox.ScalingSegVisualizer')


def build_toolbox(cfg: Config, weights: str | None, device: str) -> ToolboxBase:
    """Build `model`, `pipeline`, `collate_fn` and `visualizer` of a config, and the test pipeline's `image_loader`.

    Args:
        cfg: a detector's, segmentor's or classifier's config.
        weights: checkpoint file or URL. None: the model stays as initialised.
        device: as for `torch.device`.

    Raises:
        ConfigError: a config of another toolbox, without a test pipeline that loads images, or with an unknown NMS
            or test mode; see `check_inputs` and `check_sizes`.
        CheckpointError: see `read_checkpoint` and `check_fit`.
        MissingExtraError: the toolbox is not installed. InstallationError: it is, and can't be imported.
    """
    scope = cfg.get('default_scope')
    classifies = is_classifier(cfg)
    if scope not in VISUALIZERS and not classifies:
        raise ConfigError('inference works with configs of mmdet, of mmseg and of ImageClassifier, not with those of '
                          f'{scope!r}')
    with needing(f'inference with {scope}', 'openmmlab'):
        if classifies:
            from .cls_toolbox import ClsToolbox as Toolbox
        elif scope == 'mmdet':
            from .det_toolbox import DetToolbox as Toolbox
        else:
            from .seg_toolbox import SegToolbox as Toolbox
    check_nms(cfg.model, 'model')
    check_test_modes(cfg)
    check_inputs(cfg.model)
    cfg = copy.deepcopy(cfg)  # the caller's stays as it is
    datasets = datasets_of(cfg, 'test')
    if not datasets:
        raise ConfigError('the config has no test_dataloader with a data set, whose pipeline prepares the images')
    check_sizes(datasets[0][1].get('pipeline'), f'{datasets[0][0]}.pipeline')
    cfg.test_dataloader.dataset = datasets[0][1]  # without the data sets wrapped around it
    if not classifies:
        use_scaling_visualizer(cfg)
        cfg.visualizer.pop('vis_backends', None)
        cfg.visualizer.pop('save_dir', None)
    if weights is not None:
        drop_pretrained(cfg.model)  # they would be loaded only to be replaced
    with warnings.catch_warnings():
        warnings.filterwarnings('ignore', message='.*save_dir.*')
        with in_scope(scope):
            return Toolbox(cfg, weights, device, scope)


def is_classifier(cfg: Config) -> bool:
    """Whether a config is of an `ImageClassifier`."""
    return cfg.get('default_scope') == CLASSIFIERS and class_name(
        (cfg.get('model') or {}).get('type', '')) == 'ImageClassifier'


def check_dense(scope: str, what: str) -> None:
    """Raise ConfigError for a classifier, where `what` takes predictions that have places in an image."""
    if scope == CLASSIFIERS:
        raise ConfigError(f'{what} is for detectors and segmentors; of a classifier take `mmvision-mamba infer`, '
                          '`mmvision-mamba test` or Inferencer.predict')


def use_scaling_visualizer(cfg: Config) -> None:
    """Let mmdet's or mmseg's visualiser draw as `ScalingVisualizer` does, in place in the config.

    A visualiser of another type, and one with settings of its own such as `line_width`, stays as it is.
    """
    cfg.setdefault('visualizer', dict(type=VISUALIZERS[cfg.default_scope], name='visualizer'))
    visualizer = cfg.visualizer  # a config keeps copies of dicts
    settings = set(visualizer) - {'type', '_scope_', 'name', 'vis_backends', 'save_dir'}  # mmdet's bases have a scope
    if class_name(visualizer['type']) == VISUALIZERS[cfg.default_scope] and not settings:
        visualizer['type'] = SCALING_VISUALIZERS[cfg.default_scope]
