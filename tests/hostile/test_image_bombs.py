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
from mmvision_mamba.datasets.image_formats import read_header
from mmvision_mamba.datasets.loading import CheckedLoadImageFromFile
from mmvision_mamba.errors import DataError, UserError
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


def png(*chunks, behind=()) -> bytes:
    return b'\x89PNG\r\n\x1a\n' + b''.join(
        struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))
        for kind, data in (*chunks, (b'IDAT', zlib.compress(bytes(193 * 48))), *behind, (b'IEND', b'')))


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


def jp2(side: int, components: int, tile: int, cod: bytes = b'', more: bytes = b'', of_tile: bytes = b'') -> bytes:
    """The headers of a JPEG 2000 picture, and a tile of which most is missing.

    Args:
        side, components, tile: of the picture, and of its tiles.
        cod: its coding style, see `style`. Default: a layer of one level, code blocks of 64 × 64.
        more, of_tile: further segments of the picture's header and of the tile's.
    """
    size = struct.pack('>HHIIIIIIIIH', 38 + 3 * components, 0, side, side, 0, 0, tile, tile, 0, 0, components)
    stream = (b'\xff\x4f\xff\x51' + size + b'\7\1\1' * components
              + (cod or style()) + b'\xff\x5c' + struct.pack('>HBB', 4, 0x40, 0x40) + more
              + b'\xff\x90' + struct.pack('>HHIBB', 10, 0, 0, 0, 1) + of_tile + b'\xff\x93' + bytes(9) + b'\xff\xd9')
    header = struct.pack('>I4sIIHBBBB', 22, b'ihdr', side, side, components, 7, 7, 0, 0)
    header += struct.pack('>I4sBBBI', 15, b'colr', 1, 0, 0, 16)
    return b'\0\0\0\x0cjP  \r\n\x87\n' + b''.join(
        struct.pack('>I', 8 + len(data)) + kind + data for kind, data in (
            (b'ftyp', b'jp2 \0\0\0\0jp2 '), (b'jp2h', header), (b'jp2c', stream)))


def style(layers: int = 1, block: int = 6, precinct: int | None = None, order: int = 0) -> bytes:
    """The coding style of a JPEG 2000 picture or tile; code blocks and precincts are of 2 ** n pixels a side."""
    sizes = b'' if precinct is None else bytes([17 * precinct])
    return b'\xff\x52' + struct.pack('>HBBHBBBBBB', 12 + len(sizes), len(sizes), order, layers, 0, 0, block - 2,
                                     block - 2, 0, 1) + sizes


def profile(language: bytes, packed: bool = True) -> tuple[bytes, bytes]:
    """EXIF entries in a chunk of text of a PNG, in a language."""
    text = b'\nexif\n 9\n' + entries(20_000, 200_000).hex().encode()
    return b'iTXt', b'Raw profile type exif\0' + (b'\1\0' if packed else b'\0\0') + language + b'\0\0' + (
        zlib.compress(text) if packed else text)


def entries(number: int, size: int) -> bytes:
    """A TIFF directory: an orientation, and entries that all name the same bytes."""
    return b'II*\0\x08\0\0\0' + struct.pack('<H', number + 1) + struct.pack('<HHIHH', 0x0112, 3, 1, 6, 0) + b''.join(
        struct.pack('<HHII', 0x8000 + i, 7, size, 0) for i in range(number)) + bytes(4)


def scans(number: int, before: bytes = b'', size: bytes = b'') -> bytes:
    """A JPEG with further scans, of its own size or of another, `before` the first of these."""
    content = GOOD['jpeg progressive']
    at, frame = content.rindex(b'\xff\xda'), content.index(b'\xff\xc2') + 5
    content = content[:frame] + (size or content[frame:frame + 4]) + content[frame + 4:]
    return content[:at] + before + content[at:-2] * number + b'\xff\xd9'


def gif(extensions: bytes) -> bytes:
    content = GOOD['gif animated']
    at = 13 + 3 * 2 ** ((content[10] & 7) + 1)
    return content[:at] + extensions + content[at:]


