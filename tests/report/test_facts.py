"""What a report says of a run's config."""
from pathlib import Path

import pytest
from mmengine import Config

from mmvision_mamba.report.facts import settings_of

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'


@pytest.mark.parametrize(('name', 'expected'), [
    ('cascade_mask_rcnn_mambavision_t_shapes', {
        'model': 'CascadeRCNN', 'backbone': 'MambaVision, arch tiny', 'starts from': 'random weights',
        'training data': 'CocoDataset data/shapes', 'batch': '4 images',
        'optimizer': 'AdamW, lr 0.0006, weight_decay 0.05', 'precision': 'float32',
        'schedule': 'IterBasedTrainLoop, max_iters 400'}),
    ('upernet_mambavision_t_fit_ade20k', {
        'model': 'EncoderDecoder', 'training data': 'ADE20KDataset data/ade', 'precision': 'AmpOptimWrapper'})])
def test_settings_of_configs(name, expected):
    found = settings_of(Config.fromfile(CONFIGS / f'{name}.py'), 1)
    assert {key: found[key] for key in expected} == expected


def test_settings_that_a_config_lacks_or_that_are_odd_are_left_out():
    assert settings_of(Config({}), 1) == {'starts from': 'random weights', 'precision': 'float32'}
    odd = Config(dict(model=5, train_dataloader=dict(batch_size=2, dataset=[1]), randomness=dict(seed=0),
                      train_cfg=None, optim_wrapper=dict(
                          type='AmpOptimWrapper', dtype='bfloat16', accumulative_counts=4,
                          optimizer=dict(type='SGD\x1b[31m', lr='<b>'))))
    assert settings_of(odd, 8) == {
        'starts from': 'random weights', 'batch': '2 images × 8 processes × summed over 4 iterations', 'seed': '0',
        'optimizer': r'SGD\x1b[31m, lr <b>', 'precision': 'AmpOptimWrapper, dtype bfloat16'}
