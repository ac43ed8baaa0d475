"""Evaluation beyond the toolboxes' metrics: confusion matrices, test-time augmentation with masks, LVIS."""
