"""What the web page shows, without the page."""
import struct
import zlib
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData, PixelData
from PIL import Image

from mmvision_mamba.app.answers import Answer, load_image, looks_otherwise, trained_by_demo
from mmvision_mamba.errors import ConfigError, DataError


def picture(height=64, width=80, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def png_header(width, height):
    """A PNG that says it has so many pixels, and has none."""
    def chunk(kind, data):
        return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))
    return b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0)) + chunk(
        b'IDAT', zlib.compress(b'')) + chunk(b'IEND', b'')


@pytest.mark.parametrize(('content', 'message'), [
    (png_header(7000, 7000), '7000 × 7000 pixels are more than the 40 million'),
    (png_header(60000, 60000), '60000 × 60000 pixels, and 178956970 in all are allowed'),
    (b'<html></html>', 'not an image'), (b'', 'empty'),
    (cv2.imencode('.jpg', picture())[1].tobytes()[:900], 'truncated')],
    ids=['large', 'bomb', 'no image', 'empty', 'truncated'])
def test_bad_uploads(content, message, models, tmp_path):
    path = tmp_path / 'my image.png'
    path.write_bytes(content)
    with pytest.raises(DataError) as error:
        load_image(path, models['Instances'], 40_000_000, 1600)
    assert str(error.value).startswith('my image.png: ') and message in str(error.value)
    assert str(tmp_path) not in str(error.value), "the server's folders are nobody's business"


@pytest.mark.parametrize('kind', ['colour', 'grey', 'alpha', '16 bits'])
def test_uploads_of_all_kinds(kind, models, tmp_path):
    image = {'colour': picture(), 'grey': picture()[..., 0], 'alpha': np.dstack([picture(), picture()[..., :1]]),
             '16 bits': picture().astype(np.uint16) << 8}[kind]
    cv2.imwrite(str(tmp_path / 'x.png'), image)
    loaded, scale = load_image(tmp_path / 'x.png', models['Instances'], 40_000_000, 1600)
    assert scale == 1
    expected = np.dstack([image] * 3) if image.ndim == 2 else picture()
    assert loaded.dtype == np.uint8 and np.array_equal(loaded, expected)


def test_large_uploads_are_scaled_down(models, tmp_path):
    cv2.imwrite(str(tmp_path / 'x.png'), picture(60, 200))
    image, scale = load_image(tmp_path / 'x.png', models['Semantic map'], 40_000_000, 100)
    assert image.shape == (30, 100, 3) and scale == 0.5
    answer = Answer(models['Semantic map'], cv2.resize(image, (100, 40)), scale)
    assert answer.point(0, 0) == (0, 0) and answer.point(199.6, 79.9) == (99, 39) and answer.point(50, 21) == (25, 10)


def test_instances(models):
    answer = Answer(models['Instances'], picture())
    titles, rows = answer.table(0.05)
    assert titles == ('#', 'class', 'score', 'x1', 'y1', 'x2', 'y2', 'mask area (pixels)')
    assert rows and all(len(row) == len(titles) for row in rows)
    assert [row[0] for row in rows] == list(range(1, len(rows) + 1))
    scores = [float(row[2]) for row in rows]
    assert scores == sorted(scores, reverse=True) and scores[-1] >= 0.05 and all(len(row[2]) == 4 for row in rows)
    between = (scores[0] + scores[-1]) / 2
    fewer = answer.table(between)[1]
    assert fewer == rows[:len(fewer)] and 0 < len(fewer) < len(rows)
    instances = models['Instances'].predict(picture())[0].pred_instances
    best = int(instances.scores.argmax())
    assert rows[0][3:7] == [round(side, 1) for side in instances.bboxes[best].tolist()]
    assert rows[0][7] == int(np.asarray(instances.masks[best]).sum())
    assert answer.table(1.)[1] == []
    empty, drawn = answer.picture(1.), answer.picture(0.05)
    assert empty.shape == drawn.shape == (512, 640, 3), 'enlarged'
    assert np.array_equal(empty[::8, ::8], picture()[..., ::-1]) and (drawn != empty).any()


