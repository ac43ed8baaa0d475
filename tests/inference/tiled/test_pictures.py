import cv2
import numpy as np
import pytest
from PIL import Image

from mmvision_mamba.errors import DataError
from mmvision_mamba.inference.sources import find_sources
from mmvision_mamba.inference.tiled.pictures import Picture, Reduced, open_picture

PIXELS = np.random.default_rng(0).integers(0, 256, (90, 130, 3), dtype=np.uint8)


@pytest.mark.parametrize('factor', [1, 2, 3, 7, 40, 200])
@pytest.mark.parametrize('chunk', [16, 50, 1000])
def test_a_reduced_picture_has_the_means_of_its_pixels(factor, chunk):
    read = []

    def window(x, y, width, height):
        read.append((width, height))
        return PIXELS[y:y + height, x:x + width]
    reduced = Picture(90, 130, window).reduced(factor, chunk)
    assert reduced.shape == (-(-90 // factor), -(-130 // factor), 3)
    assert max(map(max, read)) <= max(chunk, factor)
    whole = PIXELS[:90 // factor * factor, :130 // factor * factor].astype(float)
    means = whole.reshape(90 // factor, factor, 130 // factor, factor, 3).mean((1, 3))
    assert np.abs(reduced[:90 // factor, :130 // factor] - means).max(initial=0) <= 1


@pytest.mark.parametrize('side', [1, 20, 47, 129, 130, 500])
def test_a_picture_is_reduced_while_its_windows_are_read(side):
    reduced = Reduced(Picture(90, 130, lambda x, y, width, height: PIXELS[y:y + height, x:x + width]), side)
    assert reduced.pixels is None
    for x, y in ((60, 50), (0, 0), (37, 13), (0, 50), (90, 0), (90, 50), (60, 0)):
        width, height = min(60, 130 - x), min(55, 90 - y)
        assert np.array_equal(reduced.read(x, y, width, height), PIXELS[y:y + height, x:x + width])
    assert max(reduced.pixels.shape) <= max(side, 3)
    assert np.array_equal(reduced.pixels, PIXELS[::reduced.step, ::reduced.step])


def test_all_but_tiffs_are_decoded_as_a_whole(tmp_path):
    cv2.imwrite(str(tmp_path / 'a.png'), PIXELS)
    for given in (str(tmp_path / 'a.png'), PIXELS, Image.fromarray(PIXELS[..., ::-1])):
        with open_picture(*find_sources(given), 32) as picture:
            assert (picture.height, picture.width, picture.georeference) == (90, 130, None)
            assert np.array_equal(picture.read(10, 20, 30, 40), PIXELS[20:60, 10:40])


@pytest.mark.parametrize(('options', 'shape'), [
    (dict(photometric='miniswhite'), (90, 130)),
    (dict(photometric='rgb', extratags=[(274, 'H', 1, 6, True)]), (130, 90))])
def test_a_tiff_without_windows_is_decoded_as_a_whole_within_the_bound(options, shape, tmp_path, monkeypatch):
    tifffile = pytest.importorskip('tifffile')
    pixels = PIXELS[..., 0] if options['photometric'] == 'miniswhite' else PIXELS
    options['extratags'] = [*options.get('extratags', ()), (33550, 'd', 3, (1., 1., 0.), True)]
    tifffile.imwrite(tmp_path / 'a.tif', pixels, **options)
    source, = find_sources(str(tmp_path / 'a.tif'))
    with open_picture(source, 32) as picture:
        assert (picture.height, picture.width) == shape
        assert np.array_equal(picture.read(0, 0, *shape[::-1]), next(source.frames()))
        assert bool(picture.georeference.tags) == (shape == (90, 130))  # a turned picture lies elsewhere
    monkeypatch.setenv('OPENCV_IO_MAX_IMAGE_PIXELS', '5000')
    with pytest.raises(DataError, match=r'a\.tif: its (colours are MINISWHITE|tag Or)'), open_picture(source, 32):
        pass


def test_a_fourth_band_is_dropped(tmp_path):
    tifffile = pytest.importorskip('tifffile')
    bands = np.concatenate([PIXELS[..., ::-1], PIXELS[..., :1]], 2)
    tifffile.imwrite(tmp_path / 'a.tif', bands, photometric='rgb', tile=(32, 32))
    with open_picture(*find_sources(str(tmp_path / 'a.tif')), 32) as picture:
        assert np.array_equal(picture.read(0, 0, 130, 90), PIXELS)


@pytest.mark.parametrize('count', [1, 5])
def test_windows_of_bands_are_those_of_the_whole_file(count, tmp_path):
    from mmvision_mamba.datasets.band_loading import LoadImageFromFile
    from mmvision_mamba.inference.band_images import BandImages

    from ...helpers.bands import write_tiff
    stored = np.random.default_rng(0).normal(size=(70, 90, count)).astype(np.float32)
    stored[3:9, 4:7] = -9999
    write_tiff(tmp_path / 'a.tif', stored, -9999, tile=(32, 32), compression='zlib')
    bands = BandImages(LoadImageFromFile(list(range(count, 0, -1)), fill=[7.] * count))
    source, = find_sources(str(tmp_path / 'a.tif'), bands.read)
    with open_picture(source, 32, bands) as picture:
        whole = picture.read(0, 0, 90, 70)
        assert whole.dtype == np.float32 and np.array_equal(whole, bands.read(tmp_path / 'a.tif'))
        assert (whole[3, 4] == 7).all()
        assert np.array_equal(picture.read(20, 30, 40, 32), whole[30:62, 20:60])
        small = picture.reduced(2, 32)
        np.testing.assert_allclose(small, whole.reshape(35, 2, 45, 2, count).mean((1, 3)), rtol=1e-5, atol=1e-5)
        assert picture.georeference.epsg == 32633
    with open_picture(source, 1024, bands) as picture:
        assert np.array_equal(picture.read(0, 0, 90, 70), whole)
    for expected in (dict(file_bands=count + 1, dtype='float32'), dict(file_bands=count, dtype='uint16')):
        bands = BandImages(LoadImageFromFile([1], fill=[7.], **expected))
        with pytest.raises(DataError, match=rf'a\.tif: it has {count} bands? of float32, and the other images have'), \
                open_picture(source, 32, bands):
            pass
