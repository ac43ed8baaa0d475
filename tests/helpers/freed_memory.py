"""Memory that this process has freed and malloc keeps: commands that ran in it asked for that, see `allocator`."""
import ctypes
import os


def give_back() -> None:
    """Give it back to the system, where malloc is glibc's."""
    if os.name == 'posix' and (trim := getattr(ctypes.CDLL(None), 'malloc_trim', None)):
        trim(0)
