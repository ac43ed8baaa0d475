"""Exported files where commands take a config and a checkpoint: the same results, by the same options."""
import json
import shutil

import numpy as np
import onnx
import pytest
from PIL import Image

from mmvision_mamba import Inferencer
from mmvision_mamba.export.verify import verification_images
from mmvision_mamba.runtime.standalone import mask_box

from ..helpers.queries import THINGS, query_files


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / 'images'
    folder.mkdir()
    for seed, size in enumerate([(64, 64), (101, 128)]):
        Image.fromarray(verification_images(size, 1, seed)[0]).save(folder / f'{seed}.png')
    return folder


def metrics(tool, *arguments):
    run = tool('test', *arguments, '--work-dir', 'work')
    assert run.code == 0, run.err
    return json.loads(open('work/metrics.json').read())


def test_a_segmentor_is_measured_as_its_checkpoint_is(tool, model_files, exported_files, shapes, monkeypatch):
    """On the config's data, and on a folder whose masks are named as the file's classes are."""
    monkeypatch.setenv('SHAPES_ROOT', str(shapes))
    files, exported = model_files.segmentor, exported_files['segmentor.onnx']
    wanted, found = (metrics(tool, files.config, weights) for weights in (files.checkpoint, exported))
    assert wanted['mIoU'] > 0 and found.keys() == wanted.keys()
    assert [*found.values()] == pytest.approx([*wanted.values()], abs=0.2)
    assert metrics(tool, exported, '--data', shapes)['mIoU'] == found['mIoU']


@pytest.fixture
def found_objects(detector, images):
    """A folder of images without a split, whose objects are what the detector finds; of two of its classes."""
    pictures, annotations = [], []
    for i, path in enumerate(sorted(images.iterdir())):
        found = detector.predict(path).pop().pred_instances
        height, width = found.masks.shape[1:]
        pictures.append(dict(id=i, file_name=path.name, height=height, width=width))
        for box, label in zip(found.bboxes.tolist(), found.labels.tolist()):
            x1, y1, x2, y2 = box
            if label < 2 and x2 - x1 > 4 and y2 - y1 > 4:
                annotations.append(dict(id=len(annotations) + 1, image_id=i, category_id=label + 5, iscrowd=0,
                                        bbox=[x1, y1, x2 - x1, y2 - y1], area=(x2 - x1) * (y2 - y1),
                                        segmentation=[[x1, y1, x2, y1, x2, y2, x1, y2]]))
    content = dict(images=pictures, annotations=annotations, categories=[
        dict(id=6, name='rectangle'), dict(id=5, name='ellipse')])
    (images / 'objects.json').write_text(json.dumps(content))
    return images


def test_a_detector_is_measured_as_its_checkpoint_is(tool, model_files, exported_files, found_objects, tmp_path):
    """On a folder without a split, that lacks one of its classes; one with others is refused."""
    files, exported = model_files.detector, exported_files['detector.onnx']
    run = tool('test', exported, '--data', found_objects)
    assert run.code == 0, run.err
    assert 'test: 2 images, objects.json' in run.out and 'trained on' not in run.out
    found = json.loads((tmp_path / 'work_dirs/detector/metrics.json').read_text())
    assert found['coco/bbox_mAP'] > 0.5 and found['coco/segm_mAP'] is not None
    with_names = json.loads((found_objects / 'objects.json').read_text())
    with_names['categories'] = [dict(id=5, name='ellipse'), dict(id=6, name='rectangle'), dict(id=7, name='triangle')]
    (found_objects / 'objects.json').write_text(json.dumps(with_names))
    wanted = metrics(tool, files.config, files.checkpoint, '--data', found_objects)
    assert found['coco/bbox_mAP'] == pytest.approx(wanted['coco/bbox_mAP'], abs=0.01)
    with_names['categories'][0]['name'] = 'cat'
    (found_objects / 'objects.json').write_text(json.dumps(with_names))
    folder = found_objects
    run = tool('test', exported_files['detector.onnx'], '--data', folder)
    assert run.code == 2 and len(run.errors) == 1 and 'which the model does not know: cat' in run.err
    assert len(run.err.strip().splitlines()) <= 2


