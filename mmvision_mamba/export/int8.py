"""The rule for int8 files: layers go back to float until what a file loses is within the bound; else none is kept."""
from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import ConfigError
from ..runtime import loaders
from . import scores
from .verify import Row

MOST_LOST = 1.  # points of mIoU or AP that a file may lose
MOST_CHANGED = 0.1  # of a backbone's features: the root mean square of their change, over theirs
SHARES = 0, 0.05, 0.1, 0.2, 0.4, 0.7  # of the layers, the worst first, that stay in float: one after the other


@dataclass
class Outcome:
    """An int8 file.

    Attributes:
        rows: the checks of what it loses.
        kept: names of the layers that stayed in float beside what always does, of `layers` in all.
        values: what both files have on the test data, by metric: (in float32, in int8); empty for a backbone.
    """
    rows: list[Row]
    kept: list[str]
    layers: int
    values: dict[str, tuple[float, float]] = field(default_factory=dict)

    def __str__(self) -> str:
        found = [f'{name} {small:.2f}, in float32 {whole:.2f}' for name, (whole, small) in self.values.items()] or [
            f'{row.what} {row.value:.3f}' for row in self.rows]
        return (f'int8: {"; ".join(found)} ({self.rows[0].images}); {self.layers - len(self.kept)} of {self.layers} '
                'layers in int8')

    def metadata(self, kind: str, in_float: Sequence[str]) -> dict[str, object]:
        """What the file says of it: see `docs/export.md`."""
        about = dict(kind=kind, images=self.rows[0].images, bound=self.rows[0].bound, layers=self.layers,
                     layers_in_float=self.kept, operators_in_float=list(in_float))
        if self.values:
            about.update(float32={name: whole for name, (whole, _) in self.values.items()},
                         int8={name: small for name, (_, small) in self.values.items()})
        else:
            about['change'] = {row.what: row.value for row in self.rows}
        return dict(precision='int8', int8=about)


def metrics_lost(whole: Path, measure: Callable[[Path], dict[str, float]], images: str) -> Callable[[Path], Outcome]:
    """A judge of int8 files by metrics.

    Args:
        whole: the file in float32.
        measure: the metrics of a file, in points, by name.
        images: what these are measured on, for the table of checks.

    Raises:
        ConfigError: the file in float32 has no metric.
    """
    wanted = measure(whole)
    if not wanted:
        raise ConfigError('--int8: the model finds nothing in the test data, so what int8 loses can not be told')

    def judge(path: Path) -> Outcome:
        found = measure(path)
        values = {name: (value, found.get(name, 0.)) for name, value in wanted.items()}
        return Outcome([Row(f'{name} lost, of {value:.2f}', images, value - small, MOST_LOST, True)
                        for name, (value, small) in values.items()], [], 0, values)
    return judge


def features_changed(whole: Path, format: str, names: Sequence[str], pictures: Sequence[Path],
                     images: str) -> Callable[[Path], Outcome]:
    """A judge of int8 files of backbones, `whole` in float32, by the largest change of each of their maps, `names`."""
    def judge(path: Path) -> Outcome:
        both = [loaders.load_model(file, format) for file in (whole, path)]
        largest = [max(values) for values in zip(*(
            scores.change(*(model(picture) for model in both)) for picture in pictures))]
        return Outcome([Row(f'{name} changed', images, value, MOST_CHANGED, True)
                        for name, value in zip(names, largest, strict=True)], [], 0)
    return judge


def within_bound(write: Callable[[Collection[str]], None], judge: Callable[[], Outcome], layers: int,
                 worst_first: Callable[[], list[str]]) -> Outcome:
    """Write an int8 file, and again with more layers in float, until what it loses is within the bound.

    Args:
        write: writes the file with these layers in float.
        judge: says what it loses.
        layers: how many may be in int8.
        worst_first: all their names, that which loses most first.

    Returns:
        the first outcome within the bound, or the last of all: its checks have failed.
    """
    order: list[str] = []
    for share in SHARES:
        if share and not order:
            order = worst_first()
        kept = order[:math.ceil(share * layers)]
        write(kept)
        outcome = judge()
        outcome.kept, outcome.layers = sorted(kept), layers
        if all(row.passed for row in outcome.rows):
            break
    return outcome
