"""The inputs of inference: images, folders, patterns, URLs, videos, cameras and arrays, as sources of frames."""
import glob
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count, takewhile
from pathlib import Path
from urllib.parse import unquote, urlparse

import cv2
import numpy as np
from PIL import Image

from ..datasets.folders import IMAGES, walk
from ..errors import DataError
from ..naming import output_names, relative_paths
from .images import from_array, from_pil, is_url, read_image

VIDEO_SUFFIXES = ('.mp4', '.avi', '.mov', '.mkv', '.webm', '.m4v', '.mpg', '.mpeg', '.wmv', '.flv')
DEFAULT_FPS = 25.  # of a video that doesn't say


@dataclass
class Source:
    """One image, video or camera.

    Args:
        name: its name in messages and results: a path or URL as given, or e.g. 'camera 0'.
        output: path of its results, relative and without suffix; unique among the inputs of a run (see
            `naming.output_names`).
        suffix: of its file, in lower case; '' for arrays and cameras.
        frames: yields its images one after the other, BGR, an image a single one; raises DataError.
        length: number of frames; None: unknown.
        fps: frames per second of a video or camera; None: an image.
        folder: of a file, the folder that was searched for it, or that holds it.
    """
    name: str
    output: str
    suffix: str
    frames: Callable[[], Iterator[np.ndarray]]
    length: int | None = 1
    fps: float | None = None
    folder: str | None = None

    @property
    def is_video(self) -> bool:
        return self.fps is not None


def find_sources(inputs, read: Callable[[str], np.ndarray] = read_image,
                 leave_out: str | os.PathLike | None = None) -> list[Source]:
    """The sources of all `inputs`, in order. No image is read yet.

    Args:
        inputs: one or several of: a path of an image or video; a folder, searched recursively for images and videos,
            hidden files left out; a pattern with ``*``, ``?``, ``[…]`` or ``**``; an http(s) URL; a camera's index (int
            or digits); a NumPy array (see `from_array`); a Pillow image.
        read: reads an image file or URL. Default: `read_image`.
        leave_out: a folder that is not searched, such as that of the results. Default: none.

    Raises:
        DataError: a path that doesn't exist, a pattern or folder without images, or something of another type.
    """
    several = isinstance(inputs, (list, tuple))
    sources = [source for given in (inputs if several else [inputs]) for source in _sources(given, read, leave_out)]
    if not sources:
        raise DataError('no inputs: name images, folders, patterns, videos, URLs or a camera')
    for i, source in enumerate(sources):
        if not source.name:  # an array
            source.name, source.output = f'array {i}', f'{i:08}'
    _name_outputs(sources)
    return sources


def _name_outputs(sources: list[Source]) -> None:
    """Make `output` of each source its path below the folder that all have in common, and unique."""
    files = [source for source in sources if source.folder is not None]
    urls = [source for source in sources if source.folder is None and is_url(source.name)]
    paths = relative_paths([file.name for file in files], [file.folder for file in files])
    for source, path in zip([*files, *urls], [*paths, *relative_paths([url.output for url in urls])]):
        source.output = path
    names = output_names([source.output for source in sources], {i for i, s in enumerate(sources) if s.is_video})
    for source, name in zip(sources, names):
        source.output = name


def _sources(given, read: Callable, leave_out) -> Iterator[Source]:
    """The sources of one of the inputs; the caller names arrays and outputs."""
    if isinstance(given, (np.ndarray, Image.Image)):
        convert = from_array if isinstance(given, np.ndarray) else from_pil
        yield Source('', '', '', lambda: iter([convert(given)]))
        return
    if isinstance(given, bool) or not isinstance(given, (str, os.PathLike, int)):
        raise DataError(f'an input is a path, URL, camera index, NumPy array or Pillow image, not {type(given)}')
    text = str(given)
    if text.isdecimal() and not Path(text).exists():
        yield Source(f'camera {text}', f'camera_{text}', '', lambda: _frames(int(text)), None, DEFAULT_FPS)
    elif is_url(text):
        url = urlparse(text)
        path = f'/{url.netloc}{unquote(url.path)}'
        yield _file(text, f'{path}url' if path.endswith('/') else path, read)
    elif Path(text).is_dir():
        paths = list(_find_files(Path(text), leave_out))
        if not paths:
            raise DataError(f'{text}: no image or video in this folder or below it; such are '
                            f'{", ".join((*IMAGES, *VIDEO_SUFFIXES))}')
        yield from (_file(str(path), str(path), read, text) for path in paths)
    elif Path(text).exists():
        yield _file(text, text, read, str(Path(text).parent))
    elif glob.has_magic(text):
        paths = sorted(path for path in map(Path, glob.glob(text, recursive=True)) if path.is_file())
        if not paths:
            raise DataError(f'{text}: no file matches this pattern')
        root = Path(*takewhile(lambda part: not glob.has_magic(part), Path(text).parts))
        yield from (_file(str(path), str(path), read, str(root)) for path in paths)
    else:
        raise DataError(f'{text}: no such file or folder')


def _find_files(folder: Path, leave_out) -> Iterator[Path]:
    """Images and videos in `folder` and below it, sorted, leftovers and the folder `leave_out` left out."""
    left_out = Path(leave_out).resolve() if leave_out else None
    for below, names in walk(folder):
        place = Path(folder, below)
        if left_out is None or left_out == Path(folder).resolve() or not place.resolve().is_relative_to(left_out):
            yield from (place / name for name in names if name.lower().endswith((*IMAGES, *VIDEO_SUFFIXES)))


def _file(name: str, path: str, read: Callable, folder: str | None = None) -> Source:
    """The source of an image or video file, told apart by suffix; `path` is the name's part that is a path."""
    suffix = Path(path).suffix.lower()
    if suffix not in VIDEO_SUFFIXES:
        return Source(name, path, suffix, lambda: iter([read(name)]), folder=folder)
    capture = cv2.VideoCapture(name)
    length, fps = int(capture.get(cv2.CAP_PROP_FRAME_COUNT)), capture.get(cv2.CAP_PROP_FPS)
    capture.release()
    return Source(name, path, suffix, lambda: _frames(name), length if length > 0 else None,
                  fps if fps > 0 else DEFAULT_FPS, folder)


def _frames(video: str | int) -> Iterator[np.ndarray]:
    """The frames of a video file, or of a camera by its index."""
    capture = cv2.VideoCapture(video)
    try:
        if not capture.isOpened():
            raise DataError(f'camera {video}: can not be opened' if isinstance(video, int) else
                            f'{video}: can not be opened as a video, it may be truncated')
        for i in count():
            success, frame = capture.read()
            if not success and not i:
                raise DataError(f'{video}: no frames in this video')
            if not success:
                return
            yield from_array(frame)
    finally:
        capture.release()
