"""COCO's metrics against the data that their split loads."""
import pytest
from mmengine import ConfigDict

from mmvision_mamba.errors import ConfigError, DataError
from mmvision_mamba.preflight.annotation_files import Annotations
from mmvision_mamba.preflight.check_data import check_datasets
from mmvision_mamba.preflight.check_evaluators import check_evaluators

from ..helpers.tiny_datasets import change_json

pytest.importorskip('mmdet')


def refused(cfg, match):
    with pytest.raises(ConfigError, match=match) as error:
        check_datasets(cfg, ('val',))
    assert len(str(error.value).splitlines()) == 2


def test_without_a_file_the_pipeline_keeps_the_objects(coco):
    del coco.val_evaluator['ann_file']
    refused(coco, r"^val_evaluator has no ann_file, and val_dataloader.dataset.pipeline does not(.|\n)*'instances'")
    coco.val_dataloader.dataset.pipeline[-1]['meta_keys'] = ('img_id', 'ori_shape', 'instances')
    check_datasets(coco, ('val',))


def test_several_files_need_ids_of_their_own(coco):
    del coco.val_evaluator['ann_file']
    val, train = coco.val_dataloader.dataset, coco.train_dataloader.dataset
    for part in (val, train):
        part.pipeline[-1]['meta_keys'] = ('img_id', 'ori_shape', 'instances')
    coco.val_dataloader.dataset = ConfigDict(type='ConcatDataset', datasets=[val, train])
    refused(coco, r'train.json: image id 10 is also one of .*val.json.*\nGive the images')

    def other_ids(content):
        for item, key in [*((i, 'id') for i in content['images']), *((a, 'image_id') for a in content['annotations'])]:
            item[key] += 100
    change_json(coco, 'train', other_ids)
    check_datasets(coco, ('val',))
    coco.val_evaluator.ann_file = f'{coco.data_root}/annotations/val.json'
    refused(coco, r'val_evaluator.ann_file is .*val.json, and val_dataloader loads the images of .*train.json: 4 of 4')


@pytest.mark.parametrize(('change', 'match'), [
    (lambda c: c['images'][1].pop('neg_category_ids'), r'images\[1] has no neg_category_ids, a list of ids'),
    (lambda c: c['images'][0].update(not_exhaustive_category_ids=''), r'images\[0] has no not_exhaustive_category_ids'),
    (lambda c: c['categories'][0].update(frequency='q'), r"categories\[0] has no frequency, one of 'r', 'c' and 'f'"),
    (lambda c: c['categories'].extend(c['categories'] * 99_999), r'it has \d+ categories, and 100000 are allowed'),
    (lambda c: c.pop('categories'), 'no list of images, or none of categories')])
def test_lvis_needs_more_than_coco(coco, change, match):
    def as_lvis(content):
        for image in content['images']:
            image.update(neg_category_ids=[], not_exhaustive_category_ids=[])
        for category in content['categories']:
            category['frequency'] = 'c'
    change_json(coco, 'val', as_lvis)
    cfg = dict(val_evaluator=dict(type='LVISMetric', ann_file=coco.val_evaluator.ann_file))
    check_evaluators(cfg, 'val', [], Annotations({}))
    change_json(coco, 'val', change)
    with pytest.raises(DataError, match=match):
        check_evaluators(cfg, 'val', [], Annotations({}))
