"""Tries to open videos and to decode a frame of each, within bounds; a program of its own, started by `videos.py`.

Reads a line of JSON: a dict of `paths`, `bytes` of memory, `seconds` of CPU time and `pixels` of a frame. Prints a line
once it has begun, and one for each video: what it says of itself, or null where it can't be opened. A video that takes
more than it may ends the process with one of the exit codes.
"""
import contextlib
import json
import os
import sys
import threading
import time

if __name__ == '__main__':  # its folder has no modules of the top
    sys.path[:] = [path for path in sys.path if path != os.path.dirname(__file__)]

import cv2

MEMORY, TIME = 71, 72  # exit codes
_begun = 0.  # seconds of CPU time when the present video was begun


def main() -> None:
    global _begun
    task = json.loads(sys.stdin.readline())
    # More threads have a frame each: how many the process may take that reads the video is for that to say.
    os.environ['OPENCV_FFMPEG_CAPTURE_OPTIONS'] = os.environ.get('OPENCV_FFMPEG_CAPTURE_OPTIONS', '') + '|threads;1'
    threading.Thread(target=_watch, args=(task['bytes'], task['seconds']), daemon=True).start()
    print('begun', flush=True)
    for path in task['paths']:
        _begun = time.process_time()
        facts = None
        with contextlib.suppress(cv2.error, MemoryError, ValueError):
            facts = _facts(path, task['pixels'])
        print(json.dumps(facts), flush=True)


def _facts(path: str, most: int) -> list[float] | None:
    has_ffmpeg = cv2.CAP_FFMPEG in cv2.videoio_registry.getStreamBackends()
    capture = cv2.VideoCapture(path, cv2.CAP_FFMPEG if has_ffmpeg else cv2.CAP_ANY)
    if not capture.isOpened():
        return None
    if capture.get(cv2.CAP_PROP_FRAME_WIDTH) * capture.get(cv2.CAP_PROP_FRAME_HEIGHT) <= most:
        capture.read()
    return [capture.get(cv2.CAP_PROP_FRAME_COUNT), capture.get(cv2.CAP_PROP_FPS)]


def _watch(most: int, seconds: float) -> None:
    """End this process once it has taken more.

    A bound of the system's own would make FFmpeg open the file with a part of its index, as if that were all.
    """
    while True:
        if time.process_time() - _begun > seconds:
            os._exit(TIME)
        if memory() > most:
            os._exit(MEMORY)
        time.sleep(0.01)


def memory() -> int:
    """Bytes of this process in memory; 0 where the system doesn't say (Windows)."""
    try:
        with open('/proc/self/statm', encoding='ascii') as file:
            return int(file.read().split()[1]) * os.sysconf('SC_PAGE_SIZE')
    except OSError:
        with contextlib.suppress(ImportError):
            import resource
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS
    return 0


if __name__ == '__main__':
    main()
