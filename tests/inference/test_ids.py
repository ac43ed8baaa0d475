"""Ids of images and categories in results: the data set's own where they are known."""
import json

import pytest
import torch
from mmengine.config import Config
from mmengine.structures import InstanceData
from pycocotools.coco import COCO

pytest.importorskip('mmdet')

from mmvision_mamba.inference.ids import ResultIds, result_ids
from mmvision_mamba.inference.results import coco_results, result_files

CLASSES = ('cat', 'dog')
CONTENT = dict(
    images=[dict(id=40, file_name='pic.jpg'), dict(id=7, file_name='site0\\pic.jpg'), dict(id=9, file_name='b/c.jpg')],
    categories=[dict(id=0, name='dog'), dict(id=90, name='dog', supercategory='animal'), dict(id=3, name='cat')],
    annotations=[dict(image_id=40, category_id=90)])


def config(root, **dataset):
    return Config(dict(default_scope='mmdet', test_dataloader=dict(dataset=dict(
        dict(type='CocoDataset', data_root=str(root), ann_file='val.json', data_prefix=dict(img='img/')), **dataset))))


@pytest.fixture
def data(tmp_path):
    (tmp_path / 'val.json').write_text(json.dumps(CONTENT), 'utf-8-sig')  # with a byte order mark
    return tmp_path


def test_images_and_categories_of_an_annotation_file(data):
    ids = result_ids(config(data), CLASSES)
    assert [c['id'] for c in ids.categories] == [3, 90], 'by name, whatever the order; of two dogs the one with objects'
    folder = data / 'img'
    assert ids.assign([f'{folder}/pic.jpg', f'{folder}/site0/pic.jpg', None, 'x.jpg']) == [40, 7, None, None]
    assert [ids.new(), ids.new()] == [41, 42]
    assert f'categories are those of {data}/val.json, images too where it has them (2 of 4)' in ids.describe()
    # Copies elsewhere are known by the end of their path, as far as that is one image.
    assert ids.assign(['/copy/site0/pic.jpg', '/copy/pic.jpg', 'https://x.org/b/c.jpg?a=1']) == [7, 40, 9]
    assert ids.assign(['/one/pic.jpg', '/two/pic.jpg', '/c.jpg']) == [None, None, None]
    assert ids.assign(['/one/pic.jpg', f'{folder}/pic.jpg', f'{folder}/pic.jpg']) == [None, 40, None]
    assert ids.assign([]) == [] and ids.new() == 41
    ids = result_ids(config(data), ('bird', *CLASSES))
    assert [c['id'] for c in ids.categories] == [91, 3, 90], 'the file lacks birds'
    (data / 'val.json').write_text(json.dumps(dict(CONTENT, annotations=[dict(image_id=40, category_id=91)])))
    ids = result_ids(config(data), ('bird', *CLASSES))
    assert ids.categories[0]['id'] == 92, '91 is the id of objects, though of no category'
    assert [c['id'] for c in result_ids(config(data), ('bird', 'cow')).categories] == [1, 2], 'of another data set'


@pytest.mark.parametrize('content', [None, '{', '[]', '{"images": [], "categories": []}'])
def test_without_a_file_they_are_numbers(content, data):
    (data / 'val.json').unlink()
    if content is not None:
        (data / 'val.json').write_text(content)
    ids = result_ids(config(data), CLASSES)
    assert [c['id'] for c in ids.categories] == [1, 2] and ids.assign(['a.jpg', 'b.jpg']) == [None, None]
    assert ids.new() == 1 and 'numbered by this run, and label i is category i + 1' in ids.describe()
    assert ids.header([])['info']['description'] == ids.describe()
    assert [c['id'] for c in result_ids(Config(dict(default_scope='mmseg')), CLASSES).categories] == [1, 2]


def test_coco_s_own_classes_have_coco_s_ids(tmp_path):
    from mmdet.datasets import CocoDataset, CocoPanopticDataset
    ids = result_ids(config(tmp_path), CocoDataset.METAINFO['classes'])
    found = {c['name']: c['id'] for c in ids.categories}
    assert found['person'] == 1 and found['stop sign'] == 13 and found['toothbrush'] == 90 and len(found) == 80
    ids = result_ids(config(tmp_path, type='CocoPanopticDataset'), CocoPanopticDataset.METAINFO['classes'])
    found = {c['name']: c['id'] for c in ids.categories}
    assert len(set(found.values())) == 133 and found['toothbrush'] == 90
    assert (found['banner'], found['sky-other-merged'], found['rug-merged']) == (92, 187, 200)
    assert [c['id'] for c in result_ids(config(tmp_path), CLASSES).categories] == [1, 2]


def test_areas_of_masks_are_those_of_the_masks(tmp_path):
    """pycocotools takes those of the boxes where a result has a box; boxes are in a file of their own."""
    masks = torch.zeros(2, 50, 60, dtype=torch.bool)
    masks[0, 10:12, 5:55] = masks[1, :, 7] = True
    instances = InstanceData(bboxes=torch.tensor([[0., 0, 60, 50], [5, 0, 9, 50]]), labels=torch.tensor([1, 0]),
                             scores=torch.tensor([0.75, 0.5]), masks=masks, mask_scores=torch.tensor([0.25, 0.125]))
    results = coco_results(instances, 40, [dict(id=3), dict(id=90)])
    truth = COCO()
    truth.dataset = dict(CONTENT, images=[dict(i, height=50, width=60) for i in CONTENT['images']], annotations=[])
    truth.createIndex()
    found = {name: list(truth.loadRes(content).anns.values()) for name, content in result_files(results, True).items()}
    assert [(r['category_id'], r['area'], r['score']) for r in found['results.json']] == [
        (90, 100, 0.25), (3, 50, 0.125)]
    assert [(r['category_id'], r['area'], r['score']) for r in found['boxes.json']] == [
        (90, 3000, 0.75), (3, 200, 0.5)]
    del instances.masks, instances.mask_scores
    content, = result_files(coco_results(instances, 40), False).values()
    assert [(r['category_id'], r['bbox']) for r in content] == [(2, [0, 0, 60, 50]), (1, [5, 0, 4, 50])]
    assert ResultIds(CLASSES).categories == [dict(id=1, name='cat'), dict(id=2, name='dog')]
