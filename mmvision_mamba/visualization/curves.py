"""Curves of training runs, from the `scalars.json` that mmengine writes."""
from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from matplotlib.axes import Axes

from ..errors import ConfigError, DataError
from ..files import read_text
from ..limits import TEXT_BYTES
from ..printable import shown
from ..text import shortened
from .figures import new_figure, save

VAL_LOSS = 'val/loss'
LINES = ('-', '--', ':', '-.')
_LARGEST = 1e100  # of what is drawn: Matplotlib computes with squares and differences
_MOST_PANELS = 60
_MOST_LINES = 500  # in all panels: each takes some milliseconds
TITLES = dict(lr='learning rate')
METRICS = {  # panel -> the endings of its keys
    'average precision': ('mAP',),
    'segmentation (%)': ('mIoU', 'mAcc', 'aAcc', 'mDice', 'mFscore'),
    'classification (%)': ('top1', 'top5'),
}


@dataclass
class Run:
    """The logged values of one run, joined with those of its resumed starts.

    Attributes:
        name: its name in the legend.
        path: the file or folder it was read from.
        train, val: key -> the points (iteration, value) of training and of validation.
    """
    name: str
    path: Path
    train: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    val: dict[str, list[tuple[float, float]]] = field(default_factory=dict)


def read_run(path: str | os.PathLike, name: str | None = None) -> Run:
    """Read the logged values of a run.

    Args:
        path: its work directory (all starts are joined, and the points of a resumed one replace those they repeat), the
            folder of one start, `vis_data`, or a file such as `scalars.json`.
        name: for the legend. Default: the work directory's name.

    Raises:
        DataError: nothing is logged there, or a file is broken.
    """
    path = Path(path)
    files = _files(path)
    train, val = [], []
    for file in files:
        new_train, new_val = _records(file)
        starts = min((x for x, _ in [*new_train, *new_val]), default=math.inf)
        train = [record for record in train if record[0] < starts] + new_train
        val = [record for record in val if record[0] < starts] + new_val
    if not train and not val:
        raise DataError(f'{path}: no curves are logged there; expected lines such as {{"loss": 1.5, "step": 50}}')
    run = Run(name or _work_dir(files[-1]).name, path)
    for records, curves in ((train, run.train), (val, run.val)):
        for x, record in records:
            for key, value in record.items():
                if _is_drawn(value) and key not in ('step', 'iter', 'epoch'):
                    curves.setdefault(key, []).append((x, value))
    return run


def _files(path: Path) -> list[Path]:
    """The log files at `path`, in the order of the run's starts."""
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise DataError(f'{path}: no such file or folder; expected a work directory or a scalars.json')
    try:
        os.listdir(path)  # a search passes over what can't be read
    except OSError as error:
        raise DataError(f'{path} can not be read: {error.strerror}') from None
    for pattern in ('scalars.json', 'vis_data/scalars.json', '*/vis_data/scalars.json'):
        if files := sorted(path.glob(pattern)):
            return files
    runs = sorted({str(_work_dir(file)) for file in path.glob('*/*/vis_data/scalars.json')})
    raise DataError(f'{path}: no */vis_data/scalars.json there' + (
        f'; name the runs themselves: {shortened(runs)}' if runs else
        ', so this is no work directory of a run (with --vis none, none is written)'))


def _work_dir(file: Path) -> Path:
    """WORK_DIR of the file WORK_DIR/TIME/vis_data/scalars.json; the folder of any other file."""
    folder = file.resolve().parent
    return folder.parents[1] if folder.name == 'vis_data' else folder


def _records(file: Path) -> tuple[list[tuple[float, dict]], list[tuple[float, dict]]]:
    """(iteration, record) of the training and of the validation records in one file."""
    train, val = [], []
    try:
        lines = read_text(file, TEXT_BYTES.value).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f'{file} can not be read: {error}') from error
    for number, line in enumerate(lines, 1):
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            if number == len(lines) and train:  # cut off in the middle of a write
                break
            problem = getattr(error, 'msg', None) or shown(error, 100)
            raise DataError(f'{file}: line {number} is not JSON ({problem}); expected one object a line, as in '
                            "mmengine's scalars.json") from error
        if not isinstance(record, dict) or not _is_place(record.get('step')):
            continue  # such as the metrics of a test
        if 'iter' in record:
            train.append((record['step'], record))
        else:
            # The step of a validation is an iteration or an epoch or, in a loop without epochs, stays 0.
            last, epoch = (train[-1][0], train[-1][1].get('epoch')) if train else (0, None)
            step = record['step']
            val.append((last if step < last or step == epoch else step, record))
    return train, val


def _is_place(value: object) -> bool:
    """Whether it is a number that Matplotlib can draw."""
    return isinstance(value, int | float) and -_LARGEST < value < _LARGEST


def _is_drawn(value: object) -> bool:
    """Whether it is a number that Matplotlib can draw, or NaN or infinite, which it leaves out."""
    return _is_place(value) or (isinstance(value, float) and not math.isfinite(value))


