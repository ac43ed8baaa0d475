"""Small images that ask for gigabytes, by headers that parsers read differently: refused within an address space."""
import contextlib
import io
import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from mmvision_mamba.datasets.image_files import image_problem
from mmvision_mamba.datasets.loading import CheckedLoadImageFromFile
from mmvision_mamba.errors import UserError
from mmvision_mamba.inference.images import read_image
from mmvision_mamba.runtime.standalone import RuntimeInputError
from mmvision_mamba.runtime.standalone import read_image as read_alone

from ..helpers.image_bytes import GOOD, encoded, pixels

SPACE = 2 * 2**30  # bytes beyond what the process has: decoding 30,000 × 30,000 takes more
HUGE = struct.pack('>HH', 30000, 30000)
PICTURE = Image.fromarray(pixels())


def jpeg(change, **options) -> bytes:
    """A JPEG whose bytes before and from its frame's header on are put together anew; `huge` claims another size."""
    content = encoded(PICTURE, 'JPEG', **options)
    at = content.index(b'\xff\xc2' if options.get('progressive') else b'\xff\xc0')
    return change(content[:at], content[at:], content[at:at + 5] + HUGE + content[at + 9:])


def png(*chunks) -> bytes:
    return b'\x89PNG\r\n\x1a\n' + b''.join(
        struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))
        for kind, data in (*chunks, (b'IDAT', zlib.compress(bytes(193 * 48))), (b'IEND', b'')))


def ihdr(width, height) -> tuple[bytes, bytes]:
    return b'IHDR', struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0)


def tiff(tags: dict, data: bytes = bytes(999)) -> bytes:
    tags = {256: 64, 257: 48, 258: 8, 259: 1, 262: 1, 273: 8, 277: 1, 278: 48, 279: 3072, **tags}
    entries = [(tag, 1, value) if isinstance(value, int) else (tag, *value) for tag, value in sorted(tags.items())]
    return b'II*\0\x08\0\0\0' + struct.pack('<H', len(entries)) + b''.join(
        struct.pack('<HHII', tag, 4, count, value) for tag, count, value in entries) + bytes(4) + data


def webp(canvas: int, frame: int) -> bytes:
    picture = encoded(PICTURE, 'WEBP')[12:]
    body = (b'VP8X' + struct.pack('<I', 10) + b'\2\0\0\0' + (canvas - 1).to_bytes(3, 'little') * 2
            + b'ANIM' + struct.pack('<I', 6) + bytes(6) + b'ANMF' + struct.pack('<I', 16 + len(picture)) + bytes(6)
            + (frame - 1).to_bytes(3, 'little') * 2 + bytes(4) + picture)
    return b'RIFF' + struct.pack('<I', 4 + len(body)) + b'WEBP' + body


def bmp(width: int, height: int) -> bytes:
    return encoded(PICTURE, 'BMP')[:18] + struct.pack('<ii', width, height) + encoded(PICTURE, 'BMP')[26:]


BOMBS = {
    'jpeg, fill bytes before the frame': jpeg(lambda head, own, huge: head + b'\xff\xff' + huge),
    'jpeg, progressive, fill bytes': jpeg(lambda head, own, huge: head + b'\xff' + huge, progressive=True),
    'jpeg, no marker before the frame': jpeg(lambda head, own, huge: head + b'junk\xff\0\xff\xd0' + huge),
    'jpeg, two frames, the second huge': jpeg(lambda head, own, huge: head + own[:19] + huge),
    'jpeg, two frames, the first huge': jpeg(lambda head, own, huge: head + huge[:19] + own),
    'jpeg, a small one in its EXIF': jpeg(lambda head, own, huge: head[:2] + b'\xff\xe1' + struct.pack(
        '>H', len(head + own[:9]) + 2) + head + own[:9] + head[2:] + huge),
    'jpeg, two thousand scans': (lambda content, at: content[:-2] + content[at:-2] * 2000 + b'\xff\xd9')(
        GOOD['jpeg progressive'], GOOD['jpeg progressive'].rindex(b'\xff\xda')),
    'png, two headers': png(ihdr(64, 48), ihdr(30000, 30000)),
    'png, compressed text': png(ihdr(64, 48), *[(b'zTXt', b'k\0\0' + zlib.compress(bytes(2_000_000), 9))] * 600),
    'apng, a frame larger than it': png(ihdr(64, 48), (b'acTL', struct.pack('>II', 2, 0)), (
        b'fcTL', struct.pack('>IIIIIHHBB', 0, 30000, 30000, 0, 0, 1, 10, 0, 0))),
    'gif, a first frame larger than its screen': GOOD['gif animated'].replace(
        b'\x2c\0\0\0\0' + struct.pack('<HH', 64, 45), b'\x2c\0\0\0\0' + struct.pack('<HH', 30000, 30000), 1),
    'webp, a canvas larger than its frames': webp(16383, 64),
    'webp, a frame larger than the canvas': webp(64, 16384),
    'bmp, top down': bmp(30000, -30000),
    'bmp, the lowest height': bmp(64, -2**31),
    'tiff': tiff({256: 30000, 257: 30000}),
    'tiff, tiles': tiff({322: 30000, 323: 30000, 324: 8, 325: 900_000_000}),
    'tiff, bands': tiff({256: 6400, 257: 6400, 277: 60000}),
    'tiff, strips without number': tiff({273: (2**32 - 1, 8), 279: (2**32 - 1, 8)}),
    'ppm, a comment behind a digit': b'P5 60000#60000\n 1 255\n' + bytes(100),
    'radiance': b'#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 30000 +X 30000\n' + bytes(100),
    'portable float map': b'PF\n30000 30000\n-1.0\n' + bytes(100),
    'sun raster': struct.pack('>8I', 0x59a66a95, 30000, 30000, 24, 100, 1, 0, 0) + bytes(100),
    'postscript': b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 30000 30000\n%%EndComments\n',
}