@pytest.mark.parametrize('kind', ['solo', pytest.param('instances', marks=pytest.mark.slow),
                                  pytest.param('dino', marks=pytest.mark.slow)])
def test_models_by_queries_are_measured_as_their_checkpoints_are(kind, tool, tmp_path):
    """On a folder of what the checkpoint finds; of SOLOv2, which predicts no boxes, by masks alone."""
    files, folder = query_files(kind, tmp_path), tmp_path / 'folder'
    folder.mkdir()
    pictures, annotations = [], []
    for i, size in enumerate([(96, 128), (75, 100)]):  # as the shape once they are resized
        Image.fromarray(verification_images(size, 1, i)[0]).save(folder / f'{i}.png')
        pictures.append(dict(id=i, file_name=f'{i}.png', height=size[0], width=size[1]))
    inferencer = Inferencer(files.config, files.checkpoint, device='cpu', show_progress=False)
    for i, path in enumerate(sorted(folder.iterdir())):
        found = inferencer.predict(path).pop().pred_instances
        boxes = [*map(mask_box, found.masks.numpy())] if kind == 'solo' else found.bboxes.tolist()
        for box, label in zip(boxes, found.labels.tolist()):
            x1, y1, x2, y2 = map(float, box)
            if x2 - x1 > 4 and y2 - y1 > 4:
                annotations.append(dict(id=len(annotations) + 1, image_id=i, category_id=label + 1, iscrowd=0,
                                        bbox=[x1, y1, x2 - x1, y2 - y1], area=(x2 - x1) * (y2 - y1),
                                        segmentation=[[x1, y1, x2, y1, x2, y2, x1, y2]]))
    categories = [dict(id=i + 1, name=name) for i, name in enumerate(THINGS)]
    (folder / 'objects.json').write_text(json.dumps(dict(
        images=pictures, annotations=annotations, categories=categories)))
    run = tool('export', files.config, files.checkpoint, '--shape', 96, 128, '--out', 'model.onnx')
    assert run.code == 0, run.err
    wanted, found = (metrics(tool, *given, '--data', folder) for given in (
        (files.config, files.checkpoint), ('model.onnx',)))
    ap = {'solo': {'coco/segm_mAP'}, 'dino': {'coco/bbox_mAP'}}.get(kind, {'coco/bbox_mAP', 'coco/segm_mAP'})
    for values in (wanted, found):
        assert {key for key in values if key.endswith('mAP')} == ap
    assert [found[key] for key in ap] == pytest.approx([wanted[key] for key in ap], abs=1e-3)
    assert min(wanted[key] for key in ap) > 0.05


@pytest.mark.parametrize(('arguments', 'message'), [
    (('FILE',), 'Give --data FOLDER, or name a config'), (('CONFIG',), 'name the checkpoint, or the exported file'),
    (('FILE', 'w.pth'), 'has weights of its own: leave out w.pth'),
    (('FILE', '--data', 'gone'), 'no such folder'), (('CONFIG', 'FILE', '--tta'), 'takes an image once'),
    (('CONFIG', 'FILE', '--dtype', 'bf16'), 'computes in what it was exported in'),
    (('CONFIG', 'FILE', '--launcher', 'pytorch'), 'is tested in one process'),
    (('CONFIG', 'FILE', '--cfg-options', 'model.test_cfg.mode=slide'), 'stays as it was exported'),
    (('OTHER', 'FILE'), 'the config is of mmdet'), (('CONFIG', 'gone.onnx'), 'No such file')])
def test_what_can_not_be_tested_is_told(arguments, message, tool, model_files, exported_files):
    words = dict(FILE=exported_files['segmentor.onnx'], CONFIG=model_files.segmentor.config,
                 OTHER=model_files.detector.config)
    run = tool('test', *(words.get(word, word) for word in arguments))
    assert run.code == 2 and len(run.errors) == 1 and message in run.err and 'Traceback' not in run.err, run.err
    assert len(run.err.strip().splitlines()) <= 3


