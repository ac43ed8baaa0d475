"""Images are prepared as published, to the last bit as timm does it."""
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


def test_settings_that_can_not_be():
    for settings in (dict(size=dict(shortest_edge=224)), dict(crop_pct=0), dict(crop_mode='centre')):
        with pytest.raises(ConfigError):
            MambaVisionImageProcessor(**settings)
