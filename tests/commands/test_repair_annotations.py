"""mmvision-mamba repair-annotations: a file that mmdet can't use in, one that it can out."""
import json

import pytest

from ..helpers.tiny_datasets import coco_content


@pytest.fixture
def file(tmp_path):
    content = coco_content()
    for ann in content['annotations']:
        ann.update(bbox=[10, 10, 35, 30], category_id=ann['category_id'] - 1, segmentation=[])
        del ann['area'], ann['iscrowd']
    path = tmp_path / 'in.json'
    path.write_text(json.dumps(content), encoding='utf-8-sig')
    return path


def test_a_file_is_written_anew(file, tool, tmp_path):
    before = file.read_bytes()
    result = tool('repair_annotations', file, 'out/new.json', '--boxes', 'xyxy', '--shift-category-ids', 1)
    assert result.code == 0 and file.read_bytes() == before
    for words in ('byte order mark', '4 annotations without iscrowd', '4 boxes read as x1, y1, x2, y2',
                  '4 times +1 to category_id'):
        assert words in result.out
    content = json.loads((tmp_path / 'out/new.json').read_text())
    good = coco_content()['annotations']
    assert content['annotations'] == [dict(ann, bbox=[10, 10, 25, 20], area=500, segmentation=[]) for ann in good]
    result = tool('repair_annotations', 'out/new.json', 'again.json')
    assert 'again.json: nothing to repair' in result.out and 'error' not in result.out


def test_what_is_left_is_said(file, tool):
    result = tool('repair_annotations', file, 'out.json')
    assert result.code == 0 and 'error: ids seem to be shifted by one' in result.out


def test_nothing_is_overwritten_unasked(file, tool, tmp_path):
    (tmp_path / 'out.json').write_text('mine')
    result = tool('repair_annotations', file, 'out.json')
    assert result.code == 2 and 'exists: choose another name, or --overwrite it' in result.err
    assert (tmp_path / 'out.json').read_text() == 'mine'
    assert tool('repair_annotations', file, 'out.json', '--overwrite').code == 0
    result = tool('repair_annotations', file, file, '--overwrite')
    assert result.code == 2 and 'is an input of this command' in result.err
    for options, words in ((('--boxes', 'xyyx'), 'must be one of xywh'), (('--boxes', '-2'), 'must be one of')):
        result = tool('repair_annotations', file, 'other.json', *options)
        assert result.code == 2 and words in result.err and not (tmp_path / 'other.json').exists()
    for out in ('x.json', 'out.json'):
        result = tool('repair_annotations', 'nowhere.json', out, '--overwrite')
        assert result.code == 2 and 'nowhere.json: the annotation file cannot be read' in result.err


def test_a_panoptic_file_is_refused(tool, tmp_path):
    content = dict(coco_content(), annotations=[dict(image_id=10, file_name='0.png', segments_info=[])])
    (tmp_path / 'panoptic.json').write_text(json.dumps(content))
    result = tool('repair_annotations', 'panoptic.json', 'out.json')
    assert result.code == 2 and 'panoptic.json: a panoptic annotation file' in result.err
    assert not (tmp_path / 'out.json').exists()
