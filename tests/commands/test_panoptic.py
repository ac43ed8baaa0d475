"""A panoptic data set in COCO's layout, of odd, non-square sizes, through the commands that take one."""
import json
import os
import shutil
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

pytest.importorskip('mmdet')

from mmengine.registry import MODELS, DefaultScope

from mmvision_mamba.preflight.read import read_config

from ..helpers import ROOT
from ..helpers.panoptic_data import annotation_file, change_panoptic, make_panoptic, small_config
from ..helpers.panoptic_oracle import score_files


@pytest.fixture
def root(tmp_path):
    return make_panoptic(tmp_path / 'coco')


@pytest.fixture
def config(root, tmp_path):
    path = tmp_path / 'panoptic.py'
    path.write_text(small_config(root))
    return path


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
    found = {key.partition('/')[2]: value for key, value in metrics.items() if key.startswith('coco_panoptic')}
    assert found == pytest.approx(score_files(
        annotation_file(tmp_path / 'coco'), tmp_path / 'coco/annotations/panoptic_val2017',
        tmp_path / 'out/mine.panoptic.json', tmp_path / 'out/mine.panoptic'), abs=1e-9, nan_ok=True)
    for record in written:
        size = images[record['image_id']]['width'], images[record['image_id']]['height']
        assert Image.open(tmp_path / 'out/mine.panoptic' / record['file_name']).size == size
        assert {segment['category_id'] for segment in record['segments_info']} <= {17, 18, 149, 187}
    assert len([path for path in (tmp_path / 'shown').rglob('*') if path.is_file()]) == 3


def test_an_exported_file_is_measured_as_its_checkpoint_is(tool, root, tmp_path):
    """Its panoptic results are written as the checkpoint's are, and so are those of `infer`."""
    pytest.importorskip('onnxruntime')
    config, weights, file = (tmp_path / name for name in ('panoptic.py', 'weights.pth', 'model.onnx'))
    # Images of the exported shape, so that neither pads.
    config.write_text(small_config(root).replace('scale=(99, 77), keep_ratio=True', 'scale=(96, 64), keep_ratio=False'))
    torch.manual_seed(0)
    cfg = read_config(config)
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(cfg.model)
    torch.nn.init.normal_(model.panoptic_head.cls_embed.weight)
    torch.nn.init.normal_(model.panoptic_head.mask_embed[-1].weight)
    torch.save(dict(state_dict=model.state_dict(), meta={}), weights)
    run = tool('export', config, weights, '--shape', 64, 96, '--out', file)
    assert run.code == 0, run.err
    results = []
    for name, given in (('checkpoint', weights), ('file', file)):
        run = tool('test', config, given, '--work-dir', tmp_path / name, '--cfg-options',
                   f'test_evaluator.outfile_prefix={tmp_path}/{name}/mine')
        assert run.code == 0, run.err[-3000:]
        written = json.loads((tmp_path / f'{name}/mine.panoptic.json').read_text())['annotations']
        results.append((json.loads((tmp_path / f'{name}/metrics.json').read_text()), [
            [(segment['category_id'], segment['area']) for segment in record['segments_info']] for record in written]))
    assert any(results[0][1]) and results[0][1] == results[1][1]
    assert results[1][0] == pytest.approx(results[0][0], abs=1e-6, nan_ok=True)
    pictures = sorted((root / 'val2017').iterdir())
    for name, given in (('checkpoint', (config, weights)), ('file', (file,))):
        run = tool('infer', *given, root / 'val2017', '--out-dir', tmp_path / name / 'inferred')
        assert run.code == 0, run.err[-3000:]
    for picture in pictures:
        one, other = (Image.open(tmp_path / name / 'inferred/preds/panoptic' / f'{picture.stem}.png')
                      for name in ('checkpoint', 'file'))
        assert one.size == Image.open(picture).size and one.tobytes() == other.tobytes()


def believe(root, predictions, count):
    """Make the predictions for the first images of a data set their annotations."""
    written = json.loads(Path(f'{predictions}.panoptic.json').read_text())['annotations'][:count]
    for record in written:
        shutil.copy(Path(f'{predictions}.panoptic') / record['file_name'], root / 'annotations/panoptic_val2017')
    change_panoptic(root, lambda content: content['annotations'].__setitem__(slice(0, count), written))


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize('count', [5, 1])
def test_two_processes_report_and_write_what_one_does(count, tool, shell, port, tmp_path):
    """Five images, of which one is measured twice, and one, which both processes measure."""
    root = make_panoptic(tmp_path / 'coco', train=0, val=count)
    config, weights = tmp_path / 'panoptic.py', tmp_path / 'weights.pth'
    config.write_text(small_config(root))
    torch.save(dict(state_dict=MODELS.build(read_config(config).model).state_dict(), meta={}), weights)
    environment = {**os.environ, 'PORT': str(port), 'OMP_NUM_THREADS': '1',
                   'PATH': f'{os.path.dirname(sys.executable)}:{os.environ["PATH"]}'}
    def alone(*options):
        return tool('test', *options).code

    def by_two(config, weights, *options):
        return shell(ROOT / 'tools/dist_test.sh', config, weights, 2, *options, env=environment).returncode
    for name, run in (('before', alone), ('one', alone), ('two', by_two)):
        assert run(config, weights, '--work-dir', tmp_path / name, '--cfg-options',
                   f'test_evaluator.outfile_prefix={tmp_path}/{name}/mine') == 0
        if name == 'before':  # what is predicted for half of the images becomes their truth
            believe(root, tmp_path / 'before/mine', (count + 1) // 2)
    one, two = (json.loads((tmp_path / name / 'metrics.json').read_text()) for name in ('one', 'two'))
    measured = [key for key in one if key.startswith('coco_panoptic')]
    assert len(measured) == 9 and one['coco_panoptic/PQ'] > 0
    assert [one[key] for key in measured] == pytest.approx([two[key] for key in measured], nan_ok=True, abs=0)
    one, two = (sorted((tmp_path / name).glob('mine.panoptic*/*')) for name in ('one', 'two'))
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in two] and len(one) == count
    one, two = (json.loads((tmp_path / name / 'mine.panoptic.json').read_text()) for name in ('one', 'two'))
    assert one == two


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
