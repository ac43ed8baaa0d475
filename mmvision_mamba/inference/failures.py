"""Errors of a single image, after which a run goes on with the next: which these are, and what is reported of them."""
import gc

import cv2
import torch

from ..allocator import is_failed_allocation
from ..errors import DataError
from ..printable import printable, shown

NO_MEMORY = 'not enough memory for this image'


def reason_of(error: Exception, name: str) -> str | None:
    """Why an input failed, on one line without its name; None for errors that are no image's.

    Args:
        error: what reading the image, or inferring on it, raised.
        name: of the input.
    """
    if is_memory_error(error):
        return NO_MEMORY
    if not isinstance(error, DataError | cv2.error):
        return None
    lines = str(error).removeprefix(printable(f'{name}: ')).splitlines()
    return shown(lines[0], 500) if lines and lines[0] else type(error).__name__


def is_memory_error(error: Exception) -> bool:
    """Whether an allocation failed, on the CPU or a GPU."""
    return is_failed_allocation(error) or isinstance(error, torch.cuda.OutOfMemoryError) or (
        isinstance(error, cv2.error) and error.code == cv2.Error.StsNoMem)


def free_memory() -> None:
    """Give back what a failed input took. Called when its error is gone, whose traceback holds the input's tensors."""
    gc.collect()
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
