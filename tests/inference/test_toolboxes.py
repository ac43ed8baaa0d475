"""Which visualiser draws; what of a config is refused."""
import threading

import pytest
from mmengine.config import Config

from mmvision_mamba import Inferencer
from mmvision_mamba.errors import ConfigError
from mmvision_mamba.inference.toolboxes import build_toolbox, use_scaling_visualizer

from ..helpers import ROOT
from ..helpers.small_configs import DETECTOR, SEGMENTOR


@pytest.mark.parametrize('name', ['mask2former_mambavision_t_coco-panoptic', 'atss_mambavision_t_coco',
                                  'mask2former_mambavision_t_ade20k', 'upernet_mambavision_t_ade20k'])
def test_the_toolboxes_own_visualisers_are_replaced(name):
    """mmdet's own bases, which neighbours build on, give theirs a scope."""
    cfg = Config.fromfile(ROOT / 'configs' / f'{name}.py')
    use_scaling_visualizer(cfg)
    assert 'Scaling' in str(cfg.visualizer.type)


def test_settings_of_the_config_are_not():
    cfg = Config(dict(default_scope='mmdet', visualizer=dict(type='mmdet.DetLocalVisualizer', name='v', line_width=9)))
    use_scaling_visualizer(cfg)
    assert cfg.visualizer.type == 'mmdet.DetLocalVisualizer'


def test_an_unknown_kind_of_nms_is_refused():
    cfg = Config(dict(default_scope='mmdet', model=dict(test_cfg=dict(nms=dict(type='soft_nsm')))))
    with pytest.raises(ConfigError, match=r"model.test_cfg.nms.type is 'soft_nsm' \(did you mean 'soft_nms'"):
        build_toolbox(cfg, None, 'cpu')


def test_a_segmentor_without_a_test_mode_is_refused():
    cfg = Config(dict(default_scope='mmseg', model=dict(backbone=dict(), decode_head=dict(), test_cfg=None)))
    with pytest.raises(ConfigError, match=r"model.test_cfg.mode is None: expected 'whole'"):
        build_toolbox(cfg, None, 'cpu')


def test_models_of_both_toolboxes_are_built_in_threads_at_once(tmp_path):
    """mmengine's default scope, by which their types are looked up, is the process's."""
    failed = []

    def build(name):
        try:
            for _ in range(3):
                Inferencer(tmp_path / f'{name}.py', device='cpu', show_progress=False)
        except Exception as error:
            failed.append(error)
    for name, text in (('detector', DETECTOR), ('segmentor', SEGMENTOR)):
        (tmp_path / f'{name}.py').write_text(text)
    threads = [threading.Thread(target=build, args=(name,)) for name in ('detector', 'segmentor')]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
