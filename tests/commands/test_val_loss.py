"""tools/train.py: --val-loss, --monitor, --patience and --new-schedule, as users run them."""
import json
import re
import subprocess
import sys
import time

import pytest

from mmvision_mamba.preflight import training_defaults

from ..helpers import ROOT
from ..helpers import bands as bands_helper
from ..helpers.custom_folders import coco, image_mask
from ..helpers.small_configs import OF_A_FOLDER
from ..helpers.tiled_configs import CONFIG, DETECTOR, SEGMENTOR


def records(work_dir) -> list[dict]:
    return [json.loads(line) for path in sorted(work_dir.glob('*/vis_data/scalars.json'))
            for line in path.read_text().splitlines()]


def losses(work_dir) -> list[float]:
    return [record['val/loss'] for record in records(work_dir) if 'val/loss' in record]


@pytest.mark.parametrize(('kind', 'parts'), [
    ('segmentor', {'val/decode.loss_ce', 'val/aux.loss_ce', 'val/decode.acc_seg'}),
    ('detector', {'val/loss_rpn_cls', 'val/s0.loss_cls', 'val/s2.loss_mask'})])
def test_the_losses_of_validation_are_logged_and_choose_the_best(kind, parts, tool, configs, shapes, tmp_path):
    result = tool('train', getattr(configs, kind), '--work-dir', tmp_path / 'wd', '--val-loss', '--monitor', 'val/loss',
                  '--cfg-options', f'data_root={shapes}')
    assert result.code == 0, result.err[-3000:]
    found = losses(tmp_path / 'wd')
    validations = [record for record in records(tmp_path / 'wd') if 'val/loss' in record]
    assert len(found) == 2 and parts <= validations[0].keys()
    trained = [record['loss'] for record in records(tmp_path / 'wd') if 'loss' in record]
    assert 0.3 * min(trained) < found[0] < 3 * max(trained)
    summed = [sum(value for key, value in record.items() if key.startswith('val/') and 'loss' in key
                  and key != 'val/loss') for record in validations]
    assert summed == pytest.approx(found, rel=1e-4)
    assert len(list((tmp_path / 'wd').glob('best_val_loss_iter_*.pth'))) == 1
    assert 'images/s' in result.out + result.err and ' left' in result.out + result.err


@pytest.mark.parametrize(('options', 'message'), [
    (['--val-loss', '--cfg-options', 'val_dataloader=None', 'val_cfg=None', 'val_evaluator=None'],
     '--val-loss needs a validation set'),
    (['--patience', '0'], '--patience is 0: expected a number of validations, 1 or more'),
    (['--monitor', 'val/loss'], 'val/loss is not computed: add --val-loss'),
    (['--new-schedule'], '--new-schedule goes with --resume')])
def test_what_can_not_be_said_is_a_line(options, message, tool, configs, shapes, tmp_path):
    if '--cfg-options' not in options:
        options = [*options, '--cfg-options']
    result = tool('train', configs.segmentor, '--work-dir', tmp_path / 'wd', *options, f'data_root={shapes}')
    assert result.code == 2 and len(result.errors) == 1 and message in result.errors[0]
    assert not (tmp_path / 'wd').exists()


def test_patience_names_its_reason_and_a_finished_run_how_to_go_on(tool, configs, shapes, tmp_path):
    """Nothing is better by 1000: the third validation ends it. Without patience what is left is trained."""
    path = tmp_path / 'patient.py'
    path.write_text("_base_ = 'segmentor.py'\n"
                    "custom_hooks = [dict(type='EarlyStoppingHook', monitor='auto', min_delta=1000., patience=9)]\n")

    def train(*options):
        result = tool('train', path, '--work-dir', tmp_path / 'wd', *options, '--cfg-options', f'data_root={shapes}',
                      'train_cfg.val_interval=1', 'default_hooks.checkpoint.interval=4')
        assert result.code == 0, result.err[-3000:]
        return result.out + result.err
    said = train('--patience', '2')
    assert re.search(r'Training ended early, after iteration 3 of 4: mIoU has not been better than [\d.]+ in 2 '
                     r'validations\. The best checkpoint is \S+best_mIoU_iter_\d\.pth', said)
    assert 'mIoU had ended this training early: nothing is left to train' in train('--patience', '2', '--resume')
    train('--resume')
    said = train('--resume')
    assert 'this training is finished' in said and 'train_cfg.max_iters=8' in said


@pytest.mark.parametrize('kind', ['detector', 'segmentor'])
def test_by_tiles_the_losses_are_those_of_tiles(kind, tool, tmp_path):
    """With a run of its own data: four tiles of each picture, and objects cut at their borders."""
    parts = dict(detector=DETECTOR, segmentor=SEGMENTOR)[kind]
    data = coco(tmp_path / 'my data', {'train/a.json': 'train', 'val/a.json': 'val'}, masks='rle', count=2) if \
        kind == 'detector' else image_mask(tmp_path / 'my data', {'train/img': 'train/mask', 'val/img': 'val/mask'},
                                           count=2)
    path = tmp_path / 'small.py'
    path.write_text(CONFIG.format(root=ROOT, workers=0, **parts))
    result = tool('train', path, '--work-dir', 'wd', '--val-loss', '--cfg-options', f'data_root={data}',
                  'custom_data.tile=48', 'custom_data.empty_tiles=1')
    assert result.code == 0, result.err[-3000:]
    found = losses(tmp_path / 'wd')
    assert len(found) == 1 and 0 < found[0] < 100
    assert len(re.findall(r'2 images, \d+ tiles of 48 × 48 pixels', result.out + result.err)) >= 2  # to learn, and here


