"""Peak memory of a call, and memory that a forward keeps for the backward, in bytes."""
from collections.abc import Callable, Iterable
from itertools import accumulate

import torch
from torch import Tensor


def peak_memory(function: Callable, device: torch.device) -> int:
    """Bytes allocated at most while `function` runs, beyond what was allocated before.

    CUDA: `torch.cuda.max_memory_allocated`. CPU: every allocation and release of PyTorch's allocator, within operators
    too, as torch's profiler records them; scratch memory of the libraries beneath does not count.
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
    return peak_of(size for _, size in allocations(profile))


def allocations(profile: torch.autograd.profiler.profile) -> list[tuple[int, int]]:
    """(time in ns, bytes) of each allocation on the CPU, in order; negative bytes for a release."""
    return sorted(((event.start_ns(), event.nbytes()) for event in profile.kineto_results.events()
                   if event.name() == '[memory]' and event.device_type() == torch.autograd.DeviceType.CPU),
                  key=lambda event: event[0])


def peak_of(sizes: Iterable[int]) -> int:
    """Most bytes allocated at a time, from the sizes of `allocations`."""
    return max(accumulate(sizes, initial=0))


def kept_for_backward(forward: Callable, leaves: Iterable[Tensor]) -> int:
    """Bytes of the tensors that a forward saves for the backward, without `leaves` (parameters, inputs)."""
    saved = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        out = forward()
    del out
    leaf_pointers = {leaf.untyped_storage().data_ptr() for leaf in leaves}
    return sum(size for pointer, size in saved.items() if pointer not in leaf_pointers)
