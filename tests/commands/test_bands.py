"""Bands through the commands: trained on, tested, inferred, exported and run, with the same results; and said of."""
import json
import shutil
import sys

import numpy as np
import pytest
from PIL import Image

from mmvision_mamba.runtime.standalone import main as run_exported

from ..helpers.bands import config, fields, objects, scans, write_tiff

pytest.importorskip('tifffile')
DATA = dict(upernet=(fields, 'images/val', [12, 2, 1, 4, 6, 8, 10, 3, 5, 7, 9, 11]),
            faster_rcnn=(objects, 'val', [4, 3, 2, 1]))


@pytest.mark.slow
@pytest.mark.parametrize('base', DATA)
@pytest.mark.timeout(600)
def test_from_training_to_the_exported_model(base, tool, tmp_path, monkeypatch):
    pytest.importorskip('onnxruntime')
    make, images, bands = DATA[base]
    data, path = make(tmp_path / 'my data'), config(tmp_path / 'small.py', base)
    options = ('--cfg-options', f'data_root={data}', f'custom_data.bands={bands}'.replace(' ', ''))
    run = tool('train', path, '--work-dir', tmp_path / 'work', *options, 'default_hooks.visualization.draw=True',
               'default_hooks.visualization.interval=1')
    assert run.code == 0, run.err[-3000:]
    config_of_run, checkpoint = tmp_path / 'work/small.py', next((tmp_path / 'work').glob('*.pth'))
    assert 'custom_data' not in config_of_run.read_text()
    assert list((tmp_path / 'work').glob('*/vis_data/vis_image/*'))
    run = tool('test', config_of_run, checkpoint, '--work-dir', tmp_path / 'test', '--show-dir', tmp_path / 'shown')
    assert run.code == 0, run.err[-3000:]
    metrics = json.loads((tmp_path / 'test/metrics.json').read_text())
    assert metrics.get('mIoU', metrics.get('coco/bbox_mAP')) >= 0 and len(list((tmp_path / 'shown').rglob('*'))) >= 3
    for name, more in (('whole', ()), ('tiles', ('--tile', 32, '--overlap', 0.5))):
        run = tool('infer', config_of_run, checkpoint, data / images, '--device', 'cpu', '--out-dir', tmp_path / name,
                   *more)
        assert run.code == 0, run.err[-3000:]
        assert len(list((tmp_path / name / 'vis').iterdir())) == 3
        pictures = [np.asarray(Image.open(path)) for path in (tmp_path / name / 'vis').iterdir()]
        assert all(picture.dtype == np.uint8 and picture.std() > 10 for picture in pictures)
    run = tool('batch_infer', config_of_run, checkpoint, data / images, '--device', 'cpu', '--out', tmp_path / 'batch')
    assert run.code == 0, run.err[-3000:]
    shape = (64, 96)
    run = tool('export', config_of_run, checkpoint, '--shape', *shape, '--out', tmp_path / 'model.onnx', '--verify',
               *(('--dynamic',) if base == 'upernet' else ()))
    assert run.code == 0, run.err[-3000:]
    assert '0.tif' in run.out, 'it was checked on files of the test data'
    assert run_exported([str(tmp_path / 'model.onnx'), str(data / images), '--out-dir', str(tmp_path / 'run')]) == 0
    for file in (tmp_path / 'run').glob('*_map.png'):
        name = file.name.replace('_map', '')
        whole = next((tmp_path / 'whole/preds').rglob(f'{name.removesuffix(".png")}.*'))
        assert (np.asarray(Image.open(file)) == np.asarray(Image.open(whole))).mean() > 0.999
    run = tool('export', config_of_run, checkpoint, '--shape', 64, 64, '--with-preprocess')
    assert run.code == 2 and 'the config loads bands' in run.errors[0]
    check_arrays_and_videos(config_of_run, checkpoint, data / images / '0.tif', len(bands))


