"""Images are prepared as published, to the last bit as timm does it."""
import json

import numpy as np
import pytest
import timm
import torch
from PIL import Image

pytest.importorskip('transformers')

from mmvision_mamba.backbones import FAMILY
from mmvision_mamba.errors import ConfigError
from mmvision_mamba.transformers import MambaVisionConfig, MambaVisionImageProcessor

ARCH = dict(dim=16, in_dim=8, depths=(1, 1, 1, 1), num_heads=(1, 1, 1, 1))


def picture(mode='RGB', size=(301, 250)):
    array = (np.random.default_rng(0).random((size[1], size[0], 3)) * 255).astype(np.uint8)
    return Image.fromarray(array).convert(mode)


def config(variant, side=224, **settings):
    arch = {key: value for key, value in FAMILY[variant].items() if key != 'window_size'}
    return MambaVisionConfig(**arch, window_size=(8, 8, side // 16, side // 32), **settings)


@pytest.mark.parametrize(('name', 'side'), [
    ('tiny.in1k', 224), ('tiny2.in1k', 224), ('small.in1k', 224), ('base.in1k', 224), ('large2.in21k_512', 512),
    ('large3.in21k_256', 256), ('large3.in21k_512', 512)])
def test_published_settings(name, side):
    expected = timm.data.resolve_model_data_config(timm.create_model(f'mambavision_{name}', arch=ARCH))
    processor = MambaVisionImageProcessor.from_config(config(name.partition('.')[0], side))
    assert processor.size == dict(height=side, width=side) == dict(height=expected['input_size'][1], width=side)
    found = processor(picture(), return_tensors='pt').pixel_values
    assert torch.equal(found[0], timm.data.create_transform(**expected)(picture()))


def test_what_a_config_says_counts_more():
    processor = MambaVisionImageProcessor.from_config(
        config('small', crop_pct=0.5, crop_mode='squash', mean=[0.1, 0.2, 0.3], std=[1, 1, 1]), size=64)
    assert (processor.crop_pct, processor.crop_mode, processor.image_mean) == (0.5, 'squash', [0.1, 0.2, 0.3])
    assert processor([picture(), picture('L')], return_tensors='pt').pixel_values.shape == (2, 3, 64, 64)


@pytest.mark.parametrize('convert', [
    np.asarray, lambda image: torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1), lambda image: [image],
    lambda image: image.convert('RGBA')], ids=['array', 'tensor', 'list', 'RGBA'])
def test_kinds_of_images(convert):
    processor = MambaVisionImageProcessor(64)
    expected = processor(picture(), return_tensors='np')['pixel_values']
    np.testing.assert_array_equal(processor(convert(picture()), return_tensors='np')['pixel_values'], expected)


def test_round_trip(tmp_path):
    processor = MambaVisionImageProcessor(dict(height=64, width=96), 0.9, 'squash', 'bilinear')
    processor.save_pretrained(tmp_path)
    assert MambaVisionImageProcessor.from_pretrained(tmp_path).to_dict() == processor.to_dict()


@pytest.mark.parametrize('settings', [
    dict(size=dict(shortest_edge=224)), dict(size=dict(height=-1, width=5)), dict(size=0), dict(size='224'),
    dict(size=True), dict(size=10**6), dict(size=16384), dict(size=dict(height=float('nan'), width=5)),
    dict(crop_pct=0), dict(crop_pct=1e-9), dict(crop_pct=0.01), dict(crop_pct='x'), dict(crop_pct=float('nan')),
    dict(crop_pct=True), dict(crop_mode='centre'), dict(crop_mode=['center']), dict(resample='os'), dict(resample=99),
    dict(resample=True), dict(resample=None), dict(image_mean=0.5), dict(image_mean=[0.5]), dict(image_mean='abc'),
    dict(image_mean=[float('nan')] * 3), dict(image_mean=[1e308] * 3), dict(image_std=[1, 0, 1]),
    dict(image_std=[1, -1, 1]), dict(image_std=[float('inf')] * 3), dict(image_std=None)],
    ids=lambda settings: str(settings))
def test_a_preprocessor_config_that_can_not_be(settings, tmp_path):
    (tmp_path / 'preprocessor_config.json').write_text(json.dumps(settings))
    with pytest.raises(ConfigError, match=f'{next(iter(settings))}.*got|at most 178956970') as raised:
        MambaVisionImageProcessor.from_pretrained(tmp_path)
    assert isinstance(raised.value, ValueError) and len(str(raised.value).splitlines()) == 1


def test_settings_of_a_broken_config_are_its_error():
    with pytest.raises(ConfigError, match='window_size'):
        MambaVisionImageProcessor.from_config(MambaVisionConfig(window_size=(8, 8, 10**6, 7)))


HUGE = np.broadcast_to(np.uint8(0), (10**6, 10**6, 3))  # a byte


@pytest.mark.parametrize(('image', 'message'), [
    (HUGE, r'image 0 has 1000000 × 1000000 pixels: expected 1 to 178956970 \(OPENCV_IO_MAX'),
    (torch.zeros(1).expand(3, 10**6, 10**6), '1000000 × 1000000 pixels'),
    (np.zeros((1, 100_000, 3), np.uint8), 'with its shorter side resized to the crop it would have more'),
    (Image.new('L', (100_000, 1)), 'with its shorter side resized'),
    (np.zeros((0, 40, 3), np.uint8), '40 × 0 pixels'), ([], 'the list of images is empty'),
    ([np.zeros((40, 40, 3), np.uint8), np.zeros((40, 40, 7), np.uint8)], 'image 1: '),
    (np.full((40, 40, 3), np.nan, np.float32), 'image 0: it has numbers that are not finite'),
    (np.full((40, 40, 3), np.inf), 'not finite'),
    (np.full((40, 40, 3), -1), 'image 0: '), (np.full((40, 40, 3), 60_000, np.uint16), 'image 0: '),
    (np.zeros((40, 40, 3), bool), 'expected whole or floating-point numbers, got bool'),
    (np.zeros((40, 40, 3), complex), 'got complex128'), (np.full((40, 40, 3), None), 'got object'),
    ([np.zeros((40, 40), np.uint8)], r'three axes, got \(40, 40\)'), (Image.new('I;16', (40, 40)), 'more than 8 bits'),
    (Image.new('F', (40, 40)), 'more than 8 bits'), (None, 'mage type'), ('photo.jpg', 'mage'), (7, 'mage')])
def test_what_is_no_image_is_a_value_error(image, message):
    with pytest.raises(ValueError, match=message):
        MambaVisionImageProcessor(64)(image, return_tensors='pt')


def test_tensors_of_bfloat16_and_with_gradients_are_images():
    processor, image = MambaVisionImageProcessor(64), torch.rand(3, 70, 80).bfloat16()
    expected = processor(image.float(), return_tensors='pt').pixel_values
    assert torch.equal(processor(image.requires_grad_(), return_tensors='pt').pixel_values, expected)