def test_picture_and_table_have_one_threshold(models):
    answer = Answer(models['Instances'], picture())
    score = float(answer.sample.pred_instances.scores.max())  # nothing is above it
    assert answer.table(score)[1] == [] and np.array_equal(answer.picture(score), answer.picture(1.))
    assert answer.nothing(0.05) == ''
    assert answer.nothing(0.995) == f'Nothing found above 0.99; the best score is {answer.table(0)[1][0][2]}.' or (
        'Nothing found above 1.00' in answer.nothing(0.995))


def test_classes_are_filtered_and_rows_keep_their_numbers(models):
    answer = Answer(models['Instances'], picture())
    name = answer.found[0]
    rows = answer.table(0.05, [name])[1]
    assert rows == [row for row in answer.table(0.05)[1] if row[1] == name] and rows
    others = set(models['Instances'].classes) - set(answer.found)
    for other in others:
        assert 'of these classes' in answer.nothing(0.05, [other])
    areas = Answer(models['Semantic map'], picture())
    kept = areas.table(0.3, areas.found[:1])[1]
    assert [row[1] for row in kept] == areas.found[:1] and kept[0] in areas.table(0.3)[1]
    assert (areas.picture(0.3, areas.found[:1]) != areas.picture(0.3)).any() or len(areas.found) == 1


@pytest.mark.parametrize('task', ['Instances', 'Semantic map'])
def test_a_selected_row_stands_out(task, models):
    answer = Answer(models[task], picture())
    number = answer.table(0.05)[1][0][0]
    everything, alone = answer.picture(0.05), answer.picture(0.05, selected=number)
    assert alone.shape == everything.shape
    if task == 'Instances':
        instances = models[task].predict(picture())[0].pred_instances
        mask = np.asarray(instances.masks[instances.scores.argmax()], bool)
    else:
        labels = answer.sample.pred_sem_seg.data[0].numpy()
        mask = labels == np.bincount(labels.ravel()).argmax()
    mask = mask.repeat(8, 0).repeat(8, 1)
    assert (~mask).sum() == 0 or alone[~mask].mean() < 0.6 * everything[~mask].mean(), 'the rest is dimmed'
    assert np.array_equal(answer.picture(0.05, selected=9999), everything), 'no such row'
    ys, xs = np.nonzero(mask)
    found = answer.number_at(int(xs[0]), int(ys[0]), 0.05)
    assert found is not None, 'something is at a place of it'


def test_areas(models):
    titles, rows = Answer(models['Semantic map'], picture()).table(0.3)
    assert titles == ('#', 'class', 'pixels', 'share (%)')
    assert sum(row[2] for row in rows) == 64 * 80
    assert sum(float(row[3]) for row in rows) == pytest.approx(100, abs=0.1)


@pytest.fixture
def panoptic(models, monkeypatch):
    """panoptic(map): the answer of a model that predicts instances and a panoptic map, as Mask2Former does."""
    def make(segments):
        sample = DetDataSample(pred_panoptic_seg=PixelData(sem_seg=torch.from_numpy(segments)[None]))
        sample.pred_instances = InstanceData(
            bboxes=torch.tensor([[5., 5., 60., 40.]]), scores=torch.ones(1), labels=torch.zeros(1, dtype=int),
            masks=torch.ones(1, *segments.shape, dtype=bool))
        monkeypatch.setattr(models['Instances'], 'predict', lambda image: [sample])
        return Answer(models['Instances'], picture(*segments.shape))
    return make


def test_panoptic_segments_have_the_numbers_of_the_rows(panoptic, models):
    classes, void = models['Instances'].classes, len(models['Instances'].classes)
    segments = np.full((60, 200), void)
    segments[:, 150:], segments[10:50, 10:60], segments[20:40, 80:120] = 2, 1001, 2001
    answer = panoptic(segments)
    titles, rows = answer.table(0.3)
    assert titles == ('#', 'class', 'pixels', 'share (%)') and not answer.has_scores
    assert [row[:3] for row in rows] == [[1, classes[2], 3000], [2, classes[1], 2000], [3, classes[1], 800],
                                         [4, 'none', 6200]]
    assert answer.nothing(0.3) == '' and 'of these classes' in answer.nothing(0.3, classes[:1])
    drawn, image = answer.picture(1.), picture(60, 200)[..., ::-1].repeat(4, 0).repeat(4, 1)
    void_pixels = (segments == void).repeat(4, 0).repeat(4, 1)
    assert (drawn == image).all(-1)[void_pixels].mean() > 0.9, 'no boxes of instances beside the segments'
    del answer._numbered.pred_panoptic_seg.numbers
    assert (answer.picture(1.) != drawn).any(), 'the numbers are drawn'
    assert [answer.number_at(x, 120, 0.3) for x in (700, 100, 400, 300)] == [1, 2, 3, 4]


