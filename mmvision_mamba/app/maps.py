"""The backbone's maps as HTML: large pictures, each with a scale and a sentence on what it shows."""
from __future__ import annotations

import base64
from collections.abc import Iterator
from html import escape

import cv2
import numpy as np
from matplotlib import colormaps
from matplotlib.colors import to_hex

from ..visualization.backbone_maps import BackboneMaps, overlay

COLOURS = 'inferno'
FLAT = 1e-3  # relative differences that are not worth a picture
MARK = (0, 229, 255)
WHAT = {
    'average': 'How much attention a place gets from the places of its window, on average; 1 is an even share.',
    'attention': 'How much attention the marked place pays to each place of its window; 1 is an even share.',
    'delta': 'The step of the scan, averaged over channels: how much the state takes in at a place.',
    'features': "The stage's output: places of one colour are alike to the model. Red, green and blue are its first "
                'three principal components, which have no unit.'}


def maps_html(maps: BackboneMaps, point: tuple[float, float] | None = None) -> str:
    """Attention (of `point`, in pixels, or on average), Δ and features of the stages, as HTML figures.

    Raises:
        ConfigError: the point lies outside the image.
    """
    return f'<div class="maps">{"".join(_figures(maps, point))}</div>'


def _figures(maps: BackboneMaps, point: tuple[float, float] | None) -> Iterator[str]:
    for stage in maps.stages[2:]:
        values = maps.attention(stage, point)
        what, low = ('average', float(values.min())) if point is None else ('attention', 0.)
        yield _figure(f'Stage {stage}: attention', WHAT[what], maps.image, values, low, point)
    for stage in maps.stages[2:]:
        values = maps.delta(stage)
        yield _figure(f'Stage {stage}: Δ', WHAT['delta'], maps.image, values, float(values.min()))
    for stage in maps.stages:
        yield _with_caption(f'Stage {stage}: features', WHAT['features'],
                            _picture((255 * maps.components(stage)).astype(np.uint8)))


def _figure(title: str, what: str, image: np.ndarray, values: np.ndarray, low: float,
            point: tuple[float, float] | None = None) -> str:
    high = float(values.max())
    if high - low <= FLAT * abs(high):
        return _with_caption(title, what, f'<p class="flat">flat: {high:.3g} everywhere</p>')
    picture = overlay(image, values, low, colours=COLOURS)
    if point is not None:
        radius = max(2, max(picture.shape) // 100)
        cv2.drawMarker(picture, tuple(map(int, point)), MARK, cv2.MARKER_CROSS, 4 * radius, radius // 2 + 1)
    stops = ', '.join(to_hex(colormaps[COLOURS](i / 8)) for i in range(9))
    numbers = ''.join(f'<span>{low + share * (high - low):.3g}</span>' for share in (0, 0.25, 0.5, 0.75, 1))
    bar = (f'<div class="bar" style="background: linear-gradient(to right, {stops})"></div>'
           f'<div class="numbers">{numbers}</div>')
    return _with_caption(title, what, _picture(picture) + bar)


def _picture(picture: np.ndarray) -> str:
    """An RGB picture within HTML."""
    png = cv2.imencode('.png', np.ascontiguousarray(picture[..., ::-1]))[1]
    return f'<img alt="" src="data:image/png;base64,{base64.b64encode(png).decode()}">'


def _with_caption(title: str, what: str, content: str) -> str:
    return f'<figure>{content}<figcaption><b>{escape(title)}.</b> {escape(what)}</figcaption></figure>'
