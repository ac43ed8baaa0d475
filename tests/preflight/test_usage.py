"""A run that has nothing to learn from or to measure stops before it starts; others say what their loaders use."""
import copy
import json

import numpy as np
import pytest
from mmengine.registry import METRICS, DefaultScope

from mmvision_mamba.errors import ConfigError, DataError
from mmvision_mamba.preflight.annotation_files import use_mended_coco
from mmvision_mamba.preflight.check_data import check_datasets
from mmvision_mamba.preflight.datasets import build_without_pipeline
from mmvision_mamba.preflight.usage import check_usage

from ..helpers.tiny_datasets import change_json, picture, write

pytest.importorskip('mmdet')
pytest.importorskip('mmseg')


def check(cfg, *splits):
    splits = splits or ('train', 'val')
    check_usage(cfg, check_datasets(cfg, splits), splits)


def refusal(cfg, *splits) -> str:
    with pytest.raises(DataError) as error:
        check(cfg, *splits)
    assert len(str(error.value).splitlines()) == 2
    return str(error.value)


def every(**values):
    return lambda content: [ann.update(copy.deepcopy(values)) for ann in content['annotations']]


def test_a_line_for_each_split(coco, capsys):
    change_json(coco, 'train', lambda c: c['annotations'][0].update(iscrowd=1))
    check(coco)
    lines = capsys.readouterr().out.splitlines()
    assert 'train: 4 of 4 images, 3 of 4 objects used, 75.0% (circle 1, square 1, star 1); not used: 1 crowds' in lines
    assert 'val: 4 of 4 images, 4 of 4 objects used (circle 2, square 1, star 1)' in lines


@pytest.mark.parametrize(('change', 'words'), [
    (every(iscrowd=1), '4 crowds'),
    (every(bbox=[400, 400, 20, 20]), '4 outside their image'),
    (every(category_id='star'), '4 of unknown categories'),
    (every(category_id=17), '4 of unknown categories'),
    (every(image_id=77), '4 of unknown images'),
    (every(ignore=1), '4 to be ignored'),
    (lambda c: c['annotations'].clear(), 'there are no objects')])
def test_nothing_to_learn_from(change, words, coco):
    path = change_json(coco, 'train', change)
    message = refusal(coco)
    assert message.startswith(f'{path}: nothing to learn from (train)') and words in message and 'Way out: ' in message


def test_all_images_too_small(coco):
    coco.train_dataloader.dataset.filter_cfg = dict(filter_empty_gt=True, min_size=64)
    message = refusal(coco)
    assert '4 images under min_size=64' in message and 'filter_cfg.min_size' in message


def test_nothing_to_measure(coco):
    change_json(coco, 'val', every(iscrowd=1))
    assert 'nothing to measure (val): none of 4 objects' in refusal(coco)
    assert 'val_evaluator=None' in refusal(coco)
    assert 'nothing to measure (test)' in refusal(coco, 'test')
    coco.test_evaluator.update(format_only=True)
    check(coco, 'test')
    coco.test_evaluator = [dict(type='DumpDetResults', out_file_path='x.pkl')]
    check(coco, 'test')


def test_one_part_of_several_may_be_empty_and_unlabelled_images_have_no_objects(coco, capsys):
    """As in semi-supervised training."""
    train = coco.train_dataloader.dataset
    unlabelled = copy.deepcopy(train)
    unlabelled.ann_file = 'annotations/val.json'
    unlabelled.pipeline[1] = dict(type='LoadEmptyAnnotations')
    coco.train_dataloader.dataset = dict(type='ConcatDataset', datasets=[train, unlabelled])
    change_json(coco, 'val', lambda c: c['annotations'].clear())
    check(coco, 'train')
    assert 'train: 4 of 4 images, 4 of 4 objects' in capsys.readouterr().out
    unlabelled.pipeline[1] = train.pipeline[1]
    check(coco, 'train')
    assert 'train: 8 of 8 images, 4 of 4 objects' in capsys.readouterr().out


def warnings_of(cfg, caplog, monkeypatch):
    from mmvision_mamba.preflight import usage
    found = []
    monkeypatch.setattr(usage, 'warn_once', found.append)
    check(cfg)
    return found


def test_loud_where_much_is_lost(coco, caplog, monkeypatch):
    assert not warnings_of(coco, caplog, monkeypatch)
    change_json(coco, 'train', lambda c: c['annotations'][1].update(bbox=[90, 90, 5, 5]))
    found = warnings_of(coco, caplog, monkeypatch)
    assert 'train: more than a tenth is not used: 1 outside their image' in found[0]
    assert found[1] == 'train: no object of square'


