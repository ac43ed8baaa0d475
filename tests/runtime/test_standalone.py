"""The runtime as its users have it: one file, copied, with onnxruntime, NumPy and Pillow only."""
import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as coco_masks

from mmvision_mamba.datasets.label_maps import segment_map
from mmvision_mamba.export import formats
from mmvision_mamba.export.agreement import Agreement
from mmvision_mamba.export.parts import Exportable
from mmvision_mamba.export.preprocess import Preprocess, paste
from mmvision_mamba.export.verify import verification_images
from mmvision_mamba.runtime import standalone as runtime

from ..helpers.detectors import SETTINGS, SHAPE, in_pytorch

# Everything that the environment has and the runtime must not need.
BLOCKED = ('torch', 'torchvision', 'timm', 'mmengine', 'mmcv', 'mmdet', 'mmseg', 'mmvision_mamba', 'cv2', 'onnx',
           'scipy', 'matplotlib', 'pandas', 'pycocotools')
ALONE = f'''
import runpy, sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in {BLOCKED!r}:
            raise ImportError(name + ' is not here')
sys.meta_path.insert(0, Block())
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name='__main__')
'''


@pytest.fixture
def alone(tmp_path):
    """Run a copy of the file in isolation, with these arguments."""
    copy = shutil.copy(runtime.__file__, tmp_path / 'my runtime.py')

    def run(*arguments):
        return subprocess.run([sys.executable, '-I', '-c', ALONE, copy, *map(str, arguments)], cwd=tmp_path,
                              capture_output=True, text=True)
    return run


def picture(size=(75, 110), seed=0):
    return verification_images(size, 1, seed)[0]


@pytest.mark.parametrize(('name', 'most'), [('cascade', 15), ('retinanet', 30)])
def test_agrees_with_pytorch(name, most, exported):
    model, path, _ = exported[name]
    loaded, agreement = runtime.Model(path), Agreement()
    for seed, size in enumerate([(75, 110), (96, 128), (150, 90)]):
        image = picture(size, seed)
        agreement.add(in_pytorch(model)(image), loaded(image), 0.05, most)
    assert loaded.classes == list('abcd') and loaded.task == 'detection'
    assert agreement.detections > 15 and agreement.unmatched == 0
    assert agreement.score < 1e-3 and agreement.box_iou > 0.99 and agreement.mask_iou > 0.99, agreement


@pytest.mark.parametrize('settings', [
    dict(), dict(scale=None), dict(scale=[50, 60], keep_ratio=False), dict(scale_factor=[0.7, 1.1], scale=None),
    dict(channel_order='BGR', pad=dict(size=[80, 200], divisor=None, square=False, value=[114, 1, 30])),
    dict(scale=[64, 70], pad=dict(size=None, divisor=20, square=True, value=[0, 0, 0]),
         batch_pad=dict(size=None, divisor=32, value=0.5))])
@pytest.mark.parametrize('size', [(50, 80), (480, 640), (200, 33), (96, 128), (1, 1)])
def test_prepares_images_as_the_graph_does(settings, size, exported):
    settings = SETTINGS | settings
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    wanted, *sizes = Preprocess(SHAPE, **settings)(torch.from_numpy(image))
    model = runtime.Model(exported['cascade'][1])
    model.channel_order, model.pad, model.batch_pad = (settings[key] for key in ('channel_order', 'pad', 'batch_pad'))
    model.resize_rule = {key: settings[key] for key in ('scale', 'keep_ratio', 'scale_factor')}
    found, *found_sizes = model.prepare(image)
    assert found_sizes == [tuple(size[0].tolist()) for size in sizes]
    np.testing.assert_allclose(found, wanted.numpy(), rtol=0, atol=1e-5)


def test_paste_and_run_lengths():
    rng = np.random.default_rng(0)
    masks, boxes = rng.random((6, 28, 28), dtype=np.float32), rng.uniform(-20, 120, (6, 4)).astype(np.float32)
    boxes[:, 2:] = boxes[:, :2] + rng.uniform(0.5, 90, (6, 2))
    wanted = paste(torch.from_numpy(masks), torch.from_numpy(boxes), 70, 90).numpy()
    for mask, box, whole in zip(masks, boxes, wanted):
        found = runtime.paste(mask, box, (70, 90))
        np.testing.assert_allclose(found, whole, atol=1e-5)
        encoded = runtime.run_lengths(found > 0.5)
        assert (coco_masks.decode(coco_masks.frPyObjects(encoded, 70, 90)) == (found > 0.5)).all()


