"""Bytes: the most that is allocated during a call, and what a forward keeps for the backward."""
from collections.abc import Callable, Iterable

import torch
from torch import Tensor


def peak_memory(function: Callable, device: torch.device) -> int:
    """Bytes allocated at most while `function` runs, beyond what was allocated before.

    CUDA: `torch.cuda.max_memory_allocated`. CPU: every allocation and release of PyTorch's allocator, as torch's
    profiler records them, those within operators too; scratch memory of the libraries beneath is not among them.
    """
    if device.type == 'cuda':
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        function()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    with torch.autograd.profiler.profile(profile_memory=True) as profile:
        function()
    now = peak = 0
    for _, size in allocations(profile):
        now += size
        peak = max(peak, now)
    return peak


def allocations(profile: torch.autograd.profiler.profile) -> list[tuple[int, int]]:
    """(time in ns, bytes) of what was allocated on the CPU, and negative what was released, in order."""
    return sorted(((event.start_ns(), event.nbytes()) for event in profile.kineto_results.events()
                   if event.name() == '[memory]' and event.device_type() == torch.autograd.DeviceType.CPU),
                  key=lambda event: event[0])


def kept_for_backward(forward: Callable, leaves: Iterable[Tensor]) -> int:
    """Bytes that the forward keeps for the backward beside `leaves`."""
    kept = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        out = forward()
    del out
    own = {leaf.untyped_storage().data_ptr() for leaf in leaves}
    return sum(size for pointer, size in kept.items() if pointer not in own)
