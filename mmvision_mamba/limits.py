"""Bounds on what a file or an option may ask for, far above real ones, and the environment variables that set others.

A file of some kilobytes can ask for more memory than there is. Each bound is checked where files are read, before
anything is allocated for them.
"""
import os
from typing import NamedTuple

from .errors import ConfigError
from .printable import shown


class Limit(NamedTuple):
    """A bound.

    Attributes:
        variable: the environment variable that sets another.
        default: the bound without that variable.
    """
    variable: str
    default: int

    @property
    def value(self) -> int:
        """The bound in force.

        Raises:
            ConfigError: the variable's value is no positive whole number.
        """
        given = os.environ.get(self.variable, '').strip()
        if not given:
            return self.default
        if not (given.isascii() and given.isdecimal() and len(given) < 19 and int(given)):
            raise ConfigError(f'{self.variable}={given[:40]!r} in the environment: expected a positive whole number, '
                              f'such as {self.default}, the default')
        return int(given)

    @property
    def way_out(self) -> str:
        return f'{self.variable}=NUMBER in the environment allows more'


PIXELS = Limit('OPENCV_IO_MAX_IMAGE_PIXELS', 178_956_970)  # of an image; OpenCV's decoders keep to it by themselves
OBJECTS = Limit('MMVISION_MAMBA_MAX_OBJECTS', 50_000)  # annotations, or panoptic segments, of an image
MASK_PIXELS = Limit('MMVISION_MAMBA_MAX_MASK_PIXELS', 2**32)  # of an image's masks together: objects × height × width
POINTS = Limit('MMVISION_MAMBA_MAX_POINTS', 1_000_000)  # of an object's polygons together
# Pixels along the polygons of an object, and of an image's objects together: pycocotools takes 40 bytes for each.
OUTLINE = Limit('MMVISION_MAMBA_MAX_OUTLINE', 20_000_000)
TILES = Limit('MMVISION_MAMBA_MAX_TILES', 1_000_000)  # that an image is cut into for training
PARTS = Limit('MMVISION_MAMBA_MAX_PARTS', 2_000_000)  # of an image's objects, in all of its tiles
CATEGORIES = Limit('MMVISION_MAMBA_MAX_CATEGORIES', 100_000)  # of an annotation file
IMAGE_BYTES = Limit('MMVISION_MAMBA_MAX_IMAGE_BYTES', 2**30)  # of an image, in a file or at a URL
IMAGE_SECONDS = Limit('MMVISION_MAMBA_IMAGE_SECONDS', 120)  # until all of an image at a URL is there
TEXT_BYTES = Limit('MMVISION_MAMBA_MAX_TEXT_BYTES', 2**32)  # of a list or an annotation file
LABEL_BYTES = Limit('MMVISION_MAMBA_MAX_LABEL_BYTES', 2**28)  # of the annotations of an image, in a file of its own
VIDEO_BYTES = Limit('MMVISION_MAMBA_MAX_VIDEO_BYTES', 2**31)  # of memory, to open a video and decode a frame
VIDEO_SECONDS = Limit('MMVISION_MAMBA_VIDEO_SECONDS', 60)  # of CPU time, for the same
DOWNLOAD_BYTES = Limit('MMVISION_MAMBA_MAX_DOWNLOAD_BYTES', 2**36)  # of a checkpoint or a video at a URL
DOWNLOAD_SPEED = Limit('MMVISION_MAMBA_MIN_DOWNLOAD_SPEED', 4096)  # bytes a second, of one that hasn't stalled
WORKERS = Limit('MMVISION_MAMBA_MAX_WORKERS', 256)  # processes that load for one
PARAMETERS = Limit('MMVISION_MAMBA_MAX_PARAMETERS', 2**32)  # of a model that a config describes
LINKS = Limit('MMVISION_MAMBA_MAX_LINKS', 5000)  # to folders, that a search of a folder follows
NAME = 1000  # characters of a category's name
FILE_NAME = 4000  # characters of a file's name with its folders


def check_workers(number: int, where: str) -> None:
    """Raise ConfigError for more worker processes than `WORKERS`: thousands bring a machine down before any has begun.

    Args:
        number: of processes.
        where: the option or the key that has it.
    """
    if number > WORKERS.value:
        raise ConfigError(f'{where} is {shown(number)}: {WORKERS.value} processes are started at most '
                          f'({WORKERS.way_out})')


def limit_opencv() -> None:
    """Have OpenCV's own decoders refuse what is larger than `PIXELS`, by the headers that they read themselves.

    OpenCV reads the environment once, when it is imported; in a process that has imported it already its own bound,
    2³⁰ pixels, stays.
    """
    os.environ.setdefault(PIXELS.variable, str(PIXELS.default))