def check_arrays_and_videos(path, checkpoint, image, bands):
    from mmvision_mamba import Inferencer
    from mmvision_mamba.errors import DataError
    inferencer = Inferencer(path, checkpoint, device='cpu', show_progress=False)
    array = inferencer.read(image)
    assert array.shape[2] == bands and array.dtype == np.float32 and np.isfinite(array).all()
    found = [inferencer(given)['predictions'][0] for given in (str(image), array, array.astype(np.float64))]
    key = 'sem_seg' if 'sem_seg' in found[0] else 'bboxes'
    assert np.array_equal(found[0][key], found[1][key]) and np.array_equal(found[1][key], found[2][key])
    with pytest.raises(DataError, match=rf'an image array must be \(H, W, {bands}\), the bands '):
        inferencer.predict(array[..., :2])
    (image.parent / 'a.mp4').write_bytes(b'x' * 100)
    with pytest.raises(DataError, match='videos and cameras have red, green and blue'):
        inferencer(str(image.parent / 'a.mp4'))


def test_pngs_train_without_tifffile_are_drawn_and_a_trained_model_is_not_measured_anew(tool, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'tifffile', None)
    data, path, work = scans(tmp_path / 'data'), config(tmp_path / 'small.py'), tmp_path / 'work'
    options = ('--cfg-options', f'data_root={data}', 'custom_data.bands=[1]')
    drawn = ('default_hooks.visualization.draw=True', 'default_hooks.visualization.interval=1')
    run = tool('train', path, '--work-dir', work, *options, *drawn)
    assert run.code == 0, run.err[-3000:]
    pictures = [np.asarray(Image.open(file)) for file in work.glob('*/vis_data/vis_image/*')]
    assert pictures and all(picture.std() > 10 for picture in pictures)
    Image.fromarray(np.full((66, 84), 60000, np.uint16)).save(next((data / 'images/train').iterdir()))
    run = tool('train', path, '--work-dir', work, *options, 'train_cfg.max_iters=3', '--resume')
    assert run.code == 0 and f'mean and std are those that the run began with, of {work / "small.py"}' in run.out
    assert 'measured' not in run.out and 'data_preprocessor.mean' not in run.out + run.err
    checkpoint = work / 'iter_2.pth'
    for command, *more in (('test',), ('infer', data / 'images/val'), ('export', '--shape', 64, 64)):
        run = tool(command, path, checkpoint, *more, *options)
        assert run.code == 2 and "Take the config in its training's work directory" in run.err, run.err[-3000:]


def test_check_and_browse_say_what_the_images_hold(tool, tmp_path):
    data, path = fields(tmp_path / 'data'), config(tmp_path / 'small.py')
    options = ('--cfg-options', f'data_root={data}', 'custom_data.bands=[2,12]')
    run = tool('check_dataset', path, '--workers', 0, '--json', tmp_path / 'report.json', *options)
    assert run.code == 0, run.out
    assert 'images of 83 × 65 to 91 × 69 pixels, 12 bands of uint16; 0.4% of the values are missing' in run.out
    held = json.loads((tmp_path / 'report.json').read_text())['datasets'][0]['images_hold']
    assert held['bands'][1]['number'] == 12 and f'band 12 {held["bands"][1]["min"]:g} to ' in run.out
    run = tool('browse_dataset', path, '--out', tmp_path / 'browsed.png', '-n', 2, *options)
    assert run.code == 0 and np.asarray(Image.open(tmp_path / 'browsed.png')).std() > 5, run.err
    write_tiff(data / 'images/train/1.tif', np.ones((67, 87, 3), np.uint8))
    run = tool('check_dataset', path, '--workers', 0, *options)
    assert run.code == 1 and '1.tif: it has 3 bands, and band 12 is to be read' in run.out


def test_skipping_bad_images_leaves_out_those_of_another_kind(tool, tmp_path):
    data, path = fields(tmp_path / 'data'), config(tmp_path / 'small.py')
    write_tiff(data / 'images/train/1.tif', np.ones((67, 87, 12), np.uint8))
    options = ('--cfg-options', f'data_root={data}', 'custom_data.bands=[2,12]', 'train_cfg.max_iters=1')
    run = tool('train', path, '--work-dir', tmp_path / 'work', *options)
    assert run.code == 2 and '1.tif: it has 12 bands of uint8, and 2 of 3 images' in run.errors[0]
    run = tool('train', path, '--work-dir', tmp_path / 'work', '--skip-bad-images', *options)
    assert run.code == 0, run.err[-3000:]
    assert '--skip-bad-images: 1 left out' in run.out and 'measured on 2 images' in run.out


