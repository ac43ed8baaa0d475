"""What a study leaves to look at: a table of its trials, its best as a config, and what mattered as a picture."""
import csv
import io
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config

from ..engine.config_files import write_config
from ..files import replace
from ..printable import printable
from ..visualization.figures import new_figure, save
from ..work_dirs import hold
from .space import Parameter, apply
from .study import Study
from .training import command_of

BEST, TABLE, PICTURE = 'best.py', 'trials.csv', 'importance.png'
_STATES = dict(COMPLETE='done', PRUNED='ended early', FAIL='failed', RUNNING='running')


def write(study: Study, cfg: Config, space: Sequence[Parameter]) -> None:
    """Write `TABLE` and, where a trial has a value, `BEST`, into the study's folder.

    Args:
        study: whose trials they are.
        cfg: the config that is tuned.
        space: its parameters.
    """
    with hold(study.folder, wait=5):
        trials = study.trials()
        replace(study.folder / TABLE, lambda path: path.write_text(_table(study, trials, space), 'utf-8'))
        best = study.best()
        if best is not None:
            found = apply(cfg, space, study.values_of(best))
            found.pop('work_dir', None)
            replace(study.folder / BEST, lambda path: _write_best(path, found, _about(study, best, len(trials))))


def draw(study: Study, space: Sequence[Parameter]) -> Path | None:
    """Draw how much each parameter mattered, and the trials over each; None where too few trials tell."""
    importances = study.importances()
    done = [trial for trial in study.trials() if trial.value is not None and trial.state.name == 'COMPLETE']
    if not importances:
        return None
    figure = new_figure(4 + 2.6 * len(space), 3.4)
    bars, *panels = figure.subplots(1, 1 + len(space), width_ratios=[1.6] + [1] * len(space))
    names = sorted((parameter.name for parameter in space), key=lambda name: importances.get(name, 0.))
    bars.barh([name.rpartition('.')[2] for name in names], [importances.get(name, 0.) for name in names])
    bars.set(title='importance', xlim=(0, None))
    best = study.best()
    for axes, name in zip(panels, reversed(names)):
        parameter = next(parameter for parameter in space if parameter.name == name)
        values = [trial.params[name] for trial in done]
        if parameter.choices:
            labels = [*dict.fromkeys(map(str, parameter.choices))]
            places = [labels.index(str(value)) if str(value) in labels else len(labels) for value in values]
            axes.set_xticks(range(len(labels)), labels)
            axes.set_xlim(-0.5, len(labels) - 0.5)
        else:
            places = values
            axes.set_xscale('log' if parameter.log else 'linear')
        axes.scatter(places, [trial.value for trial in done], s=14, alpha=0.7)
        axes.scatter(*zip(*[(place, trial.value) for place, trial in zip(places, done)
                            if trial.number == best.number]), s=40, marker='*', color='tab:red', zorder=3)
        axes.set_title(name.rpartition('.')[2])
    panels[0].set_ylabel(study.goal.metric if study.goal.metric != 'auto' else 'metric')
    out = study.folder / PICTURE
    with hold(study.folder, wait=5):
        save(figure, out)
    return out


def summary(study: Study, space: Sequence[Parameter], options: Sequence[str], picture: Path | None) -> str:
    """The lines that a study ends with."""
    trials = study.trials()
    counts = {word: sum(trial.state.name == state for trial in trials) for state, word in _STATES.items()}
    lines = [f'{len(trials)} trials: ' + ', '.join(f'{count} {word}' for word, count in counts.items() if count)]
    best = study.best()
    if best is None:
        return '\n'.join([*lines, 'None of them has a value'])
    lines.append(_about(study, best, len(trials)))
    values, base = study.values_of(best), {parameter.name: parameter.now for parameter in space}
    for name, value in values.items():
        before = '' if base[name] is None else f' (the config: {_number(base[name])})'
        lines.append(f'  {name}: {_number(value)}{before}')
    lines += [str(study.folder / name) for name in (TABLE, *([picture.name] if picture else []))]
    lines.append('Train: ' + shlex.join(command_of(study.folder / BEST, options)))
    return '\n'.join(lines)


def _about(study: Study, best: Any, count: int) -> str:
    metric = study.goal.metric if study.goal.metric != 'auto' else 'metric'
    return f'The best of {count} trials is number {best.number}: {metric} {best.value:.4g}'


def _write_best(path: Path, cfg: Config, about: str) -> None:
    write_config(cfg, path)
    path.write_text(f'# {printable(about)}.\n{path.read_text("utf-8")}', 'utf-8')


def _table(study: Study, trials: Sequence[Any], space: Sequence[Parameter]) -> str:
    text = io.StringIO()
    table = csv.writer(text, lineterminator='\n')
    names = [parameter.name for parameter in space]
    metric = study.goal.metric if study.goal.metric != 'auto' else 'metric'
    table.writerow(['trial', 'state', metric, 'validations', 'minutes', *names, 'problem'])
    for trial in trials:
        values: Mapping[str, Any] = trial.params
        seen = trial.intermediate_values
        value = trial.value if trial.value is not None else study.goal.best_of([*seen.values()]) if seen else ''
        minutes = f'{trial.duration.total_seconds() / 60:.2f}' if trial.duration else ''
        table.writerow([trial.number, _STATES[trial.state.name], value, len(seen), minutes,
                        *(values.get(name, '') for name in names), trial.user_attrs.get('why', '')])
    return text.getvalue()


def _number(value: Any) -> str:
    return f'{value:.4g}' if isinstance(value, float) else str(value)
