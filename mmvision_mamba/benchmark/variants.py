"""Variants of a module to measure: as it is, compiled, as a CUDA graph, channels last, fused, in mixed precision."""
import functools
import weakref
from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..costs.flops import count_flops
from ..errors import ConfigError
from . import AMP
from .setting import Setting

VARIANTS = ('channels_last', 'fuse', 'compile', 'cuda_graphs')


# AdamW keeps two numbers a weight, which settings of one model share.
_OPTIMIZERS: weakref.WeakKeyDictionary[nn.Module, torch.optim.Optimizer] = weakref.WeakKeyDictionary()


def variants(args, fusable: bool = True) -> list[tuple[str, ...]]:
    """The plain variant (); each variant whose option is set; and, of several, all together.

    Args:
        args: options of the command.
        fusable: whether the model has a form fused for inference; else 'fuse' is left out.
    """
    chosen = tuple(name for name in VARIANTS if getattr(args, name, False) and (fusable or name != 'fuse'))
    return [(), *((name,) for name in chosen), *([chosen] if len(chosen) > 1 else [])]


def shared(build: Callable[[tuple[str, ...]], nn.Module],
           changes: tuple[str, ...] = ('channels_last', 'fuse')) -> Callable[[tuple[str, ...]], nn.Module]:
    """`build`, which makes the model of a variant, but once for all variants that agree in those that `changes` names:
    the others leave the model as it is."""
    built = functools.cache(build)
    return lambda variant: built(tuple(name for name in variant if name in changes))


def compiled(function: Callable) -> Callable:
    """`function` through torch.compile, anew for every shape: a graph of any size would be slower."""
    # torch falls back to eager code, in silence, when one function was compiled this often for different models.
    torch._dynamo.config.cache_size_limit = 10**4
    torch._dynamo.config.accumulated_cache_size_limit = 10**4
    return torch.compile(function, dynamic=False)


def autocast_dtype(amp: str) -> torch.dtype | None:
    """The dtype that a value of --amp computes in; None: no autocast."""
    return AMP[amp] and getattr(torch, AMP[amp])


def precision(device: torch.device, amp: str, cache: bool = True):
    dtype = autocast_dtype(amp)
    return torch.autocast(device.type, dtype or torch.bfloat16, enabled=dtype is not None, cache_enabled=cache)


def mean_of(outputs) -> Tensor:
    """The sum of the outputs' means: a loss that costs little beside the forward."""
    return sum(y.float().mean() for y in (outputs if isinstance(outputs, (tuple, list)) else (outputs,)))


def module_setting(model: nn.Module, x: Tensor, variant: tuple[str, ...], amp: str, **fields) -> Setting:
    """A setting that calls `model`, which is prepared for the variant, on `x`.

    Args:
        fields: group, name, units, unit and options of the setting.
    """
    if 'channels_last' in variant:
        x = x.contiguous(memory_format=torch.channels_last)
    call = compiled(model) if 'compile' in variant else model
    graph = 'cuda_graphs' in variant

    def run(call=call):
        with precision(x.device, amp, cache=not graph):
            return call(x)

    def plain(phase):  # torch's counter can't see into compiled code
        out = run(model)
        if phase == 'training':
            mean_of(out).backward()
    setting = Setting(forward=as_cuda_graph(run) if graph else run, model=model, inputs=[x],
                      loss=None if graph or 'fuse' in variant else lambda: mean_of(run()), **fields)
    return finish(setting, plain, x.device, variant, amp)


def prepare(model: nn.Module, variant: tuple[str, ...]) -> nn.Module:
    """`model` in channels-last format, fused for inference, if `variant` says so."""
    if 'channels_last' in variant:
        model = model.to(memory_format=torch.channels_last)
    if 'fuse' in variant:
        model = fuse(model)
    return model


def fuse(model: nn.Module) -> nn.Module:
    """The model fused for inference. Its `fuse` may work in place and return None."""
    if not hasattr(model, 'fuse'):
        raise ConfigError(f'--fuse: {type(model).__name__} has no method fuse()')
    return model.eval().fuse() or model


def finish(setting: Setting, plain: Callable, device: torch.device, variant: tuple[str, ...], amp: str) -> Setting:
    """Add optimiser, dtype and counts to a setting that has a model, and return it.

    Args:
        plain: takes a phase and makes one call of it, with nothing compiled.
    """
    def count(phase):
        flops = count_flops(lambda: plain(phase), setting.model, phase)
        setting.clear()
        return flops
    model = setting.model
    setting.leaves = [p for p in model.parameters() if p.requires_grad]
    setting.dtype, setting.count = autocast_dtype(amp) or torch.float32, count
    setting.reports_memory = 'cuda_graphs' not in variant
    if setting.loss is not None:
        # Takes as long with a learning rate of 0, and the weights stay as they are.
        if model not in _OPTIMIZERS:
            _OPTIMIZERS[model] = torch.optim.AdamW(setting.leaves, lr=0., weight_decay=0.05)
        setting.optimizer = _OPTIMIZERS[model]
        if amp == 'fp16':
            setting.scaler = torch.amp.GradScaler(device.type)
    return setting


def as_cuda_graph(function: Callable) -> Callable:
    """`function` as a CUDA graph, captured at the first call and replayed at every call."""
    captured = []

    def replay():
        if not captured:
            stream = torch.cuda.Stream()
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                for _ in range(3):
                    function()
            torch.cuda.current_stream().wait_stream(stream)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                out = function()
            captured.extend((graph, out))
        captured[0].replay()
        return captured[1]
    return replay
