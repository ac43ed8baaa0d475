"""One setting for the images' size, in all pipelines of a config."""
import pytest

pytest.importorskip('mmdet')
pytest.importorskip('mmseg')

from mmvision_mamba.errors import ConfigError
from mmvision_mamba.preflight.read import read_config

from ..helpers import formats


def read(name, root, **options):
    return read_config(f'{name}_mambavision_t_custom', dict(data_root=str(root), **options))


def steps(pipeline, kind):
    if isinstance(pipeline, dict):
        yield from [pipeline] if pipeline.get('type') == kind else []
        pipeline = pipeline.values()
    for item in pipeline if not isinstance(pipeline, str | int | float | bool | None) else ():
        yield from steps(item, kind)


def test_detectors(tmp_path):
    root = formats.coco(tmp_path)
    cfg = read('faster_rcnn', root, **{'custom_data.size': 416})
    for split in ('train', 'val', 'test'):
        step, = steps(cfg[f'{split}_dataloader'].dataset.pipeline, 'Resize')
        assert tuple(step['scale']) == (704, 416)
    assert [tuple(s['scale']) for s in steps(cfg.tta_pipeline, 'Resize')] == [(544, 320), (704, 416), (832, 512)]
    cfg = read('cascade_mask_rcnn', root, **{'custom_data.size': 320})
    choices = list(steps(cfg.train_dataloader.dataset.pipeline, 'RandomChoiceResize'))
    assert [tuple(s) for s in choices[0]['scales']] == [(side, 544) for side in (192, 224, 256, 288, 320)]
    crop, = steps(cfg.train_dataloader.dataset.pipeline, 'RandomCrop')
    assert tuple(crop['crop_size']) == (160, 256)


def test_segmentors(tmp_path):
    cfg = read('upernet', formats.masks(tmp_path), **{'custom_data.size': 256})
    train = cfg.train_dataloader.dataset.pipeline
    assert tuple(next(steps(train, 'RandomResize'))['scale']) == (1024, 256)
    assert tuple(next(steps(train, 'RandomCrop'))['crop_size']) == (256, 256)
    assert tuple(cfg.model.data_preprocessor.size) == (256, 256)
    assert tuple(next(steps(cfg.test_dataloader.dataset.pipeline, 'Resize'))['scale']) == (1024, 256)


def test_what_the_user_has_set_stays(tmp_path):
    cfg = read('faster_rcnn', formats.coco(tmp_path), **{
        'custom_data.size': 416, 'train_dataloader.dataset.pipeline.2.scale': (500, 300)})
    assert tuple(cfg.train_dataloader.dataset.pipeline[2].scale) == (500, 300)
    assert tuple(cfg.val_dataloader.dataset.pipeline[1].scale) == (704, 416)


@pytest.mark.parametrize('size', [0, 100, -32, 'large', True, 416., 32 * 10**6])
def test_wrong_sizes(size, tmp_path):
    with pytest.raises(ConfigError, match=r'^custom_data\.size is .*: expected the short side .* a multiple of 32'):
        read('faster_rcnn', formats.coco(tmp_path), **{'custom_data.size': size})
