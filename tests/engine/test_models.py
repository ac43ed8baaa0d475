"""A model without what it is wrapped in."""
import torch
from mmengine.model import BaseTTAModel, MMDistributedDataParallel

from mmvision_mamba.engine.models import bare_model

from ..helpers.tiny_training import TinyModel


class Averaging(BaseTTAModel):
    def merge_preds(self, data_samples_list):
        return data_samples_list


def test_bare_model(tmp_path):
    model = TinyModel()
    assert bare_model(model) is model and bare_model(Averaging(model)) is model
    torch.distributed.init_process_group('gloo', init_method=f'file://{tmp_path}/store', rank=0, world_size=1)
    try:
        wrapped = MMDistributedDataParallel(model)
        assert bare_model(wrapped) is model and bare_model(Averaging(wrapped)) is model
    finally:
        torch.distributed.destroy_process_group()
