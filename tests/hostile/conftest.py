"""Runs a config's data sets as training and testing do, up to the model."""
from types import SimpleNamespace

import pytest
import torch
from mmengine.registry import DATASETS, METRICS, DefaultScope

from mmvision_mamba.datasets.loading import known_labels, use_checked_loading
from mmvision_mamba.errors import UserError
from mmvision_mamba.preflight.check_data import check_datasets


@pytest.fixture
def run():
    """run(cfg) loads every sample, and with evaluation=True evaluates predictions for those of validation.

    Returns the training samples where all of it works, or the one or two lines of the refusal.
    """
    def run(cfg, evaluation=False):
        with DefaultScope.overwrite_default_scope(cfg.default_scope):
            try:
                check_datasets(cfg, ('train', 'val'))
                samples = load(cfg, cfg.train_dataloader.dataset)
                if evaluation:
                    evaluate(cfg, load(cfg, cfg.val_dataloader.dataset))
            except UserError as error:
                assert 1 <= len(str(error).splitlines()) <= 2, str(error)
                return SimpleNamespace(refused=str(error), samples=None)
        return SimpleNamespace(refused=None, samples=samples)
    return run


def load(cfg, settings):
    dataset = DATASETS.build(dict(settings, serialize_data=False))  # which collects garbage, for most of a second
    use_checked_loading(dataset, known_labels(cfg))
    samples = [dataset[i] for i in range(len(dataset))]
    for sample in samples:
        assert sample['inputs'].dtype == torch.uint8 and sample['inputs'].shape[0] == 3
        found = sample['data_samples'].get('gt_instances')
        if found is not None:
            boxes = found.bboxes.tensor if hasattr(found.bboxes, 'tensor') else found.bboxes
            assert torch.isfinite(boxes).all() and all(0 <= label < 3 for label in found.labels)
            if 'masks' in found:
                assert set(found.masks.to_ndarray().ravel().tolist()) <= {0, 1}
    return samples


def evaluate(cfg, samples):
    metric = METRICS.build(cfg.val_evaluator)
    metric.dataset_meta = dict(classes=('circle', 'square', 'star'))
    for sample in samples:
        height, width = sample['data_samples'].ori_shape
        masks = torch.zeros(1, height, width, dtype=torch.bool)
        masks[:, :height // 2, :width // 2] = True
        prediction = dict(bboxes=torch.tensor([[0., 0., width / 2, height / 2]]), scores=torch.tensor([0.9]),
                          labels=torch.tensor([0]), masks=masks)
        metric.process({}, [dict(img_id=sample['data_samples'].img_id, ori_shape=(height, width),
                                 pred_instances=prediction)])
    if samples:
        metric.evaluate(len(samples))
