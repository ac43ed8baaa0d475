import copy
import json
import pickle
import shutil
import sys
import threading
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope, init_default_scope
from mmengine.runner import Runner
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from mmvision_mamba import Inferencer
from mmvision_mamba.datasets import make_shapes
from mmvision_mamba.datasets.label_maps import segment_map
from mmvision_mamba.errors import CheckpointError, ConfigError, DataError
from mmvision_mamba.inference.results import Results, panoptic_map
from mmvision_mamba.inference.scopes import in_scope
from mmvision_mamba.inference.sources import Source, find_sources


@pytest.fixture(scope='module')
def shapes(tmp_path_factory):
    root = tmp_path_factory.mktemp('shapes')
    make_shapes(root, train=1, val=3, seed=0, size=(72, 88))
    return root


@pytest.mark.parametrize('kind', ['detector', 'segmentor'])
def test_it_predicts_what_a_test_run_predicts(kind, model_files, shapes, request):
    files = getattr(model_files, kind)
    cfg = Config.fromfile(files.config)
    cfg.merge_from_dict({'test_dataloader.batch_size': 1, 'test_dataloader.dataset.data_root': str(shapes)})
    init_default_scope(cfg.default_scope)
    model = MODELS.build(cfg.model).eval()
    model.load_state_dict(torch.load(files.checkpoint, weights_only=True)['state_dict'])
    with torch.no_grad():
        expected = [sample for batch in Runner.build_dataloader(cfg.test_dataloader)
                    for sample in model.test_step(batch)]
    found = request.getfixturevalue(kind).predict([sample.img_path for sample in expected])
    assert len(found) == 3
    for sample, other in zip(found, expected):
        assert sample.ori_shape == (72, 88)
        if kind == 'segmentor':
            assert torch.equal(sample.pred_sem_seg.data, other.pred_sem_seg.data)
        else:
            assert len(sample.pred_instances) > 0
            torch.testing.assert_close(sample.pred_instances.bboxes, other.pred_instances.bboxes)
            torch.testing.assert_close(sample.pred_instances.scores, other.pred_instances.scores)
            assert torch.equal(sample.pred_instances.masks, other.pred_instances.masks)


def test_path_array_and_pillow_image_are_the_same_image(segmentor, shapes):
    path = str(shapes / 'val/000000.png')
    array = cv2.imread(path)
    assert np.array_equal(array, segmentor.read(path))
    assert np.array_equal(array, segmentor.read(array))
    assert np.array_equal(array, segmentor.read(Image.open(path)))


def test_what_a_detector_writes_is_read_by_pycocotools(detector, shapes, tmp_path):
    result = detector(shapes / 'val', batch_size=2, out_dir=tmp_path / 'out')
    truth = COCO(tmp_path / 'out/preds/images.json')
    masks, boxes = (truth.loadRes(str(tmp_path / f'out/preds/{name}.json')) for name in ('results', 'boxes'))
    assert [image['file_name'] for image in truth.dataset['images']] == [
        str(shapes / f'val/00000{i}.png') for i in range(3)]
    assert [c['name'] for c in truth.dataset['categories']] == list(detector.classes)
    for image_id, prediction in enumerate(result['predictions'], 1):
        for results in (masks, boxes):
            assert [i['category_id'] - 1 for i in results.imgToAnns[image_id]] == prediction['labels']
            assert [i['score'] for i in results.imgToAnns[image_id]] == prediction['scores']
        for instance, (x1, y1, x2, y2) in zip(boxes.imgToAnns[image_id], prediction['bboxes'], strict=True):
            assert instance['bbox'] == pytest.approx([x1, y1, x2 - x1, y2 - y1])
        for instance, rle in zip(masks.imgToAnns[image_id], prediction['masks'], strict=True):
            assert instance['area'] == masks.annToMask(instance).sum() == coco_mask.area(rle)
    for i in range(3):
        assert cv2.imread(str(tmp_path / f'out/vis/00000{i}.png')).shape == (288, 352, 3), 'enlarged'


def test_what_a_segmentor_writes_are_maps_with_the_palette(segmentor, shapes, tmp_path):
    result = segmentor([str(shapes / 'val/*.png')], out_dir=tmp_path)
    for i, prediction in enumerate(result['predictions']):
        with Image.open(tmp_path / f'preds/00000{i}.png') as image:
            assert image.mode == 'P'
            assert image.getpalette()[:12] == [v for colour in segmentor.palette for v in colour]
            assert np.array_equal(np.asarray(image), prediction['sem_seg'])
    assert not (tmp_path / 'preds/results.json').exists()


