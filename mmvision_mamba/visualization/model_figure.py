"""Draws a model's stages and their costs in one picture."""
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Patch, Rectangle

from ..costs.model_info import Part
from .figures import new_figure

COLOURS = dict(conv='#2a9d8f', mixer='#457b9d', attention='#e9a03b')
BAR = '#7a8ca3'
IN_ROW = 5  # most blocks side by side


def draw_model(parts: list[Part], title: str) -> Figure:
    """Draw bars for the costs of each part, and above them the stages of a MambaVision, if any, as boxes of blocks."""
    stages = [part for part in parts if part.name == 'stem' or part.name.startswith('stage ')]
    costs = [('parameters (M)', [part.parameters / 1e6 for part in parts]),
             ('GFLOPs', [part.flops / 1e9 for part in parts])]
    if parts[0].activations is not None:
        costs += [(f'{name} (MiB)', [(getattr(part, key) or 0) / 2**20 for part in parts])
                  for name, key in (('activations', 'activations'), ('peak memory', 'peak_memory'))]
    depth = max([1, *(-(-sum(part.blocks.values()) // IN_ROW) for part in stages)])
    top, bottom = (1.9 + 0.3 * depth) * bool(stages), 0.9 + 0.3 * len(parts)
    figure = new_figure(12, 0.4 + top + bottom)
    figure.suptitle(title, fontsize=12)
    grid = figure.add_gridspec(1 + bool(stages), len(costs), height_ratios=[top, bottom][not stages:])
    if stages:
        _draw_stages(figure.add_subplot(grid[0, :]), stages, depth)
    for i, (name, values) in enumerate(costs):
        _draw_bars(figure.add_subplot(grid[-1, i]), name, [part.name for part in parts], values, labels=i == 0)
    return figure


def _draw_stages(ax: Axes, stages: list[Part], depth: int) -> None:
    """Draw a box per stage, from left to right, one unit apart."""
    side = 0.78 / IN_ROW
    height = 0.30 + side * depth
    for i, part in enumerate(stages):
        ax.add_patch(FancyBboxPatch((i + 0.05, 0), 0.86, height, boxstyle='round,pad=0,rounding_size=0.03',
                                    facecolor='#f4f5f7', edgecolor='#5c6773'))
        if i:
            ax.annotate('', (i + 0.05, height / 2), (i - 0.09, height / 2),
                        arrowprops=dict(arrowstyle='-|>', color='#5c6773'))
        ax.text(i + 0.48, height - 0.03, part.name, ha='center', va='top', fontsize=11, weight='bold')
        kinds = [kind for kind, number in part.blocks.items() for _ in range(number)]
        for j, kind in enumerate(kinds):
            row, column = divmod(j, IN_ROW)
            ax.add_patch(Rectangle((i + 0.09 + column * side, height - 0.18 - (row + 1) * side), side * 0.86,
                                   side * 0.86, facecolor=COLOURS[kind]))
        if not kinds:
            ax.text(i + 0.48, height - 0.18 - side / 2, '2 strided\nconvolutions', ha='center', va='center', fontsize=8)
        lines = [' × '.join(map(str, part.output[0]))] if part.output else []
        lines += [', '.join(f'{number} {kind}' for kind, number in part.blocks.items())] * bool(part.blocks)
        if part.windows is not None:
            w = part.windows
            lines.append(f'{w.rows * w.columns} windows' if w.rows * w.columns > 1 else '1 window')
            lines[-1] += f' of {w.window_height} × {w.window_width}'
        ax.text(i + 0.48, -0.05, '\n'.join(lines), ha='center', va='top', fontsize=9, linespacing=1.4)
    ax.legend(handles=[Patch(color=colour, label=kind) for kind, colour in COLOURS.items()], loc='lower left',
              ncols=3, fontsize=9, frameon=False, bbox_to_anchor=(0, 0.97), borderaxespad=0)
    ax.set(xlim=(0, len(stages)), ylim=(-0.52, height + 0.02))
    ax.set_aspect('auto')
    ax.set_axis_off()


def _draw_bars(ax: Axes, name: str, parts: list[str], values: list[float], labels: bool) -> None:
    bars = ax.barh(range(len(parts)), values, color=BAR)
    ax.bar_label(bars, [f'{value:,.0f}' if value >= 100 else f'{value:.3g}' for value in values], padding=3, fontsize=8)
    ax.set_yticks(range(len(parts)), parts if labels else [''] * len(parts))
    ax.set_xticks([])
    ax.set_xlim(0, 1.3 * max([*values, 1e-9]))
    ax.invert_yaxis()
    ax.set_title(name, fontsize=10)
    ax.spines[['top', 'right', 'bottom']].set_visible(False)
    ax.tick_params(length=0)
