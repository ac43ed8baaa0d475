"""Windows of TIFFs of every layout are the pixels that tifffile reads of the whole; georeferences of known files."""
import numpy as np
import pytest

from mmvision_mamba.datasets.georeference import KEYS, Georeference, read_georeference
from mmvision_mamba.datasets.tiff_windows import is_tiff, open_tiff
from mmvision_mamba.errors import DataError

tifffile = pytest.importorskip('tifffile')
LAYOUTS = dict(
    plain=dict(), strips=dict(rowsperstrip=7), big=dict(bigtiff=True, rowsperstrip=16), motorola=dict(byteorder='>'),
    tiles=dict(tile=(32, 48), compression='zlib', predictor=True), tiles_plain=dict(tile=(32, 32), byteorder='>'),
    planes=dict(tile=(32, 32), planarconfig='separate', compression='zlib'),
    strip_planes=dict(rowsperstrip=9, planarconfig='separate'),
    lzw=dict(rowsperstrip=5, compression='lzw'), jpeg=dict(tile=(64, 64), compression='jpeg', photometric='ycbcr'))


def write(path, dtype=np.uint8, **options):
    pixels = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (90, 130, 3)).astype(dtype)
    stored = pixels.transpose(2, 0, 1) if options.get('planarconfig') else pixels
    tifffile.imwrite(path, stored, **(dict(photometric='rgb') | options))
    return pixels


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
@pytest.mark.parametrize('layout', LAYOUTS)
def test_windows(layout, dtype, tmp_path):
    if layout in ('lzw', 'jpeg'):
        pytest.importorskip('imagecodecs')
    if layout == 'jpeg' and dtype != np.uint8:
        pytest.skip('JPEG has 8 bits')
    pixels = write(tmp_path / 'a.tif', dtype, **LAYOUTS[layout])
    if layout == 'jpeg':
        pixels = tifffile.imread(tmp_path / 'a.tif')
    with open_tiff(tmp_path / 'a.tif') as tiff:
        assert (tiff.height, tiff.width, tiff.problem) == (90, 130, None)
        for x, y, width, height in ((0, 0, 130, 90), (13, 17, 40, 60), (129, 0, 1, 90), (0, 89, 130, 1)):
            window = tiff.read(x, y, width, height)
            assert window.dtype == dtype and np.array_equal(window, pixels[y:y + height, x:x + width])


@pytest.mark.parametrize(('shape', 'options', 'problem'), [
    ((40, 50), dict(photometric='miniswhite'), 'its colours are MINISWHITE'),
    ((40, 50, 5), dict(photometric='rgb', planarconfig='contig'), '5 bands, and 3 are read'),
    ((40, 50, 3), dict(photometric='rgb', extratags=[(274, 'H', 1, 6, True)]), 'Orientation, 6')])
def test_what_windows_are_not_read_of(shape, options, problem, tmp_path):
    tifffile.imwrite(tmp_path / 'a.tif', np.zeros(shape, np.uint8), **options)
    with open_tiff(tmp_path / 'a.tif') as tiff:
        assert problem in tiff.problem


def test_floats_and_huge_pieces_are_told(tmp_path, monkeypatch):
    tifffile.imwrite(tmp_path / 'float.tif', np.zeros((40, 50), np.float32))
    tifffile.imwrite(tmp_path / 'piece.tif', np.zeros((40, 50), np.uint8), compression='zlib', rowsperstrip=40)
    monkeypatch.setenv('OPENCV_IO_MAX_IMAGE_PIXELS', '1000')
    for name, problem in (('float', 'its values are float32'), ('piece', 'compressed in pieces of 2000')):
        with open_tiff(tmp_path / f'{name}.tif') as tiff:
            assert problem in tiff.problem


