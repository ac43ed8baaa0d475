"""Strange and broken images: each is loaded as what it shows, or refused in a line that names it."""
import io
import json
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from mmvision_mamba.datasets.image_files import image_problem

from ..helpers.tiny_datasets import detection_config, picture, segmentation_config

SMOOTH = np.stack([*np.meshgrid(np.arange(40) * 6, np.arange(36) * 7), np.full((36, 40), 90)], -1).astype(np.uint8)


def encoded(image, file_format, **options) -> bytes:
    out = io.BytesIO()
    image.save(out, file_format, **options)
    return out.getvalue()


def rotated(orientation: int, **options) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(RGB, 'JPEG', exif=exif, quality=95, **options)


def png(width: int, height: int, rows: bytes, depth: int = 8, colour: int = 0) -> bytes:
    """A PNG of any claimed size around compressed rows."""
    def chunk(kind, data):
        return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))
    header = struct.pack('>IIBBBBB', width, height, depth, colour, 0, 0, 0)
    return b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', header) + chunk(b'IDAT', zlib.compress(rows, 9)) + chunk(b'IEND', b'')


def jpeg_claiming(width: int, height: int) -> bytes:
    content = picture('JPEG')
    at = content.index(b'\xff\xc0')
    return content[:at + 5] + struct.pack('>HH', height, width) + content[at + 9:]


RGB = Image.fromarray(SMOOTH)
GREY = RGB.convert('L')
SIXTEEN = Image.fromarray(SMOOTH[..., 0].astype(np.uint16) * 257)
FRAMES = dict(save_all=True, append_images=[RGB.transpose(0), RGB.transpose(1)])
WORKS = {  # file content: what it shows
    'jpeg': (encoded(RGB, 'JPEG', quality=95), RGB),
    'jpeg named .png': (encoded(RGB, 'JPEG', quality=95), RGB),
    'jpeg grey': (encoded(GREY, 'JPEG', quality=95), GREY.convert('RGB')),
    'jpeg cmyk': (encoded(RGB.convert('CMYK'), 'JPEG', quality=95), RGB),
    'jpeg progressive': (encoded(RGB, 'JPEG', quality=95, progressive=True), RGB),
    'png': (encoded(RGB, 'PNG'), RGB),
    'png 16 bit': (encoded(SIXTEEN, 'PNG'), Image.fromarray(SMOOTH[..., 0]).convert('RGB')),
    'png palette': (encoded(RGB.quantize(250), 'PNG'), RGB),
    'png grey and alpha': (encoded(GREY.convert('LA'), 'PNG'), GREY.convert('RGB')),
    'png alpha': (encoded(RGB.convert('RGBA'), 'PNG'), RGB),
    'png animated': (encoded(RGB, 'PNG', **FRAMES), RGB),
    'gif animated': (encoded(RGB, 'GIF', **FRAMES), RGB),
    'webp': (encoded(RGB, 'WEBP', quality=95), RGB),
    'webp animated': (encoded(RGB, 'WEBP', quality=95, **FRAMES), RGB),
    'tiff of two pages': (encoded(RGB, 'TIFF', **FRAMES), RGB),
    'bmp': (encoded(RGB, 'BMP'), RGB),
    'exif upright': (rotated(1), RGB),
    'exif mirrored': (rotated(2), RGB.transpose(Image.Transpose.FLIP_LEFT_RIGHT)),
    'exif upside down': (rotated(3), RGB.transpose(Image.Transpose.ROTATE_180)),
}
REFUSED = {
    'empty': (b'', 'the file is empty'),
    'zeros': (bytes(5000), 'not an image'),
    'web page': (b'<html>404</html>', 'not an image'),
    'svg': (b'<svg xmlns="http://www.w3.org/2000/svg"/>', 'an SVG drawing, which is not read; images are read as JPEG'),
    'pdf': (b'%PDF-1.4\n%', 'it is a PDF document'),
    'jpeg cut': (encoded(RGB, 'JPEG')[:-60], 'truncated'),
    'jpeg cut in its header': (encoded(RGB, 'JPEG')[:30], 'truncated'),
    'jpeg filled up with zeros': (encoded(RGB, 'JPEG')[:500] + bytes(900), 'truncated'),
    'png cut': (encoded(RGB, 'PNG')[:-60], 'truncated'),
    'gif cut': (encoded(RGB, 'GIF')[:-300], 'the image is'),
    'webp cut': (encoded(RGB, 'WEBP')[:-60], 'the image is'),
    'png bomb': (png(60000, 60000, bytes(60001)), '60000 × 60000 pixels, and'),
    'png bomb of 16 bits and colours': (png(2**31 - 1, 2**31 - 1, b'', 16, 6), 'pixels, and'),
    'jpeg bomb': (jpeg_claiming(65500, 65500), '65500 × 65500 pixels, and'),
    'gif bomb': (b'GIF89a' + struct.pack('<HH', 65535, 65535) + encoded(RGB, 'GIF')[10:], '65535 × 65535 pixels, and'),
    'bmp bomb': (encoded(RGB, 'BMP')[:18] + struct.pack('<ii', 60000, 60000) + encoded(RGB, 'BMP')[26:],
                 '60000 × 60000 pixels, and'),
    'ppm bomb': (b'P6 90000 90000 255\n' + bytes(100), '90000 × 90000 pixels, and'),
    'png of no size': (png(0, 0, b''), 'it has 0 × 0 pixels'),
}


