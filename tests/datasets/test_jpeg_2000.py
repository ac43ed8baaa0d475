"""JPEG 2000 pictures are counted before they are decoded: real ones pass, in all that tools write them."""
import random
import struct

import pytest
from PIL import Image

from mmvision_mamba.datasets.image_files import image_problem
from mmvision_mamba.datasets.jpeg_2000 import read_codestream
from mmvision_mamba.errors import DataError
from mmvision_mamba.runtime import standalone

from ..helpers.image_bytes import pixels

pytest.importorskip('PIL.Jpeg2KImagePlugin')


def segment(marker: int, content: bytes) -> bytes:
    return struct.pack('>HH', marker, len(content) + 2) + content


def codestream(width: int, height: int, tile: int, components: int, *segments: bytes, tiles=()) -> bytes:
    size = struct.pack('>HIIIIIIIIH', 0, width, height, 0, 0, tile, tile, 0, 0, components) + b'\7\1\1' * components
    parts = b''.join(segment(0xff90, struct.pack('>HIBB', i, 0, 0, 1)) + part + b'\xff\x93' for i, part in tiles)
    return b'\xff\x4f' + segment(0xff51, size) + b''.join(segments) + parts + b'\xff\x90\0\x0a' + bytes(8) + b'\xff\x93'


def cod(layers: int, levels: int, block: int, precincts: bytes = b'') -> bytes:
    return segment(0xff52, struct.pack(
        '>BBHBBBBBB', bool(precincts), 0, layers, 0, levels, block, block, 0, 1) + precincts)


@pytest.mark.parametrize('order', ['LRCP', 'RLCP', 'RPCL', 'PCRL', 'CPRL'])
@pytest.mark.parametrize('options', [{}, dict(tile_size=(64, 64), quality_layers=[40, 20, 5]), dict(
    precinct_size=(32, 32), codeblock_size=(16, 16)), dict(num_resolutions=1, codeblock_size=(4, 4))])
def test_pictures_of_every_order_are_read(order, options, tmp_path):
    path = tmp_path / 'photo.jp2'
    Image.fromarray(pixels()).resize((500, 300)).save(path, progression=order, **options)
    assert image_problem(path, quick=False) is None
    assert standalone.read_image(path).shape == (300, 500, 3)


@pytest.mark.parametrize('segments', [
    [cod(50, 5, 4)], [cod(12, 5, 4, b'\x77' + b'\x88' * 5)], [cod(1, 5, 3)],
    [cod(20, 5, 4, b'\x77' + b'\x88' * 5), segment(0xff5f, bytes(14))]])
def test_the_largest_that_archives_write_are_far_below(segments):
    """13,000 × 13,000 pixels, as much as is read: 50 layers, precincts of 256, blocks of 32, two progressions."""
    content = codestream(13_000, 13_000, 13_000, 3, *segments)
    assert read_codestream(content, 0) == (13_000, 13_000, 3)
    standalone._check_codestream(content, 0)


def test_headers_that_versions_of_the_decoder_read_differently_are_refused():
    for marker, content, refused in ((0xff54, b'', True), (0xff50, b'\0\0\0\0', False), (0xff50, b'\0\0\xff\x52', True),
                                     (0xff59, b'\0', True)):
        given = codestream(64, 64, 64, 1, cod(1, 0, 4), segment(marker, content))
        for read in (read_codestream, standalone._check_codestream):
            if refused:
                with pytest.raises(ValueError, match=f'its header has the marker {marker:x}'):
                    read(given, 0)
            else:
                read(given, 0)


def of_component(style: bytes, wide: int) -> bytes:
    return segment(0xff53, bytes(wide) + style[4:5] + style[9:])


def any_style(rng: random.Random) -> bytes:
    levels = rng.choice([0, 1, 5, 32])
    precincts = bytes(rng.choices(b'\x11\x77\xff\x1f\xf1', k=levels + 1)) if rng.random() < 0.5 else b''
    return cod(rng.choice([1, 5, 65535]), levels, rng.randrange(5), precincts)


def any_segment(rng: random.Random, wide: int) -> bytes:
    return rng.choice([of_component(any_style(rng), wide), any_style(rng), segment(0xff64, rng.randbytes(9)),
                       segment(0xff5f, bytes((5 + 2 * wide) * rng.randrange(1, 5)))])


def answer(read, content: bytes) -> str:
    """What is too much: code blocks, or how many packets."""
    try:
        read(content, 0)
    except ValueError as error:
        return 'blocks' if 'code blocks' in str(error) else next(filter(str.isdecimal, str(error).split()))
    return 'read'


def test_the_runtime_counts_alike():
    answers = set()
    for seed in range(300):
        rng = random.Random(seed)
        components = rng.choice([1, 3, 300])
        wide = 1 + (components > 256)
        content = codestream(
            rng.choice([64, 8000]), rng.choice([64, 1000]), rng.choice([100, 999, 8000]), components, any_style(rng),
            *(any_segment(rng, wide) for _ in range(rng.randrange(3))),
            tiles=[(rng.randrange(3), any_segment(rng, wide)) for _ in range(rng.randrange(3))])
        found = answer(read_codestream, content)
        assert found == answer(standalone._check_codestream, content), seed
        answers.add(found)
    assert len(answers) > 20


def test_segments_of_tiles_have_a_bound():
    comment = segment(0xff64, b'') * 600_000
    content = codestream(64, 64, 64, 1, cod(1, 0, 4), tiles=[(0, comment)])
    with pytest.raises(DataError, match='more than 524288 segments'):
        read_codestream(content, 0)
    with pytest.raises(ValueError, match='segments'):
        standalone._check_codestream(content, 0)
