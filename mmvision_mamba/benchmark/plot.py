"""Plots a sweep: time and peak memory over tokens, side or batch."""
from importlib.util import find_spec
from pathlib import Path

from ..errors import MissingExtraError
from ..files import replace
from .report import PHASES

AXES = dict(tokens='sequence length (tokens)', side="image's side (pixels)", batch='batch (images or sequences)')


def check_matplotlib() -> None:
    if find_spec('matplotlib') is None:
        raise MissingExtraError('--plot needs matplotlib: pip install matplotlib')


def plot_sweep(path: Path, rows: list[dict], sweep: str, machine: dict) -> None:
    """Draw a panel of times per phase, quartiles shaded, and one of peak memory, a line per setting."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    phases = [phase for phase in PHASES if any(phase in row for row in rows)]
    panels = [(phase, key) for key in ('median_ms', 'peak_bytes') for phase in phases]
    figure = Figure(figsize=(5.2 * len(phases), 7.6), layout='constrained')
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, len(phases), squeeze=False).flat
    ticks = sorted({row['options'][sweep] for row in rows})
    for axis, (phase, key) in zip(axes, panels):
        for i, name in enumerate(dict.fromkeys(row['name'] for row in rows)):
            line = sorted((row for row in rows if row['name'] == name and row.get(phase, {}).get(key)),
                          key=lambda row: row['options'][sweep])
            if not line:
                continue
            x, scale = [row['options'][sweep] for row in line], 1 if key == 'median_ms' else 2**-20
            axis.plot(x, [row[phase][key] * scale for row in line], 'osD^vP*X'[i % 8] + '-', color=f'C{i}', label=name)
            if key == 'median_ms':
                axis.fill_between(x, *([row[phase][q] for row in line] for q in ('q1_ms', 'q3_ms')), color=f'C{i}',
                                  alpha=0.25, linewidth=0)
        axis.set(xscale='log', yscale='log', xlabel=AXES[sweep], xticks=ticks, title=PHASES[phase],
                 ylabel='time per call (ms)' if key == 'median_ms' else 'peak memory (MiB)')
        axis.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f'{x:,.0f}'))
        axis.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f'{y:,g}'))
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))  # two labels or more within a decade
        for part in (axis.xaxis, axis.yaxis):
            part.set_minor_formatter(NullFormatter())
        axis.tick_params('x', rotation=45)
        axis.grid(True, which='both', alpha=0.3)
        axis.legend(fontsize='small')
    figure.suptitle(f'{machine["gpu"] or machine["cpu"]}, {machine["threads"]} CPU threads, torch {machine["torch"]}',
                    fontsize='medium')
    replace(path, lambda temporary: figure.savefig(temporary, dpi=120))
