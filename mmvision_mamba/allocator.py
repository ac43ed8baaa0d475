"""What glibc's malloc, PyTorch's allocator on CPUs under Linux, does with memory that is freed; failed allocations."""
import ctypes
import os
import platform
import re

# Of malloc.h. No bound of a gigabyte is met by what a network allocates; versions before 2.35 take 32 MiB at most.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -3, -4
_UNBOUNDED = 2**31 - 1
_DECIDING = ('MALLOC_TRIM_THRESHOLD_', 'MALLOC_MMAP_THRESHOLD_', 'MALLOC_MMAP_MAX_', 'MALLOC_TOP_PAD_')


def keep_freed_memory(device: str) -> bool:
    """Where a model computes on a CPU, have malloc keep what is freed for the next allocation, from now on.

    By default it gives blocks past 32 MiB back to the system as soon as they are freed, and the end of the heap past
    64: each of their pages is made and zeroed anew at the next call, a fifth of the time of an inference at
    2048 × 2048. The process then keeps what its busiest moment needed.

    Args:
        device: where the model computes, as for `torch.device`.

    Returns:
        Whether it does. False: another device, another allocator is in use, or the environment decides (glibc's
        ``MALLOC_…_`` variables, ``GLIBC_TUNABLES`` that name malloc, an ``LD_PRELOAD`` that brings an allocator).
    """
    environment = os.environ
    if (not device.startswith('cpu') or platform.libc_ver()[0] != 'glibc'
            or any(name in environment for name in _DECIDING)
            or 'malloc' in environment.get('GLIBC_TUNABLES', '') + environment.get('LD_PRELOAD', '')):
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool((mallopt(M_MMAP_THRESHOLD, 2**30) or mallopt(M_MMAP_MAX, 0)) and mallopt(M_TRIM_THRESHOLD, _UNBOUNDED))


def give_freed_memory_back() -> None:
    """Have malloc give back what is freed and kept, where it is glibc's.

    Between allocations of many sizes that falls into pieces, which fit none of the next, and grows.
    """
    if os.name == 'posix' and (trim := getattr(ctypes.CDLL(None), 'malloc_trim', None)):
        trim(0)


# What torch, and the libraries below it, say where an allocation fails; for CPUs, torch has no class of its own.
_FAILED = re.compile("can(no|')t allocate memory|not enough memory|out of memory|ALLOC_FAILED|std::bad_alloc|"
                     'could not (create|allocate) a? ?memory', re.I)


def is_failed_allocation(error: Exception) -> bool:
    """Whether Python or torch found no memory, on the CPU or a GPU."""
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and _FAILED.search(str(error)) is not None)