def test_boxes_unlike_their_masks_warn(coco, caplog, monkeypatch):
    change_json(coco, 'train', every(bbox=[1, 1, 8, 8]))
    warning, = warnings_of(coco, caplog, monkeypatch)
    assert '4 of 4 boxes overlap their own mask by less than half' in warning and 'repair-annotations' in warning


def test_boxes_as_corners_stop(coco):
    path = change_json(coco, 'train', every(bbox=[10, 10, 35, 30], segmentation=[[10, 10, 35, 10, 35, 30, 10, 30]]))
    message = refusal(coco)
    assert f'repair-annotations {path} NEW_FILE --boxes xyxy' in message and 'x1, y1, x2, y2' in message
    use_mended_coco(coco, 'xyxy')
    check(coco, 'train')
    use_mended_coco(coco, 'xywh')  # the user insists
    check(coco, 'train')
    with pytest.raises(ConfigError, match=r"custom_data\.boxes is 'xyyx'"):
        use_mended_coco(coco, 'xyyx')


@pytest.mark.parametrize(('key', 'change', 'ids'), [
    ('category_id', lambda c: [a.update(category_id=a['category_id'] - 1) for a in c['annotations']], 'from 0 to 2'),
    ('category_id', lambda c: [a.update(id=a['id'] - 1) for a in c['categories']], 'from 1 to 3'),
    ('image_id', lambda c: [a.update(image_id=a['image_id'] + 1) for a in c['annotations']], 'from 11 to 14')])
def test_ids_shifted_by_one_stop(key, change, ids, coco):
    change_json(coco, 'train', change)
    message = refusal(coco)
    assert f'{key}: they run {ids}' in message and f'--shift-{key.replace("_", "-")}s' in message


@pytest.mark.parametrize('mask', [[[]], [[2, 2, 22, 2]], [[2, 2, 22, 2, 22]]])
def test_objects_without_a_mask_are_not_learned_from_where_masks_are(mask, coco, capsys):
    change_json(coco, 'train', every(segmentation=mask))
    check(coco, 'train')
    assert '4 of 4 objects used' in capsys.readouterr().out
    coco.train_dataloader.dataset.pipeline[1].with_mask = True
    assert '4 without a mask' in refusal(coco, 'train')


@pytest.mark.parametrize('change', [
    lambda c: [i.update(id=i['id'] + 1) for i in c['images']] + [a.update(image_id=a['image_id'] + 1)
                                                                  for a in c['annotations']],
    lambda c: (c['images'].pop(), c['annotations'].pop())])
def test_an_evaluator_of_other_images(change, coco):
    path = f'{coco.data_root}/annotations/other.json'
    write(_val(coco).with_name('other.json'), _val(coco).read_text())
    coco.val_evaluator.ann_file = path  # a copy will do
    check(coco)
    content = json.loads(_val(coco).read_text())
    change(content)
    write(_val(coco).with_name('other.json'), json.dumps(content))
    with pytest.raises(ConfigError, match=r'other.json, and val_dataloader loads the images of .*val.json: \d of 4 '
                                          r'are not in the former(.|\n)*Set val_evaluator.ann_file='):
        check(coco)


def test_a_file_without_categories(coco):
    change_json(coco, 'val', lambda c: c['categories'].clear())
    assert 'its categories are empty, and the config has 3 classes: circle, square, star' in refusal(coco)


# mmdet's own classes can't read these, ours can ----------------------------------------------------------------------

def without_iscrowd(content):
    for ann in content['annotations']:
        del ann['iscrowd'], ann['area']


@pytest.mark.parametrize('change', [
    lambda cfg: change_json(cfg, 'val', without_iscrowd), lambda cfg: change_json(cfg, 'val', every(category_id='1')),
    lambda cfg: write(_val(cfg), '\ufeff' + _val(cfg).read_text())])
def test_stock_configs_are_told_what_mends_the_file(change, coco):
    change(coco)
    assert f'mmvision-mamba repair-annotations {_val(coco)} NEW_FILE writes a file that works' in refusal(coco)
    use_mended_coco(coco)
    check(coco)


def _val(cfg):
    from pathlib import Path
    return Path(f'{cfg.data_root}/annotations/val.json')


