"""The inputs of inference: images, folders, patterns, URLs, videos, cameras and arrays, as sources of frames."""
import glob
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count, takewhile
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import unquote

import cv2
import numpy as np
from PIL import Image

from ..datasets.folders import IMAGES, walk
from ..downloads import is_url, save, split_url
from ..errors import DataError
from ..files import open_file
from ..limits import DOWNLOAD_BYTES, PIXELS
from ..naming import output_names, relative_paths
from ..printable import without_passwords
from ..processes import warn_once
from .images import as_bgr, from_array
from .videos import DEFAULT_FPS, UNREADABLE, Facts, allow_no_lists, container_of, facts_of, try_videos

VIDEO_SUFFIXES = ('.mp4', '.avi', '.mov', '.mkv', '.webm', '.m4v', '.mpg', '.mpeg', '.wmv', '.flv')


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
        fps: frames per second of a video, as its file says, or camera; None: an image.
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


def find_sources(inputs, read: Callable[[Any], np.ndarray] = as_bgr,
                 leave_out: str | os.PathLike | None = None) -> list[Source]:
    """The sources of all `inputs`, in order. No image is read yet.

    Args:
        inputs: one or several of: a path of an image or video; a folder, searched recursively for images and videos,
            hidden files left out; a pattern with ``*``, ``?``, ``[…]`` or ``**``; a URL; a camera's index (int
            or digits); a NumPy array; a Pillow image; a `Source`.
        read: reads an image file or URL, an array or a Pillow image. Default: `as_bgr`.
        leave_out: a folder that is not searched, such as that of the results. Default: none.

    Raises:
        DataError: a path that doesn't exist, a pattern or folder without images, or something of another type.
    """
    several = isinstance(inputs, (list, tuple))
    sources = [source for given in (inputs if several else [inputs]) for source in _sources(given, read, leave_out)]
    _try_videos(sources)
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
    if isinstance(given, Source):
        yield given
        return
    if isinstance(given, (np.ndarray, Image.Image)):
        yield Source('', '', '', lambda: iter([read(given)]))
        return
    if isinstance(given, bool) or not isinstance(given, (str, os.PathLike, int)):
        raise DataError(f'an input is a path, URL, camera index, NumPy array or Pillow image, not {type(given)}')
    text = str(given)
    if text.isascii() and text.isdecimal() and len(text) < 10 and not os.path.exists(text):
        yield Source(f'camera {text}', f'camera_{text}', '', lambda: _frames(int(text)), None, DEFAULT_FPS)
    elif is_url(text):
        _, place, path = split_url(text)
        path = f'/{place}{unquote(path)}'.replace('\0', '_')
        yield _file(without_passwords(text), f'{path}url' if path.endswith('/') else path, read)
    elif os.path.isdir(text):
        paths = list(_find_files(Path(text), leave_out))
        if not paths:
            raise DataError(f'{text}: no image or video in this folder or below it; such are '
                            f'{", ".join((*IMAGES, *VIDEO_SUFFIXES))}')
        yield from (_file(str(path), str(path), read, text) for path in paths)
    elif Path(text).suffix.lower() == '.txt' and Path(text).is_file():
        raise DataError(f'{text}: `mmvision-mamba batch-infer` takes lists of images; here name images, a folder or a '
                        'pattern')
    elif os.path.exists(text):
        yield _file(text, text, read, str(Path(text).parent))
    elif glob.has_magic(text):
        paths = sorted(path for path in map(Path, glob.glob(text, recursive=True)) if not path.is_dir())
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


def image_source(name: str, read: Callable[[str], np.ndarray]) -> Source:
    """The source of an image's file or URL, which is looked at when it is read."""
    return Source(name, name, '', lambda: iter([read(name)]))


def _file(name: str, path: str, read: Callable, folder: str | None = None) -> Source:
    """The source of an image or video file, told apart by suffix; `path` is the name's part that is a path."""
    suffix = Path(path).suffix.lower()
    if suffix not in VIDEO_SUFFIXES:
        return Source(name, path, suffix, lambda: iter([read(name)]), folder=folder)
    source = Source(name, path, suffix, lambda: _download(source) if is_url(name) else _frames(name, name), None,
                    DEFAULT_FPS, folder)
    return source