def test_command_line_alone(exported, alone, tmp_path):
    folder = tmp_path / 'some pictures'
    folder.mkdir()
    image = Image.fromarray(picture())
    image.save(folder / 'a.png')
    image.convert('L').save(folder / 'grey.png')
    image.convert('RGBA').save(folder / 'with alpha.png')
    Image.fromarray(np.asarray(image.convert('L')).astype(np.uint16) * 257).save(folder / 'sixteen bits.png')
    image.save(tmp_path / 'a.jpg')
    out = tmp_path / 'new' / 'out'
    run = alone(exported['cascade'][1], folder, tmp_path / 'a.jpg', '--out-dir', out, '--score-thr', 0.1)
    assert run.returncode == 0, run.stderr
    assert len(run.stdout.splitlines()) == 5
    written = sorted(p.name for p in out.iterdir())
    assert written == sorted(f'{name}{suffix}' for name in ('a', 'a_', 'grey', 'sixteen bits', 'with alpha')
                             for suffix in ('.png', '.json'))
    drawn = np.asarray(Image.open(out / 'a.png'))
    assert drawn.shape == (75, 110, 3) and (drawn != np.asarray(image)).mean() > 0.05
    found = runtime.Model(exported['cascade'][1])(np.asarray(image)).above(0.1)
    told = json.loads((out / 'a.json').read_text())
    assert [one['label'] for one in told] == found.labels.tolist() and told[0]['name'] in 'abcd'
    np.testing.assert_allclose([one['box'] for one in told], found.boxes, atol=1e-2)
    assert (coco_masks.decode(coco_masks.frPyObjects(told[0]['mask'], 75, 110)) == found.masks[0]).all()
    # Grey and 16 bits are the same picture.
    same = [json.loads((out / f'{name}.json').read_text()) for name in ('grey', 'sixteen bits')]
    assert same[0] == same[1]


def test_wrong_input_gets_a_line(exported, tmp_path, capsys):
    path = exported['cascade'][1]
    Image.fromarray(picture()).save(tmp_path / 'a.png')
    (tmp_path / 'not an image.png').write_text('<html>')
    (tmp_path / 'cut.png').write_bytes((tmp_path / 'a.png').read_bytes()[:300])
    (tmp_path / 'broken.onnx').write_bytes(path.read_bytes()[:1000])
    (tmp_path / 'empty').mkdir()
    image = tmp_path / 'a.png'
    for arguments, message in [
            ((tmp_path / 'no.onnx', image), 'no.onnx: no such file'),
            ((tmp_path / 'broken.onnx', image), 'broken.onnx can not be loaded'),
            ((path, tmp_path / 'gone.png'), 'gone.png: no such file'),
            ((path, tmp_path / 'not an image.png'), 'not an image.png is not an image'),
            ((path, tmp_path / 'cut.png'), 'cut.png can not be read as an image'),
            ((path, tmp_path / 'empty'), 'no images in this folder'),
            ((path, image, '--out-dir', image), 'a.png')]:
        assert runtime.main([*map(str, arguments)] + ([] if '--out-dir' in arguments else
                                                      ['--out-dir', str(tmp_path / 'out')])) == 2
        error = capsys.readouterr().err
        assert message in error and error.startswith('error: ') and len(error.splitlines()) == 1


def test_a_model_of_another_tool(tmp_path, capsys):
    layer = torch.nn.Conv2d(3, 1, 1).eval()
    torch.onnx.export(layer, (torch.zeros(1, 3, 8, 8),), str(tmp_path / 'foreign.onnx'), dynamo=False)
    assert runtime.main([str(tmp_path / 'foreign.onnx'), 'x.png']) == 2
    assert "no 'task' in its metadata: `mmvision-mamba export` writes one" in capsys.readouterr().err


class Colours(torch.nn.Module):
    """A segmentor that tells red, green and blue: three logits, or their map."""

    def __init__(self, output):
        super().__init__()
        self.output = output

    def forward(self, images):
        return (images.argmax(1) if self.output == 'map' else images * 1,)


