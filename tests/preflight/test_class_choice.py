"""Some of a folder's classes, renamed or several taken for one: targets and metrics as of data that were made so."""
import json

import numpy as np
import pytest

pytest.importorskip('mmdet')
pytest.importorskip('mmseg')

import torch
from mmengine.registry import DATASETS, METRICS, DefaultScope
from PIL import Image

from mmvision_mamba.errors import ConfigError
from mmvision_mamba.preflight.check_data import check_datasets
from mmvision_mamba.preflight.datasets import datasets_of
from mmvision_mamba.preflight.read import read_config
from mmvision_mamba.preflight.usage import check_usage

from ..helpers import formats

SPLITS = ('train', 'val', 'test')
CHOICES = {
    'merged': ({'fish': 'eel', 'pet': ['cat', 'dog']}, {'fish': ['eel'], 'pet': ['cat', 'dog']}),
    'subset': (['eel', 'cat'], {'eel': ['eel'], 'cat': ['cat']}),
    'swapped': ({'dog': 'cat', 'cat': 'dog'}, {'dog': ['cat'], 'cat': ['dog']}),
    'a name that is left out': ({'eel': ['cat', 'dog']}, {'eel': ['cat', 'dog']}),
}
# All formats with one choice, all choices with one format.
OBJECTS = [(kind, 'merged') for kind in formats.FORMATS] + [('coco', choice) for choice in [*CHOICES][1:]]
MAPS = [(kind, 'merged') for kind in (*formats.FORMATS, 'grey', 'colours', 'palette')] + [
    (kind, choice) for kind in ('coco', 'grey', 'colours') for choice in [*CHOICES][1:]]
# What use_custom_data needs of a config, which is read in no time.
DETECTOR = '''
default_scope = 'mmdet'
model = dict(type='MaskRCNN', roi_head=dict(
    bbox_head=dict(type='Shared2FCBBoxHead', num_classes=80), mask_head=dict(type='FCNMaskHead', num_classes=80)))
load = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
        dict(type='PackDetInputs')]
data = dict(type='CocoDataset', ann_file=None, data_prefix=dict(img=None), pipeline=load)
train_dataloader = dict(dataset=dict(filter_cfg=dict(filter_empty_gt=True, min_size=32), **data))
val_dataloader = dict(dataset=dict(test_mode=True, **data))
test_dataloader = val_dataloader
val_evaluator = dict(type='CocoMetric', ann_file=None, metric=['bbox', 'segm'])
test_evaluator = val_evaluator
'''
SEGMENTOR = '''
default_scope = 'mmseg'
model = dict(type='EncoderDecoder', decode_head=dict(type='FCNHead', num_classes=80))
data = dict(
    type='mmvision_mamba.datasets.image_mask.ImageMaskDataset', ann_file=None, data_prefix=dict(
        img_path=None, seg_map_path=None),
    pipeline=[dict(type='LoadImageFromFile'), dict(type='LoadAnnotations'), dict(type='PackSegInputs')])
train_dataloader = dict(dataset=data)
val_dataloader = dict(dataset=data)
test_dataloader = val_dataloader
val_evaluator = dict(type='IoUMetric')
test_evaluator = val_evaluator
'''


def read(config, root, **options):
    (root.parent / 'base.py').write_text(config)
    path = root.parent / 'config.py'
    path.write_text(f'_base_ = "base.py"\ndata_root = {str(root)!r}\ncustom_data = dict(format=None)\n')
    cfg = read_config(path, options)
    check_usage(cfg, check_datasets(cfg, SPLITS), SPLITS)
    return cfg


def built(cfg, split):
    (_, dataset, _), = datasets_of(cfg, split)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        return DATASETS.build(dict(dataset, _scope_=cfg.default_scope))


def targets(cfg, split):
    """{image's name: boxes, labels and masks, or the map}."""
    found = {}
    for sample in (item['data_samples'] for item in built(cfg, split)):
        name = sample.img_path.rpartition('/')[2]
        if cfg.default_scope == 'mmseg':
            found[name] = [sample.gt_sem_seg.data.numpy()]
        else:
            objects = sample.gt_instances
            found[name] = [objects.bboxes.tensor.numpy(), objects.labels.numpy(), objects.masks.to_ndarray()]
    return found