def evaluated(cfg, labels=(0, 1, 2)):
    with DefaultScope.overwrite_default_scope('mmdet'):
        dataset = build_without_pipeline(cfg, cfg.val_dataloader.dataset)
        metric = METRICS.build(dict(cfg.val_evaluator, classwise=True))
    metric.dataset_meta = dataset.metainfo
    import torch
    for info in map(dataset.get_data_info, range(len(dataset))):
        boxes = torch.tensor([i['bbox'] for i in info['instances']], dtype=torch.float).reshape(-1, 4)
        metric.process({}, [dict(img_id=info['img_id'], ori_shape=(36, 40), pred_instances=dict(
            bboxes=boxes, scores=torch.linspace(0.5, 0.9, len(boxes)) if len(boxes) else torch.zeros(0),
            labels=torch.tensor([labels[i['bbox_label']] for i in info['instances']], dtype=torch.long)))])
    return metric.evaluate(len(dataset))


def test_sound_files_give_what_mmdet_gives(coco):
    """A confused class makes results that are neither 0 nor 1."""
    stock = evaluated(coco, (0, 2, 2))
    before = build_without_pipeline(coco, coco.train_dataloader.dataset)
    use_mended_coco(coco)
    assert 'Mended' in coco.val_dataloader.dataset.type and 'Mended' in coco.val_evaluator.type
    assert evaluated(coco, (0, 2, 2)) == stock and 0 < stock['coco/bbox_mAP'] < 1
    after = build_without_pipeline(coco, coco.train_dataloader.dataset)
    for i in range(4):
        one, other = before.get_data_info(i), after.get_data_info(i)
        for instance in other['instances']:  # which has polygons as arrays
            instance['mask'] = [polygon.tolist() for polygon in instance['mask']]
        assert one == other


@pytest.mark.parametrize('change', [
    lambda c: c['categories'].reverse(), lambda c: c['categories'].insert(1, dict(id=9, name='cube')),
    lambda c: [item.update(category_id=4 - item['category_id']) for item in c['annotations']]
    + [item.update(id=4 - item['id']) for item in c['categories']]])
def test_categories_are_mapped_by_name(change, coco):
    use_mended_coco(coco)
    change_json(coco, 'val', change)
    check(coco)
    result = evaluated(coco)
    assert result['coco/bbox_mAP'] == 1


def test_a_class_that_validation_lacks_has_no_ap(coco):
    use_mended_coco(coco)

    def drop(content):
        content['categories'] = [c for c in content['categories'] if c['name'] != 'square']
        content['annotations'] = [a for a in content['annotations'] if a['category_id'] != 2]

    change_json(coco, 'val', drop)
    check(coco)
    result = evaluated(coco)
    assert result['coco/bbox_mAP'] == 1 and np.isnan(result['coco/square_precision'])
    change_json(coco, 'val', lambda c: [x.update(name='no ' + x['name']) for x in c['categories']])
    assert 'classes are not among its categories' in refusal(coco)


# Other data sets --------------------------------------------------------------------------------------------------

def test_voc(coco, tmp_path, capsys):
    root = tmp_path / 'VOC2007'
    write(root / 'JPEGImages/1.jpg', picture('JPEG'))
    write(root / 'ImageSets/Main/train.txt', '1\n')
    xml = ('<annotation><size><width>40</width><height>36</height></size><object><name>{}</name><difficult>0'
           '</difficult><bndbox><xmin>3</xmin><ymin>3</ymin><xmax>12</xmax><ymax>12</ymax></bndbox></object>'
           '</annotation>')
    write(root / 'Annotations/1.xml', xml.format('cat'))
    coco.train_dataloader.dataset = dict(type='RepeatDataset', times=3, dataset=dict(
        type='VOCDataset', data_root=f'{root}/', ann_file='ImageSets/Main/train.txt',
        data_prefix=dict(sub_data_root=''), pipeline=[dict(type='LoadAnnotations', with_bbox=True)]))
    check(coco, 'train')
    assert 'train: 1 of 1 images, 1 of 1 objects used' in capsys.readouterr().out
    write(root / 'Annotations/1.xml', xml.format('zebra'))
    assert 'nothing to learn from (train): there are no objects' in refusal(coco, 'train')


def test_segmentation(ade, capsys):
    check(ade, 'train')
    assert 'train: 3 of 3 images used' in capsys.readouterr().out
    ade.train_dataloader.dataset.update(type='BaseSegDataset', img_suffix='.JPG')
    assert 'there is no image' in refusal(ade, 'train') and 'img_suffix' in refusal(ade, 'train')
