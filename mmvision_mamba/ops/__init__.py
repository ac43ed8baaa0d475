"""Selective scan. Knows tensors, nothing of vision or OpenMMLab."""
from .selective_scan import BACKENDS, check_backend, selective_scan

__all__ = ['BACKENDS', 'check_backend', 'selective_scan']
