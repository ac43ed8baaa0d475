"""Necks and heads that don't fit the backbone, class counts that don't fit the data set: what the errors say to put."""
import copy
import re

import pytest

pytest.importorskip('mmdet')
pytest.importorskip('mmseg')

from mmengine import Config, ConfigDict

from mmvision_mamba.backbones.family import FAMILY
from mmvision_mamba.errors import ConfigError
from mmvision_mamba.preflight.check_model import check_model

from ..helpers.neighbours import CONFIGS, NEIGHBOURS
from ..helpers.published import RECIPES


def load(name):
    return Config.fromfile(CONFIGS / f'{name}.py')


def message(cfg, splits=('train', 'val')):
    with pytest.raises(ConfigError) as error:
        check_model(cfg, splits)
    assert len(str(error.value).splitlines()) == 2
    return str(error.value)


def follow(cfg, text):
    """Do what the message says."""
    options = {}
    for key, value in re.findall(r'(\S+)=(\S+)', text.splitlines()[1]):
        options[key] = [int(v) for v in value[1:-1].split(',')] if value[0] == '[' else int(value)
    cfg.merge_from_dict(options)


@pytest.mark.parametrize('name', [*NEIGHBOURS, *RECIPES, 'cascade_mask_rcnn_mambavision_t_shapes',
                                  'upernet_mambavision_t_shapes'])
def test_our_configs_fit(name):
    check_model(load(name), ('train', 'val', 'test'))


@pytest.mark.parametrize('name', NEIGHBOURS)
def test_another_variant_names_the_channels_to_put(name):
    cfg = load(name)
    cfg.model.backbone.arch = 'base'
    followed = 0
    while followed < 4:  # neck; or decode head, its second input, auxiliary head
        try:
            check_model(cfg, ('train',))
            break
        except ConfigError as error:
            assert "MambaVision 'base'" in str(error)
            follow(cfg, str(error))
            followed += 1
    assert 0 < followed < 4
    tiny, base = (FAMILY[arch]['dim'] for arch in ('tiny', 'base'))
    before, after = (re.findall(r"in_channels': ([\d\[\], ]+)", str(c.model.to_dict())) for c in (load(name), cfg))
    factors = {tiny * 2**i: base * 2**i for i in range(4)}
    assert [re.sub(r'\d+', lambda n: str(factors.get(int(n[0]), int(n[0]))), channels) for channels in before] == after


def test_a_neck():
    cfg = load('faster_rcnn_mambavision_t_coco')
    cfg.model.neck.in_channels = [256, 512, 1024, 2048]
    text = message(cfg)
    assert text.startswith('model.neck.in_channels is [256, 512, 1024, 2048], but the backbone gives [80, 160, ')
    assert text.endswith('Set model.neck.in_channels=[80,160,320,640]')
    cfg.model.backbone.out_indices = (1, 2, 3)
    cfg.model.neck.in_channels = [80, 160, 320, 640]
    assert 'Set model.neck.in_channels=[160,320,640]' in message(cfg)


def test_nested_models_and_several_necks():
    cfg = load('faster_rcnn_mambavision_t_coco')
    inner = copy.deepcopy(cfg.model)
    inner.neck = [ConfigDict(inner.neck, in_channels=[1, 2, 3, 4]), dict(type='BFP', in_channels=256, num_levels=5)]
    cfg.model = ConfigDict(type='SoftTeacher', detector=inner)
    assert 'Set model.detector.neck.0.in_channels=[80,160,320,640]' in message(cfg)
    inner.neck[0].in_channels = [80, 160, 320, 640]
    cfg.model.detector = inner
    check_model(cfg, ('train',))


def test_the_published_name_and_a_dict_of_an_architecture():
    cfg = load('faster_rcnn_mambavision_t_coco')
    cfg.model.backbone = ConfigDict(
        type='MM_mamba_vision', dim=96, in_dim=64, depths=(3, 3, 7, 5), num_heads=(2, 4, 8, 16),
        window_size=(8, 8, 112, 56), mlp_ratio=4)
    assert 'Set model.neck.in_channels=[96,192,384,768]' in message(cfg)
    cfg.model.backbone = ConfigDict(type='mmdet.MambaVision', arch=dict(
        dim=8, in_dim=8, depths=(1, 1, 1, 1), num_heads=(1, 1, 1, 1)))
    assert 'Set model.neck.in_channels=[8,16,32,64]' in message(cfg)


def test_other_backbones_are_left_alone():
    cfg = load('faster_rcnn_mambavision_t_coco')
    cfg.model.backbone = ConfigDict(type='ResNet', depth=50)
    cfg.model.neck.in_channels = [1]
    cfg.model.roi_head.bbox_head.num_classes = 7
    check_model(cfg, ('train',))


def test_heads_of_segmentors():
    cfg = load('upernet_mambavision_t_ade20k')
    cfg.model.decode_head.in_channels = [96, 192, 384, 768]
    assert 'Set model.decode_head.in_channels=[80,160,320,640]' in message(cfg)
    cfg = load('upernet_mambavision_t_ade20k')
    cfg.model.auxiliary_head = [cfg.model.auxiliary_head, ConfigDict(cfg.model.auxiliary_head, in_index=1)]
    assert 'Set model.auxiliary_head.1.in_channels=160' in message(cfg)
    cfg = load('pspnet_mambavision_t_ade20k')
    cfg.model.auxiliary_head.in_index = 2
    with pytest.raises(ConfigError, match=r'auxiliary_head.in_index is 2, but the backbone returns 2 features'):
        check_model(cfg, ())
    cfg = load('deeplabv3plus_mambavision_t_ade20k')
    cfg.model.decode_head.c1_in_channels = 256
    assert 'Set model.decode_head.c1_in_channels=80' in message(cfg)


