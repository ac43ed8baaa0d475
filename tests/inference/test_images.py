import io
import os
import struct
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import cv2
import numpy as np
import pytest
from PIL import Image

from mmvision_mamba.datasets.loading import CheckedLoadImageFromFile
from mmvision_mamba.errors import DataError
from mmvision_mamba.inference.ids import ResultIds
from mmvision_mamba.inference.images import from_array, from_pil, read_image
from mmvision_mamba.inference.sources import find_sources
from mmvision_mamba.runtime import standalone

COLOURS = np.zeros((40, 60, 3), np.uint8)  # RGB: red left, green right above, blue right below
COLOURS[:, :30], COLOURS[:20, 30:], COLOURS[20:, 30:] = (200, 20, 20), (20, 200, 20), (20, 20, 200)
BGR = COLOURS[..., ::-1]


def close(image, expected, tolerance=6):
    """Alike but at the borders, where JPEG smears."""
    assert image.shape == expected.shape
    assert image.dtype == np.uint8
    difference = np.abs(image.astype(int) - expected)
    assert np.median(difference) <= tolerance
    assert (difference.max(-1) > 40).mean() < 0.1


@pytest.mark.parametrize('orientation', range(1, 9))
@pytest.mark.parametrize('suffix', ['.jpg', '.png', '.webp', '.tif'])
def test_images_are_upright(orientation, suffix, tmp_path):
    stored = Image.fromarray(COLOURS)
    # What the orientation says was done to the upright image, undone by ImageOps.exif_transpose.
    undo = {2: 'FLIP_LEFT_RIGHT', 3: 'ROTATE_180', 4: 'FLIP_TOP_BOTTOM', 5: 'TRANSPOSE', 6: 'ROTATE_90',
            7: 'TRANSVERSE', 8: 'ROTATE_270'}
    if orientation > 1:
        stored = stored.transpose(getattr(Image.Transpose, undo[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = dict(quality=95) if suffix in ('.jpg', '.webp') else {}
    stored.save(tmp_path / f'image{suffix}', exif=exif, **options)
    close(read_image(tmp_path / f'image{suffix}'), BGR)
    with Image.open(tmp_path / f'image{suffix}') as image:
        close(from_pil(image), BGR)


@pytest.mark.parametrize('mode, suffix', [('L', '.png'), ('L', '.jpg'), ('LA', '.png'), ('P', '.png'), ('RGBA', '.png'),
                                          ('CMYK', '.jpg'), ('CMYK', '.tif'), ('1', '.png'), ('RGBA', '.webp'),
                                          ('P', '.gif'), ('I;16', '.png'), ('I;16', '.tif')])
def test_every_mode_becomes_three_channels(mode, suffix, tmp_path):
    grey = np.asarray(Image.fromarray(COLOURS).convert('L'))
    if mode == 'I;16':
        image = Image.fromarray(grey.astype(np.uint16) * 257)
    else:
        image = Image.fromarray(COLOURS).convert('L' if mode in ('L', 'LA') else 'RGB')
        image = image.quantize(8) if mode == 'P' else image.convert(mode)
    path = tmp_path / f'image{suffix}'
    image.save(path, **(dict(quality=95) if suffix in ('.jpg', '.webp') else {}))
    expected = np.asarray(image.convert('RGB'))[..., ::-1] if mode == '1' else \
        np.repeat(grey[..., None], 3, -1) if mode[0] in 'LI' else BGR
    for found in (read_image(path), from_pil(Image.open(path))):
        # CMYK without a profile is a matter of taste: the colours are told apart, no more.
        close(found, expected, 40 if mode == 'CMYK' else 6)


@pytest.mark.parametrize('array, expected', [
    (BGR, BGR),
    (BGR.astype(np.uint16) * 257, BGR),
    (np.dstack([BGR, np.zeros((40, 60), np.uint8)]), BGR),
    (BGR[..., 0], np.repeat(BGR[..., :1], 3, -1)),
    (BGR[..., :1], np.repeat(BGR[..., :1], 3, -1)),
    (BGR[..., 0] > 100, np.repeat(np.uint8(255) * (BGR[..., :1] > 100), 3, -1))])
def test_arrays(array, expected):
    assert np.array_equal(from_array(array), expected)


@pytest.mark.parametrize('array, message', [
    (np.zeros((4, 4, 3)), 'uint8, uint16 or bool, got float64'), (np.zeros((2, 4, 4, 3), np.uint8), 'got .2, 4, 4, 3'),
    (np.zeros((4, 4, 2), np.uint8), 'got .4, 4, 2'), (np.zeros((0, 4), np.uint8), 'got .0, 4')])
def test_arrays_that_are_no_image(array, message):
    with pytest.raises(DataError, match=message):
        from_array(array)


@pytest.mark.parametrize(('values', 'words'), [
    (np.linspace(0, 1, 80, dtype=np.float32), 'floats of 32 bits'),
    (np.arange(80, dtype=np.int32) * 1000, 'signed numbers of 32 bits'),
    (-np.arange(80, dtype=np.int32), 'signed numbers of 32 bits')])
def test_values_that_eight_bits_cannot_hold_are_refused(values, words, tmp_path):
    """Nobody says which of them is white: 0 to 1 would come out black, more than 65535 white."""
    path = tmp_path / 'values.tif'
    image = Image.fromarray(values.reshape(8, 10))
    image.save(path)
    for call in (lambda: read_image(path), lambda: CheckedLoadImageFromFile().transform(dict(img_path=str(path))),
                 lambda: CheckedLoadImageFromFile(imdecode_backend='pillow').transform(dict(img_path=str(path)))):
        with pytest.raises(DataError, match=fr'values.tif: its values are {words}, and those of 8 or 16 bits are read'):
            call()
    with pytest.raises(DataError, match=f'its values are {values.dtype}, .* save 8 bits'):
        from_pil(image)
    with pytest.raises(standalone.RuntimeInputError, match=f'values.tif .*values are {values.dtype}, .* 8 bits'):
        standalone.read_image(path)
    loaded = CheckedLoadImageFromFile(color_type='unchanged').transform(dict(img_path=str(path)))['img']
    assert np.array_equal(loaded, values.reshape(8, 10)), 'for a model of such values'


def pnm(kind: int, white: int) -> bytes:
    """COLOURS, or their red alone, with another value for white."""
    values = (COLOURS if kind in (3, 6) else COLOURS[..., 0]).astype(np.uint32) * white // 255
    head = f'P{kind}\n# white is\n60 40\n{white}\n'.encode()
    return head + (b' '.join(str(value).encode() for value in values.ravel().tolist()) + b'\n' if kind < 4 else
                   values.astype('>u2' if white > 255 else np.uint8).tobytes())


def picture(form: str, image: Image.Image, **options) -> bytes:
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


VEILED = Image.fromarray(np.dstack([COLOURS, np.arange(2400, dtype=np.uint8).reshape(40, 60)]))
GREY_16 = picture('TIFF', Image.fromarray(COLOURS[..., 0].astype(np.uint16) * 257))
WHITE_IS_0 = GREY_16.replace(struct.pack('<HHIHH', 262, 3, 1, 1, 0), struct.pack('<HHIHH', 262, 3, 1, 0, 0))


@pytest.mark.parametrize('content', [
    *(pnm(kind, white) for kind in (2, 3, 5, 6) for white in (100, 254, 255, 65535)), picture('TIFF', VEILED),
    picture('TIFF', VEILED, compression='tiff_lzw'), picture('JPEG2000', Image.fromarray(COLOURS).convert('YCbCr')),
    picture('GIF', Image.fromarray(COLOURS).quantize(8), transparency=1)], ids=lambda content: repr(content[:24]))
def test_colours_that_opencv_makes_otherwise(content, tmp_path):
    path = tmp_path / 'image'
    path.write_bytes(content)
    expected = np.repeat(COLOURS[..., :1], 3, -1) if content[:2] in (b'P2', b'P5') else COLOURS
    loaded = CheckedLoadImageFromFile().transform(dict(img_path=str(path)))['img']
    for found in (read_image(path)[..., ::-1], loaded[..., ::-1], standalone.read_image(path)):
        assert np.abs(found.astype(int) - expected).max() <= 3
    grey = CheckedLoadImageFromFile(color_type='grayscale').transform(dict(img_path=str(path)))['img']
    assert np.abs(grey.astype(int) - np.asarray(Image.fromarray(expected).convert('L'))).max() <= 3


def test_values_as_stored(tmp_path):
    """With color_type='unchanged'; the one-file runtime takes them for a model of other than three channels."""
    def load(content):
        (tmp_path / 'image').write_bytes(content)
        return CheckedLoadImageFromFile(color_type='unchanged').transform(dict(img_path=str(tmp_path / 'image')))['img']

    red = COLOURS[..., 0].astype(int)
    assert np.array_equal(load(pnm(5, 100)), red * 100 // 255)
    assert np.array_equal(load(pnm(5, 4095)), red * 4095 // 255)
    assert np.array_equal(load(WHITE_IS_0), red * 257)
    assert np.array_equal(load(picture('TIFF', VEILED)), np.asarray(VEILED)[..., [2, 1, 0, 3]])
    for white in (100, 4095):
        (tmp_path / 'image').write_bytes(pnm(5, white))
        with pytest.raises(standalone.RuntimeInputError, match='largest value in its header is neither 255 nor 65535'):
            standalone.read_image(tmp_path / 'image', 1)
    for white, values in ((255, red), (65535, red * 257)):
        (tmp_path / 'image').write_bytes(pnm(5, white))
        assert np.array_equal(standalone.read_image(tmp_path / 'image', 1)[..., 0], values)


@pytest.mark.parametrize(('content', 'words', 'alone'), [
    (pnm(5, 4095), 'its largest value is 4095, and in 16 bits 65535 is white: scale', False),
    (pnm(6, 256), 'its largest value is 256, and', False), (pnm(2, 1000), 'its largest value is 1000, and', False),
    (pnm(5, 255).replace(b'255', b'0', 1), 'the image is damaged .its largest value is 0', True),
    (WHITE_IS_0, 'its values of more than 8 bits have 0 as white, .* save it with 0 as black', True),
    (picture('TIFF', Image.fromarray(COLOURS).convert('LAB')), 'its colours are in CIE Lab, .* save it in RGB', True)],
    ids=lambda value: repr(value[:24]) if isinstance(value, bytes) else None)
def test_values_of_another_white_are_refused(content, words, alone, tmp_path):
    """The one-file runtime, whose decoder scales, refuses those alone that it would misread."""
    path = tmp_path / 'image'
    path.write_bytes(content)
    for call in (lambda: read_image(path), lambda: CheckedLoadImageFromFile().transform(dict(img_path=str(path)))):
        with pytest.raises(DataError, match=f'image: {words}'):
            call()
    if alone:
        with pytest.raises(standalone.RuntimeInputError, match=r'image (can not be read|is not an image)'):
            standalone.read_image(path)


def test_whole_numbers_of_16_bits_are_read_whatever_pillow_calls_them(tmp_path):
    values = (np.arange(80, dtype=np.int32) * 800).reshape(8, 10)
    assert np.array_equal(from_pil(Image.fromarray(values))[..., 0], values >> 8)
    Image.fromarray(values.astype(np.uint16)).save(tmp_path / 'a.png')
    assert np.array_equal(standalone.read_image(tmp_path / 'a.png')[..., 0], values >> 8)
    Image.fromarray((values // 16).astype(np.uint16)).save(tmp_path / 'a.png')
    with pytest.warns(UserWarning, match=r'a\.png: the values are 0 to 3950 of 65535, nearly black: multiply'):
        standalone.read_image(tmp_path / 'a.png')


def test_a_decompression_bomb_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    path = tmp_path / 'bomb.png'
    Image.new('1', (400, 400)).save(path)
    monkeypatch.setenv('OPENCV_IO_MAX_IMAGE_PIXELS', '100000')
    monkeypatch.setattr(cv2, 'imdecode', None)
    with pytest.raises(DataError, match=r'bomb.png: the image is 400 × 400 pixels, and 100000 in all are') as error:
        read_image(path)
    assert '\n' not in str(error.value)


def test_the_limit_is_that_of_training(tmp_path, monkeypatch):
    """Raised as the message says, not Pillow's own."""
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 50_000)
    Image.new('L', (400, 400)).save(tmp_path / 'large.png')
    assert read_image(tmp_path / 'large.png').shape == (400, 400, 3)


@pytest.fixture
def server(tmp_path):
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args):
            """Say nothing."""
    with ThreadingHTTPServer(('127.0.0.1', 0), partial(Quiet, directory=str(tmp_path))) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield f'http://127.0.0.1:{http.server_port}'
        http.shutdown()


def test_urls(server, tmp_path, monkeypatch):
    monkeypatch.setenv('no_proxy', '127.0.0.1')
    cv2.imwrite(str(tmp_path / 'an image.png'), BGR)
    (tmp_path / 'page.html').write_text('<html>')
    source, = find_sources(f'{server}/an%20image.png?size=large')
    assert (source.output, source.suffix) == ('an image', '.png')
    urls = [f'{server}/{path}' for path in ('a/x.png', 'b/x.png?size=1', 'b/x.png?size=2', '')]
    assert [s.output for s in find_sources(urls)] == ['a/x', 'b/x', 'b/x_2', 'url']
    assert np.array_equal(next(source.frames()), BGR)
    with pytest.raises(DataError, match=r'page.html: it is not an image'):
        read_image(f'{server}/page.html')
    with pytest.raises(DataError, match=r'none.png: can not be read .*not found'):
        read_image(f'{server}/none.png')
    with pytest.raises(DataError, match=r'can not be read .*download failed'):
        read_image('http://127.0.0.1:9/image.png')
    monkeypatch.setenv('MMVISION_MAMBA_MAX_IMAGE_BYTES', '10')
    with pytest.raises(DataError, match='more than 10 bytes'):
        read_image(f'{server}/an%20image.png')
    with pytest.raises(DataError, match='bytes or more, and 10 are allowed'):
        read_image(tmp_path / 'an image.png')


def test_urls_that_are_none_are_sources_all_the_same():
    urls = ['http://[::1/a.png', 'http://h:99999/a.png', 'ftp://h/a.png', 'http://h/%00/../../%2e%2e/b.png',
            'http://user:secret@h/c.png', 'http://', 's3://bucket/d.mp4', 'http://%5B/%5B.png']
    sources = find_sources(urls)
    assert len({source.output for source in sources}) == len(urls)
    for source in sources:
        assert not {'..', ''} & set(source.output.split('/')) and '\0' not in source.output
        assert 'secret' not in source.name + source.output
        with pytest.raises(DataError, match='can not be read'):
            next(source.frames())
    assert len(ResultIds(()).assign(urls)) == len(urls)


@pytest.mark.skipif(sys.platform == 'win32', reason='FIFOs and devices are of POSIX')
def test_inputs_that_are_no_regular_files(tmp_path):
    for name in ('fifo.png', 'fifo.mp4'):
        os.mkfifo(tmp_path / name)
    (tmp_path / 'zero.jpg').symlink_to('/dev/zero')
    (tmp_path / 'zero.avi').symlink_to('/dev/zero')
    for sources in (find_sources(tmp_path), find_sources(str(tmp_path / '*.*')), find_sources(['/dev/zero'])):
        for source in sources:
            with pytest.raises(DataError, match=r'can not be read \(it is a (FIFO|device), not a regular file\)'):
                next(source.frames())


def test_a_video_at_a_url(server, tmp_path, monkeypatch):
    monkeypatch.setenv('no_proxy', '127.0.0.1')
    writer = cv2.VideoWriter(str(tmp_path / 'v.avi'), cv2.VideoWriter_fourcc(*'MJPG'), 7., (64, 48))
    for _ in range(3):
        writer.write(np.full((48, 64, 3), 90, np.uint8))
    writer.release()
    source, = find_sources(f'{server}/v.avi')
    assert source.is_video and len(list(source.frames())) == 3 and source.fps == 7
    (tmp_path / 'v.avi').write_bytes(b'none')
    with pytest.raises(DataError, match=f'{server}/v.avi: (no frames|can not be opened)'):
        next(source.frames())


def test_folders_and_patterns_keep_their_structure(tmp_path):
    for name in ('b/x.PNG', 'a/x.jpg', 'a/x.png', 'x.png', '.hidden/x.png', 'a/.x.png', 'out/vis/x.png', 'a/notes.txt'):
        path = tmp_path / 'in [1]' / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    folder = tmp_path / 'in [1]'  # what looks like a pattern, but exists
    assert [s.output for s in find_sources(folder, leave_out=folder / 'out')] == ['x', 'a/x_jpg', 'a/x_png', 'b/x']
    (tmp_path / 'links').mkdir()
    (tmp_path / 'links/there').symlink_to(folder / 'b')
    assert [s.output for s in find_sources(tmp_path / 'links')] == ['there/x'], 'links to folders are followed'
    found = find_sources([str(tmp_path / '*' / 'a' / '*.png'), folder / 'x.png'])
    assert [(s.output, s.suffix) for s in found] == [('in [1]/a/x', '.png'), ('in [1]/x', '.png')]


def test_other_inputs(tmp_path, monkeypatch):
    assert [s.name for s in find_sources([BGR, Image.fromarray(COLOURS)])] == ['array 0', 'array 1']
    camera, other = find_sources([0, '12'])
    assert (camera.name, other.output, other.length, camera.is_video) == ('camera 0', 'camera_12', None, True)
    monkeypatch.chdir(tmp_path)
    (tmp_path / '7').touch()  # a file of that name comes before a camera
    assert not find_sources('7')[0].is_video
    for missing in ('a' * 5000, 'a\0', '9' * 5000, 10**50, '\ud800', 'a' * 300 + '/*'):
        with pytest.raises(DataError, match=r'no such file or folder|no file matches'):
            find_sources(missing)
    for wrong in (True, 1.5, None, {}):
        with pytest.raises(DataError, match='an input is a path'):
            find_sources([wrong])
    with pytest.raises(DataError, match='camera 99: can not be opened'):
        next(find_sources(99)[0].frames())


def test_a_video_without_frames(tmp_path):
    path = tmp_path / 'empty.avi'
    cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'MJPG'), 5., (64, 48)).release()
    with pytest.raises(DataError, match=r'empty.avi: (no frames in this video|can not be opened)'):
        next(find_sources(path)[0].frames())