def _try_videos(sources: list[Source]) -> None:
    """Take length and fps of video files from their headers; one that can't be read raises where frames are asked for.
    """
    videos = [source for source in sources if source.folder is not None and source.is_video]
    readable = []
    for source in videos:
        try:
            open_file(source.name).close()
            source.name.encode()
            readable.append(source)
        except UnicodeEncodeError:  # it would end OpenCV's process
            source.frames = _raising(f'{source.name}: its name has bytes that are no UTF-8, and no video is opened by '
                                     'such a name: rename it')
        except OSError as error:
            source.frames = _raising(f'{source.name}: can not be read ({error.strerror or error})')
    for source, facts in zip(readable, try_videos([source.name for source in readable])):
        source.length, source.fps = facts.length, facts.fps
        if facts.problem:
            source.frames = _raising(f'{source.name}: {facts.problem}')


def _raising(problem: str) -> Callable[[], Iterator[np.ndarray]]:
    def frames() -> Iterator[np.ndarray]:
        raise DataError(problem)
        yield
    return frames


def _download(source: Source) -> Iterator[np.ndarray]:
    """The frames of a video at a URL, downloaded before; from the first on its `fps` is known."""
    with _temporary(source.suffix) as (file, path):
        try:
            save(source.name, file, DOWNLOAD_BYTES.value, source.name.lower().startswith('http:'))
            file.flush()
        except OSError as error:
            raise DataError(f'{source.name}: can not be read ({error.strerror or error})') from None
        facts, = try_videos([path])
        if facts.problem:
            raise DataError(f'{source.name}: {facts.problem}')
        source.fps = facts.fps
        yield from _frames(path, source.name)


@contextmanager
def _temporary(suffix: str) -> Iterator[tuple[BinaryIO, str]]:
    """A file to write to, and a path to open it by; without a name where the system can, so a kill leaves nothing."""
    if os.path.isdir('/dev/fd'):
        with tempfile.TemporaryFile() as file:
            yield file, f'/dev/fd/{file.fileno()}'
    else:
        with tempfile.TemporaryDirectory() as folder, open(Path(folder, f'video{suffix}'), 'wb') as file:
            yield file, file.name


def _opened(video: str | int) -> cv2.VideoCapture:
    """A camera, or a video in a regular file, of a format that opens no others.

    OpenCV would wait for a FIFO's other end, take a name with % for a series of images, and have FFmpeg read lists.
    """
    if isinstance(video, int):
        return cv2.VideoCapture(video)
    try:
        open_file(video).close()
    except OSError as error:
        raise DataError(f'{video}: can not be read ({error.strerror or error})') from None
    allow_no_lists()
    has_ffmpeg = cv2.CAP_FFMPEG in cv2.videoio_registry.getStreamBackends()
    return cv2.VideoCapture(video, cv2.CAP_FFMPEG if has_ffmpeg else cv2.CAP_ANY)


def _frames(video: str | int, name: str | None = None) -> Iterator[np.ndarray]:
    """The frames of a video file, which messages call `name`, or of a camera by its index.

    Raises:
        DataError: it can't be read, or, after its last frame, the file is cut off.
    """
    capture = _opened(video)
    try:
        if not capture.isOpened():
            raise DataError(f'camera {video}: can not be opened' if isinstance(video, int) else
                            f'{name}: {UNREADABLE}')
        width, height = (int(capture.get(side)) for side in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        if width * height > PIXELS.value:
            raise DataError(f'{name}: its frames are {width} × {height} pixels, and {PIXELS.value} in all are allowed '
                            f'({PIXELS.way_out})')
        facts, seconds = facts_of(capture), 0.
        for i in count():
            success, frame = capture.read()
            if not success and not i:
                raise DataError(f'{video if name is None else name}: no frames in this video')
            if not success:
                break
            seconds = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
            yield from_array(frame)
    finally:
        capture.release()
    if isinstance(video, str):
        _check_end(video, str(name), facts, i, seconds)


def _check_end(path: str, name: str, facts: Facts, frames: int, seconds: float) -> None:
    """OpenCV ends a video in the same way where it breaks off or is damaged as where it is over.

    A file that is cut off is a DataError, one that is shorter than its header says a warning: the header may be wrong,
    count frames that an edit has cut out, or tell of longer sound.

    Args:
        path, name: of the file, and what messages call it.
        facts: what its header says.
        frames: number of frames there were.
        seconds: time of the last of them.
    """
    counts, missing = container_of(path)
    if missing:
        raise DataError(f'{name}: the file is cut off, {missing} bytes of it are missing: its results end after '
                        f'{frames} frames')
    there = frames if counts else max(frames, round(seconds * facts.fps) + 1)  # some have frames of varying durations
    if facts.length is not None and facts.length - there > 5 + facts.length // 50:
        warn_once(f'{name}: {frames} frames were read, and its header says {facts.length}: it is damaged, unless it '
                  'was cut by an editor or its sound is longer')
