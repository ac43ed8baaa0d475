"""Tiles in training, validation and tests, as users run them."""
import json
import re

import pytest
import torch
from PIL import Image

from ..helpers import ROOT
from ..helpers.custom_folders import coco, image_mask
from ..helpers.tiled_configs import CONFIG, DETECTOR, SEGMENTOR


@pytest.fixture
def config(tmp_path):
    def write(kind, workers=0):
        path = tmp_path / 'small.py'
        path.write_text(CONFIG.format(root=ROOT, workers=workers, **kind))
        return path
    return write


@pytest.fixture
def objects(tmp_path):
    """Pictures of 80 × 64 pixels and objects with masks."""
    return coco(tmp_path / 'my data', {'train/a.json': 'train', 'val/a.json': 'val'}, masks='rle', count=2)


@pytest.fixture
def masks(tmp_path):
    return image_mask(tmp_path / 'my data', {'train/img': 'train/mask', 'val/img': 'val/mask'}, count=2)


def metrics(tool, path, checkpoint, *options):
    run = tool('test', path, checkpoint, '--work-dir', 'tested', *options)
    assert run.code == 0, run.err[-3000:]
    with open('tested/metrics.json') as file:
        return json.load(file), run


def check_kept(folder):
    """Predictions of whole pictures: masks encoded, label maps as large as the picture."""
    from mmvision_mamba.evaluation.confusion import load_predictions
    if (folder / 'kept').is_dir():
        maps = list((folder / 'kept').rglob('*.png'))
        assert {Image.open(file).size for file in maps} == {(80, 64)} and len(maps) == 2
        return
    for one in load_predictions('kept.pkl'):
        assert one['ori_shape'] == (64, 80) and len(one['pred_instances']['bboxes'])


@pytest.mark.parametrize('kind', ['detector', 'segmentor'])
def test_training_on_tiles(kind, tool, config, tmp_path, request):
    root = request.getfixturevalue('objects' if kind == 'detector' else 'masks')
    path = config(DETECTOR if kind == 'detector' else SEGMENTOR)
    tile = 40 if kind == 'detector' else 32
    options = '--cfg-options', f'data_root={root}', f'custom_data.tile={tile}', 'custom_data.empty_tiles=0.5'
    run = tool('train', path, '--work-dir', 'wd', *options)
    assert run.code == 0, run.err[-3000:]
    assert f'training on tiles of {tile} × {tile} pixels' in run.out
    assert re.search(r'2 images, \d+ tiles of .* at most: \d+ with objects, \d+ of \d+ without', run.out + run.err)
    written = (tmp_path / 'wd/small.py').read_text()
    assert 'custom_data' not in written and 'TiledValLoop' in written and f'tile={tile}' in written
    checkpoint = 'wd/epoch_1.pth' if kind == 'detector' else 'wd/iter_2.pth'
    kept = 'kept.pkl' if kind == 'detector' else 'kept'
    by_tiles, run = metrics(tool, 'wd/small.py', checkpoint, '--out', kept)
    assert f'Test: whole pictures by tiles of {tile} × {tile} pixels that share 0.2' in run.out
    check_kept(tmp_path)
    log = next((tmp_path / 'wd').glob('*/*.log')).read_text()
    name = 'coco/bbox_mAP' if kind == 'detector' else 'mIoU'
    validated = float(re.search(rf'{name}: ([\d.-]+)', log)[1])
    assert validated == pytest.approx(by_tiles[name], abs=0.006) and by_tiles[name] is not None
    # In one tile, and without any: the same, to the last digit.
    in_one, _ = metrics(tool, 'wd/small.py', checkpoint, '--tile', 100, '--overlap', 0.5)
    analysed = [json.loads((tmp_path / 'tested/report/test.json').read_text())]
    whole, run = metrics(tool, 'wd/small.py', checkpoint, '--tile', 0, '--cfg-options', 'test_dataloader.batch_size=1')
    assert 'by tiles' not in run.out and in_one == whole and whole[name] is not None
    analysed.append(json.loads((tmp_path / 'tested/report/test.json').read_text()))
    assert analysed[0]['analysis'] == analysed[1]['analysis']
    assert analysed[0]['pictures'] == analysed[1]['pictures'] != []