def ways(path: str) -> dict:
    """Every way in, by name."""
    with open(path, 'rb') as file:
        content = file.read()
    return {
        'infer': lambda: read_image(path),
        'check-dataset': lambda: image_problem(content, quick=False),
        'train': lambda: CheckedLoadImageFromFile().transform(dict(img_path=path)),
        'train with Pillow': lambda: CheckedLoadImageFromFile(imdecode_backend='pillow').transform(dict(img_path=path)),
        'runtime': lambda: read_alone(path),
    }


def answer(call) -> str:
    """What a call says, in a child whose address space has a bound; 'ok' where it returns an array."""
    resource = pytest.importorskip('resource')
    read, write = os.pipe()
    child = os.fork()
    if not child:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # OpenCV and libpng write there
        with open('/proc/self/statm') as file:
            used = int(file.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + SPACE,) * 2)
        try:
            found = call()
            words = found if isinstance(found, str) else 'ok'
        except (UserError, RuntimeInputError) as error:
            words = f'refused: {error}'
        except BaseException as error:
            words = f'broke: {error!r}'
        os.write(write, words[:4000].encode())
        os._exit(0)
    os.close(write)
    with open(read, 'rb') as file:
        words = file.read().decode()
    assert os.waitpid(child, 0)[1] == 0, 'the process died'
    return words


@pytest.mark.skipif(not os.path.exists('/proc/self/statm'), reason='needs the size of its own address space')
@pytest.mark.parametrize('name', BOMBS)
def test_refused_before_memory_is_taken(name, tmp_path):
    path = tmp_path / 'photo.jpg'
    path.write_bytes(BOMBS[name])
    assert len(BOMBS[name]) < 2_000_000
    for way, call in ways(str(path)).items():
        words = answer(call)
        # Of strips and tiles beyond the end Pillow and OpenCV read what there is: an error of the file, or an image.
        assert words.startswith(('refused', 'the image', 'it is')) or (words == 'ok' and way == 'runtime'), (way, words)
        assert len(words.splitlines()) <= 2 and len(words) < 600


def test_a_format_that_is_off_is_named(tmp_path):
    for name, words in (('postscript', 'a PostScript file (EPS)'), ('radiance', 'a Radiance picture (HDR)'),
                        ('sun raster', 'a Sun raster'), ('portable float map', 'a portable float map (PFM)')):
        assert image_problem(BOMBS[name]).startswith(f'it is {words}, which is not read; images are read as JPEG, PNG')


def test_no_program_is_started_for_postscript(tmp_path, monkeypatch):
    """Not even where Ghostscript is installed."""
    gs = tmp_path / 'bin/gs'
    gs.parent.mkdir()
    gs.write_text(f'#!/bin/sh\ntouch {tmp_path}/started\n')
    gs.chmod(0o755)
    monkeypatch.setenv('PATH', f'{gs.parent}:{os.environ["PATH"]}')
    path = tmp_path / 'photo.jpg'
    path.write_bytes(BOMBS['postscript'])
    for call in ways(str(path)).values():
        with contextlib.suppress(UserError, RuntimeInputError):
            assert call()
    assert not (tmp_path / 'started').exists()


@pytest.mark.skipif('AVIF' not in Image.SAVE, reason='Pillow was built without AVIF')
def test_a_decoder_that_raises_what_no_other_does(tmp_path):
    """libavif, for a kind of item that it doesn't know: a RuntimeError."""
    path = tmp_path / 'photo.avif'
    path.write_bytes(encoded(PICTURE, 'AVIF').replace(b'av01', b'grid', 1))
    for way, call in ways(str(path)).items():
        assert answer(call).startswith(('refused', 'the image')), way


def test_two_headers_of_one_size_are_refused_too():
    content = jpeg(lambda head, own, huge: head + own[:19] + own)
    assert image_problem(content) == 'the image is damaged (it has 2 headers of a frame)'


def test_tiles_that_stick_out_a_little_are_fine():
    """As of any TIFF whose sides are no multiples of its tiles."""
    out = io.BytesIO()
    PICTURE.convert('L').save(out, 'TIFF', tiffinfo={322: 128, 323: 128})
    assert Image.open(io.BytesIO(out.getvalue())).size == PICTURE.size
    assert 'allowed' not in str(image_problem(out.getvalue()))


def test_archives_and_lying_headers_of_arrays(tmp_path):
    np.savez(tmp_path / 'a.npz', np.ones(3))
    (tmp_path / 'a.npz').rename(tmp_path / 'a.npy')
    with pytest.raises(RuntimeInputError, match='an archive of several arrays'):
        read_alone(tmp_path / 'a.npy', 4)
    np.save(tmp_path / 'b.npy', np.ones((8, 8, 4), np.uint8))
    content = (tmp_path / 'b.npy').read_bytes().replace(b'(8, 8, 4), ', b'(9999999, 99999, 4), '[:11])
    assert read_alone(tmp_path / 'b.npy', 4).shape == (8, 8, 4)
    (tmp_path / 'b.npy').write_bytes(content.replace(b'(9999999, ', b'(9999999,)'))
    with pytest.raises(RuntimeInputError, match='can not be read as an image'):
        read_alone(tmp_path / 'b.npy', 4)
