"""Says what an exported height and width cost where they are smaller than the images that the config tests on."""
from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from mmengine.config import Config
from mmengine.logging import MMLogger
from torch import nn

from ..runtime.standalone import padded, read_image, resized
from .reference import Reference

TYPICAL = (480, 640), (640, 480)  # height and width of photos, where the config's own are not at hand
SCORE = 0.3  # from which instances are counted


def warn_of_shape(model: nn.Module, part: str, cfg: Config, settings: dict, shape: tuple[int, int],
                  photos: Sequence[tuple[str, Path]], channels: int = 3) -> None:
    """Log one warning, in numbers, if images become smaller in `shape` than the config's test pipeline makes them.

    Args:
        model, part, cfg, settings, channels: as for `Reference`.
        shape: height and width of the exported input.
        photos: (name, path) of photos; what is found in them is counted in both sizes.
    """
    sizes = [read_image(path, channels).shape[:2] for _, path in photos]
    if not sizes and not (settings['scale'] or settings['scale_factor']):
        return
    for size in sizes or TYPICAL:
        tested, exported = (resized(*size, limit, settings['scale'], settings['keep_ratio'], settings['scale_factor'])
                            for limit in ((None, None), shape))
        if exported[0] < tested[0] or exported[1] < tested[1]:
            break
    else:
        return
    wanted = [_input_size(size, settings) for size in sizes or TYPICAL]
    whole = max(height for height, _ in wanted), max(width for _, width in wanted)
    way_out = f'--shape {whole[0]} {whole[1]} holds {"these" if sizes else "such"} images whole'
    if part != 'detector':
        way_out += '; --dynamic takes images as the config makes them'
    found = _measured(model, part, cfg, settings, shape, photos, channels) if photos else ''
    MMLogger.get_current_instance().warning(
        f'--shape {shape[0]} {shape[1]} is smaller than the images that the config tests on: one of {size[0]} × '
        f'{size[1]} pixels (height × width) is {tested[0]} × {tested[1]} there and {exported[0]} × {exported[1]} in '
        f'this file, so small objects get lost{found}.\n{way_out}')


def _input_size(size: tuple[int, int], settings: dict) -> tuple[int, int]:
    """Height and width of the model's input that the config makes of an image."""
    size = resized(*size, (None, None), settings['scale'], settings['keep_ratio'], settings['scale_factor'])
    if pad := settings['pad']:
        size = padded(*size, pad['size'], pad['divisor'], pad['square'])
    return padded(*size, settings['batch_pad']['size'], settings['batch_pad']['divisor'])


def _measured(model, part, cfg, settings, shape, photos, channels) -> str:
    """What both sizes find in the photos, in words; '' for a backbone."""
    if part == 'backbone':
        return ''
    results = [[Reference(model, part, cfg, settings, limit, channels)(path) for _, path in photos]
               for limit in (None, shape)]
    about = f'; in {len(photos)} photo{"s" if len(photos) > 1 else ""}'
    if part == 'segmentor':
        same = np.mean([(a == b).mean() for a, b in zip(*results)])
        return f'{about} {same:.1%} of the pixels get the same label'
    tested, exported = (sum(int((found.scores >= SCORE).sum()) for found in side) for side in results)
    return f'{about} {tested} instances score {SCORE} or more there, {exported} in this file'
