"""A panoptic data set in COCO's layout, of odd, non-square sizes, through the commands that take one."""
import json

import pytest
from PIL import Image

pytest.importorskip('mmdet')

from mmvision_mamba.datasets.panoptic_files import read_segment_ids
from mmvision_mamba.evaluation.panoptic_quality import Counts, count_segments, mean_quality

from ..helpers.panoptic_data import make_panoptic, small_config


@pytest.fixture
def root(tmp_path):
    return make_panoptic(tmp_path / 'coco')


@pytest.fixture
def config(root, tmp_path):
    path = tmp_path / 'panoptic.py'
    path.write_text(small_config(root))
    return path


def quality_of(folder):
    """PQ of the written predictions, from the files alone."""
    truth = json.loads((folder / 'coco/annotations/panoptic_val2017.json').read_text())['annotations']
    written = json.loads((folder / 'out/mine.panoptic.json').read_text())['annotations']
    total = {}
    for true, found in zip(truth, written, strict=True):
        counts = count_segments(
            read_segment_ids(str(folder / 'coco/annotations/panoptic_val2017' / true['file_name'])),
            {s['id']: (s['category_id'], bool(s['iscrowd'])) for s in true['segments_info']},
            read_segment_ids(str(folder / 'out/mine.panoptic' / found['file_name'])),
            {s['id']: s['category_id'] for s in found['segments_info']})
        for category, count in counts.items():
            total[category] = total.get(category, Counts()) + count
    return mean_quality(total, total)['pq']


@pytest.mark.timeout(600)
def test_trained_and_tested(tool, config, tmp_path):
    """PQ chooses the best checkpoint and is printed; predictions are written in COCO's format, and drawn."""
    result = tool('check_dataset', config, '--split', 'train,val', '--workers', 0)
    assert result.code == 0 and '0 errors, 0 warnings' in result.out
    result = tool('train', config, '--work-dir', tmp_path / 'wd')
    assert result.code == 0, result.err[-3000:]
    assert 'train: 4 of 4 images, 18 of 19 objects used' in result.out
    best, = (tmp_path / 'wd').glob('best_coco_panoptic_PQ_iter_2.pth')
    result = tool('test', config, best, '--work-dir', tmp_path / 'test', '--show-dir', tmp_path / 'shown',
                  '--cfg-options', f'test_evaluator.outfile_prefix={tmp_path}/out/mine')
    assert result.code == 0, result.err[-3000:]
    metrics = json.loads((tmp_path / 'test/metrics.json').read_text())
    assert {f'coco_panoptic/{quality}{part}' for quality in ('PQ', 'SQ', 'RQ') for part in ('', '_th', '_st')} <= \
        set(metrics)
    written = json.loads((tmp_path / 'out/mine.panoptic.json').read_text())['annotations']
    images = {image['id']: image for image in json.loads(
        (tmp_path / 'coco/annotations/panoptic_val2017.json').read_text())['images']}
    assert [record['image_id'] for record in written] == list(images)
    assert any(record['segments_info'] for record in written)
    assert metrics['coco_panoptic/PQ'] == pytest.approx(100 * quality_of(tmp_path), abs=1e-9)
    for record in written:
        size = images[record['image_id']]['width'], images[record['image_id']]['height']
        assert Image.open(tmp_path / 'out/mine.panoptic' / record['file_name']).size == size
        assert {segment['category_id'] for segment in record['segments_info']} <= {17, 18, 149, 187}
    assert len([path for path in (tmp_path / 'shown').rglob('*') if path.is_file()]) == 3


def test_browsed(tool, config, tmp_path):
    for split in ('train', 'val'):
        result = tool('browse_dataset', config, '--split', split, '--out', tmp_path / f'{split}.png')
        assert result.code == 0, result.err[-3000:]
        assert Image.open(tmp_path / f'{split}.png').size[0] > 500


def test_the_wrong_file(tool, config, tmp_path):
    result = tool('train', config, '--work-dir', tmp_path / 'wd', '--cfg-options',
                  'train_dataloader.dataset.ann_file=annotations/instances_train2017.json')
    assert result.code == 2 and not (tmp_path / 'wd').exists()
    assert 'instances_train2017.json: no panoptic annotation file' in result.err and 'Traceback' not in result.err


def test_augmented_at_test_time(tool, config, tmp_path):
    """Segments of flipped views are not merged: PQ would be that of one view."""
    (tmp_path / 'weights.pth').touch()
    result = tool('test', config, tmp_path / 'weights.pth', '--tta')
    assert result.code == 2 and '--tta' in result.err and 'CocoPanopticMetric' in result.err
