"""Says what an exported height and width cost where they are not those of the images that the config tests on."""
from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from mmengine.config import Config
from mmengine.logging import MMLogger
from torch import nn

from ..preflight.tiles import tile_of
from ..runtime.standalone import padded, read_image, resized
from .reference import Reference

TYPICAL = (480, 640), (640, 480)  # height and width of photos, where the config's own are not at hand
SCORE = 0.3  # from which instances are counted
SAME = 0.999  # share of pixels of the same label that is worth no warning


def warn_of_shape(model: nn.Module, part: str, cfg: Config, settings: dict, shape: tuple[int, int],
                  photos: Sequence[tuple[str, Path]], channels: int = 3) -> None:
    """Log one warning, in numbers, if images become smaller in `shape` than the config's test pipeline makes them, or
    if filling them up to it changes what is found in the photos. Where the config tests by tiles these are the images.

    Args:
        model, part, cfg, settings, channels: as for `Reference`.
        shape: height and width of the exported input.
        photos: (name, path) of photos; what is found in them is counted in both sizes.
    """
    if tile := tile_of(cfg, 'test'):
        sizes, photos = [(tile, tile)], ()
    else:
        sizes = [read_image(path, channels, settings.get('bands')).shape[:2] for _, path in photos]
    if not sizes and not (settings['scale'] or settings['scale_factor']):
        return
    wanted = [_input_size(size, settings) for size in sizes or TYPICAL]
    images = [(size, whole, *(resized(*size, limit, settings['scale'], settings['keep_ratio'], settings['scale_factor'])
                              for limit in ((None, None), shape))) for size, whole in zip(sizes or TYPICAL, wanted)]
    smaller = [image for image in images if image[3][0] < image[2][0] or image[3][1] < image[2][1]]
    size, whole, tested, exported = (smaller or images)[0]
    if not smaller and (part == 'backbone' or not sizes or set(wanted) == {shape}):
        return
    same, found = _measured(model, part, cfg, settings, shape, photos, channels)
    kind, one = ('tiles', 'a tile') if tile else ('images', 'one')
    picture = f'{one} of {size[0]} × {size[1]} pixels (height × width) is'
    if smaller:
        largest = max(height for height, _ in wanted), max(width for _, width in wanted)
        text = (f'is smaller than the {kind} that the config tests on: {picture} {tested[0]} × {tested[1]} there and '
                f'{exported[0]} × {exported[1]} in this file, so small objects get lost{found}.')
        way_out = [f'--shape {largest[0]} {largest[1]} holds {"these" if sizes else "such"} {kind} whole']
    elif same:
        return
    else:
        text = (f'fills images up with padding, which the model sees: {picture} {whole[0]} × {whole[1]} in the '
                f"config's tests{found}.")
        way_out = [f'--shape {whole[0]} {whole[1]} is the size of this one'] * (part == 'detector')
    if part != 'detector':
        way_out.append('--dynamic takes images as the config makes them')
    MMLogger.get_current_instance().warning(f'--shape {shape[0]} {shape[1]} {text}\n{"; ".join(way_out)}')


def _input_size(size: tuple[int, int], settings: dict) -> tuple[int, int]:
    """Height and width of the model's input that the config makes of an image."""
    size = resized(*size, (None, None), settings['scale'], settings['keep_ratio'], settings['scale_factor'])
    if pad := settings['pad']:
        size = padded(*size, pad['size'], pad['divisor'], pad['square'])
    return padded(*size, settings['batch_pad']['size'], settings['batch_pad']['divisor'])


def _measured(model, part, cfg, settings, shape, photos, channels) -> tuple[bool, str]:
    """Whether both sizes find the same in the photos, and what, in words; '' for a backbone and without photos."""
    if part == 'backbone' or not photos:
        return False, ''
    results = [[Reference(model, part, cfg, settings, limit, channels)(path) for _, path in photos]
               for limit in (None, shape)]
    about = f'; in {len(photos)} photo{"s" if len(photos) > 1 else ""}'
    if part == 'segmentor':
        share = float(np.mean([(a == b).mean() for a, b in zip(*results)]))
        return share >= SAME, f'{about} {share:.1%} of the pixels get the same label'
    tested, exported = (sum(int((found.scores >= SCORE).sum()) for found in side) for side in results)
    return tested == exported, f'{about} {tested} instances score {SCORE} or more there, {exported} in this file'
