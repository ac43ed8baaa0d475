"""Images as the runtime prepares them, against the toolboxes' own pipelines and data preprocessors, pixel by pixel."""
import json

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import MODELS, DefaultScope

from mmvision_mamba.errors import ConfigError
from mmvision_mamba.export.pipeline import pipeline_settings
from mmvision_mamba.runtime import standalone as runtime

NORMALISE = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])
LEVEL = 1.01 / 57  # one of 255, normalised
sides = st.integers(1, 150)
scales = st.integers(5, 200)
resizes = st.fixed_dictionaries(dict(
    type=st.just('Resize'), scale=st.tuples(scales, scales), keep_ratio=st.booleans(),
    interpolation=st.sampled_from(['bilinear', 'bilinear', 'nearest', 'bicubic']))) | st.fixed_dictionaries(dict(
        type=st.just('Resize'), scale_factor=st.sampled_from([0.5, 0.77, 1.3, 2.]), keep_ratio=st.booleans()))
pads = st.fixed_dictionaries(dict(
    type=st.just('Pad'), pad_val=st.just(dict(img=(1, 114, 220), seg=255)))).flatmap(lambda pad: st.sampled_from([
        dict(pad, size=(203, 205)), dict(pad, size_divisor=24), dict(pad, pad_to_square=True),
        dict(pad, pad_to_square=True, size_divisor=32)]))
SEG = [dict(), dict(test_cfg=dict(size_divisor=32)), dict(test_cfg=dict(size=(160, 210)), pad_val=0.3), dict(
    bgr_to_rgb=False), dict(test_cfg=dict(size_divisor=1), rgb_to_bgr=True, bgr_to_rgb=False)]
DET = [dict(), dict(pad_size_divisor=32), dict(pad_size_divisor=20, pad_value=-0.5), dict(bgr_to_rgb=False)]
PREPROCESSORS = [dict(type='mmseg.SegDataPreProcessor', **dict(NORMALISE, bgr_to_rgb=True) | more) for more in SEG] + [
    dict(type='mmdet.DetDataPreprocessor', **dict(NORMALISE, bgr_to_rgb=True) | more) for more in DET]


def by_the_toolbox(preprocessor, steps, image, scope):
    """The model's input for a BGR image, and the sizes and scale factor that its data sample has."""
    with DefaultScope.overwrite_default_scope(scope):
        results = Compose(steps)(dict(img=image, img_shape=image.shape[:2], ori_shape=image.shape[:2]))
        tensor = torch.from_numpy(np.ascontiguousarray(results['img'].transpose(2, 0, 1)))
        if scope == 'mmdet':
            from mmdet.structures import DetDataSample as Sample
        else:
            from mmseg.structures import SegDataSample as Sample
        data = MODELS.build(preprocessor)(dict(inputs=[tensor], data_samples=[Sample()]), False)
    return data['inputs'].numpy(), results['img_shape'][:2], results.get('scale_factor', (1., 1.))


def a_model(tmp_path, cfg, channels=3, sides=(None, None), **about):
    """A runtime model without a network, of the config's settings."""
    values = pipeline_settings(cfg, channels)
    resize = {key: values.pop(key) for key in ('scale', 'keep_ratio')}
    meta = dict(values, resize=resize, task='segmentation', smallest=1, **about)
    (tmp_path / 'any').touch()
    session = runtime.Session(lambda feed: [], dict(images=('float32', [None, channels, *sides])), ['map'],
                              {key: json.dumps(value) for key, value in meta.items()})
    return runtime.Model(tmp_path / 'any', session=session)


@given(height=sides, width=sides, preprocessor=st.sampled_from(PREPROCESSORS), resize=st.none() | resizes,
       pad=st.none() | pads, to_float32=st.booleans())