BOMBS = {
    'jpeg, fill bytes before the frame': jpeg(lambda head, own, huge: head + b'\xff\xff' + huge),
    'jpeg, progressive, fill bytes': jpeg(lambda head, own, huge: head + b'\xff' + huge, progressive=True),
    'jpeg, no marker before the frame': jpeg(lambda head, own, huge: head + b'junk\xff\0\xff\xd0' + huge),
    'jpeg, two frames, the second huge': jpeg(lambda head, own, huge: head + own[:19] + huge),
    'jpeg, two frames, the first huge': jpeg(lambda head, own, huge: head + huge[:19] + own),
    'jpeg, a small one in its EXIF': jpeg(lambda head, own, huge: head[:2] + b'\xff\xe1' + struct.pack(
        '>H', len(head + own[:9]) + 2) + head + own[:9] + head[2:] + huge),
    'jpeg, two thousand scans': scans(2000),
    'jpeg, scans behind a comment that holds an end': scans(2000, b'\xff\xfe\0\4\xff\xd9'),
    'jpeg, scans behind an end that is filled up': scans(2000, b'\xff\xfe\0\5\xff\xff\xd9'),
    'jpeg, two hundred scans of a large picture': scans(200, size=struct.pack('>HH', 6000, 6000)),
    'png, two headers': png(ihdr(64, 48), ihdr(30000, 30000)),
    'png, compressed text': png(ihdr(64, 48), *[(b'zTXt', b'k\0\0' + zlib.compress(bytes(2_000_000), 9))] * 600),
    'apng, a frame larger than it': png(ihdr(64, 48), (b'acTL', struct.pack('>II', 2, 0)), (
        b'fcTL', struct.pack('>IIIIIHHBB', 0, 30000, 30000, 0, 0, 1, 10, 0, 0))),
    'gif, a first frame larger than its screen': GOOD['gif animated'].replace(
        b'\x2c\0\0\0\0' + struct.pack('<HH', 64, 45), b'\x2c\0\0\0\0' + struct.pack('<HH', 30000, 30000), 1),
    'png, EXIF entries': png(ihdr(64, 48), (b'eXIf', entries(30_000, 350_000))),
    'png, EXIF entries in text': png(ihdr(64, 48), (b'zTXt', b'Raw profile type exif\0\0' + zlib.compress(
        b'\nexif\n 9\n' + entries(20_000, 200_000).hex().encode()))),
    'png, EXIF entries in text behind the pixels': png(ihdr(64, 48), behind=[profile(b'en')]),
    'png, EXIF entries in text of a long language': png(ihdr(64, 48), profile(b'x-klingon')),
    'png, EXIF entries in plain text': png(ihdr(64, 48), behind=[profile(b'', packed=False)]),
    'webp, EXIF entries': encoded(PICTURE, 'WEBP', exif=b'Exif\0\0' + entries(30_000, 350_000)),
    'jpeg, EXIF entries': jpeg(lambda head, own, huge: head[:2] + b''.join(
        b'\xff\xe1' + struct.pack('>H', len(part) + 8) + b'Exif\0\0' + part
        for part in (entries(30_000, 350_000)[i:i + 60_000] for i in range(0, 360_000, 60_000))) + head[2:] + own),
    'tiff, entries': tiff({0x8000 + i: (87_500, 8) for i in range(30_000)}, bytes(3072)),
    'jpeg, segments of EXIF': jpeg(
        lambda head, own, huge: head[:2] + b'\xff\xe1\0\x0aExif\0\0ab' * 50_000 + head[2:] + own),
    'jpeg, long segments of EXIF': jpeg(lambda head, own, huge: head[:2] + (
        b'\xff\xe1\x07\xffExif\0\0' + bytes(2039)) * 300 + head[2:] + own),
    'gif, comments': gif(b'\x21\xfe\1a\0' * 100_000),
    'gif, a comment': gif(b'\x21\xfe' + b'\1a' * 100_000 + b'\0'),
    'png, a column': png(ihdr(1, 170_000_000)),
    'jp2, tiles of components': jp2(240, 300, 1),
    'jp2, components': jp2(200, 16_384, 1),
    'jp2, layers': jp2(128, 1, 128, style(layers=65535, precinct=0)),
    'jp2, precincts': jp2(4000, 1, 4000, style(precinct=0)),
    'jp2, code blocks': jp2(8000, 1, 8000, style(block=2)),
    'jp2, precincts of a component': jp2(4000, 3, 4000, more=b'\xff\x53' + struct.pack(
        '>HBBBBBBBB', 10, 1, 1, 0, 4, 4, 0, 1, 0)),
    'jp2, positions': jp2(8000, 2, 8000, style(precinct=15, order=2)[:-1] + b'\xf0', more=b'\xff\x53' + struct.pack(
        '>HBBBBBBBB', 10, 1, 1, 0, 4, 4, 0, 1, 0x0f)),
    'jp2, layers of a tile': jp2(4096, 1, 1024, of_tile=style(layers=65535, precinct=4)),
    'jp2, progressions': jp2(2000, 3, 2000, style(layers=100, precinct=5), more=b'\xff\x5f' + struct.pack(
        '>H', 2 + 7 * 32) + struct.pack('>BBHBBB', 0, 0, 100, 1, 3, 0) * 32),
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
        assert words.startswith(('refused', 'the image', 'it is')) or (
            words == 'ok' and way == 'runtime' and 'scan' not in name and 'jp2' not in name), (way, words)
        assert 'jp2' not in name or 'save it with' in words
        assert len(words.splitlines()) <= 2 and len(words) < 600


@pytest.mark.parametrize('content', [
    scans(20, size=struct.pack('>HH', 6000, 6000)), gif(b'\x21\xfe\5hello\0' * 100), GOOD['jpeg'] + b'\xff\xda' * 1000,
    png(ihdr(1, 1_000_000)), jp2(2000, 3, 128)], ids=['scans', 'comments', 'bytes behind the end', 'a column', 'tiles'])
def test_what_is_well_below_is_left_to_the_decoder(content):
    read_header(content)


def test_an_exif_header_that_only_one_decoder_stumbles_over(tmp_path):
    path = tmp_path / 'photo.png'
    path.write_bytes(png(ihdr(64, 48), (b'zTXt', b'Raw profile type exif\0\0' + zlib.compress(b'\nexif\n 9\nzz'))))
    for way, call in ways(str(path)).items():
        words = answer(call)
        assert words.startswith(('refused', 'ok')) or words is None, (way, words)
    with pytest.raises(DataError, match=r"photo\.png: imdecode_backend='pillow' cannot decode it \(ValueError: non-"):
        CheckedLoadImageFromFile(imdecode_backend='pillow').transform(dict(img_path=str(path)))
    with pytest.raises(ValueError, match='flag must be'):
        CheckedLoadImageFromFile(imdecode_backend='pillow', color_type='zzz').transform(dict(img_path=str(path)))


def in_many_parts() -> dict[str, bytes]:
    """Images of the formats, of 300,000 parts that mean nothing."""
    image, many = Image.new('RGB', (64, 64)), 300_000
    png, gif, webp, jpeg, jp2 = (encoded(image, name) for name in ('PNG', 'GIF', 'WEBP', 'JPEG', 'JPEG2000'))
    at = 13 + (3 * 2 ** ((gif[10] & 7) + 1) if gif[10] & 128 else 0)
    return dict(
        png=png[:33] + (bytes(4) + b'abCd' + zlib.crc32(b'abCd').to_bytes(4, 'big')) * many + png[33:],
        gif=gif[:at] + b'\x21\xff' + b'\1x' * many + b'\0' + gif[at:],
        webp=webp[:4] + (len(webp) - 8 + 8 * many).to_bytes(4, 'little') + webp[8:] + (b'abcd' + bytes(4)) * many,
        jpeg=jpeg[:-2] + b'\xff\xfe\0\2' * many + jpeg[-2:],
        fill=jpeg[:2] + b'\xff\0' * many + jpeg[2:],
        tiles=jp2 + b'\xff\x90\0\x0a' * many,
        boxes=jp2[:32] + b'\0\0\0\x08free' * many + jp2[32:])


def test_very_many_parts_are_refused_before_they_take_time(tmp_path):
    for name, content in in_many_parts().items():
        with pytest.raises(DataError, match='of more than 262144 parts'):
            read_header(content)
        (tmp_path / name).write_bytes(content)
        with pytest.raises(RuntimeInputError, match=r'of more than 262144 parts|and 600000 bytes between them'):
            read_alone(tmp_path / name)
        assert len(content) < 4_000_000


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