def test_a_panoptic_map_without_segments(panoptic, models):
    answer = panoptic(np.full((64, 80), len(models['Instances'].classes)))
    assert answer.nothing(0.3) == 'Nothing found.'
    assert np.array_equal(answer.picture(0.3)[::8, ::8], picture()[..., ::-1])


def test_tables_have_the_pixels_of_the_upload(models):
    image = picture(60, 200)
    small = cv2.resize(image, (100, 30), interpolation=cv2.INTER_AREA)
    scaled, whole = (Answer(models['Instances'], small, scale) for scale in (0.5, 1.))
    for row, half in zip(scaled.table(0.05)[1], whole.table(0.05)[1]):
        assert row[:3] == half[:3] and row[3:7] == pytest.approx([2 * side for side in half[3:7]], abs=0.2)
        assert row[7] == 4 * half[7]
    areas = Answer(models['Semantic map'], small, 0.5)
    assert sum(row[2] for row in areas.table(0.3)[1]) == 200 * 60


@pytest.mark.parametrize(('mode', 'suffix', 'otherwise'), [
    ('RGB', 'png', False), ('RGBA', 'png', True), ('L', 'jpg', False), ('RGB', 'tif', True), ('P', 'png', False)])
def test_images_that_browsers_show_otherwise(mode, suffix, otherwise, tmp_path):
    Image.new(mode, (8, 6)).save(tmp_path / f'x.{suffix}')
    assert looks_otherwise(tmp_path / f'x.{suffix}') is otherwise


def test_what_the_demo_trained(tmp_path):
    with pytest.raises(ConfigError, match='run `mmvision-mamba demo` first'):
        trained_by_demo(tmp_path)
    folder = tmp_path / 'segmentor'
    folder.mkdir()
    for name, text in (('x.py', ''), ('last_checkpoint', '/moved/since/iter_9.pth'), ('iter_9.pth', '')):
        (folder / name).write_text(text)
    assert trained_by_demo(tmp_path) == [(str(folder / 'x.py'), folder / 'iter_9.pth')]
    (folder / 'iter_9.pth').unlink()
    with pytest.raises(ConfigError, match='no trained model there'):
        trained_by_demo(tmp_path)


def _bytes(value, seen):
    """Of all tensors and arrays that an object holds."""
    if id(value) in seen or isinstance(value, type | torch.nn.Module):
        return 0
    seen.add(id(value))
    if isinstance(value, torch.Tensor | np.ndarray):
        return value.nbytes
    if isinstance(value, str | bytes):
        return len(value)
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple | set) else \
        vars(value).values() if hasattr(value, '__dict__') else ()
    return sum(_bytes(item, seen) for item in items)


@pytest.mark.parametrize('task', ['Instances', 'Semantic map', 'Panoptic'])
def test_an_answer_that_waits_takes_little_memory(task, models):
    """Of many visitors: pixels of a hundred masks, or of the logits of 150 classes, would be gigabytes."""
    image, height, width = picture(300, 400), 300, 400
    noise = torch.rand(100, height, width)
    sample = DetDataSample(metainfo=dict(ori_shape=(height, width)))
    if task != 'Semantic map':
        columns = torch.arange(width).expand(height, width)
        sample.pred_instances = InstanceData(
            bboxes=torch.zeros(100, 4), scores=torch.linspace(0, 1, 100), labels=torch.zeros(100, dtype=torch.long),
            masks=torch.stack([columns > 3 * i for i in range(100)]))
    if task == 'Semantic map':
        sample.pred_sem_seg = PixelData(data=(noise[:1] > 0.5).long())
        sample.seg_logits = PixelData(data=noise)
    if task == 'Panoptic':
        sample.pred_panoptic_seg = PixelData(sem_seg=(noise[:1] > 0.5).long() * 1001)
    model = SimpleNamespace(predict=lambda _: [sample], classes=('a', 'b'))
    answer = Answer(model, image)
    answer.model = None
    assert _bytes(answer, set()) < 5.2 * image.nbytes
