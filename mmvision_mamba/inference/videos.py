"""Video files before and after they are read: tried within bounds on memory and time, and whether all is there."""
import json
import os
import string
import subprocess
import sys
from collections.abc import Sequence
from typing import BinaryIO, NamedTuple

import cv2

from ..files import open_file
from ..limits import PIXELS, VIDEO_BYTES, VIDEO_SECONDS
from . import video_trial

DEFAULT_FPS = 25.  # of a video that doesn't say
UNREADABLE = 'can not be opened as a video, it may be truncated'
_FFMPEG = 'OPENCV_FFMPEG_CAPTURE_OPTIONS'
_FORMATS = 'format_whitelist;mov,matroska,avi,mpeg,mpegts,mpegvideo,m4v,h264,hevc,asf,flv,ogg,mxf,dv,mjpeg,ivf,wtv'
_PARTS = 10**6  # of an MP4 or AVI file that are walked through
_LETTERS = frozenset((string.ascii_letters + string.digits + ' ').encode())


class Facts(NamedTuple):
    """What a video says of itself, before any of its frames is read.

    Args:
        length: number of frames, by its header, which may be wrong; None: unknown.
        fps: frames per second. Default: 25.
        problem: why it can't be read; '': it can.
    """
    length: int | None = None
    fps: float = DEFAULT_FPS
    problem: str = ''


def allow_no_lists() -> None:
    """Have FFmpeg read containers alone: lists of other files, whatever their suffix, are videos to it, too."""
    options = os.environ.get(_FFMPEG, '')  # OpenCV reads it each time
    if 'format_whitelist' not in options:
        os.environ[_FFMPEG] = f'{options}|{_FORMATS}|max_pixels;{PIXELS.value}'.lstrip('|')


def facts_of(capture: cv2.VideoCapture) -> Facts:
    return _facts(capture.get(cv2.CAP_PROP_FRAME_COUNT), capture.get(cv2.CAP_PROP_FPS))


def _facts(length: float, fps: float) -> Facts:
    return Facts(int(length) if 0 < length < 2**53 else None, fps if 0 < fps < float('inf') else DEFAULT_FPS)


def try_videos(paths: Sequence[str]) -> list[Facts]:
    """Open each video and decode its first frame, in a process of its own, which may take `VIDEO_BYTES` of memory.

    A container of some kilobytes can announce more frames than there is memory for, one of a megabyte hold frames that
    fill it: FFmpeg has no bound for either. Where no process can be started nothing is tried; on Windows memory has no
    bound.

    Args:
        paths: of regular files.
    """
    allow_no_lists()
    found: list[Facts] = []
    while len(found) < len(paths):
        left = paths[len(found):]
        task = dict(paths=left, bytes=VIDEO_BYTES.value, seconds=VIDEO_SECONDS.value, pixels=PIXELS.value)
        handles = [int(number) for number in (path.removeprefix('/dev/fd/') for path in left)
                   if number.isascii() and number.isdecimal() and len(number) < 10]
        try:
            done = subprocess.run([sys.executable, video_trial.__file__], input=json.dumps(task) + '\n',
                                  stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, pass_fds=handles)
            _, *lines = done.stdout.splitlines()
        except (OSError, ValueError):  # no process, or none that has begun
            return found + [Facts()] * len(left)
        found += [Facts(problem=UNREADABLE) if line == 'null' else _facts(*json.loads(line)) for line in lines]
        if len(lines) < len(left):
            found.append(Facts(problem=_why_ended(done.returncode)))
    return found


def _why_ended(code: int) -> str:
    if code == video_trial.MEMORY:
        return f'to open it as a video takes more than {VIDEO_BYTES.value} bytes of memory ({VIDEO_BYTES.way_out})'
    if code == video_trial.TIME:
        return (f'to open it as a video takes more than {VIDEO_SECONDS.value} seconds of CPU time '
                f'({VIDEO_SECONDS.way_out})')
    return f'{UNREADABLE}: its decoder ends the process with code {code}'


class Container(NamedTuple):
    """What the structure of a video file tells.

    Args:
        counts: whether its header counts frames, or else tells a duration, that of the sound perhaps.
        missing: bytes that it announces and lacks.
    """
    counts: bool = False
    missing: int = 0


def container_of(path: str) -> Container:
    """The container of a video file; of MP4, AVI and Matroska files it is known how long they should be."""
    with open_file(path) as file:
        size, start = os.fstat(file.fileno()).st_size, file.read(12)
        if start[:4] == b'\x1aE\xdf\xa3':
            return Container(False, max(0, _end_of_matroska(file) - size))
        if start[:4] == b'RIFF' and start[8:] == b'AVI ':
            return Container(True, max(0, _end_of_parts(file, size, 'little') - size))
        if start[4:8] in (b'ftyp', b'moov', b'mdat', b'wide', b'free', b'skip', b'pnot'):
            return Container(True, max(0, _end_of_parts(file, size, 'big') - size))
    return Container()


def _end_of_parts(file: BinaryIO, size: int, order: str) -> int:
    """Where the last of a file's parts ends: the boxes of an MP4 file (big endian), or the chunks of an AVI file."""
    end = 0
    for _ in range(_PARTS):
        if end + 8 > size:
            break
        file.seek(end)
        head = file.read(16)
        if order == 'little':
            length, name, least = int.from_bytes(head[4:8], 'little'), head[:4], 8
            length = 0 if length == 2**32 - 1 else 8 + length + length % 2  # written to a pipe: nobody knew
        else:
            length, name, least = int.from_bytes(head[:4], 'big'), head[4:8], 8
            if length == 1:
                length, least = int.from_bytes(head[8:], 'big'), 16
        if length < max(least, 1) or not _LETTERS.issuperset(name):  # to the file's end, or what isn't the container's
            break
        end += length
    return end


def _end_of_matroska(file: BinaryIO) -> int:
    """Where the segment of a Matroska or WebM file ends; 0 where it doesn't say, as in one that was recorded live."""
    file.seek(4)
    header = _number(file)
    if header is None or header > 2**20:
        return 0
    file.seek(header, os.SEEK_CUR)
    if file.read(4) != b'\x18S\x80g':
        return 0
    length = _number(file)
    return 0 if length is None else file.tell() + length


def _number(file: BinaryIO) -> int | None:
    """One of EBML's numbers, whose first zero bits tell its length; None where it is cut off, or all ones: unknown."""
    first = file.read(1)
    if not first or not first[0]:
        return None
    more = 8 - first[0].bit_length()
    rest = file.read(more)
    value = int.from_bytes(first + rest, 'big') & (1 << 7 * (more + 1)) - 1
    return None if len(rest) < more or value == (1 << 7 * (more + 1)) - 1 else value