def same(one, other):
    assert one.keys() == other.keys() and one
    for name in one:
        for a, b in zip(one[name], other[name], strict=True):
            np.testing.assert_array_equal(a, b)
            assert a.dtype == b.dtype


def made_so(root, classes):
    """The data set in COCO's format with these classes, {class: names}, and no others."""
    formats.coco(root)
    ids = {name: i for i, names in enumerate(classes.values()) for name in names}
    for split in formats.SPLITS:
        path = root / split / 'annotations.json'
        content = json.loads(path.read_text())
        content['annotations'] = [dict(a, category_id=ids[formats.NAMES[a['category_id']]]) for a in
                                  content['annotations'] if formats.NAMES[a['category_id']] in ids]
        content['categories'] = [dict(id=i, name=name) for i, name in enumerate(classes)]
        path.write_text(json.dumps(content))
    return root


def written(kind, root):
    return formats.WRITERS[kind](root) if kind in formats.WRITERS else formats.masks(root, kind)


@pytest.mark.parametrize(('kind', 'choice'), OBJECTS)
def test_objects_are_those_of_data_that_were_made_so(kind, choice, tmp_path):
    wanted, classes = CHOICES[choice]
    cfg = read(DETECTOR, written(kind, tmp_path / 'data'), **{'custom_data.classes': wanted})
    reference = read(DETECTOR, made_so(tmp_path / 'reference', classes))
    for split in ('train', 'val'):
        same(targets(cfg, split), targets(reference, split))
        assert built(cfg, split).metainfo['classes'] == tuple(classes)
    assert cfg.model.roi_head.bbox_head.num_classes == cfg.model.roi_head.mask_head.num_classes == len(classes)
    assert ('merged' in cfg.val_evaluator) == (choice != 'subset')


@pytest.mark.parametrize(('kind', 'choice'), MAPS)
def test_pixels_of_other_classes_are_unlabelled(kind, choice, tmp_path):
    wanted, classes = CHOICES[choice]
    if isinstance(wanted, dict):
        wanted, classes = ({'nothing': background, **chosen} for background, chosen in (
            ('background', wanted), (['background'], classes)))
    cfg = read(SEGMENTOR, written(kind, tmp_path / 'data'), **{'custom_data.classes': wanted})
    table = np.full(256, 255, np.uint8)
    for label, names in enumerate(classes.values()):
        table[[('background', *formats.NAMES).index(name) for name in names]] = label
    for split, count in formats.SPLITS.items():
        expected = {f'{split} {i}.png': table[formats.label_map(formats.objects(split, i))] for i in range(count)}
        found = targets(cfg, split)
        assert found.keys() == expected.keys()
        for name, seg_map in expected.items():
            np.testing.assert_array_equal(found[name][0][0], seg_map)
    assert cfg.train_dataloader.dataset.metainfo.classes == tuple(classes)
    assert cfg.model.decode_head.num_classes == len(classes)


def test_a_written_config_says_the_same(tmp_path):
    for kind, config in (('yolo', DETECTOR), ('labelme', SEGMENTOR), ('colours', SEGMENTOR)):
        wanted = {'z': 'dog', 'pet': ['cat', 'eel'], **({'a': 'background'} if config == SEGMENTOR else {})}
        cfg = read(config, written(kind, tmp_path / kind), **{'custom_data.classes': wanted})
        cfg.dump(tmp_path / 'written.py')
        assert 'custom_data' not in (tmp_path / 'written.py').read_text()
        for split in ('train', 'test'):
            same(targets(read_config(tmp_path / 'written.py'), split), targets(cfg, split))