@pytest.mark.parametrize(('name', 'keys', 'count'), [
    ('faster_rcnn_mambavision_t_coco', ['model.roi_head.bbox_head.num_classes'], 3),
    ('mask_rcnn_mambavision_t_1x_coco', [f'model.roi_head.{head}_head.num_classes' for head in ('bbox', 'mask')], 1),
    ('cascade_rcnn_mambavision_t_coco', [f'model.roi_head.bbox_head.{i}.num_classes' for i in range(3)], 2),
    ('fcos_mambavision_t_coco', ['model.bbox_head.num_classes'], 300),
    ('solov2_mambavision_t_coco', ['model.mask_head.num_classes'], 3),
    ('upernet_mambavision_t_ade20k', ['model.decode_head.num_classes', 'model.auxiliary_head.num_classes'], 5)])
def test_classes(name, keys, count):
    cfg = load(name)
    names = tuple(f'thing{i}' for i in range(count))
    seg = cfg.default_scope == 'mmseg'
    for split in ('train', 'val'):
        dataset = cfg[f'{split}_dataloader'].dataset
        dataset.metainfo = dict(classes=names)
        dataset.type = 'BaseSegDataset' if seg else dataset.type
    text = message(cfg)
    assert f'train_dataloader.dataset has {count} classes (thing0' in text
    assert text.splitlines()[1] == 'Set ' + ' '.join(f'{key}={count}' for key in keys)
    follow(cfg, text)
    check_model(cfg, ('train', 'val'))


def test_classes_of_mask_formers():
    cfg = load('mask2former_mambavision_t_coco-panoptic')
    metainfo = dict(classes=('cat', 'dog', 'sky'), thing_classes=('cat', 'dog'), stuff_classes=('sky',))
    cfg.train_dataloader.dataset.metainfo = metainfo
    text = message(cfg, ('train',))
    assert 'model.panoptic_head.num_things_classes=2' in text and 'model.panoptic_head.num_stuff_classes=1' in text
    assert 'model.panoptic_fusion_head.num_stuff_classes=1' in text
    assert 'model.panoptic_head.loss_cls.class_weight=1.0,1.0,1.0,0.1' in text
    cfg.merge_from_dict({f'model.panoptic_{part}head.num_{kind}_classes': n for part in ('', 'fusion_')
                         for kind, n in (('things', 2), ('stuff', 1))})
    assert 'Set model.panoptic_head.loss_cls.class_weight=1.0,1.0,1.0,0.1' in message(cfg, ('train',))
    cfg.model.panoptic_head.loss_cls.class_weight = [1.0] * 3 + [0.1]
    check_model(cfg, ('train',))
    cfg = load('mask2former_mambavision_t_ade20k')
    cfg.model.decode_head.num_classes = 19
    assert 'Set model.decode_head.num_classes=150' in message(cfg)
    cfg.model.decode_head.update(num_classes=150)
    cfg.model.decode_head.loss_cls.class_weight = [1.] * 20
    assert 'class_weight is of length 20' in message(cfg)


@pytest.mark.parametrize(('name', 'changes', 'advice'), [
    ('mask2former_mambavision_t_coco', {'panoptic_head.num_queries': 1}, 'model.test_cfg.max_per_image=80'),
    ('dino_mambavision_t_coco', {'num_queries': 3}, 'model.test_cfg.max_per_img=240'),
    ('deformable_detr_mambavision_t_coco', {'num_queries': 1}, 'model.test_cfg.max_per_img=80')])
def test_more_instances_than_candidates(name, changes, advice):
    """mmdet fails at the first image: selected index k out of range."""
    cfg = load(name)
    check_model(cfg, ('train', 'val'))
    cfg.merge_from_dict({f'model.{key}': value for key, value in changes.items()})
    text = message(cfg, ('train', 'val'))
    assert text.endswith(f'Set {advice}') and 'num_queries=' in text
    key, _, value = advice.partition('=')
    cfg.merge_from_dict({key: int(value)})
    check_model(cfg, ('train', 'val'))


def test_a_kind_of_nms_that_there_is_not():
    """mmcv looks for it in the first validation, after an epoch of training."""
    cfg = load('cascade_mask_rcnn_mambavision_t_coco')
    cfg.model.test_cfg.rcnn.nms.type = 'soft_nsm'
    assert message(cfg).startswith("model.test_cfg.rcnn.nms.type is 'soft_nsm' (did you mean 'soft_nms'?)")
    cfg.model.test_cfg.rcnn.nms.type = 'soft_nms'
    check_model(cfg, ('train',))


def test_binary_segmentation_with_one_output():
    cfg = load('upernet_mambavision_t_ade20k')
    cfg.train_dataloader.dataset = ConfigDict(type='BaseSegDataset', metainfo=dict(classes=('no', 'yes')))
    for head in (cfg.model.decode_head, cfg.model.auxiliary_head):
        head.update(num_classes=1, out_channels=1)
    check_model(cfg, ('train',))
