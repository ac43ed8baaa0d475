"""Bands of image files: as they are stored, by number, with what is missing filled, and what is wrong named."""
import cv2
import numpy as np
import pytest
from PIL import Image

from mmvision_mamba.datasets import bands
from mmvision_mamba.datasets.band_loading import LoadImageFromFile
from mmvision_mamba.datasets.tile_loading import Decoded, LoadTile
from mmvision_mamba.errors import ConfigError, DataError
from mmvision_mamba.runtime import standalone

from ..helpers.bands import write_tiff

RNG = np.random.default_rng(0)


def image(dtype, count=6, size=(37, 53)):
    return (RNG.random((*size, count)) * 200).astype(dtype)


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16, np.int16, np.float32])
@pytest.mark.parametrize('options', [
    dict(), dict(planarconfig='separate'), dict(tile=(16, 32), compression='zlib'), dict(byteorder='>'),
    dict(planarconfig='separate', tile=(16, 16), compression='zlib'), dict(rowsperstrip=5, compression='zlib'),
    dict(bigtiff=True)], ids=str)
def test_bands_of_a_tiff_are_as_stored(dtype, options, tmp_path):
    stored = image(dtype)
    write_tiff(tmp_path / 'a.tif', stored, **options)
    values, nodata, kind = bands.read_bands((tmp_path / 'a.tif').read_bytes(), [6, 1, 3])
    assert values.dtype == dtype and np.array_equal(values, stored[..., [5, 0, 2]])
    assert nodata is None and str(kind) == f'6 bands of {np.dtype(dtype)}'


@pytest.mark.parametrize(('suffix', 'stored'), [
    ('.png', image(np.uint16, 1)[..., 0]), ('.png', image(np.uint16, 3)), ('.png', image(np.uint8, 4)),
    ('.tif', image(np.uint16, 1)[..., 0])])
def test_other_files_have_red_first(suffix, stored, tmp_path):
    path = tmp_path / f'a{suffix}'
    assert cv2.imwrite(str(path), stored)
    expected = stored[..., None] if stored.ndim == 2 else stored[..., [2, 1, 0, 3][:stored.shape[2]]]
    count = expected.shape[2]
    values, _, kind = bands.read_bands(path.read_bytes(), range(count, 0, -1))
    assert kind.bands == count and np.array_equal(values, expected[..., ::-1])


def test_grey_and_alpha_are_two_bands(tmp_path):
    stored = image(np.uint8, 2)
    Image.fromarray(stored).save(tmp_path / 'a.png')
    values, _, kind = bands.read_bands((tmp_path / 'a.png').read_bytes(), [2, 1])
    assert kind.bands == 2 and np.array_equal(values, stored[..., ::-1])
    with pytest.raises(DataError, match='it has 2 bands, and band 4 is to be read'):
        bands.read_bands((tmp_path / 'a.png').read_bytes(), [1, 4])


def test_what_is_missing_takes_the_fill(tmp_path):
    stored = image(np.float32, 2)
    stored[0, 0, 0], stored[1, 1, 1], stored[2, 2] = np.nan, np.inf, -9999
    write_tiff(tmp_path / 'a.tif', stored, nodata=-9999)
    loaded = LoadImageFromFile([2, 1], fill=[5., 7.]).read(tmp_path / 'a.tif')
    expected = stored[..., ::-1].copy()
    expected[0, 0, 1], expected[1, 1, 0], expected[2, 2] = 7, 5, (5, 7)
    assert loaded.dtype == np.float32 and np.array_equal(loaded, expected)
    write_tiff(tmp_path / 'b.tif', image(np.uint16, 2), nodata='nan')  # which no whole number is
    assert np.array_equal(LoadImageFromFile([1]).read(tmp_path / 'b.tif')[..., 0],
                          bands.read_bands((tmp_path / 'b.tif').read_bytes(), [1])[0][..., 0])


def test_tiles_that_a_file_lacks_have_no_data(tmp_path):
    import tifffile
    path = tmp_path / 'a.tif'
    write_tiff(path, np.full((64, 64, 5), 9, np.uint16), nodata=3, tile=(32, 32), compression='zlib')
    with tifffile.TiffFile(path, mode='r+b') as file:
        counts = file.pages[0].tags['TileByteCounts']
        counts.overwrite([0, *counts.value[1:]])
    values, _, _ = bands.read_bands(path.read_bytes(), [5])
    assert (values[:32, :32] == 3).all() and (values[32:] == 9).all()