def draw_curves(out: str | os.PathLike, runs: Sequence[Run], keys: Sequence[str] | None = None,
                title: str | None = None) -> None:
    """Draw a panel for the loss, one for its parts (of a single run), the learning rate and each kind of metric.

    The loss of validation is drawn beside the training's.

    Args:
        out: the picture to write; its suffix says in which format.
        runs: from `read_run`.
        keys: draw these instead, a panel each.
        title: above the panels. Default: the names of the runs.

    Raises:
        ConfigError: no run has one of the keys, or there are more panels than one can look at.
    """
    panels = panels_of(runs) if keys is None else [(key, [key]) for key in keys]
    known = sorted({key for run in runs for key in (*run.train, *run.val)})
    missing = [key for _, names in panels for key in names if key not in known] if keys else []
    if missing:
        raise ConfigError(f'--keys: not logged: {", ".join(missing)}; there are {", ".join(known)}')
    if not 0 < len(panels) <= _MOST_PANELS:
        raise ConfigError(f'{len(panels)} panels would be drawn, and 1 to {_MOST_PANELS} are possible.\nChoose what to '
                          f'draw by --keys; there are {shortened(known, 20)}')
    if (lines := sum(len(names) for _, names in panels) * len(runs)) > _MOST_LINES:
        raise ConfigError(f'{lines} lines would be drawn, and {_MOST_LINES} are possible.\nChoose what to draw by '
                          f'--keys; there are {shortened(known, 20)}')
    columns = min(2, len(panels))
    rows = math.ceil(len(panels) / columns)
    figure = new_figure(6.4 * columns, 3.9 * rows + 0.4)
    axes = figure.subplots(rows, columns, squeeze=False).flat
    for axis, (name, names) in zip(axes, panels):
        _draw_panel(axis, name, names, runs)
    for axis in axes[len(panels):]:
        axis.set_visible(False)
    figure.suptitle(title or ', '.join(run.name for run in runs), wrap=True)
    save(figure, out)


def panels_of(runs: Sequence[Run]) -> list[tuple[str, list[str]]]:
    """(name, keys) of the panels that show the runs best."""
    train = dict.fromkeys(key for run in runs for key in run.train)
    val = dict.fromkeys(key for run in runs for key in run.val)
    losses = [key for key in ('loss', VAL_LOSS) if key in train or key in val]
    panels = [('loss', losses)] if losses else []
    parts = [key for key in train if 'loss' in key and key != 'loss']
    if len(runs) == 1 and len(parts) > 1:
        panels.append(('parts of the loss', parts))
    if 'lr' in train:
        panels.append(('lr', ['lr']))
    for name, ends in METRICS.items():
        keys = [key for end in ends for key in val if key.endswith(end)]
        if len(runs) > 1 and name != 'average precision':
            keys = keys[:1]  # the first is the kind's main metric; the others would only hide it
        if keys:
            panels.append((name, keys))
    # A metric of another kind gets a panel of its own.
    return panels if any(name in METRICS for name, _ in panels) else panels + [
        (key, [key]) for key in val if key not in ('time', 'data_time') and not key.startswith('val/')]


def _draw_panel(axis: Axes, name: str, keys: Sequence[str], runs: Sequence[Run]) -> None:
    lines = [(i, j, key, run) for i, run in enumerate(runs) for j, key in enumerate(keys)
             if key in run.train or key in run.val]
    for i, j, key, run in lines:
        points, validation = (run.train[key], False) if key in run.train else (run.val[key], True)
        # -1 is COCO's value for a metric without ground truth.
        x, y = zip(*((x, math.nan if validation and y == -1 else y) for x, y in points))
        label = key if len(runs) == 1 else run.name if keys == [name] else f'{run.name}: {key}'
        if validation and not all(map(math.isnan, y)):
            sign = -1 if key.startswith(VAL_LOSS) else 1
            best = max(range(len(y)), key=lambda at: -math.inf if math.isnan(y[at]) else sign * y[at])
            label += f', best {y[best]:.4g} at {x[best]:,g}'
        if len(runs) == 1:
            style = dict(color=f'C{j % 10}', linestyle=LINES[j // 10 % len(LINES)])
        else:
            style = dict(color=f'C{i % 10}', linestyle=LINES[(i // 10 + j) % len(LINES)])
        axis.plot(x, y, **style, linewidth=1.4, label=label, markersize=5,
                  marker='osD^v'[j % 5] if validation or len(x) == 1 else None)
    axis.set(title=TITLES.get(name, name), xlabel='iteration')
    axis.set_xlim(0, 1.03 * max(x for run in runs for points in (*run.train.values(), *run.val.values())
                                for x, _ in points))
    if name in METRICS:
        axis.set_ylim(0, 1.1 * max(axis.dataLim.y1, 0.01))
    axis.grid(True, alpha=0.3)
    axis.xaxis.set_major_formatter(lambda x, _: f'{x:,g}')
    if lines and (len(keys) > 1 or len(runs) > 1 or name in METRICS):
        place = 'lower right' if name in METRICS else 'best'  # metrics are drawn from 0, and rise
        axis.legend(fontsize='small', ncols=2 if len(lines) > 6 else 1, loc=place)