def test_classes_are_kept_and_unknown_ones_named(model_files, shapes, segmentor, detector):
    path = shapes / 'val/000000.png'
    full = segmentor.predict(path)[0].pred_sem_seg.data[0]
    keep = segmentor.classes[int(full.flatten().mode().values)]
    some = Inferencer(model_files.segmentor.config, model_files.segmentor.checkpoint, 'cpu', classes=[keep],
                      show_progress=False)
    expected = full.where(full == some.kept[0], torch.tensor(255))
    sample = some.predict(path)[0]
    assert torch.equal(sample.pred_sem_seg.data[0], expected)
    untouched = some.draw(path, sample)[expected == 255]
    assert np.array_equal(untouched, some.read(path)[..., ::-1][expected == 255])
    with pytest.raises(ConfigError, match=r"unknown class 'elipse'.*did you mean 'ellipse'"):
        Inferencer(model_files.segmentor.config, model_files.segmentor.checkpoint, 'cpu', classes=['elipse'])
    label = int(detector.predict(path)[0].pred_instances.labels[0])
    one = Inferencer(model_files.detector.config, model_files.detector.checkpoint, 'cpu',
                     classes=[detector.classes[label]])
    assert set(one.predict(path)[0].pred_instances.labels.tolist()) == {label}


def test_bad_files_are_passed_over_and_listed(segmentor, shapes, tmp_path):
    folder = tmp_path / 'in put'
    folder.mkdir()
    good = (shapes / 'val/000000.png').read_bytes()
    (folder / 'a.png').write_bytes(good[:len(good) // 2])
    (folder / 'b.png').write_bytes(good)
    (folder / 'c.jpg').write_text('no image')
    (folder / 'd.mp4').write_text('no video')
    result = segmentor(folder, batch_size=4, out_dir=tmp_path / 'out')
    assert len(result['predictions']) == 1
    assert [(name, reason.split(',')[0]) for name, reason in result['failures']] == [
        (str(folder / 'a.png'), 'the image is truncated'), (str(folder / 'c.jpg'), 'it is not an image'),
        (str(folder / 'd.mp4'), 'can not be opened as a video')]
    assert (tmp_path / 'out/vis/b.png').exists()


def test_one_image_that_the_model_refuses_spoils_no_batch(model_files, shapes):
    cfg = Config.fromfile(model_files.segmentor.config)
    cfg.test_dataloader.dataset.pipeline = [step for step in cfg.test_dataloader.dataset.pipeline
                                            if step.type != 'Resize']
    inferencer = Inferencer(cfg, model_files.segmentor.checkpoint, 'cpu', show_progress=False)
    image = cv2.imread(str(shapes / 'val/000000.png'))
    result = inferencer([image, image[:31], image, image[:, :40]], batch_size=2)
    assert [p['sem_seg'].shape for p in result['predictions']] == [(72, 88), (72, 88), (72, 40)]
    assert result['failures'] == [('array 1', result['failures'][0][1])]
    assert '32 pixels or more' in result['failures'][0][1]


def test_images_of_several_sizes_in_one_call(segmentor, detector):
    """mmseg takes one size at a time, mmdet pads to the largest: neither is the caller's business."""
    images = [np.random.default_rng(i).integers(0, 256, (*size, 3), dtype=np.uint8)
              for i, size in enumerate([(72, 88), (50, 120), (50, 120)])]
    for model in (segmentor, detector):
        for image, sample in zip(images, model.predict(images, batch_size=3)):
            assert sample.ori_shape == image.shape[:2]
    alone = segmentor.predict(images[2])[0].pred_sem_seg.data
    assert (segmentor.predict(images, batch_size=3)[2].pred_sem_seg.data == alone).float().mean() > 0.999
    with pytest.raises(ConfigError, match='batch_size must be 1 or more, got 0'):
        segmentor.predict(images, batch_size=0)


def test_a_video_is_written_frame_by_frame(segmentor, shapes, tmp_path):
    image = cv2.imread(str(shapes / 'val/000000.png'))
    writer = cv2.VideoWriter(str(tmp_path / 'clip.mp4'), cv2.VideoWriter_fourcc(*'mp4v'), 5., image.shape[1::-1])
    for i in range(4):
        writer.write(np.roll(image, 9 * i, axis=1))
    writer.release()
    result = segmentor(tmp_path / 'clip.mp4', out_dir=tmp_path / 'out', batch_size=3, return_vis=True)
    assert len(result['predictions']) == len(result['visualization']) == 4
    video = cv2.VideoCapture(str(tmp_path / 'out/vis/clip.mp4'))
    assert video.get(cv2.CAP_PROP_FPS) == 5
    for picture in result['visualization']:
        found, frame = video.read()
        assert found
        assert np.abs(frame[..., ::-1].astype(int) - picture).mean() < 12  # compressed
    assert not video.read()[0]
    assert sorted(p.name for p in (tmp_path / 'out/preds/clip').iterdir()) == [f'00000{i}.png' for i in range(4)]


def test_a_checkpoint_alone_finds_the_config_beside_it(model_files, tmp_path):
    files = model_files.segmentor
    for path in (files.config, files.checkpoint):
        shutil.copy(path, tmp_path)
    alone = Inferencer(tmp_path / files.checkpoint.name, device='cpu', show_progress=False)
    weights = torch.load(files.checkpoint, weights_only=True)['state_dict']
    assert torch.equal(alone.model.state_dict()['decode_head.conv_seg.weight'], weights['decode_head.conv_seg.weight'])
    (tmp_path / 'another.py').touch()
    with pytest.raises(ConfigError, match=r'is a checkpoint: name its config before it; .*another\.py, segmentor\.py'):
        Inferencer(tmp_path / files.checkpoint.name, device='cpu')


def test_a_checkpoint_of_another_model_is_refused(model_files):
    with pytest.raises(CheckpointError, match=r'segmentor.pth does not fit .* keys missing, neck'):
        Inferencer(model_files.detector.config, model_files.segmentor.checkpoint, 'cpu')


def test_names_and_colours_are_never_coco_s(model_files, tmp_path):
    state = torch.load(model_files.detector.checkpoint, weights_only=True)['state_dict']
    torch.save(state, tmp_path / 'bare.pth')
    inferencer = Inferencer(model_files.detector.config, tmp_path / 'bare.pth', 'cpu')
    assert inferencer.classes == ('ellipse', 'rectangle', 'triangle')
    assert inferencer.palette == [(230, 60, 60), (60, 180, 75), (60, 120, 230)]
    torch.save({'state_dict': state, 'meta': {'dataset_meta': {'classes': ['one']}}}, tmp_path / 'one.pth')
    inferencer = Inferencer(model_files.detector.config, tmp_path / 'one.pth', 'cpu')
    assert inferencer.classes == ('one', 'class 1', 'class 2')
    assert len(set(inferencer.palette)) == 3


def test_no_instances_is_a_picture_of_the_image(detector, tmp_path):
    image = np.full((64, 80, 3), 90, np.uint8)
    sample = detector.predict(image)[0]
    sample.pred_instances = sample.pred_instances[:0]
    assert np.array_equal(detector.draw(image, sample), image)


def test_panoptic_maps_are_drawn_the_void_ones_too(detector):
    from mmdet.structures import DetDataSample
    from mmengine.structures import PixelData
    image, segments = np.full((64, 80, 3), 90, np.uint8), torch.full((1, 64, 80), 3)  # 3 classes: void
    sample = DetDataSample(pred_panoptic_seg=PixelData(sem_seg=segments))
    assert np.array_equal(detector.draw(image, sample), image)
    sample.pred_panoptic_seg.sem_seg = segments.index_fill(2, torch.arange(40), 1002)
    picture = detector.draw(image, sample)
    drawn = (picture != 90).any(-1)
    assert drawn[:, :38].mean() > 0.8 > 0.5 > drawn[:, 42:].mean()  # a name may reach over


@pytest.mark.parametrize('folder', ['vis', 'preds'])
def test_an_input_where_results_are_written_is_left_alone(folder, segmentor, tmp_path):
    """Through a link too: the picture of a.png would take the place of the input vis/a.png."""
    (tmp_path / 'data' / folder).mkdir(parents=True)
    (tmp_path / 'link').symlink_to(tmp_path / 'data')
    for path in ('a.png', f'{folder}/a.png'):
        Image.new('RGB', (64, 64), 'red').save(tmp_path / 'data' / path)
    content = (tmp_path / 'data' / folder / 'a.png').read_bytes()
    with pytest.raises(DataError, match=rf'{folder}/a\.png is an input and lies in .*{folder}, where results'):
        list(segmentor.run([str(tmp_path / 'data/a.png'), str(tmp_path / 'data' / folder / 'a.png')],
                           out_dir=tmp_path / 'link'))
    assert (tmp_path / 'data' / folder / 'a.png').read_bytes() == content


def test_a_picture_too_large_for_its_format_becomes_a_png(segmentor, tmp_path):
    Image.new('RGB', (16, 16)).save(tmp_path / 'a.webp')
    source, = find_sources(str(tmp_path / 'a.webp'))
    with Results(tmp_path / 'out', ['a'], [(0, 0, 0)], predictions=False, sources=[source]) as results:
        results.add(SimpleNamespace(source=source), np.zeros((20, 16_400, 3), np.uint8))
    with Image.open(tmp_path / 'out/vis/a.png') as picture:
        assert picture.size == (16_400, 20)


def test_nothing_to_infer_on(segmentor, tmp_path):
    with pytest.raises(DataError, match='no image or video in this folder'):
        segmentor(tmp_path)
    with pytest.raises(DataError, match='no such file'):
        segmentor([tmp_path / 'missing.jpg'])
    with pytest.raises(DataError, match='matches'):
        segmentor(str(tmp_path / '*.jpg'))
    with pytest.raises(DataError, match='no inputs'):
        segmentor([])


def test_the_device_must_be_there(model_files):
    with pytest.raises(ConfigError, match="device 'gpu'"):
        Inferencer(model_files.segmentor.config, model_files.segmentor.checkpoint, 'gpu')


def test_panoptic_maps_follow_coco():
    from mmdet.structures import DetDataSample
    from mmengine.structures import PixelData
    segments = torch.tensor([[1000 + 0, 1000 + 0, 2], [2000 + 0, 3, 2]])  # two of class 0, stuff 2, none (3 classes)
    sample = DetDataSample(pred_panoptic_seg=PixelData(sem_seg=segments[None]))
    image, about = panoptic_map(sample, [dict(id=i) for i in (1, 2, 3)])
    ids = np.asarray(image).astype(int) @ [1, 256, 256**2]
    assert ids[1, 1] == 0
    found = {(info['category_id'], info['area'], tuple(info['bbox'])) for info in about}
    assert found == {(1, 2, (0, 0, 2, 1)), (1, 1, (0, 1, 1, 1)), (3, 2, (2, 0, 1, 2))}
    for info in about:
        assert (ids == info['id']).sum() == info['area']


def test_many_classes_do_not_overflow_a_palette():
    labels = np.array([[0, 299]])
    assert np.asarray(segment_map(labels, 300)).tolist() == [[0, 299]]


@pytest.mark.parametrize('classes', [1, 2, 4, 16, 17])
def test_pixels_without_a_label_are_255_in_the_file_of_few_classes(classes, tmp_path):
    labels = np.array([[0, classes - 1, 255]])
    segment_map(labels, classes, [(i, 0, 0) for i in range(classes)]).save(tmp_path / 'a.png')
    assert np.array_equal(Image.open(tmp_path / 'a.png'), labels)


def test_results_are_finished_when_a_run_is_broken_off(detector, shapes, tmp_path):
    stream = detector.run(shapes / 'val', out_dir=tmp_path)
    next(stream)
    stream.close()
    assert len(json.loads((tmp_path / 'preds/images.json').read_text())['images']) == 1
    assert {r['image_id'] for r in json.loads((tmp_path / 'preds/results.json').read_text())} == {1}
    assert [p.name for p in (tmp_path / 'vis').iterdir()] == ['000000.png']


@pytest.mark.parametrize(('size', 'fps', 'written', 'rate', 'note'), [
    ((96, 72), 900.03, (96, 72), 900, None),
    ((96, 72), 5e-10, (96, 72), 25, '25 frames a second, not 5e-10 as its source says'),
    ((96, 72), 1e7, (96, 72), 25, '25 frames a second, not 1e+07 as its source says'),
    ((8400, 40), 65.537, (8190, 38), 65.54, 'frames of 8400 × 40 pixels are written as 8190 × 38'),
    ((1, 300), 12.5, (2, 300), 12.5, 'frames of 1 × 300 pixels are written as 2 × 300')])
def test_a_video_is_written_at_a_size_and_rate_that_mpeg4_has(size, fps, written, rate, note, tmp_path):
    prediction = SimpleNamespace(source=Source('clip.avi', 'clip', '.avi', lambda: iter(()), fps=fps))
    with Results(tmp_path, ('a',), [(0, 0, 0)], predictions=False) as results:
        for _ in range(2):
            results.add(prediction, np.zeros((*size[::-1], 3), np.uint8))
    video = cv2.VideoCapture(str(tmp_path / 'vis/clip.mp4'))
    assert [video.read()[0] for _ in range(3)] == [True, True, False]
    assert (video.get(cv2.CAP_PROP_FRAME_WIDTH), video.get(cv2.CAP_PROP_FRAME_HEIGHT)) == written
    assert video.get(cv2.CAP_PROP_FPS) == rate
    assert [note in line for line in results.describe()] == [True] * (note is not None)


def test_a_video_that_can_not_be_written_is_an_input_that_failed(segmentor, shapes, tmp_path, monkeypatch):
    class NoWriter:
        def __init__(self, *args):
            pass

        def isOpened(self):
            return False

    def frames():
        yield from [image] * 2

    image = cv2.imread(str(shapes / 'val/000000.png'))
    monkeypatch.setattr(cv2, 'VideoWriter', NoWriter)
    result = segmentor([Source('clip.avi', 'clip', '.avi', frames, fps=5.), image], out_dir=tmp_path)
    assert result['failures'] == [('clip.avi', f'{tmp_path}/vis/clip.mp4: OpenCV can not write this video')]
    assert len(result['predictions']) == 1 and len([*(tmp_path / 'preds/clip').iterdir()]) == 2
    assert [path.suffix for path in (tmp_path / 'vis').iterdir()] == ['.png']


@pytest.mark.parametrize('copied', [copy.copy, copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))],
                         ids=['copy', 'deepcopy', 'pickle'])