def test_test_keeps_draws_and_tiles(tool, model_files, exported_files, shapes, monkeypatch, tmp_path):
    monkeypatch.setenv('SHAPES_ROOT', str(shapes))
    config = model_files.segmentor.config
    run = tool('test', config, exported_files['segmentor.onnx'], '--out', 'maps', '--show-dir', 'pictures')
    assert run.code == 0, run.err
    assert len(list((tmp_path / 'maps').rglob('*.png'))) == 3 and len(list((tmp_path / 'pictures').rglob('*.png'))) == 3
    tiled = [metrics(tool, config, weights, '--tile', 48)['mIoU'] for weights in (
        exported_files['segmentor.onnx'], model_files.segmentor.checkpoint)]
    assert tiled[0] == pytest.approx(tiled[1], abs=0.3)


@pytest.mark.parametrize('options', [(), ('--tile', 48)])
def test_infer_writes_what_it_does_of_the_checkpoint(options, tool, model_files, exported_files, images, tmp_path):
    files = model_files.segmentor
    for out, model in (('a', (files.config, files.checkpoint)), ('b', (exported_files['segmentor.onnx'],)),
                       ('c', (files.config, exported_files['segmentor.onnx']))):
        run = tool('infer', *model, images, '--device', 'cpu', '--out-dir', out, *options)
        assert run.code == 0, run.err
    written = [sorted(str(path.relative_to(tmp_path / out)) for path in (tmp_path / out).rglob('*') if path.is_file())
               for out in 'abc']
    assert written[0] == written[1] == written[2]
    for name in written[0]:
        if name.startswith('preds') and name.endswith('.png'):
            wanted, *found = (np.asarray(Image.open(tmp_path / out / name)) for out in 'abc')
            assert all((wanted == labels).mean() > 0.999 for labels in found)


def test_batch_infer_goes_on_with_the_same_file_alone(tool, exported_files, images, tmp_path):
    pytest.importorskip('pyarrow')
    file = shutil.copy(exported_files['detector.onnx'], tmp_path / 'moved.onnx')
    command = 'batch_infer', file, images, '--out', 'out'
    assert '2 images done, 0 failed' in tool(*command).out
    assert '1 of 1 parts are there already' in tool('batch_infer', exported_files['detector.onnx'], images,
                                                    '--out', 'out').out
    model = onnx.load(file)
    model.doc_string = 'another'
    onnx.save(model, file)
    run = tool(*command)
    assert run.code == 2 and 'different: weights_sha256' in run.err


def test_hostile_files_are_told_in_a_line(tool, exported_files, images, tmp_path):
    """Of a newer opset, cut, without our metadata, or with other values than we write."""
    good = exported_files['segmentor.onnx'].read_bytes()

    def changed(change):
        model = onnx.load_from_string(good)
        change(model)
        return model.SerializeToString()

    def newer(model):
        model.opset_import[0].version = 99

    def bare(model):
        del model.metadata_props[:]

    def value(key, text):
        def change(model):
            next(entry for entry in model.metadata_props if entry.key == key).value = text
        return change
    for content, message in ((changed(newer), 'can not be loaded'), (good[:5000], 'can not be loaded'),
                             (changed(bare), "no 'task' in its metadata"),
                             (changed(value('resize', '{"scale": [1e9, 2]}')), 'resize in its metadata must be'),
                             (changed(value('classes', '["a"]')), 'does not give what its metadata says'),
                             (changed(value('task', '"features"')), 'is a backbone')):
        (tmp_path / 'm.onnx').write_bytes(content)
        run = tool('infer', 'm.onnx', images / '0.png')
        assert run.code == 2 and message in run.err and 'Traceback' not in run.err, run.err
        assert len(run.err.strip().splitlines()) <= 3
