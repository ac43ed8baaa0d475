"""Evaluation beyond the toolboxes: confusion matrices, masks in test-time augmentation, panoptic quality, LVIS."""
