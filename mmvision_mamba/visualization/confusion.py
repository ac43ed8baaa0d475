"""Confusion matrices and per-class results as pictures."""
from __future__ import annotations

import math
import os
from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.ticker import PercentFormatter

from ..printable import shown
from .figures import new_figure, save

NUMBERED = 30  # most classes with numbers in the cells
GRID = 200  # most classes with lines between the cells
MOST_CLASSES = 2000
_LARGEST = 38  # inches of a matrix's side, for 150 classes: those of more have smaller cells
_LONGEST = 40  # characters of a name: of longer ones the middle is left out
_LINE = 0.12  # inches of a class's name


def draw_confusion(out: str | os.PathLike, counts: np.ndarray, classes: Sequence[str],
                   title: str | None = None) -> None:
    """Draw a confusion matrix, each row in per cent of its true class.

    Args:
        out: the picture to write.
        counts: `(n, n)`, rows true and columns predicted; a row and column more than classes are the background's.
        classes: names.
        title: above the matrix. Default: none.
    """
    detection = len(counts) > len(classes)
    names = [*(shown(name, _LONGEST) for name in classes), *(['background'] if detection else [])]
    n = len(names)
    with np.errstate(invalid='ignore', divide='ignore'):
        shares = counts / counts.sum(axis=1, keepdims=True)
    side = min(4 + 0.55 * n, 8 + 0.2 * n, _LARGEST)
    figure = new_figure(side + 1.2, side)
    axis = figure.subplots()
    colours = matplotlib.colormaps['Blues'].with_extremes(bad='0.92')
    image = axis.imshow(np.ma.masked_invalid(shares), cmap=colours, vmin=0, vmax=1)
    font, large = (10, 11) if n <= 12 else (8, 8 + side / 2)
    every = math.ceil(n * _LINE / side)  # class that has its name beside it
    turned = max(map(len, names)) * n > 60
    axis.set_xticks(range(0, n, every), names[::every], rotation=90 if turned else 0, fontsize=font)
    axis.set_yticks(range(0, n, every), names[::every], fontsize=font)
    axis.set_xlabel('predicted', fontsize=large)
    axis.set_ylabel('true', fontsize=large)
    axis.set_title(title, fontsize=large)
    if n <= GRID:
        axis.set_xticks(np.arange(n + 1) - 0.5, minor=True)
        axis.set_yticks(np.arange(n + 1) - 0.5, minor=True)
        axis.grid(which='minor', color='white', linewidth=0.8)
        axis.tick_params(which='minor', length=0)
    if n <= NUMBERED:
        for i, j in np.ndindex(n, n):
            if np.isfinite(shares[i, j]) and counts[i, j]:
                text = f'{100 * shares[i, j]:.{0 if n > 12 else 1}f}' + (f'\n{counts[i, j]:,}' if n <= 12 else '')
                axis.text(j, i, text, ha='center', va='center', fontsize=0.85 * font,
                          color='white' if shares[i, j] > 0.55 else 'black')
    bar = figure.colorbar(image, ax=axis, shrink=0.8, aspect=30, format=PercentFormatter(1))
    bar.set_label('of all false detections, in the last row; of the true class elsewhere' if detection
                  else "of the true class's pixels", fontsize=0.9 * large)
    bar.ax.tick_params(labelsize=0.9 * large)
    save(figure, out)


def draw_per_class(out: str | os.PathLike, results: dict[str, Sequence[float]], classes: Sequence[str],
                   title: str | None = None) -> None:
    """Draw a bar per class and result, best class first, and the means as lines.

    Args:
        out: the picture to write.
        results: name, such as 'box AP', -> a value in [0, 1] or NaN per class.
        classes: names.
        title: above the bars. Default: none.
    """
    first = np.nan_to_num(np.array(next(iter(results.values())), float), nan=-1)
    order = np.argsort(-first, kind='stable')
    n, thickness = len(classes), 0.8 / len(results)
    height = min(0.25 + 0.12 * len(results), 400 / n)  # inches of a class; Agg takes 2¹⁶ pixels
    figure = new_figure(7.5, 1.6 + n * height)
    axis = figure.subplots()
    for k, (name, values) in enumerate(results.items()):
        values = np.array(values, float)[order]
        mean = float(np.nanmean(values)) if np.isfinite(values).any() else math.nan
        rows = np.arange(n) + (k - (len(results) - 1) / 2) * thickness
        axis.barh(rows, np.nan_to_num(values), height=thickness, color=f'C{k}', label=f'{name}, mean {mean:.3f}')
        for row, value in zip(rows, values):
            inside = value > 0.15
            axis.text(0.01 if inside else np.nan_to_num(value) + 0.01, row, va='center',
                      fontsize=min(7, 60 * height / len(results)),
                      color='white' if inside else 'black',
                      s='none there' if math.isnan(value) else f'{value:.3f}')
        if math.isfinite(mean):
            axis.axvline(mean, color=f'C{k}', linestyle='--', linewidth=1)
    axis.set_yticks(range(n), [shown(classes[i], _LONGEST) for i in order], fontsize=min(9, 60 * height))
    axis.set(xlim=(0, 1.02), ylim=(n - 0.4, -0.6), title=title)
    axis.set_xticks(np.linspace(0, 1, 6))
    axis.grid(axis='x', alpha=0.3)
    axis.set_axisbelow(True)
    figure.legend(loc='outside lower center', ncols=len(results), frameon=False, fontsize=9)
    save(figure, out)
