"""Results that show themselves in a notebook: predictions as pictures, metrics as a table. HTML, nothing outside it."""
import base64
import html
from collections.abc import Iterable, Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np
from mmengine.structures import BaseDataElement

from ..inference.inferencer import PICTURE_SIDE, ImageLike, Inferencer
from ..printable import shown
from ..sharing.card import jpeg

PICTURES = 8  # that are shown; of more it is said how many there are
_SIDE = 640  # pixels of the longer side of a picture at most
_ROWS = 100


class Metrics(dict[str, float | None]):
    """Metrics by name, as a test measures them; in a notebook a table."""

    def _repr_html_(self) -> str:
        return table(self.items(), ('metric', 'value'))


class Predictions(list[BaseDataElement]):
    """A data sample for each image, as `Inferencer.predict` returns them; in a notebook the pictures.

    Args:
        samples: the data samples.
        images: the images that they are of.
        inferencer: that made them, and draws them.
        score_thr: instances with a lower score are not drawn; 'auto', see `Model.predict`. Default: 0.3.
    """

    def __init__(self, samples: Iterable[BaseDataElement], images: Sequence[ImageLike], inferencer: Inferencer,
                 score_thr: float | str = 0.3):
        super().__init__(samples)
        self.images, self.inferencer, self.score_thr = images, inferencer, score_thr

    def pictures(self) -> list[np.ndarray]:
        """The predictions over their images: uint8 ``(H, W, 3)`` each, RGB."""
        return [self._draw(i) for i in range(len(self))]

    def _draw(self, i: int) -> np.ndarray:
        return self.inferencer.draw(self.images[i], self[i], self.score_thr, PICTURE_SIDE)

    def _repr_html_(self) -> str:
        figures = [figure(self._draw(i), _caption(self.images[i])) for i in range(min(len(self), PICTURES))]
        more = f'<p>{len(self)} images, {PICTURES} of them shown</p>' if len(self) > PICTURES else ''
        return f'<div>{"".join(figures)}{more}</div>'


def _caption(image: ImageLike) -> str:
    return shown(image, 100) if isinstance(image, str) or hasattr(image, '__fspath__') else ''


def figure(picture: np.ndarray, caption: str = '') -> str:
    """An RGB picture, uint8 ``(H, W, 3)``, with a line of text below it, at most 640 pixels a side, as HTML."""
    data = base64.b64encode(jpeg(picture, _SIDE)).decode()
    text = f'<figcaption>{html.escape(caption)}</figcaption>' if caption else ''
    return (f'<figure style="display:inline-block;margin:4px"><img src="data:image/jpeg;base64,{data}" '
            f'alt="{html.escape(caption)}" style="max-width:100%">{text}</figure>')


def table(rows: Iterable[tuple[str, Any]], titles: tuple[str, str] | None = None) -> str:
    """Rows of two cells as HTML; those beyond the hundredth are counted."""
    rows = list(rows)
    lines = [f'<tr><td>{html.escape(shown(name, 200))}</td><td>{html.escape(number(value))}</td></tr>'
             for name, value in rows[:_ROWS]]
    if titles is not None:
        lines.insert(0, f'<tr><th>{html.escape(titles[0])}</th><th>{html.escape(titles[1])}</th></tr>')
    if len(rows) > _ROWS:
        lines.append(f'<tr><td>… {len(rows)} in all</td><td></td></tr>')
    return f'<table>{"".join(lines)}</table>'


def number(value: Any) -> str:
    """A value of a table: numbers with four digits that count, mappings and lists shortened."""
    if isinstance(value, Real) and not isinstance(value, bool | int):
        return f'{float(value):.4g}'
    return '–' if value is None else shown(dict(value) if isinstance(value, Mapping) else value, 300)
