"""Pictures on a display: whether there is one, and the window that shows them."""
import os

import cv2
import numpy as np

from ..errors import ConfigError


def check_display(way_out: str) -> None:
    """Raises ConfigError where there is no display for --show; its message ends with `way_out`."""
    if not (os.environ.get('DISPLAY') or os.environ.get('WAYLAND_DISPLAY') or os.name == 'nt'):
        raise ConfigError(f'show needs a display, and there is none: {way_out}')


def show_picture(picture: np.ndarray, wait_time: float, is_video: bool) -> bool:
    """Show an RGB picture, uint8 ``(H, W, 3)``, in a window; False once 'q' is pressed there.

    Args:
        picture: to show.
        wait_time: seconds to wait for a key; 0: until one is pressed.
        is_video: the picture is a frame of a video, and does not wait.
    """
    cv2.imshow('mmvision_mamba', picture[..., ::-1])
    delay = 1 if is_video else int(wait_time * 1000)  # milliseconds
    return cv2.waitKey(delay) & 0xff != ord('q')
