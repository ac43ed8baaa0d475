"""From torch's profiler: shares of an inference's time by kind of operator, and the longest kernels of a call."""
import warnings
from collections.abc import Callable

import torch
from torch.profiler import ProfilerActivity, profile

from .setting import Setting

GROUPS = ('convolution', 'linear', 'attention', 'scan', 'norm', 'activation', 'layout', 'elementwise', 'other')
_SCAN = 'mmvision_mamba::'  # this package's operators: scans, and on CUDA the mixer around them
# Operators of each group. The outermost operator listed here counts, with all that it calls.
_NAMES = dict(
    convolution=('conv1d', 'conv2d', '_convolution', 'convolution', '_convolution_mode'),
    linear=('linear', 'addmm', 'mm', 'matmul', 'bmm'),
    attention=('scaled_dot_product_attention', 'softmax'),
    norm=('layer_norm', 'native_layer_norm', 'batch_norm', 'native_batch_norm'),
    activation=('gelu', 'relu', 'relu_', 'silu', 'silu_', 'softplus'),
    layout=('contiguous', 'clone', 'copy_', 'reshape', 'cat', 'pad', 'constant_pad_nd', 'to', '_to_copy', 'flatten',
            'unflatten', 'permute', 'transpose', 'view', 'split', 'chunk', 'slice', 'as_strided', 't', 'expand',
            'repeat', 'stack', 'zero_', 'fill_', 'ones', 'zeros', 'select', 'unsqueeze', 'squeeze', 'narrow',
            'unbind', 'index'),
    elementwise=('add', 'add_', 'mul', 'mul_', 'masked_fill', 'masked_fill_', 'exp', 'neg', 'bitwise_not', 'div',
                 'div_'))
_GROUP_OF = {f'aten::{name}': group for group, names in _NAMES.items() for name in names} | {
    'mkldnn::_linear_pointwise': 'linear', '_Blocks': 'attention'}  # the latter is that of ops/attention.py


def shares(setting: Setting, device: torch.device) -> dict[str, float]:
    """The share of each of `GROUPS` in the time of one inference: kernel time on a GPU, operator time on a CPU.

    Scans are recognised by their custom operator. The backend 'reference' has none: its time counts as elementwise.
    """
    with setting.prepared('forward'):
        setting.call('forward')
        profiler = _profiled(lambda: setting.call('forward'), device)
    times, on_device = dict.fromkeys(GROUPS, 0.), 0.
    for event in profiler.events():
        if event.device_type != torch.autograd.DeviceType.CPU:
            on_device += event.self_device_time_total
            continue
        time = event.self_device_time_total if device.type == 'cuda' else event.self_cpu_time_total
        times[_group(event)] += time
    # Kernels that no operator of PyTorch's launched.
    times['other'] += max(0., on_device - sum(times.values())) if device.type == 'cuda' else 0.
    total = sum(times.values()) or 1.
    return {group: time / total for group, time in times.items()}


def longest(call: Callable[[], object], device: torch.device, count: int) -> list[dict]:
    """The `count` kernels of a call that take longest, on a CPU operators: name, calls, ms, share of all time."""
    on_gpu = device.type == 'cuda'
    call()
    events = [(event.key, event.count, event.self_device_time_total if on_gpu else event.self_cpu_time_total)
              for event in _profiled(call, device).key_averages()
              if not on_gpu or event.device_type != torch.autograd.DeviceType.CPU]
    total = sum(time for *_, time in events) or 1.
    return [dict(name=name, calls=calls, ms=time / 1e3, share=time / total)
            for name, calls, time in sorted(events, key=lambda event: -event[2])[:count]]


def _profiled(call: Callable[[], object], device: torch.device) -> profile:
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device.type == 'cuda' else [])]
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # it keeps the events of one cycle only: there is only one
        with profile(activities=activities) as profiler:
            call()
            if device.type == 'cuda':
                torch.cuda.synchronize(device)
    return profiler


def _group(event) -> str:
    group = 'other'
    while event is not None:
        group = 'scan' if event.name.startswith(_SCAN) else _GROUP_OF.get(event.name, group)
        event = event.cpu_parent
    return group
