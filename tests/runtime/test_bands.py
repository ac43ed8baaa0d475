"""Bands of files as the runtime prepares them, against the pipeline that trained on them."""
import json

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import MODELS, DefaultScope
from PIL import Image

from mmvision_mamba.errors import DataError
from mmvision_mamba.export.pipeline import pipeline_settings
from mmvision_mamba.runtime import standalone as runtime

from ..helpers.bands import write_tiff

RNG = np.random.default_rng(0)
BANDS, MEAN, STD = [5, 1, 4], [900., 1000., 1100.], [90., 100., 110.]


def a_config(bands=BANDS, **loader):
    steps = [dict(type='mmvision_mamba.datasets.band_loading.LoadImageFromFile', bands=bands, fill=MEAN[:len(bands)],
                  **loader), dict(type='Resize', scale=(70, 50), keep_ratio=True), dict(type='PackSegInputs')]
    model = dict(data_preprocessor=dict(type='SegDataPreProcessor', mean=MEAN[:len(bands)], std=STD[:len(bands)]))
    return Config(dict(model=model, default_scope='mmseg', test_pipeline=steps))


def a_model(tmp_path, cfg):
    channels = len(cfg.test_pipeline[0].bands)
    values = pipeline_settings(cfg, channels)
    meta = dict(values, resize={key: values.pop(key) for key in ('scale', 'keep_ratio')}, task='segmentation')
    (tmp_path / 'any').touch()
    return runtime.Model(tmp_path / 'any', session=runtime.Session(
        lambda feed: [], dict(images=('float32', [None, channels, None, None])), ['map'],
        {key: json.dumps(value) for key, value in meta.items()}))


def by_the_pipeline(cfg, path):
    with DefaultScope.overwrite_default_scope('mmseg'):
        packed = Compose(cfg.test_pipeline)(dict(img_path=str(path)))
        return MODELS.build(cfg.model.data_preprocessor)(
            dict(inputs=[packed['inputs']], data_samples=[packed['data_samples']]), False)['inputs'].numpy()


def compared(tmp_path, cfg, path):
    model, expected = a_model(tmp_path, cfg), by_the_pipeline(cfg, path)
    found, _, _ = model.prepare(runtime.read_image(path, model.channels, model.bands))
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() < 1e-3 and expected.std() > 0.3
    return model


@pytest.mark.parametrize('dtype', [np.uint16, np.int16, np.float32])
@pytest.mark.parametrize('options', [dict(), dict(planarconfig='separate'), dict(tile=(32, 16), compression='zlib')],
                         ids=str)
def test_a_tiff_is_read_as_in_training(dtype, options, tmp_path):
    image = RNG.normal(1000, 100, (61, 83, 6)).astype(dtype)
    image[4:9, 5:12] = 7
    if dtype == np.float32:
        image[20, 30] = np.nan
    write_tiff(tmp_path / 'a.tif', image, nodata=7, **options)
    model = compared(tmp_path, a_config(shown=[4, 5, 5], file_bands=6, dtype=np.dtype(dtype).name), tmp_path / 'a.tif')
    read = runtime.read_image(tmp_path / 'a.tif', 3, model.bands)
    assert (read[5, 6] == MEAN).all() and np.isfinite(read).all()
    picture = runtime.as_picture(read, model.bands)
    assert picture.dtype == np.uint8 and picture.shape == (61, 83, 3) and (picture[..., 1] == picture[..., 2]).all()
    array = image[..., [4, 0, 3]]
    assert (runtime.read_image(array.astype(np.float64), 3, model.bands)[5, 6] == 7).all(), 'arrays say nothing of that'


def test_other_files_are_read_as_in_training(tmp_path):
    Image.fromarray(RNG.integers(0, 4000, (60, 80), dtype=np.uint16)).save(tmp_path / 'a.png')
    compared(tmp_path, a_config([1]), tmp_path / 'a.png')
    Image.fromarray(RNG.integers(0, 256, (60, 80, 3), dtype=np.uint8)).save(tmp_path / 'b.png')
    compared(tmp_path, a_config([3, 1, 2]), tmp_path / 'b.png')