def test_a_broken_file_is_named(tmp_path):
    write(tmp_path / 'a.tif', tile=(32, 32), compression='zlib')
    content = (tmp_path / 'a.tif').read_bytes()
    (tmp_path / 'b.tif').write_bytes(content[:3000])
    (tmp_path / 'c.tif').write_bytes(content[:60])
    assert is_tiff(tmp_path / 'b.tif') and not is_tiff(tmp_path / 'missing.tif')
    for name in ('b.tif', 'c.tif'):
        with pytest.raises(DataError, match=rf'{name}: the TIFF is damaged'), open_tiff(tmp_path / name) as tiff:
            tiff.read(0, 0, 130, 90)
    with pytest.raises(DataError, match='can not be read'), open_tiff(tmp_path / 'missing.tif'):
        pass


@pytest.mark.parametrize('options', [{}, dict(tile=(32, 32), compression='zlib')])
def test_a_header_that_announces_more_than_the_file_has_is_refused(options, tmp_path):
    write(tmp_path / 'a.tif', **options)
    with tifffile.TiffFile(tmp_path / 'a.tif', mode='r+b') as file:
        for code in (256, 257):
            file.pages[0].tags[code].overwrite(2**31, dtype='I')
    with pytest.raises(DataError, match='damaged'), open_tiff(tmp_path / 'a.tif'):
        pass


def test_a_piece_that_was_left_out_is_zero(tmp_path):
    pixels = write(tmp_path / 'a.tif', tile=(64, 64))
    with tifffile.TiffFile(tmp_path / 'a.tif', mode='r+b') as file:
        tags = file.pages[0].tags
        tags[325].overwrite([0, *tags[325].value[1:]])
    with open_tiff(tmp_path / 'a.tif') as tiff:
        window = tiff.read(0, 0, 130, 90)
    assert not window[:64, :64].any() and np.array_equal(window[:, 64:], pixels[:, 64:])


# Georeferences ------------------------------------------------------------------------------------------------------

def keys(*pairs):
    return (1, 1, 0, len(pairs), *(value for code, number in pairs for value in (code, 0, 1, number)))


def test_a_georeference_is_read_and_written_again(tmp_path):
    given = Georeference({33550: (0.5, 0.5, 0.), 33922: (0., 0., 0., 1000., 2000., 0.),
                          KEYS: keys((1024, 1), (1025, 1), (3072, 32633)), 34737: 'WGS 84 / UTM zone 33N|'})
    write(tmp_path / 'a.tif', extratags=given.extra_tags())
    with open_tiff(tmp_path / 'a.tif') as tiff:
        found = tiff.georeference
    assert found.tags == given.tags and found.epsg == 32633 and found.problem() is None
    assert found.to_ground([[0, 0], [10, 20]]).tolist() == [[1000, 2000], [1005, 1990]]


@pytest.mark.parametrize('encoding', ['utf-8', 'latin-1'])
def test_a_text_that_is_not_ascii_is_written_again(encoding, tmp_path):
    write(tmp_path / 'a.tif', extratags=[(34737, 's', 0, 'Köln|'.encode(encoding), True)])
    with open_tiff(tmp_path / 'a.tif') as tiff:
        given = tiff.georeference
    write(tmp_path / 'b.tif', extratags=given.extra_tags())
    with open_tiff(tmp_path / 'b.tif') as tiff:
        assert tiff.georeference.tags == given.tags


def test_pixels_that_are_points_have_their_corner_half_a_pixel_before():
    found = Georeference({33550: (2., 2., 0.), 33922: (0., 0., 0., 100., 200., 0.),
                          KEYS: keys((1025, 2), (2048, 4326))})
    assert found.epsg == 4326 and found.to_ground([0, 0]).tolist() == [99, 201]


def test_a_turned_grid_has_a_matrix():
    found = Georeference({34264: (0., 2., 0., 10., 3., 0., 0., 20., *[0.] * 7, 1.), KEYS: keys((3072, 25833))})
    assert found.to_ground([1, 2]).tolist() == [14, 23]