@pytest.mark.parametrize('tile', [False, True])
@pytest.mark.parametrize('kind', ['detector', 'segmentor'])
def test_of_bands_the_losses_are_those_of_the_bands(kind, tile, tool, tmp_path):
    """Of four and twelve bands, which no loader of colours reads; whole, and by tiles."""
    pytest.importorskip('tifffile')
    make, base, bands = dict(detector=(bands_helper.objects, 'faster_rcnn', [4, 3, 2, 1]),
                             segmentor=(bands_helper.fields, 'upernet', [12, 2, 1, 4, 6, 8, 10, 3, 5, 7, 9, 11]))[kind]
    data, path = make(tmp_path / 'my data'), bands_helper.config(tmp_path / 'small.py', base)
    options = ['custom_data.tile=48', 'custom_data.empty_tiles=1'] if tile else []
    result = tool('train', path, '--work-dir', 'wd', '--val-loss', '--monitor', 'val/loss', '--cfg-options',
                  f'data_root={data}', f'custom_data.bands={bands}'.replace(' ', ''), *options)
    assert result.code == 0, result.err[-3000:]
    found, trained = losses(tmp_path / 'wd'), [one['loss'] for one in records(tmp_path / 'wd') if 'loss' in one]
    assert len(found) == 1 and 0.2 * min(trained) < found[0] < 5 * max(trained)
    assert len(list((tmp_path / 'wd').glob('best_val_loss_*.pth'))) == 1


@pytest.mark.parametrize('split', [False, True])
def test_of_a_folder_the_losses_are_those_of_its_validation_split(split, tool, tmp_path, monkeypatch):
    """That of the folder, or, where it has none, the one that is set aside."""
    (tmp_path / 'small.py').write_text(OF_A_FOLDER.format(root=ROOT))
    monkeypatch.setitem(training_defaults.CONFIGS, 'maps', str(tmp_path / 'small.py'))
    pairs = {f'{part}/images': f'{part}/masks' for part in ('train', 'val')} if split else {'images': 'masks'}
    root = image_mask(tmp_path / 'photos', pairs, count=4)
    result = tool('train', root, '--val-loss', '--patience', 3, '--monitor', 'val/loss', '--cfg-options',
                  'custom_data.size=64', 'train_cfg.max_iters=2', 'train_dataloader.num_workers=0',
                  'train_dataloader.persistent_workers=False', 'val_dataloader.num_workers=0',
                  'val_dataloader.persistent_workers=False', 'train_dataloader.batch_size=2')
    assert result.code == 0, result.err[-3000:]
    assert ('are set aside' in result.out) != split and '--val-loss --monitor val/loss' in result.out
    found = losses(tmp_path / 'work_dirs/photos')
    assert len(found) == 2 and all(0 < value < 100 for value in found)
    assert len(list((tmp_path / 'work_dirs/photos').glob('best_val_loss_*.pth'))) == 1


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize('kind', ['detector', 'segmentor'])
def test_killed_and_resumed_it_ends_with_the_same_losses(kind, tmp_path, shapes, configs):
    """SIGKILL in the middle; weights and losses are those of a run in one go, and so is the end by patience."""
    import torch
    options = ['--val-loss', '--patience', '2', '--monitor', 'val/loss', '--cfg-options', f'data_root={shapes}',
               'train_cfg.max_iters=8', 'default_hooks.checkpoint.interval=2', 'train_cfg.val_interval=2']

    def command(name, *more):
        return [sys.executable, str(ROOT / 'tools/train.py'), str(getattr(configs, kind)), '--work-dir',
                str(tmp_path / name), '--deterministic', *more, *options]
    done = subprocess.run(command('whole'), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    process = subprocess.Popen(command('parts'), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 480
    while not (tmp_path / 'parts/iter_4.pth').exists() and time.monotonic() < until and process.poll() is None:
        time.sleep(0.02)
    process.kill()
    process.wait()
    done = subprocess.run(command('parts', '--resume'), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    whole, parts = ({path.name: torch.load(path, weights_only=False)['state_dict'] for path in
                     (tmp_path / name).glob('iter_*.pth')} for name in ('whole', 'parts'))
    last = max(whole, key=lambda name: int(name[5:-4]))
    assert last in parts
    assert all(torch.equal(whole[last][key], parts[last][key]) for key in whole[last])
    found = losses(tmp_path / 'parts')
    assert found[-1] == losses(tmp_path / 'whole')[-1]
