"""The selective scan of Mamba (arXiv 2312.00752), behind one function for every backend."""
import functools
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from ..errors import ConfigError, MissingExtraError
from .chunked import chunked_scan
from .mamba_ssm import mamba_ssm_scan, package_scan
from .operators import exporting
from .reference import reference_scan


def _triton_scan(*args: Any) -> Tensor:
    from .triton_scan import triton_scan  # imports Triton: only when it is needed
    return triton_scan(*args)


def _numba_scan(*args: Any) -> Tensor:
    from .numba_scan import numba_scan  # imports numba: only when it is needed
    return numba_scan(*args)


# Each takes selective_scan's arguments but the backend, checked, in selective_scan's order.
_SCANS = {'reference': reference_scan, 'chunked': chunked_scan, 'numba': _numba_scan, 'triton': _triton_scan,
          'mamba_ssm': mamba_ssm_scan}
BACKENDS = ('auto', *_SCANS)
_KERNEL_DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def check_backend(backend: str) -> str:
    """Returns `backend`; raises ConfigError naming the valid ones, or MissingExtraError naming the missing package."""
    if backend not in BACKENDS:
        raise ConfigError(f'unknown scan backend {backend!r}; valid ones: {", ".join(map(repr, BACKENDS))}')
    if missing := _missing(backend):
        raise MissingExtraError(missing)
    return backend


def why_not(backend: str) -> str:
    """Why `backend` doesn't work on this machine, with the way out; '' where it does."""
    if (missing := _missing(backend)) or backend not in ('triton', 'mamba_ssm') or torch.cuda.is_available():
        return missing
    if backend == 'triton' and _interpreted():
        return ''
    return f"scan backend {backend!r}: needs a CUDA device, and torch sees none"


# torch.compile takes the answer as it is, instead of tracing the imports.
@torch.compiler.assume_constant_result
def _missing(backend: str) -> str:
    """The message about a package that `backend` lacks, with the way out; '' where it lacks none."""
    if backend == 'triton':
        return _triton_missing()
    if backend == 'numba':
        return _numba_missing()
    if backend == 'mamba_ssm':
        try:
            package_scan()
        except ImportError as error:
            if find_spec('mamba_ssm') is None:
                return str(MissingExtraError("scan backend 'mamba_ssm'", 'mamba'))
            return (f"scan backend 'mamba_ssm': the installed package can't be imported: {error}\n"
                    "Rebuild it for this torch: pip install --force-reinstall --no-deps --no-build-isolation mamba-ssm")
    return ''


@functools.cache
def _triton_missing() -> str:
    if find_spec('triton') is None:
        return "scan backend 'triton': Triton is not installed: pip install triton"
    try:
        from . import triton_scan  # noqa: F401
    except Exception as error:  # an OSError or RuntimeError too: it loads libraries and looks for drivers
        return f"scan backend 'triton': Triton can't be used: {error}\npip install --upgrade triton"
    return ''


@functools.cache
def _numba_missing() -> str:
    if find_spec('numba') is None:
        return str(MissingExtraError("scan backend 'numba'", 'numba'))
    try:
        from . import numba_scan  # noqa: F401
    except Exception as error:  # it refuses versions of NumPy and Python that it doesn't know
        return f"scan backend 'numba': numba can't be used: {error}\npip install --upgrade numba"
    return ''


def _choose(backend: str, u: Tensor) -> str:
    """The backend that scans u, with 'auto' resolved. Raises ConfigError if the named backend can't take u."""
    if backend == 'auto':
        if triton_takes(u):
            return 'triton'
        return 'numba' if not exporting() and numba_takes(u) and not _missing('numba') else 'chunked'
    if exporting() or backend in ('reference', 'chunked'):
        return backend
    check_backend(backend)
    if backend == 'numba' and not numba_takes(u):
        raise ConfigError(f"selective_scan: backend 'numba' takes float32, float16 and bfloat16 on a CPU, u is "
                          f"{u.dtype} on {u.device}: use 'auto' or 'chunked'")
    if backend == 'mamba_ssm' and not u.is_cuda:
        raise ConfigError(f"selective_scan: backend 'mamba_ssm' needs CUDA tensors, u is on {u.device}: "
                          "use 'auto' or 'chunked'")
    if backend == 'triton' and not triton_takes(u, interpreted=True):
        if u.dtype not in _KERNEL_DTYPES:
            raise ConfigError(f"selective_scan: backend 'triton' takes float32, float16 and bfloat16, u is {u.dtype}: "
                              "use 'auto' or 'chunked'")
        raise ConfigError(f"selective_scan: backend 'triton' needs CUDA tensors, u is on {u.device}: use 'auto' or "
                          "'chunked' (with TRITON_INTERPRET=1 in the environment it runs anywhere, very slowly)")
    return backend


