"""Curves of one run or several, as charts."""
import math
from collections.abc import Sequence

from ..visualization.curves import TITLES, Run, panels_of
from .charts import Line, line_chart
from .html import table

_MOST = 24  # charts


def curve_charts(runs: Sequence[Run]) -> str:
    """The panels of `plot-curves` as charts, those of a single point each as a table; '' without curves."""
    charts, single = [], []
    for name, keys in panels_of(runs)[:_MOST]:
        lines = []
        for run in runs:
            for key in keys:
                for points, validated in ((run.train.get(key), False), (run.val.get(key), True)):
                    if points:
                        # -1 is COCO's value for a metric without ground truth.
                        kept = [(x, math.nan if validated and y == -1 else y) for x, y in points]
                        lines.append(Line(_label(run, key, runs, validated and key in run.train), kept, validated))
        if lines and all(len(line.points) == 1 for line in lines):
            single += [(line.name, round(x), None if y != y else y) for line in lines for x, y in line.points]
        elif lines:
            charts.append(line_chart(TITLES.get(name, name), lines, 'iteration', TITLES.get(keys[0], keys[0])
                                     if len(keys) == 1 else ''))
    once = table('Measured once', ('of', 'at iteration', 'value'), single) if single else ''
    return (f'<div class="charts">{"".join(charts)}</div>' if charts else '') + once


def _label(run: Run, key: str, runs: Sequence[Run], both: bool) -> str:
    name = f'{key} (validation)' if both else key
    return name if len(runs) == 1 else f'{run.name}: {name}'