@settings(max_examples=150, deadline=None)
def test_pixels_are_those_of_the_config(height, width, preprocessor, resize, pad, to_float32, tmp_path_factory):
    scope = 'mmdet' if 'mmdet' in preprocessor['type'] else 'mmseg'
    steps = [dict(step) for step in (resize, pad) if step]
    cfg = Config(dict(model=dict(data_preprocessor=preprocessor), default_scope=scope, test_pipeline=[
        dict(type='LoadImageFromFile', to_float32=to_float32), *steps, dict(type='PackInputs')]))
    image = np.random.default_rng(height * width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    try:
        wanted, size, factor = by_the_toolbox(preprocessor, steps, image.astype(np.float32) if to_float32 else image,
                                              scope)
    except cv2.error:  # nothing is left of the image
        return
    model = a_model(tmp_path_factory.mktemp('model'), cfg)
    found, found_size, resized = model.prepare(image[..., ::-1])
    assert found.shape == wanted.shape and found_size == tuple(size)
    np.testing.assert_allclose((resized[1] / width, resized[0] / height), factor, rtol=1e-6)
    difference = np.abs(found - wanted)
    if to_float32 or (resize and resize.get('interpolation') == 'bicubic'):
        assert difference.max() < LEVEL and difference.mean() < LEVEL / 10
    else:
        assert difference.max() < 1e-5


@given(old=st.tuples(sides, sides), new=st.tuples(sides, sides), channels=st.sampled_from([1, 3, 4]))
@settings(max_examples=150, deadline=None)
def test_resize_is_opencvs(old, new, channels):
    image = np.random.default_rng(old[0]).integers(0, 256, (*old, channels), dtype=np.uint8)
    for name, code, most in (('bilinear', cv2.INTER_LINEAR, 0), ('nearest', cv2.INTER_NEAREST, 0),
                             ('bicubic', cv2.INTER_CUBIC, 1)):
        wanted = cv2.resize(image, new[::-1], interpolation=code).reshape(*new, channels)
        assert np.abs(runtime.resize(image, *new, name).astype(int) - wanted).max() <= most, name


@pytest.mark.parametrize('kind', [np.uint16, np.float32])
@pytest.mark.parametrize('channels', [1, 2, 6])
def test_resize_of_other_images(kind, channels):
    image = (np.random.default_rng(0).random((37, 53, channels)) * 60000).astype(kind)
    for size in ((20, 71), (74, 106), (111, 31)):
        wanted = cv2.resize(image, size[::-1]).reshape(*size, channels).astype(float)
        found = runtime.resize(image, *size)
        assert found.dtype == kind and np.abs(found.astype(float) - wanted).max() <= 1.01


@given(low=st.tuples(sides, sides), high=st.tuples(sides, sides), corners=st.booleans())
@settings(max_examples=60, deadline=None)
def test_maps_are_resized_as_torch_does(low, high, corners):
    maps = np.random.default_rng(0).standard_normal((3, *low)).astype(np.float32)
    wanted = torch.nn.functional.interpolate(torch.from_numpy(maps)[None], high, mode='bilinear',
                                             align_corners=corners)[0].numpy()
    np.testing.assert_allclose(runtime.bilinear(maps, high, corners), wanted, atol=2e-4)
    rows = slice(high[0] // 3, high[0] // 2)
    np.testing.assert_allclose(runtime.bilinear(maps, high, corners, rows), wanted[:, rows], atol=2e-4)


@pytest.mark.parametrize(('steps', 'message'), [
    ([dict(type='Resize', scale=(64, 64), interpolation='lanczos')], "got 'lanczos' of 'cv2'"),
    ([dict(type='Resize', scale=(64, 64), backend='pillow')], "got 'bilinear' of 'pillow'"),
    ([dict(type='ResizeToMultiple', size_divisor=32)], 'does not do what ResizeToMultiple does'),
    ([dict(type='Pad', size_divisor=32), dict(type='Resize', scale=(64, 64))], 'does not do what Resize does'),
    ([dict(type='Pad', size_divisor=32, padding_mode='reflect')], "padding_mode='reflect'")])
def test_a_pipeline_that_the_file_can_not_have(steps, message):
    cfg = Config(dict(model=dict(data_preprocessor=PREPROCESSORS[0]), default_scope='mmseg', test_pipeline=steps))
    with pytest.raises(ConfigError, match=message) as error:
        pipeline_settings(cfg)
    assert len(str(error.value).splitlines()) <= 2


def test_too_small_and_too_large_images_are_refused_as_pytorch_refuses_them(tmp_path):
    cfg = Config(dict(model=dict(data_preprocessor=PREPROCESSORS[0]), default_scope='mmseg', test_pipeline=[]))
    model = a_model(tmp_path, cfg)
    model.smallest, model.largest = 32, 64
    model.prepare(np.zeros((32, 64, 3), np.uint8))
    for shape, message in (((31, 64), '32 pixels a side or more'), ((1, 40), '32 pixels a side or more'),
                           ((32, 65), '64 pixels a side at most')):
        with pytest.raises(runtime.RuntimeInputError, match=message):
            model.prepare(np.zeros((*shape, 3), np.uint8))


@pytest.mark.parametrize('channels', [1, 4, 6])
def test_images_of_other_channels(channels, tmp_path):
    image = (np.random.default_rng(0).random((40, 50, channels)) * 3000).astype(np.uint16)
    np.save(tmp_path / 'a.npy', image)
    assert (runtime.read_image(tmp_path / 'a.npy', channels) == image).all()
    np.save(tmp_path / 'b.npy', image.astype(float))
    assert runtime.read_image(str(tmp_path / 'b.npy'), channels).dtype == np.float32
    for array in (image[..., :1].repeat(channels + 1, 2), image.astype(np.int64), image[None]):
        with pytest.raises(runtime.RuntimeInputError, match=f'the model takes .H, W, {channels}.') as error:
            runtime.read_image(array, channels)
        assert len(str(error.value).splitlines()) == 1
    assert runtime.as_picture(image).shape == (40, 50, 3)


def test_files_of_one_and_four_channels(tmp_path):
    from PIL import Image
    grey = np.random.default_rng(0).integers(0, 2**16, (40, 50), dtype=np.uint16)
    Image.fromarray(grey).save(tmp_path / 'grey.tif')
    assert (runtime.read_image(tmp_path / 'grey.tif', 1)[..., 0] == grey).all()
    four = np.random.default_rng(0).integers(0, 256, (40, 50, 4), dtype=np.uint8)
    for name in ('four.png', 'four.tif'):
        Image.fromarray(four).save(tmp_path / name)
        assert (runtime.read_image(tmp_path / name, 4) == four).all()
    with pytest.raises(runtime.RuntimeInputError, match=r'four.png: the model takes \(H, W, 6\)'):
        runtime.read_image(tmp_path / 'four.png', 6)
