"""The Shapes configs: the same kind of models as for COCO and ADE20K, on the classes the generator draws."""
import pytest

pytest.importorskip('mmdet')
pytest.importorskip('mmseg')

from mmengine.config import Config
from mmengine.registry import DATASETS, MODELS, DefaultScope

from mmvision_mamba.datasets.shapes import CLASSES, make_shapes

from ..helpers import ROOT
from ..helpers.fresh_start import forget_earlier_runs

CONFIGS = ROOT / 'configs'
PAIRS = {
    'cascade_mask_rcnn_mambavision_t_shapes': 'cascade_mask_rcnn_mambavision_t_coco',
    'upernet_mambavision_t_shapes': 'upernet_mambavision_t_ade20k',
}


@pytest.fixture(autouse=True)
def _no_scope_left():
    yield
    forget_earlier_runs()


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    out = tmp_path_factory.mktemp('data') / 'shapes'
    make_shapes(out, train=4, val=2, size=(64, 96))
    return out


def load(name, root, monkeypatch):
    monkeypatch.setenv('SHAPES_ROOT', str(root))
    cfg = Config.fromfile(CONFIGS / f'{name}.py')
    DefaultScope.get_instance(name, scope_name=cfg.default_scope)
    return cfg


@pytest.mark.parametrize('name, sibling', PAIRS.items())
def test_same_kind_of_model_as_the_published_one(name, sibling):
    shapes, published = (Config.fromfile(CONFIGS / f'{n}.py') for n in (name, sibling))
    assert shapes.default_scope == published.default_scope
    assert shapes.custom_imports.imports == ['mmvision_mamba']
    assert shapes.model.type == published.model.type
    assert shapes.model.backbone.type == 'MambaVision'
    assert shapes.model.backbone.arch == published.model.backbone.arch == 'tiny'
    assert shapes.model.backbone.window_padding == 'fit'
    assert shapes.model.backbone.init_cfg is None
    assert 'SyncBN' not in str(shapes.model)


@pytest.mark.parametrize('name', PAIRS)
def test_classes_are_those_the_generator_draws(name, root, monkeypatch):
    cfg = load(name, root, monkeypatch)
    expected = CLASSES if cfg.default_scope == 'mmdet' else ('background', *CLASSES)
    model = MODELS.build(cfg.model)
    heads = [*model.roi_head.bbox_head, *model.roi_head.mask_head] if cfg.default_scope == 'mmdet' else [
        model.decode_head, model.auxiliary_head]
    assert {head.num_classes for head in heads} == {len(expected)}
    for split, count in (('train', 4), ('val', 2)):
        dataset = DATASETS.build(cfg[f'{split}_dataloader'].dataset)
        assert len(dataset) == count
        assert tuple(dataset.metainfo['classes']) == expected
        assert len(dataset.metainfo['palette']) == len(expected)


def test_pipelines_keep_what_was_drawn(root, monkeypatch):
    """Boxes, masks and semantic maps of both data sets, at the size of the test image, are the same shapes."""
    samples = {}
    for name in PAIRS:
        cfg = load(name, root, monkeypatch)
        samples[cfg.default_scope] = DATASETS.build(cfg.test_dataloader.dataset)[1]['data_samples']
    semantic = samples['mmseg'].gt_sem_seg.data[0].numpy()
    instances = samples['mmdet'].gt_instances
    assert semantic.shape == (64, 96)
    assert len(instances) > 0
    covered = 0 * semantic
    for mask, label in zip(instances.masks.masks, instances.labels):
        assert (semantic[mask.astype(bool)] == label.item() + 1).all()
        covered += mask
    assert ((covered == 1) == (semantic > 0)).all()


@pytest.mark.parametrize('name', PAIRS)
def test_the_learning_rate_reaches_zero_at_the_last_iteration(name):
    cfg = Config.fromfile(CONFIGS / f'{name}.py')
    assert cfg.param_scheduler[-1].end == cfg.train_cfg.max_iters == cfg.train_cfg.val_interval
