import io
import unicodedata

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image

from mmvision_mamba.datasets.image_files import LOOKS_THE_SAME, file_content, image_problem
from mmvision_mamba.datasets.image_sizes import upright_size

from ..helpers.image_bytes import GOOD


@pytest.mark.parametrize('name', GOOD)
def test_good_files_have_no_problem(tmp_path, name):
    path = tmp_path / 'image'
    path.write_bytes(GOOD[name])
    for quick in (True, False):
        assert image_problem(GOOD[name], quick) is None
        assert image_problem(path, quick) is None
        assert image_problem(str(path), quick) is None


def test_exif_thumbnail_is_one_that_pillow_sees():
    with Image.open(io.BytesIO(GOOD['jpeg exif thumbnail'])) as image:
        assert image.getexif()[0x0112] == 6
        assert image.getexif().get_ifd(ExifTags.IFD.IFD1)[0x0201]


# The last bytes of a JPEG are its end marker and padding: without them a baseline JPEG still has all its pixels.
@pytest.mark.parametrize('name', ['jpeg', 'jpeg progressive', 'jpeg cmyk', 'jpeg exif thumbnail', 'png', 'png palette',
                                  'bmp', 'webp', 'ppm'])
@settings(max_examples=60, deadline=None)
@given(st.data())
def test_truncated_anywhere(name, data):
    content = GOOD[name]
    cut = content[:data.draw(st.integers(1, len(content) - 4))]
    problem = image_problem(cut)
    assert problem
    assert image_problem(cut, quick=False)
    if name.startswith(('jpeg', 'png')) and len(cut) > 8:
        assert problem == 'the image is truncated' or 'damaged' in problem


def test_truncated_right_after_the_thumbnail():
    content = GOOD['jpeg exif thumbnail']
    end = content.index(b'\xff\xd9') + 2
    assert end < len(content) - 2
    for padding in (b'', bytes(4096)):
        assert image_problem(content[:end] + padding) == 'the image is truncated'


def test_truncated_and_padded_with_zeros():
    """What a full disk or a broken download leaves: a file of the right length."""
    for name in ('jpeg', 'jpeg progressive', 'png'):
        content = GOOD[name]
        for part in (0.3, 0.6, 0.9):
            kept = int(part * len(content))
            assert image_problem(content[:kept] + bytes(len(content) - kept)), (name, part)


@pytest.mark.parametrize('content, problem', [
    (b'', 'the file is empty'),
    (bytes(5000), 'it is not an image'),
    (b'<html><body>404</body></html>', 'it is not an image'),
    (b'\xff\xd8\xff', 'the image is truncated'),
    (b'\x89PNG\r\n\x1a\n', 'the image is truncated'),
])
def test_no_image_at_all(tmp_path, content, problem):
    path = tmp_path / 'image.jpg'
    path.write_bytes(content)
    assert image_problem(path) == image_problem(content) == image_problem(content, quick=False) == problem


@settings(max_examples=200, deadline=None)
@given(st.binary(min_size=1), st.sampled_from([b'', b'\xff\xd8\xff', b'\x89PNG\r\n\x1a\n', b'BM', b'GIF89a', b'RIFF']))
def test_any_bytes_get_an_answer(content, start):
    assert image_problem(start + content)


def test_a_tiff_of_many_bands_is_sized_without_a_line_of_the_log(tmp_path, caplog):
    tifffile = pytest.importorskip('tifffile')
    tifffile.imwrite(tmp_path / 'a.tif', np.zeros((20, 30, 12), np.uint16), photometric='minisblack',
                     planarconfig='contig')
    assert upright_size(str(tmp_path / 'a.tif')) == (30, 20)
    assert not caplog.records


def test_png_damaged_inside_is_found_by_decoding():
    """A wrong checksum: no cheap look can see it, and every decoder that minds is right."""
    content = bytearray(GOOD['png'])
    content[len(content) // 2] ^= 0x55
    assert image_problem(bytes(content), quick=False) == 'the image is damaged'


def test_missing_and_unreadable_files(tmp_path):
    assert image_problem(tmp_path / 'none.jpg') == 'the file is missing'
    assert image_problem(tmp_path).startswith('the file cannot be read')


def test_a_missing_file_is_told_from_one_of_another_unicode_form(tmp_path):
    (tmp_path / unicodedata.normalize('NFD', 'é.jpg')).write_bytes(GOOD['png'])
    assert image_problem(tmp_path / unicodedata.normalize('NFC', 'é.jpg')) == 'the file is missing' + LOOKS_THE_SAME
    assert image_problem(tmp_path / 'ö.jpg') == image_problem(tmp_path / 'no' / 'é.jpg') == 'the file is missing'


@pytest.mark.parametrize(('path', 'reason'), [
    ('/nowhere/train/http://127.0.0.1:9/a.jpg', 'No such file'), ('/nowhere/://', 'No such file'),
    ('none://a/b.jpg', 'mmengine knows no storage of this kind')])
def test_paths_that_look_like_urls(path, reason):
    with pytest.raises(OSError, match=reason):
        file_content(path)