@pytest.fixture
def detection(tmp_path, run):
    def with_image(content, change=lambda c: None):
        cfg = detection_config(tmp_path, change)
        for split in ('train', 'val'):
            (tmp_path / f'mine/{split}/1.jpg').write_bytes(content)
        return run(cfg)
    return with_image


@pytest.fixture
def segmentation(tmp_path, run):
    def with_image(content):
        cfg = segmentation_config(tmp_path)
        for split in ('training', 'validation'):
            (tmp_path / f'ade/ADEChallengeData2016/images/{split}/1.jpg').write_bytes(content)
        return run(cfg)
    return with_image


def shown(sample) -> np.ndarray:
    """A training sample's picture at the size of the data set, RGB, not flipped."""
    image = sample['inputs'].numpy()[::-1].transpose(1, 2, 0)
    image = image[:, ::-1] if sample['data_samples'].get('flip') else image
    return np.asarray(Image.fromarray(np.ascontiguousarray(image)).resize((40, 36))).astype(int)


@pytest.mark.parametrize('name', WORKS)
def test_works(name, detection, segmentation):
    content, picture = WORKS[name]
    expected = np.asarray(picture.resize((64, 58)).resize((40, 36))).astype(int)
    for run in (detection, segmentation):
        found = run(content)
        assert found.refused is None, found.refused
        assert np.abs(shown(found.samples[1]) - expected).mean() < 8


@pytest.mark.parametrize('name', REFUSED)
def test_refused(name, detection, segmentation):
    content, words = REFUSED[name]
    for run in (detection, segmentation):
        message = run(content).refused
        assert message and words in message and '1.jpg' in message and len(message) < 500, message


@pytest.mark.parametrize('orientation', [5, 6, 7, 8])
def test_turned_by_exif(orientation, detection, segmentation):
    """Annotations of 40 × 36 pixels were made for the picture as stored, those of 36 × 40 for the turned one."""
    found = detection(rotated(orientation))
    assert found.refused is None
    expected = np.asarray(RGB.resize((64, 58)).resize((40, 36))).astype(int)
    assert np.abs(shown(found.samples[1]) - expected).mean() < 8
    found = detection(rotated(orientation), lambda c: c['images'][1].update(width=36, height=40))
    assert found.refused is None and found.samples[1]['data_samples'].ori_shape == (40, 36)
    message = detection(rotated(orientation), lambda c: c['images'][1].update(width=90)).refused
    assert 'the image is 36 × 40 pixels, its annotations are for 90 × 36' in message
    # A segmentation map tells its size only after the image is loaded: the message says what to do.
    assert "color_type='color_ignore_orientation'" in segmentation(rotated(orientation)).refused


@pytest.mark.parametrize(('width', 'height'), [(1, 1), (1, 36), (300, 1), (40000, 10), (10, 40000)])
def test_extreme_sizes(width, height, tmp_path, run):
    """Shown or refused by name, with annotations that fit."""
    def change(content):
        content['images'][1].update(width=width, height=height)
        content['annotations'][1].update(bbox=[0, 0, width, height], area=width * height,
                                         segmentation=[[0, 0, width, 0, width, height, 0, height]])
    cfg = detection_config(tmp_path, change)
    for split in ('train', 'val'):
        Image.new('RGB', (width, height), (9, 99, 199)).save(tmp_path / f'mine/{split}/1.jpg', 'PNG')
    found = run(cfg)
    if max(width, height) >= 300:
        assert f'1.jpg: nothing is left of {width} × {height} pixels resized to (64, 64)' in found.refused
        for loader in (cfg.train_dataloader, cfg.val_dataloader):
            loader.dataset.pipeline[2].keep_ratio = False
        found = run(cfg)
    assert found.refused is None and (found.samples[1]['inputs'][0] == 199).all()


def test_more_pixels_may_be_allowed(monkeypatch):
    content = encoded(Image.new('L', (300, 200)), 'PNG')
    assert image_problem(content) is None
    monkeypatch.setenv('OPENCV_IO_MAX_IMAGE_PIXELS', '59999')
    assert image_problem(content) == ('the image is 300 × 200 pixels, and 59999 in all are allowed '
                                      '(OPENCV_IO_MAX_IMAGE_PIXELS=NUMBER in the environment allows more)')
    assert '300 × 200' in image_problem(encoded(Image.new('L', (300, 200)), 'JPEG'))


@pytest.mark.parametrize('name', ['a b.jpg', 'ü ß 图.jpg', "quote's.jpg", '%20.jpg', '-rf.jpg', 'x.JPG', '{0}.jpg'])
def test_file_names(name, tmp_path, run):
    cfg = detection_config(tmp_path, lambda c: c['images'][1].update(file_name=name))
    for split in ('train', 'val'):
        (tmp_path / f'mine/{split}/1.jpg').rename(tmp_path / f'mine/{split}' / name)
    assert run(cfg).refused is None
    (tmp_path / 'mine/train' / name).write_bytes(b'')
    assert f'{name}: the file is empty' in run(cfg).refused


def test_a_read_only_folder_and_an_unreadable_file(tmp_path, run):
    cfg = detection_config(tmp_path)
    path = tmp_path / 'mine/train/1.jpg'
    path.unlink()
    path.mkdir()
    assert '1.jpg: the file cannot be read' in run(cfg).refused
    path.rmdir()
    path.symlink_to('nowhere')
    assert '1.jpg: the file is missing' in run(cfg).refused
    assert json.loads((tmp_path / 'mine/annotations/train.json').read_text())
