"""Instances above the threshold of their class."""
import pytest
import torch

pytest.importorskip('mmengine')

from mmengine.structures import BaseDataElement, InstanceData

from mmvision_mamba.errors import ConfigError
from mmvision_mamba.inference.report_thresholds import above, report_thresholds


def test_each_class_has_its_threshold():
    sample = BaseDataElement(pred_instances=InstanceData(
        scores=torch.tensor([0.5, 0.5, 0.2, 0.9]), labels=torch.tensor([0, 1, 0, 1])))
    kept = above(sample, [0.4, 0.6])
    assert kept.pred_instances.scores.tolist() == pytest.approx([0.5, 0.9])
    assert len(sample.pred_instances) == 4, 'the prediction stays as it is'
    assert above(BaseDataElement(), [0.4]).keys() == []


@pytest.mark.parametrize('checkpoint', [None, 'https://127.0.0.1/model.pth', 'hf://owner/repository'])
def test_without_a_file_there_is_no_report_beside_it(checkpoint):
    with pytest.raises(ConfigError, match='give a number'):
        report_thresholds(checkpoint, ['a'])