@pytest.mark.slow
def test_resumed_training_on_tiles_has_the_same_weights(tool, config, masks):
    path = config(SEGMENTOR, workers=1)
    options = '--deterministic', '--cfg-options', f'data_root={masks}', 'custom_data.tile=32', 'train_cfg.max_iters=4'
    assert tool('train', path, '--work-dir', 'whole', *options).code == 0
    shorter = [*options[:-1], 'train_cfg.max_iters=2']
    assert tool('train', path, '--work-dir', 'parts', *shorter).code == 0
    assert tool('train', path, '--work-dir', 'parts', '--resume', *options).code == 0
    one, other = (torch.load(f'{folder}/iter_4.pth', weights_only=False)['state_dict'] for folder in ('whole', 'parts'))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_what_is_drawn_and_checked(tool, config, objects):
    path = config(DETECTOR)
    options = '--cfg-options', f'data_root={objects}', 'custom_data.tile=32'
    run = tool('browse_dataset', path, '-n', 4, *options)
    assert run.code == 0 and '4 images' in run.out, run.err
    run = tool('check_dataset', path, *options)
    assert run.code == 0 and re.search(r'\d+ tiles of 32 × 32 pixels', run.out), run.err
    for option, message in (('custom_data.tile=16', 'custom_data.tile must be a whole number of pixels, 32 or more'),
                            ('custom_data.min_visible=3', 'custom_data.min_visible must be a share'),
                            ('custom_data.tiel=32', 'custom_data has no key')):
        run = tool('train', path, *options[:2], *(['custom_data.tile=32'] if 'min' in option else []), option)
        assert run.code == 2 and message in run.errors[0]
    run = tool('train', path, *options[:2], 'custom_data.empty_tiles=1')
    assert run.code == 2 and 'needs custom_data.tile' in run.errors[0]


def test_options_that_do_not_go_with_tiles(tool, config, masks):
    path, options = config(SEGMENTOR), ('--cfg-options', f'data_root={masks}')
    for option in (['--tta'], ['--show-dir', 'pictures']):
        run = tool('test', path, 'model.pth', '--tile', 32, *option, *options)
        assert run.code == 2 and 'tested as a whole' in run.errors[0]
    run = tool('test', path, 'model.pth', '--overlap', 0.2, *options)
    assert run.code == 2 and '--overlap needs --tile' in run.errors[0]
    run = tool('test', path, 'model.pth', '--tile', 20, *options)
    assert run.code == 2 and '32 or more' in run.errors[0]


@pytest.mark.parametrize('kind', ['detector', 'segmentor'])
def test_pictures_of_one_tile_have_the_metrics_of_the_ordinary_test(kind, tool, model_files, shapes, tmp_path):
    """With masks, to the last digit."""
    files, found = getattr(model_files, kind), {}
    for name, tile in dict(whole=[], in_one=['--tile', 64], by_tiles=['--tile', 40]).items():
        options = ['--cfg-options', f'data_root={shapes}', 'test_dataloader.batch_size=1']
        options += [f'test_evaluator.outfile_prefix={name}'] if kind == 'detector' else []
        found[name], _ = metrics(tool, files.config, files.checkpoint, *tile, *options)
    assert found['whole'] == found['in_one'] and found['by_tiles'].keys() == found['whole'].keys()
    if kind == 'segmentor':
        assert 0 < found['whole']['mIoU'] != found['by_tiles']['mIoU'] > 0
        return
    results = {name: [json.loads((tmp_path / f'{name}.{part}.json').read_text()) for part in ('bbox', 'segm')]
               for name in found}
    assert results['whole'] == results['in_one'] and results['whole'][1] and results['by_tiles'][1]