@pytest.mark.parametrize(('tags', 'problem'), [
    ({}, 'not georeferenced'), ({33550: (1., 1., 0.)}, 'no transformation'),
    ({33550: (1., 1., 0.), 33922: (0.,) * 6}, 'no coordinate reference system'),
    ({33550: (1., 1., 0.), 33922: (0.,) * 6, KEYS: keys((3072, 32767))}, 'no coordinate reference system'),
    ({33550: (float('nan'), 1., 0.), 33922: 'text', KEYS: 7}, 'not georeferenced'),
    ({33550: (0., 0., 0.), 33922: (0.,) * 6, KEYS: keys((3072, 32633))}, 'no transformation'),
    ({33550: (1e308,) * 3, 33922: (1e308,) * 6, KEYS: keys((3072, 32633))}, 'no transformation'),
    ({33550: (1., 1., 0.), 33922: (0.,) * 6, KEYS: keys((3072, 70000))}, 'no coordinate reference system'),
    ({33550: (1., 1., 0.), 33922: (0.,) * 6, KEYS: keys((3072, -5))}, 'no coordinate reference system'),
    ({33550: (1., 1., 0.), 33922: (0.,) * 6, KEYS: keys((3072, 4326.5))}, 'no coordinate reference system')])
def test_what_is_missing_is_told(tags, problem):
    assert problem in read_georeference(tags).problem()


@pytest.mark.parametrize('compression', ['webp', 'png', 'jpeg2000', 'lerc'])
def test_compressions_whose_tiles_say_their_own_size_are_not_read(compression, tmp_path):
    pytest.importorskip('imagecodecs')
    tifffile.imwrite(tmp_path / 'a.tif', np.zeros((64, 64, 3), np.uint8), tile=(32, 32), compression=compression,
                     photometric='rgb')
    with open_tiff(tmp_path / 'a.tif') as tiff:
        assert 'it is compressed by' in tiff.problem and 'windows of LZW' in tiff.problem


@pytest.mark.parametrize('where', ['frame', 'tables'])
def test_a_jpeg_in_a_tile_is_no_larger_than_the_tile(where, tmp_path):
    """Its own header decides what is allocated: 30,000 × 30,000 pixels take gigabytes."""
    pytest.importorskip('imagecodecs')
    tifffile.imwrite(tmp_path / 'a.tif', np.zeros((64, 64, 3), np.uint8), tile=(32, 32), compression='jpeg',
                     photometric='ycbcr')
    content = bytearray((tmp_path / 'a.tif').read_bytes())
    with tifffile.TiffFile(tmp_path / 'a.tif') as file:
        page = file.pages[0]
        tile = bytes(content[page.dataoffsets[0]:page.dataoffsets[0] + page.databytecounts[0]])
        frame = page.dataoffsets[0] + tile.index(b'\xff\xc0')
        tables = page.tags[347].valueoffset if 347 in page.tags else None
    if where == 'frame':
        content[frame + 5:frame + 9] = (30000).to_bytes(2, 'big') * 2
    elif tables is None:
        pytest.skip('this version writes no tables')
    else:
        content[tables + 2:tables + 4] = b'\xff\xc0'
    (tmp_path / 'b.tif').write_bytes(content)
    with open_tiff(tmp_path / 'a.tif') as tiff:
        assert tiff.read(0, 0, 64, 64).shape == (64, 64, 3)
    with open_tiff(tmp_path / 'b.tif') as tiff, pytest.raises(DataError, match=r'damaged .*JPEG'):
        tiff.read(0, 0, 64, 64)


def test_a_file_of_next_to_no_tiles_does_not_announce_days_of_work(tmp_path):
    write(tmp_path / 'a.tif', tile=(64, 64))
    with tifffile.TiffFile(tmp_path / 'a.tif', mode='r+b') as file:
        tags = file.pages[0].tags
        tags[325].overwrite([0] * len(tags[325].value))
    with pytest.raises(DataError, match='truncated'), open_tiff(tmp_path / 'a.tif'):
        pass


def test_a_value_for_no_data_as_gdal_writes_it_brings_no_line(tmp_path, caplog):
    from ..helpers.bands import write_tiff
    write_tiff(tmp_path / 'a.tif', np.ones((40, 50, 1), np.float32), '-3.40282346638529e+38')
    with open_tiff(tmp_path / 'a.tif', [1]) as tiff:
        tiff.read(0, 0, 50, 40)
        assert tiff.nodata == np.finfo(np.float32).min
    assert not caplog.records