def test_a_copy_predicts_the_same(copied, detector, shapes):
    image = str(shapes / 'val/000001.png')
    detector([np.zeros((1, 5000, 3), np.uint8), image])
    other = copied(detector)
    assert (other.number, other.failures, other.notes) == (0, [], [])
    for key, value in detector(image)['predictions'][0].items():
        assert other(image)['predictions'][0][key] == value
    assert other.number == 1 and other.lock is not detector.lock


def test_threads_share_an_inferencer(segmentor, detector):
    """Each call reports its own inputs alone, in threads and where two go on in turns."""
    wrong, image, broken = [], np.zeros((32, 40, 3), np.uint8), np.zeros((1, 5000, 3), np.uint8)

    def call(i):
        model = (detector, segmentor, segmentor)[i % 3]
        for n in (1, 2, 3):
            try:
                found = model([image] * n + [broken] * i)
                if (model.number, len(model.failures), len(found['predictions'])) != (n + i, i, n) \
                        or model.failures != found['failures']:
                    wrong.append((i, n, model.number, model.failures))
            except Exception as error:
                wrong.append(repr(error))

    scopes = [*DefaultScope._instance_dict]
    threads = [threading.Thread(target=call, args=(i,)) for i in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong and [*DefaultScope._instance_dict] == scopes
    first, second = segmentor.run([image, broken]), segmentor.run([image, image])
    assert next(first) and next(second)
    assert not [*first] and len([*second]) == 1 and (segmentor.number, segmentor.failures) == (2, [])


def test_a_scope_is_entered_by_many_threads():
    wrong, scopes, interval = [], [*DefaultScope._instance_dict], sys.getswitchinterval()

    def enter(name):
        try:
            for _ in range(200):
                with in_scope(name):
                    if DefaultScope.get_current_instance().scope_name != name:
                        wrong.append(name)
        except Exception as error:
            wrong.append(repr(error))

    threads = [threading.Thread(target=enter, args=(('mmdet', 'mmseg')[i % 2],)) for i in range(6)]
    sys.setswitchinterval(1e-5)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert not wrong and [*DefaultScope._instance_dict] == scopes


def test_a_segmentor_of_a_single_logit_is_drawn_and_written(shapes, tmp_path):
    """mmseg's labels of such a model are floats."""
    from ..helpers.small_configs import SEGMENTOR
    config = tmp_path / 'binary.py'
    config.write_text(SEGMENTOR + '''
model['decode_head'].update(num_classes=2, out_channels=1, threshold=0.5, loss_decode=dict(
    type='CrossEntropyLoss', use_sigmoid=True))
model['auxiliary_head'].update(num_classes=2, out_channels=1, threshold=0.5, loss_decode=dict(
    type='CrossEntropyLoss', use_sigmoid=True))
test_dataloader = dict(dataset=dict(metainfo=dict(classes=('a', 'b'), palette=[[0, 0, 0], [255, 0, 0]])))
''')
    model = Inferencer(config, show_progress=False, device='cpu')
    result = model(sorted(shapes.glob('val/*.png'))[:1], out_dir=tmp_path / 'out')
    assert not result['failures'] and result['predictions'][0]['sem_seg'].dtype.kind in 'iu'
    assert len(list((tmp_path / 'out').rglob('*.png'))) == 2
