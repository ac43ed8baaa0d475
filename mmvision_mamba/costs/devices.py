"""The device that a measurement runs on. Imports torch on demand."""
from typing import TYPE_CHECKING

from ..errors import ConfigError

if TYPE_CHECKING:
    import torch


def parse_device(name: str | None) -> 'torch.device':
    """The device of that name, by default a GPU if there is one; raises ConfigError for a device that isn't there."""
    import torch
    name = name or ('cuda' if torch.cuda.is_available() else 'cpu')
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ('cpu', 'cuda'):
        raise ConfigError(f'device: expected cpu, cuda or cuda:N, got {name!r}')
    if device.type == 'cuda' and not 0 <= (device.index or 0) < torch.cuda.device_count():  # torch makes -25 of 999
        raise ConfigError(f'device {name!r}: this machine has {torch.cuda.device_count() or "no"} CUDA devices that '
                          'PyTorch can use')
    return device