def numba_takes(u: Tensor) -> bool:
    """Whether numba's loops scan `u`, where it is installed."""
    return u.device.type == 'cpu' and u.dtype in _KERNEL_DTYPES


def triton_takes(u: Tensor, interpreted: bool = False) -> bool:
    """Whether Triton's kernels run on `u`: on CUDA, or, if `interpreted`, wherever Triton's interpreter is on."""
    return u.dtype in _KERNEL_DTYPES and not _missing('triton') and (u.is_cuda or (interpreted and _interpreted()))


@torch.compiler.assume_constant_result
def _interpreted() -> bool:
    from .triton_kernels import INTERPRETED
    return INTERPRETED


def selective_scan(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None = None,
                   delta_bias: Tensor | None = None, delta_softplus: bool = False, mask: Tensor | None = None,
                   backend: str = 'auto') -> Tensor:
    """Selective scan over sequences whose channels lie last, as linear layers produce them.

    Δ = softplus(delta + delta_bias);  h_t = exp(Δ_t A) h_{t-1} + Δ_t B_t u_t;  y_t = C_t · h_t + D u_t.
    State, softplus and every sum are float32 whatever the inputs' dtype (float64 where u is float64), under autocast
    too.

    Args:
        u: input, ``(batch, length, channels)``.
        delta: step sizes, ``(batch, length, channels)``.
        A: ``(channels, state)``, negative for a state that decays.
        B, C: ``(batch, length, state)``.
        D: skip connection, ``(channels,)``. None: no skip.
        delta_bias: ``(channels,)``, added to delta before the softplus. None: no bias.
        delta_softplus: whether delta goes through a softplus. Default: False.
        mask: bool, ``(batch, length)``, True at real tokens. At the others Δ is exactly 0: the state passes through
            unchanged, and they get no gradient but D's. None: all are real.
        backend: 'reference' (step by step), 'chunked' (any device, own backward), 'numba' (CPU) and 'triton' (CUDA),
            both for u in float32, float16 or bfloat16, 'mamba_ssm' (CUDA, the package of that name) or 'auto': Triton
            or numba where it is installed and takes u, else chunked. A graph that is exported gets the chunked scan's
            plain operators, whichever but the first is asked for. Default: 'auto'.

    Returns:
        y: ``(batch, length, channels)``, in u's dtype.

    Raises:
        ValueError: an unknown backend or one that doesn't take u, or a shape, dtype or device that doesn't fit u's;
            names the argument.
        MissingExtraError: the backend needs a package that isn't installed.
    """
    if backend not in BACKENDS:
        check_backend(backend)
    _check(u, delta, A, B, C, D, delta_bias, mask)
    scan = _SCANS[_choose(backend, u)]
    return scan(u, delta, A, B, C, D, delta_bias, delta_softplus, mask)


def _check(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None, delta_bias: Tensor | None,
           mask: Tensor | None) -> None:
    if u.dim() != 3:
        raise ValueError(f'selective_scan: u must be (batch, length, channels), got shape {tuple(u.shape)}')
    if A.dim() != 2:
        raise ValueError(f'selective_scan: A must be (channels, state), got shape {tuple(A.shape)}')
    (batch, length, channels), state = u.shape, A.shape[1]
    for name, value, names, shape in (
            ('delta', delta, '(batch, length, channels)', (batch, length, channels)),
            ('A', A, '(channels, state)', (channels, state)),
            ('B', B, '(batch, length, state)', (batch, length, state)),
            ('C', C, '(batch, length, state)', (batch, length, state)),
            ('D', D, '(channels,)', (channels,)),
            ('delta_bias', delta_bias, '(channels,)', (channels,)),
            ('mask', mask, '(batch, length)', (batch, length))):
        if value is None:
            continue
        if value.shape != shape:
            raise ValueError(f'selective_scan: {name} must be {names} = {shape} to fit u, got {tuple(value.shape)}')
        if value.device != u.device:
            raise ValueError(f'selective_scan: {name} must be on {u.device}, where u is, got {value.device}')
        if (value.dtype == torch.bool) != (name == 'mask') or value.is_complex():
            raise ValueError(f'selective_scan: {name} must be {"bool" if name == "mask" else "real floating point"}, '
                             f'got {value.dtype}')
    if not u.is_floating_point():
        raise ValueError(f'selective_scan: u must be real floating point, got {u.dtype}')