def test_a_loader_that_may_leave_out_broken_files_gives_none_of_them(tmp_path):
    path = tmp_path / 'a.png'
    path.write_bytes(b'x' * 99)
    loader = LoadImageFromFile([1], ignore_empty=True)
    assert loader.read(path) is None
    tiles = LoadTile(loader, Decoded())
    item = dict(img_path=str(path), tile=(0, 0, 8, 8), picture_shape=(20, 30))
    assert tiles(dict(item)) is None
    Image.fromarray(image(np.uint8, 1, (20, 30))[..., 0]).save(path)
    assert tiles(dict(item))['img'].shape == (8, 8, 1), 'it was not kept that there is none'


@pytest.mark.parametrize(('stored', 'options', 'message'), [
    (image(np.uint16), {}, 'it has 6 bands, and band 7 is to be read'),
    (image(np.float64), {}, 'its values are float64, 64 bits, and bands of uint8, uint16, int16, float32 are read'),
    (image(np.uint8, 3), dict(photometric='cielab'), 'its colours are CIELAB'),
    (image(np.uint8, 7), dict(extratags=[(274, 'H', 1, 6, True)]), 'Orientation, 6, says that it is turned')])
def test_a_file_that_has_no_such_bands_is_named(stored, options, message, tmp_path):
    write_tiff(tmp_path / 'a.tif', stored, **options)
    with pytest.raises(DataError, match=f'a.tif: .*{message}'):
        LoadImageFromFile([7]).read(tmp_path / 'a.tif')


STACKS = dict(plain={}, tiles=dict(tile=(16, 32), compression='zlib'), strips=dict(rowsperstrip=5), big=dict(
    bigtiff=True, byteorder='>'), imagej=dict(imagej=True), imagej_slices=dict(imagej=True, metadata=dict(axes='ZYX')),
    ome=dict(ome=True, metadata=dict(axes='CYX')), described_not=dict(metadata=None), pages=dict(subfiletype=2))


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize('kind', STACKS)
def test_pages_that_are_alike_are_bands(kind, dtype, tmp_path):
    tifffile = pytest.importorskip('tifffile')
    stored, path = image(dtype, 5), tmp_path / ('a.ome.tif' if kind == 'ome' else 'a.tif')
    tifffile.imwrite(path, stored.transpose(2, 0, 1), photometric='minisblack', **STACKS[kind])
    assert np.array_equal(tifffile.imread(path).transpose(1, 2, 0), stored)
    loader = LoadImageFromFile([5, 1, 4])
    assert np.array_equal(loader.read(path), stored[..., [4, 0, 3]].astype(np.float32))
    assert np.array_equal(loader.load_window(str(path), (7, 3, 40, 30), (37, 53)), stored[3:33, 7:47, [4, 0, 3]])
    assert bands.read_bands(path.read_bytes(), [1])[2] == (5, np.dtype(dtype).name)
    assert np.array_equal(standalone.read_image(path, 3, dict(numbers=[5, 1, 4], fill=[0, 0, 0], file_bands=5)),
                          stored[..., [4, 0, 3]])


def test_reduced_pages_and_masks_are_no_bands(tmp_path):
    tifffile = pytest.importorskip('tifffile')
    stored = image(np.uint16, 3)
    with tifffile.TiffWriter(tmp_path / 'a.tif') as file:
        for i in range(3):
            file.write(stored[..., i], photometric='minisblack', metadata=None)
            file.write(stored[::2, ::2, i], photometric='minisblack', metadata=None, subfiletype=1)
            file.write(stored[..., 0] > 99, photometric=4, metadata=None, subfiletype=4)
    values, _, kind = bands.read_bands((tmp_path / 'a.tif').read_bytes(), [3, 2])
    assert kind.bands == 3 and np.array_equal(values, stored[..., [2, 1]])
    assert np.array_equal(standalone.read_image(tmp_path / 'a.tif', 2, dict(numbers=[3, 2], fill=[0, 0])), values)


@pytest.mark.parametrize(('pages', 'options'), [
    ([(20, 30)] * 17, {}), ([(20, 30)] * 40, {}), ([(20, 30), (10, 15)], {}), ([(20, 30), (20, 30, 3)], {}),
    ([(20, 30), (20, 30), (30, 20)], {}), ([(2, 3, 20, 30)], {}), ([(2, 3, 20, 30)], dict(imagej=True)),
    ([(2, 3, 20, 30)], dict(ome=True)), ([(20, 30)] * 2, dict(subfiletype=1))], ids=str)