def test_measured_bands_are_written_into_a_config(tool, tmp_path):
    data, path = fields(tmp_path / 'data'), config(tmp_path / 'small.py')
    options = ('--cfg-options', f'data_root={data}', 'custom_data.bands=[2,12]')
    run = tool('measure_bands', path, '--out', tmp_path / 'measured.py', *options)
    assert run.code == 0 and '3 images of 12 bands of uint16' in run.out, run.err
    shutil.rmtree(data / 'images/val')
    from mmvision_mamba.preflight.given import Given
    from mmvision_mamba.preflight.read import read_config
    cfg = read_config(tmp_path / 'measured.py', find_data=False)
    assert cfg.custom_data.bands == [2, 12] and len(Given(cfg)('model.data_preprocessor.mean')) == 2
    run = tool('measure_bands', path, '--cfg-options', f'data_root={fields(data)}')
    assert run.code == 2 and 'loads images in colour: name the bands to read' in run.errors[0]


def test_without_bands_a_file_of_many_is_named(tool, tmp_path):
    data, path = fields(tmp_path / 'data'), config(tmp_path / 'small.py')
    run = tool('train', path, '--work-dir', tmp_path / 'work', '--cfg-options', f'data_root={data}')
    assert run.code == 2 and '.tif: it has 12 bands, and red, green and blue are read' in run.err, run.err
    assert 'custom_data.bands' in run.err


@pytest.mark.slow
def test_training_and_tests_by_tiles(tool, tmp_path):
    data, path = fields(tmp_path / 'data'), config(tmp_path / 'small.py')
    run = tool('train', path, '--work-dir', tmp_path / 'work', '--cfg-options', f'data_root={data}',
               'custom_data.bands=[2,12,1,5,6]', 'custom_data.tile=48')
    assert run.code == 0, run.err[-3000:]
    assert 'bands 2, 12, 1, 5, 6 of 12 (uint16); mean and std measured' in run.out and 'training on tiles' in run.out
    run = tool('test', tmp_path / 'work/small.py', tmp_path / 'work/iter_2.pth', '--work-dir', tmp_path / 'test')
    assert run.code == 0, run.err[-3000:]
    assert json.loads((tmp_path / 'test/metrics.json').read_text())['mIoU'] >= 0


def test_an_exported_file_infers_and_is_tested_as_its_checkpoint(tool, tmp_path):
    pytest.importorskip('onnxruntime')
    import torch
    from mmengine.registry import MODELS

    from mmvision_mamba import Inferencer
    from mmvision_mamba.preflight.read import read_config
    data = fields(tmp_path / 'data')
    cfg = read_config(config(tmp_path / 'small.py'), {'data_root': str(data), 'custom_data.bands': [12, 2, 5]})
    model, path, file = MODELS.build(cfg.model), tmp_path / 'bands.py', tmp_path / 'bands.onnx'
    torch.nn.init.normal_(model.decode_head.conv_seg.weight)
    torch.save(dict(state_dict=model.state_dict(), meta={}), tmp_path / 'bands.pth')
    cfg.dump(path)
    run = tool('export', path, tmp_path / 'bands.pth', '--shape', 64, 96, '--dynamic', '--out', file)
    assert run.code == 0, run.err[-3000:]
    images = [str(image) for image in sorted((data / 'images/val').iterdir())]
    wanted, found = (Inferencer(*files, device='cpu', show_progress=False) for files in (
        (path, tmp_path / 'bands.pth'), (file,)))
    assert (found.picture(images[0]) == wanted.picture(images[0])).all()
    for one, other in zip(wanted.predict(images), found.predict(images), strict=True):
        assert (one.pred_sem_seg.data == other.pred_sem_seg.data).float().mean() > 0.999
    measured = []
    for words in ((path, tmp_path / 'bands.pth'), (path, file), (file, '--data', data)):
        run = tool('test', *words, '--work-dir', tmp_path / 'work')
        assert run.code == 0, run.err[-3000:]
        measured.append(json.loads((tmp_path / 'work/metrics.json').read_text())['mIoU'])
    assert measured[1] == measured[2] == pytest.approx(measured[0], abs=0.1)