@pytest.mark.parametrize('choice', ['merged', 'a name that is left out'])
def test_average_precision_is_that_of_data_that_were_made_so(choice, tmp_path):
    wanted, classes = CHOICES[choice]
    root = formats.yolo(tmp_path / 'data')
    cfg = read(DETECTOR, root, **{'custom_data.classes': wanted})
    reference = read(DETECTOR, made_so(tmp_path / 'reference', classes))
    results = []
    for config in (cfg, reference):
        data, random = built(config, 'train'), np.random.default_rng(0)
        with DefaultScope.overwrite_default_scope('mmdet'):
            path = config.val_evaluator.ann_file.replace('val', 'train')
            metric = METRICS.build(dict(config.val_evaluator, ann_file=path, classwise=True))
        metric.dataset_meta = data.metainfo
        for sample in sorted((item['data_samples'] for item in data), key=lambda sample: sample.img_path):
            truth = sample.gt_instances
            boxes = truth.bboxes.tensor + torch.from_numpy(random.normal(0, 2, (len(truth), 4))).float()
            metric.process({}, [dict(
                img_id=sample.img_id, ori_shape=sample.ori_shape, pred_instances=dict(
                    bboxes=boxes, labels=truth.labels, scores=torch.linspace(0.9, 0.3, len(truth)),
                    masks=torch.from_numpy(truth.masks.to_ndarray()).bool()))])
        results.append(metric.evaluate(len(data)))
    assert results[0] == results[1] and 0 < results[0]['coco/bbox_mAP'] < 1 == results[0]['coco/segm_mAP_50']
    assert {f'coco/{name}_precision' for name in classes} <= results[0].keys()


@pytest.mark.parametrize(('config', 'classes', 'message'), [
    (DETECTOR, ['cat', 'dig'], r"the data have no class 'dig' \(did you mean 'dog'\?\)(.|\n)*cat, dog, eel"),
    (DETECTOR, {'a': ['cat'], 'b': ['dog', 'cat']}, "'cat' is in two classes, 'a' and 'b'"),
    (DETECTOR, ['cat', 'cat'], "'cat' comes twice"), (DETECTOR, [], 'classes is empty'),
    (DETECTOR, {}, 'classes is empty'),
    (DETECTOR, {'a': []}, r'classes\.a is empty'), (DETECTOR, [['cat']], r"has \"\['cat'\]\" where the name"),
    (DETECTOR, [1], "no class '1'"), (SEGMENTOR, ['cat'], "'cat' alone(.|\n)*background"),
    (SEGMENTOR, ['cat', 'doge'], r"no class 'doge' \(did you mean 'dog'"),
    (DETECTOR, 3.5, r"has '3.5' where the name")])
def test_wrong_choices(config, classes, message, tmp_path):
    with pytest.raises(ConfigError, match=r'^custom_data\.classes') as error:
        read(config, formats.coco(tmp_path / 'data'), **{'custom_data.classes': classes})
    assert error.match(message) and len(str(error.value).splitlines()) <= 2


def test_metainfo_of_the_user_excludes_a_choice(tmp_path):
    with pytest.raises(ConfigError, match=r'custom_data\.classes and metainfo\.classes are both set'):
        read(DETECTOR, formats.coco(tmp_path / 'data'), **{'custom_data.classes': ['cat'],
                                               'train_dataloader.dataset.metainfo.classes': ['cat']})


def test_a_data_set_that_can_not_rename_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r'which train_dataloader\.dataset can not do, a LVISV1Dataset'):
        read(DETECTOR, formats.coco(tmp_path / 'data'), **{'custom_data.classes': {'pet': ['cat', 'dog']},
                                               'train_dataloader.dataset.type': 'LVISV1Dataset'})


def test_the_command_line_takes_names_with_spaces(tool, tmp_path, capfd):
    root = formats.coco(tmp_path / 'my data, old')
    for split in formats.SPLITS:
        path = root / split / 'annotations.json'
        path.write_text(path.read_text().replace('"dog"', '"guide dog"'))
    result = tool('check_dataset', 'faster_rcnn_mambavision_t_custom', '--cfg-options', f'data_root={root}',
                  'custom_data.classes.pet=[cat, guide dog]', 'custom_data.classes.fish=eel')
    assert 'my data, old: 2 classes (pet, fish); pet: cat, guide dog; fish: eel; train:' in result.out, result.err
    result = tool('check_dataset', 'faster_rcnn_mambavision_t_custom', '--cfg-options', f'data_root={root}',
                  'custom_data.classes=guide dog, eel')
    assert '2 classes (guide dog, eel); left out: cat; train:' in result.out, result.err


def test_nothing_to_learn_of_the_chosen_is_said(tmp_path):
    root = formats.masks(tmp_path / 'data', 'colours')
    for path in (root / 'masks/val').iterdir():
        Image.new('RGB', (formats.WIDTH, formats.HEIGHT), formats.COLOURS[0]).save(path)
    with pytest.raises(Exception, match=r'nothing to measure \(val\): all pixels of its masks are unlabelled'):
        read(SEGMENTOR, root, **{'custom_data.classes': ['cat', 'dog']})
