"""What a run loads is checked, whatever its pipeline is by then."""
from types import SimpleNamespace

import pytest
from mmengine.config import Config
from mmengine.dataset import Compose

from mmvision_mamba.engine.hooks.checked_loading import CheckedLoadingHook

pytest.importorskip('mmcv')


@pytest.mark.parametrize('phase', ['train', 'val', 'test'])
def test_a_pipeline_that_was_switched_is_checked_too(phase):
    from mmcv.transforms import LoadAnnotations, LoadImageFromFile

    from mmvision_mamba.datasets.loading import CheckedAnnotations, CheckedLoadImageFromFile
    dataset = SimpleNamespace(pipeline=Compose([LoadImageFromFile()]))
    runner = SimpleNamespace(cfg=Config(dict(model=dict(decode_head=dict(num_classes=7)))),
                             **{f'{phase}_dataloader': SimpleNamespace(dataset=dataset)})
    before_epoch = getattr(CheckedLoadingHook(), f'before_{phase}_epoch')
    before_epoch(runner)
    assert type(dataset.pipeline.transforms[0]) is CheckedLoadImageFromFile
    dataset.pipeline = Compose([LoadImageFromFile(), LoadAnnotations()])  # as mmdet's PipelineSwitchHook does it
    before_epoch(runner)
    image, annotations = dataset.pipeline.transforms
    assert type(image) is CheckedLoadImageFromFile
    assert type(annotations) is CheckedAnnotations and annotations.labels == range(7)