@pytest.mark.parametrize('output', ['map', 'logits'])
@pytest.mark.parametrize('free', [(), (0, 2, 3)])
def test_maps_in_the_images_own_size(output, free, tmp_path):
    meta = dict(task='segmentation', classes=['red', 'green', 'blue'], mean=[10, 10, 10], std=[50, 50, 50],
                resize=dict(scale=[64, 48], keep_ratio=True))
    what = Exportable('segmentor', Colours(output), ('images',), (output,))
    formats.write(what, tmp_path / 'colours.onnx', 'onnx', [torch.zeros(1, 3, 48, 64)], free,
                  {key: json.dumps(value) for key, value in meta.items()})
    model = runtime.Model(tmp_path / 'colours.onnx')
    for height, width in [(48, 64), (90, 60), (33, 201), (480, 640)]:
        image = np.zeros((height, width, 3), np.uint8)
        wanted = np.zeros((height, width), int)
        wanted[:, width // 2:], wanted[height // 2:, :width // 2] = 1, 2
        image[np.arange(height)[:, None], np.arange(width), wanted] = 200
        found = model(image)
        assert found.shape == wanted.shape and found.dtype == np.int64
        assert (found == wanted).mean() > 0.96
        drawn = np.asarray(model.draw(image, found))
        assert drawn.shape == image.shape and len(np.unique(drawn.reshape(-1, 3), axis=0)) >= 3
    Image.fromarray(image).save(tmp_path / 'a.png')
    paths = [str(tmp_path / name) for name in ('colours.onnx', 'a.png', 'o')]
    assert runtime.main([*paths[:2], '--out-dir', paths[2]]) == 0
    assert (np.asarray(Image.open(tmp_path / 'o' / 'a_map.png')) == found).all()


def save_segmentor(path, module, free=(), **meta):
    formats.write(Exportable('segmentor', module, ('images',), ('logits',)), path, 'onnx',
                  [torch.zeros(1, 3, 32, 32)], free, {key: json.dumps(value) for key, value in meta.items()})
    return runtime.Model(path)


class Red(torch.nn.Module):
    """One logit: how red a pixel is."""

    def forward(self, images):
        return images[:, :1] * 1,


@pytest.mark.parametrize('mode', ['L', 'RGB', 'I;16'])
def test_a_tiff_that_is_not_compressed_is_turned_too(mode, tmp_path):
    pixels = np.arange(24 * 32, dtype=np.uint16 if mode == 'I;16' else np.uint8).reshape(24, 32)
    image = Image.fromarray(np.repeat(pixels[..., None], 3, 2) if mode == 'RGB' else pixels)
    for compression in None, 'tiff_lzw':
        image.save(tmp_path / f'{compression}.tif', tiffinfo={274: 6}, compression=compression)
    raw, packed = (runtime.read_image(tmp_path / f'{name}.tif') for name in ('None', 'tiff_lzw'))
    assert raw.shape == (32, 24, 3) and (raw == packed).all()


def test_a_single_logit_is_compared_with_the_threshold(tmp_path):
    image = np.zeros((32, 32, 3), np.uint8)
    image[:, 16:, 0], image[:, 24:, 0] = 1, 3
    model = save_segmentor(tmp_path / 'm.onnx', Red(), task='segmentation', threshold=0.8)  # a logit of 1.39
    assert (model(image) == (image[..., 0] == 3)).all()


class NoNumber(torch.nn.Module):
    """Logits of two classes, NaN where a pixel is red."""

    def forward(self, images):
        return torch.cat([images[:, :1] * 1, images[:, :1] / (images[:, :1] < 1)], 1).log()


def test_nan_is_no_label(tmp_path):
    image = np.ones((32, 32, 3), np.uint8)
    model = save_segmentor(tmp_path / 'm.onnx', NoNumber(), task='segmentation', mean=[1, 0, 0])
    assert model(image).shape == (32, 32), 'infinite logits are some'
    image[3, 4, 0] = 0
    with pytest.raises(runtime.RuntimeInputError, match=r'm\.onnx: logits are NaN for this image'):
        model(image)


@pytest.mark.parametrize('reduced', [False, True])
@pytest.mark.parametrize('count', [1, 4, 255, 256, 300])
def test_label_maps_as_images_are_the_packages(count, reduced, tmp_path):
    palette = np.random.default_rng(count).integers(0, 256, (count, 3)).tolist()
    model = save_segmentor(tmp_path / 'm.onnx', Red(), task='segmentation', classes=['a'] * count, palette=palette,
                           reduce_zero_label=reduced)
    labels = np.arange(600).reshape(20, 30) % count
    wanted, found = segment_map(labels, count, palette, reduced), model.map_image(labels)
    assert (found.mode, found.getpalette()) == (wanted.mode, wanted.getpalette())
    assert (np.asarray(found) == labels + reduced).all() and (np.asarray(wanted) == labels + reduced).all()


def test_an_image_larger_than_the_graph_takes(tmp_path):
    model = save_segmentor(tmp_path / 'm.onnx', Red(), (0, 2, 3), task='segmentation', largest=64)
    assert model(np.zeros((64, 40, 3), np.uint8)).shape == (64, 40)
    with pytest.raises(runtime.RuntimeInputError, match='64 pixels a side at most, got 40 × 65'):
        model(np.zeros((40, 65, 3), np.uint8))


def test_results_are_never_written_beside_images(tmp_path, monkeypatch, capsys):
    save_segmentor(tmp_path / 'm.onnx', Red(), task='segmentation', classes=['black', 'red'])
    for name in ('a.png', 'a_map.png', 'c/B.png'):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(tmp_path / name)
    (tmp_path / 'a.json').write_text('annotations')
    (tmp_path / 'link').symlink_to(tmp_path, target_is_directory=True)
    monkeypatch.chdir(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob('*.*')}
    for images, folder in ((['a.png'], '.'), ([tmp_path], 'c/..'), (['c', 'a.png'], 'link'), (['c'], tmp_path / 'c')):
        assert runtime.main([*map(str, ['m.onnx', *images, '--out-dir', folder])]) == 2
        assert 'is an input and lies in --out-dir' in capsys.readouterr().err
    assert {path: path.read_bytes() for path in tmp_path.rglob('*.*')} == before


def test_results_of_images_of_one_name(tmp_path):
    """Those of a_map.png are not written over the map of a.png; b.png and B.png are one file on some systems."""
    save_segmentor(tmp_path / 'm.onnx', Red(), task='segmentation', classes=['black', 'red'])
    names = 'a.png', 'a_map.png', 'B.png', 'c/b.png'
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(tmp_path / name)
    assert runtime.main([str(tmp_path / name) for name in ('m.onnx', *names)] + ['--out-dir', str(tmp_path / 'o')]) == 0
    assert len({path.name.lower() for path in (tmp_path / 'o').iterdir()}) == 8


def test_a_full_disk_leaves_no_half_of_a_file(tmp_path, monkeypatch, capsys):
    save_segmentor(tmp_path / 'm.onnx', Red(), task='segmentation', classes=['black', 'red'])
    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(tmp_path / 'a.png')
    command = [str(tmp_path / 'm.onnx'), str(tmp_path / 'a.png'), '--out-dir', str(tmp_path / 'out')]
    assert runtime.main(command) == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / 'out').iterdir()}
    assert set(before) == {'a.png', 'a_map.png'}

    def full(image, path, **options):
        Path(path).write_bytes(b'half')
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    monkeypatch.setattr(Image.Image, 'save', full)
    assert runtime.main(command) == 2
    assert 'No space left on device' in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in (tmp_path / 'out').iterdir()} == before


