"""A model's modules computed in bfloat16 or float16, and all that lies between them in float32."""
import contextlib
import re
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

import torch
from mmengine.model import BaseDataPreprocessor, BaseModel
from torch import Tensor, nn

from ..errors import ConfigError
from ..processes import warn_once
from ..text import did_you_mean
from . import DTYPES

# Layers that use their weights in products alone, whose factors autocast would cast at every call. Subclasses of
# another name, such as those that normalise weights, compute with them first.
_CAST = {layer.__name__: layer for layer in (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)}
_UNKNOWN_TYPE = re.compile('bfloat16|float16|half', re.IGNORECASE)  # in what operators say that lack a type


def check_dtype(dtype: str, device: str) -> None:
    """Check that a model can compute in `dtype` on `device`; warns where bf16 is slower than float32 there.

    Args:
        dtype: one of `DTYPES`.
        device: as for `torch.device`.

    Raises:
        ConfigError: an unknown dtype, or one that the device doesn't compute in.
    """
    if dtype not in DTYPES:
        raise ConfigError(f'dtype must be one of {", ".join(DTYPES)}, got {dtype!r}{did_you_mean(dtype, DTYPES)}')
    kind = torch.device(device).type
    if dtype == 'fp16' and kind == 'cpu':
        raise ConfigError('dtype fp16 is for GPUs, and several times slower than float32 on a CPU: use bf16 there')
    if dtype != 'float32' and not torch.amp.is_autocast_available(kind):
        raise ConfigError(f'dtype {dtype} does not work on {kind}: use float32')
    if dtype == 'bf16' and not _multiplies_bf16(torch.device(device)):
        warn_once(f'dtype bf16: this {"CPU" if kind == "cpu" else "GPU"} has no instructions for bfloat16 products'
                  f'{" (AVX-512-BF16, AMX)" if kind == "cpu" else ""}; float32 is likely to be faster.')


def compute_in(model: nn.Module, dtype: str) -> None:
    """Have a model's modules compute in `dtype`, under autocast, in place. It can't be trained any more.

    Whatever calls a module from outside of all others, as a detector calls its backbone, its heads and the branches of
    its decoder, gets float32: pre- and postprocessing, boxes, NMS, masks, sliding windows and merging are computed in
    it. So is a module with an operator that knows no other type, from its first failure on, which a warning reports.
    Linear layers and convolutions hold their weights in `dtype`, which takes half of the memory.

    Args:
        model: a detector, segmentor or classifier, without wrappers.
        dtype: one of `DTYPES`; float32 changes nothing.
    """
    if dtype == 'float32':
        return
    autocast_to = getattr(torch, DTYPES[dtype])
    precision = _Precision(next(model.parameters()).device.type, autocast_to)
    for module in model.modules():
        if isinstance(module, BaseModel | BaseDataPreprocessor):
            continue
        # Heads of mmseg call their own `forward`, where hooks would not run.
        module.forward = _Forward(module, precision)
        if isinstance(module, _CAST.get(type(module).__name__, ())):
            for parameter in module.parameters(recurse=False):
                if type(parameter.data) is Tensor:  # not a part of a sharded one
                    parameter.data = parameter.data.to(autocast_to)


class _Precision:
    """What the modules of a model share: the type, where a call stands, and what has been reported."""

    def __init__(self, device: str, dtype: torch.dtype):
        self.device, self.dtype = device, dtype
        self.where = ''  # outside of all modules; 'low', within one; 'float32', within one that lacks the type
        self.reported: set[str] = set()

    @contextlib.contextmanager
    def within(self, where: str) -> Iterator[None]:
        before, self.where = self.where, where
        try:
            with torch.autocast(self.device, self.dtype, enabled=where == 'low'):
                yield
        finally:
            self.where = before


class _Forward:
    """Stands in the place of a module's `forward`. No closure: a copy of the model is to call its own layers."""

    def __init__(self, module: nn.Module, precision: _Precision):
        self.module, self.precision = module, precision
        self.lacks = False  # whether an operator of this module lacks the type

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not self.precision.where:
            with self.precision.within('low'):
                return _as_float32(self(*args, **kwargs))
        if self.precision.where == 'low' and not self.lacks:
            try:
                return type(self.module).forward(self.module, *args, **kwargs)
            except (RuntimeError, TypeError) as error:
                if not _UNKNOWN_TYPE.search(str(error)):
                    raise
                self._report(error)
            self.lacks = True
            self.module.float()
        with self.precision.within('float32'):
            return type(self.module).forward(self.module, *_as_float32(args), **_as_float32(kwargs))

    def _report(self, error: Exception) -> None:
        name = type(self.module).__name__
        if name not in self.precision.reported:
            self.precision.reported.add(name)
            warn_once(f'{name} is computed in float32: {str(error).splitlines()[0]}')


def _as_float32(values: Any) -> Any:
    """Values, nested in tuples, lists and dicts, with tensors of 16 bits as float32."""
    if isinstance(values, Tensor):
        return values.float() if values.dtype in (torch.bfloat16, torch.float16) else values
    if type(values) in (dict, OrderedDict):
        return type(values)((key, _as_float32(value)) for key, value in values.items())
    if isinstance(values, tuple) and hasattr(values, '_fields'):
        return type(values)(*map(_as_float32, values))
    return type(values)(map(_as_float32, values)) if type(values) in (list, tuple) else values


def _multiplies_bf16(device: torch.device) -> bool:
    """Whether the device has instructions for bfloat16 products; True where it can't be told."""
    if device.type == 'cuda':
        return torch.version.hip is not None or torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type != 'cpu':
        return True
    if hasattr(torch.cpu, 'get_capabilities'):  # not in torch 2.4
        return any(there for name, there in torch.cpu.get_capabilities().items() if 'bf16' in name)
    try:
        with open('/proc/cpuinfo') as file:
            return 'bf16' in file.read()
    except OSError:
        return True