@pytest.mark.parametrize(('mode', 'transparency', 'count'), [
    ('LA', None, 2), ('1', None, 1), ('P', None, 3), ('P', 3, 4), ('RGB', (3, 4, 5), 4), ('L', 3, 1)])
def test_a_png_has_the_bands_that_training_took(mode, transparency, count, tmp_path):
    colours = RNG.integers(0, 256, (60, 80, 3), dtype=np.uint8)
    picture = Image.fromarray(colours).convert('L' if mode == 'LA' else mode)
    if mode == 'LA':
        picture = Image.merge('LA', [picture, Image.fromarray(colours[..., 0])])
    more = {} if transparency is None else dict(transparency=transparency)
    picture.save(tmp_path / 'a.png', **more)
    has_bands(tmp_path / 'a.png', count)


def has_bands(path, count):
    for number in range(1, count + 1):
        cfg = a_config([number], file_bands=count, dtype='uint8')
        found, expected = (np.asarray(runtime.read_image(path, 1, a_model(path.parent, cfg).bands)),
                           Compose(cfg.test_pipeline[:1])(dict(img_path=str(path)))['img'])
        assert np.array_equal(found, expected)


@pytest.mark.parametrize('mode', ['1', 'L', 'P', 'RGB'])
@pytest.mark.parametrize('more', [{}, dict(transparency=1)], ids=str)
def test_a_gif_has_three_bands_whatever_its_palette_holds(mode, more, tmp_path):
    Image.fromarray(RNG.integers(0, 256, (60, 80, 3), dtype=np.uint8)).convert(mode).save(
        tmp_path / 'a.gif', **({} if mode == 'RGB' else more))
    has_bands(tmp_path / 'a.gif', 3)


@pytest.mark.parametrize(('mode', 'count'), [('L', 1), ('RGB', 3), ('RGBA', 4)])
def test_a_jpeg_2000_file_has_the_bands_that_training_took(mode, count, tmp_path):
    for size in range(60, 70):  # the length of the file once stood for the bits of its values
        Image.fromarray(RNG.integers(0, 256, (size, 80, 4), dtype=np.uint8)).convert(mode).save(tmp_path / 'a.jp2')
        has_bands(tmp_path / 'a.jp2', count)


def test_colours_of_print_are_no_bands(tmp_path):
    path = tmp_path / 'a.jpg'
    Image.fromarray(RNG.integers(0, 256, (60, 80, 4), dtype=np.uint8), 'CMYK').save(path)
    cfg = a_config([1, 2, 3])
    with pytest.raises(runtime.RuntimeInputError, match='its colours are CMYK'):
        runtime.read_image(path, 3, a_model(tmp_path, cfg).bands)
    with pytest.raises(DataError, match=r'a\.jpg: its colours are CMYK'):
        Compose(cfg.test_pipeline[:1])(dict(img_path=str(path)))


def test_a_file_of_another_kind_is_named(tmp_path):
    model = a_model(tmp_path, a_config(file_bands=6, dtype='uint16'))
    write_tiff(tmp_path / 'a.tif', np.ones((40, 50, 6), np.uint8))
    write_tiff(tmp_path / 'b.tif', np.ones((40, 50, 5), np.uint16))
    for name, said in (('a.tif', '6 bands of uint8'), ('b.tif', '5 bands of uint16')):
        with pytest.raises(runtime.RuntimeInputError, match=f'{name} can not be read as an image: it has {said}, and '
                           'the model is for images of 6 of uint16'):
            model(tmp_path / name)
    with pytest.raises(runtime.RuntimeInputError, match=r'the model takes \(H, W, 3\)'):
        model(np.ones((40, 50, 6), np.uint16))