def test_a_size_that_overflows_is_no_line_of_onnxruntimes(tmp_path, capfd):
    import onnx
    from onnx import helper
    shape = helper.make_tensor('shape', onnx.TensorProto.INT64, [1], [1])
    shape.dims[0] = 2**63 - 1
    x, y = (helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, dims) for name, dims in (
        ('x', [1, 3, 32, 32]), ('y', None)))
    graph = helper.make_graph([helper.make_node('Reshape', ['x', 'shape'], ['y'])], 'graph', [x], [y], [shape])
    (tmp_path / 'm.onnx').write_bytes(helper.make_model(
        graph, opset_imports=[helper.make_opsetid('', 17)], ir_version=8).SerializeToString())
    with pytest.raises(runtime.RuntimeInputError, match=r'm\.onnx can not be loaded'):
        runtime.Model(tmp_path / 'm.onnx')
    assert capfd.readouterr().err == ''


def test_names_in_a_file_reach_the_screen_as_text_alone(tmp_path, capfd):
    """onnxruntime's own log would print a node's name as it is, escape sequences and line breaks among it."""
    from onnx import TensorProto, helper, numpy_helper
    image = helper.make_tensor_value_info('image', TensorProto.FLOAT, [1, 3, 'h', 'w'])
    file = helper.make_model(helper.make_graph(
        [helper.make_node('Reshape', ['image', 'shape'], ['logits'], name='\x1b[2J\nerror: forged')], 'graph', [image],
        [helper.make_tensor_value_info('logits', TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.array([7, 7]), 'shape')]),
        opset_imports=[helper.make_opsetid('', 17)], ir_version=9)
    helper.set_model_props(file, dict(task='"segmentation"'))
    (tmp_path / 'm.onnx').write_bytes(file.SerializeToString())
    Image.new('RGB', (64, 48)).save(tmp_path / 'a.png')
    assert runtime.main([*map(str, (tmp_path / 'm.onnx', tmp_path / 'a.png', '--out-dir', tmp_path / 'o'))]) == 2
    err = capfd.readouterr().err
    assert len(err.splitlines()) == 1 and '\x1b' not in err and 'can not be run' in err
