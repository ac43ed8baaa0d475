"""What --val-loss, --monitor and --patience make of a config."""
import pytest
from mmengine import Config

from mmvision_mamba.commands.steps.stopping import use_stopping
from mmvision_mamba.errors import ConfigError


def config(hooks=(), **checkpoint) -> Config:
    return Config(dict(val_dataloader=dict(), val_cfg=dict(), custom_hooks=list(hooks),
                       default_hooks=dict(checkpoint=dict(type='CheckpointHook', **checkpoint))))


def test_patience_goes_by_the_best_checkpoints_metric():
    cfg = config()
    use_stopping(cfg, False, None, 3)
    assert cfg.custom_hooks == [dict(type='ResumableEarlyStoppingHook', min_delta=0., patience=3)]
    assert cfg.default_hooks.checkpoint.save_best == 'auto'


def test_a_hook_in_the_config_keeps_its_settings():
    cfg = config([dict(type='EarlyStoppingHook', monitor='mIoU', rule='greater', patience=9, min_delta=2.)],
                 save_best='mIoU', rule='greater')
    use_stopping(cfg, False, None, 3)
    assert cfg.custom_hooks[0] == dict(type='EarlyStoppingHook', monitor='mIoU', rule='greater', patience=3,
                                       min_delta=2.)
    assert cfg.default_hooks.checkpoint.rule == 'greater'


def test_another_metric_has_another_rule():
    cfg = config([dict(type='EarlyStoppingHook', monitor='mIoU', rule='greater')], save_best='mIoU', rule='greater')
    use_stopping(cfg, True, 'val/loss', None)
    assert cfg.custom_hooks == [dict(type='EarlyStoppingHook', monitor='val/loss'), dict(type='ValLossHook')]
    assert cfg.default_hooks.checkpoint == dict(type='CheckpointHook', save_best='val/loss')


def test_without_options_a_config_stays_as_it_is():
    cfg = config(save_best='auto')
    use_stopping(cfg, False, None, None)
    assert cfg.to_dict() == config(save_best='auto').to_dict()


@pytest.mark.parametrize('hooks', [[], [dict(type='EarlyStoppingHook', monitor='val/loss')]])
def test_a_loss_that_nothing_computes(hooks):
    with pytest.raises(ConfigError, match='is not computed'):
        use_stopping(config(hooks, save_best='mIoU' if hooks else 'val/loss'), False, None, None)
