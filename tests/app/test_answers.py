"""What the web page shows, without the page."""
import struct
import zlib

import cv2
import numpy as np
import pytest

from mmvision_mamba.app.answers import Answer, load_image, trained_by_demo
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
    assert titles[:2] == ('class', 'score') and rows and len(rows[0]) == len(titles)
    scores = [row[1] for row in rows]
    assert scores == sorted(scores, reverse=True) and scores[-1] >= 0.05
    between = (scores[0] + scores[-1]) / 2
    fewer = answer.table(between)[1]
    assert fewer == [row for row in rows if row[1] >= between] and 0 < len(fewer) < len(rows)
    instances = answer.sample.pred_instances
    best = int(instances.scores.argmax())
    assert rows[0][2:6] == [round(side, 1) for side in instances.bboxes[best].tolist()]
    assert rows[0][6] == int(np.asarray(instances.masks[best]).sum())
    assert answer.table(1.)[1] == []
    empty, drawn = answer.picture(1.), answer.picture(0.05)
    assert empty.shape == drawn.shape == (512, 640, 3), 'enlarged'
    assert np.array_equal(empty[::8, ::8], picture()[..., ::-1]) and (drawn != empty).any()


def test_areas(models):
    titles, rows = Answer(models['Semantic map'], picture()).table(0.3)
    assert titles == ('class', 'pixels', 'share (%)')
    assert sum(row[1] for row in rows) == 64 * 80 and sum(row[2] for row in rows) == pytest.approx(100, abs=0.1)


def test_maps(models):
    answer = Answer(models['Semantic map'], picture())
    captions = [caption for _, caption in answer.maps()]
    assert captions == [f'stage {i}: {what}' for what in ('attention', 'Δ') for i in (3, 4)] + [
        f'stage {i}: features' for i in (1, 2, 3, 4)]
    pictures = [image for image, _ in answer.maps((10, 20))]
    assert all(image.shape == (64, 80, 3) and image.dtype == np.uint8 for image in pictures)
    assert (pictures[0] != answer.maps()[0][0]).any(), 'of a point, not on average'
    with pytest.raises(ConfigError, match='outside the image'):
        answer.maps((80, 20))


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