def test_pages_that_may_be_something_else_are_no_bands(pages, options, tmp_path):
    tifffile = pytest.importorskip('tifffile')
    writer = {key: options[key] for key in ('imagej', 'ome') if key in options}
    with tifffile.TiffWriter(tmp_path / 'a.tif', **writer) as file:
        for shape in pages:
            file.write(np.zeros(shape, np.uint8), photometric='rgb' if shape[-1] == 3 else 'minisblack',
                       **({} if len(pages) == 1 else dict(metadata=None)), subfiletype=options.get('subfiletype', 0))
    with pytest.raises(DataError, match=r"it has pages, which are bands where .*planarconfig='separate'"):
        LoadImageFromFile([1, 2]).read(tmp_path / 'a.tif')
    with pytest.raises(standalone.RuntimeInputError, match='it has 1 bands of uint8'):
        standalone.read_image(tmp_path / 'a.tif', 2, dict(numbers=[1, 2], fill=[0, 0]))
    assert bands.read_bands((tmp_path / 'a.tif').read_bytes(), [1])[2].bands == 1


def test_documents_of_colour_pages_have_the_bands_of_their_first(tmp_path):
    tifffile = pytest.importorskip('tifffile')
    tifffile.imwrite(tmp_path / 'a.tif', np.zeros((4, 20, 30, 3), np.uint8), photometric='rgb')
    with pytest.raises(DataError, match='it has 3 bands, and band 4 is to be read'):
        LoadImageFromFile([1, 4]).read(tmp_path / 'a.tif')


def test_a_page_that_is_cut_off_is_named(tmp_path):
    tifffile = pytest.importorskip('tifffile')
    with tifffile.TiffWriter(tmp_path / 'a.tif') as file:
        for i in range(3):
            file.write(np.full((64, 64), i, np.uint16), photometric='minisblack', metadata=None)
    (tmp_path / 'a.tif').write_bytes((tmp_path / 'a.tif').read_bytes()[:-2000])
    with pytest.raises(DataError, match=r'a\.tif: .*(truncated|damaged)'):
        LoadImageFromFile([1, 3]).read(tmp_path / 'a.tif')


@pytest.mark.parametrize(('cut', 'message'), [
    (lambda content: content[:4000], 'truncated|damaged'), (lambda content: b'', 'empty'),
    (lambda content: b'x' * 99, 'no image|not an')])
def test_a_broken_file_is_named(cut, message, tmp_path):
    write_tiff(tmp_path / 'a.tif', image(np.uint16))
    (tmp_path / 'a.tif').write_bytes(cut((tmp_path / 'a.tif').read_bytes()))
    with pytest.raises(DataError, match=f'a.tif: .*({message})'):
        LoadImageFromFile([1]).read(tmp_path / 'a.tif')


def test_a_file_of_another_kind_is_refused(tmp_path):
    write_tiff(tmp_path / 'a.tif', image(np.uint8, 3))
    for settings in (dict(file_bands=4), dict(dtype='uint16')):
        with pytest.raises(DataError, match=r'a.tif: it has 3 bands of uint8, and the other images have '):
            LoadImageFromFile([1], **settings).read(tmp_path / 'a.tif')


@pytest.mark.parametrize('wrong', [[], [0], [1.5], [True], 'x', list(range(1, 18)), [2**16], None])
def test_numbers_that_are_none(wrong):
    with pytest.raises(ConfigError, match=r'custom_data.bands is .*: expected numbers of bands, counted from 1'):
        bands.checked_numbers(wrong, 'custom_data.bands')
    with pytest.raises(ConfigError, match='expected three of the bands'):
        LoadImageFromFile([1, 2, 3], shown=[1, 4, 2])


def test_a_picture_is_stretched_and_survives_what_is_missing():
    values = np.linspace(0, 10_000, 100 * 100, dtype=np.float32).reshape(100, 100, 1).repeat(4, 2)
    values[..., 3] *= -1
    values[0, 0] = np.nan
    picture = bands.as_picture(values, [3, 0, 0])
    assert picture.dtype == np.uint8 and picture.shape == (100, 100, 3)
    assert picture[99, 99].tolist() == [0, 255, 255] and picture[50, 0, 1] == pytest.approx(127, abs=2)
    assert (bands.as_picture(values[..., :1]) == bands.as_picture(values[..., :1])[..., :1]).all()
    assert not bands.as_picture(np.zeros((4, 5, 2))).any()
