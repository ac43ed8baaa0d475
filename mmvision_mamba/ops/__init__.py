"""Selective scan and the mixer around it. Knows tensors, nothing of vision or OpenMMLab."""
from .attention import attention
from .linear import Linear
from .mixer import fused_mixer, fuses
from .selective_scan import BACKENDS, check_backend, selective_scan

__all__ = ['BACKENDS', 'Linear', 'attention', 'check_backend', 'fused_mixer', 'fuses', 'selective_scan']
