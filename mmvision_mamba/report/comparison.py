"""Several runs on one page: metrics side by side, curves over one another, what differs in their configs."""
from collections.abc import Mapping, Sequence
from typing import Any

from ..engine.changed_settings import read_values
from ..errors import DataError
from ..printable import shown
from ..text import shortened
from .curves_section import curve_charts
from .findings import where
from .gathering import Gathered
from .html import page, table, text, words
from .sections import MEASURES

_MEASURE = dict(detection='ap', segmentation='iou', classification='accuracy')
_MOST_DIFFERENCES = 500
_SPLITS = 'validation', 'test'
_MISSING = '(not set)'
_AT_BEST = dict(score_thr='best score threshold', precision='precision there', recall='recall there', f1='F1 there')


def comparison_page(runs: Sequence[Gathered]) -> tuple[str, dict[str, Any]]:
    """The page as HTML, and its content for report.json.

    Raises:
        DataError: runs of different classes.
    """
    _name(runs)
    _check_classes(runs)
    values = [_values(run) for run in runs]
    keys = list(dict.fromkeys(key for of_run in values for key in of_run))
    differences = config_differences([run.config for run in runs])
    names = [run.name for run in runs]
    sentences = [*_sentences(runs, values, keys), *_unlike(runs)]
    rows = [(key, *(of_run.get(key) for of_run in values)) for key in keys]
    of_classes = _classes(runs)
    parts = [
        ('metrics', 'Metrics', table('Metrics side by side', ('metric', *names), rows)),
        ('classes', 'Classes', '' if not of_classes else table(
            'Each class', ('class', *names), [(name, *line) for name, line in of_classes.items()])),
        ('curves', 'Curves', curve_charts([run.curves for run in runs if run.curves is not None])),
        ('configs', 'Configs', table(
            f'What differs in the configs{"" if len(differences) <= _MOST_DIFFERENCES else ", the first settings"}',
            ('setting', *names), [(key, *line) for key, line in [*differences.items()][:_MOST_DIFFERENCES]],
            left=range(len(names) + 1)) if differences else '<p>The configs do not differ.</p>')]
    content = dict(runs=names, findings=sentences, metrics={key: row for key, *row in rows}, classes=of_classes,
                   differences=differences)
    title = f'Comparison of {shortened(names, 4)}'
    about = ''.join(f'<p class="soft">{text(run.name)}: {text(where(run.evaluation))}</p>'
                    for run in runs if run.evaluation is not None)
    return page(title, parts, about + words(sentences)), content


def _name(runs: Sequence[Gathered]) -> None:
    """Name runs whose folders are called alike by their paths."""
    names = [run.name for run in runs]
    for run in runs:
        if names.count(run.name) > 1:
            run.name = str(run.folder)
        if run.curves is not None:
            run.curves.name = run.name


def _check_classes(runs: Sequence[Gathered]) -> None:
    known = [run for run in runs if run.classes is not None]
    for run in known[1:]:
        first = known[0]
        if set(run.classes) != set(first.classes):
            only = [sorted({*a.classes} - {*b.classes}) for a, b in ((first, run), (run, first))]
            said = '; '.join(f'{shown(one.name, 60)} alone has {shortened(names, 3)}'
                             for one, names in zip((first, run), only) if names)
            raise DataError(f"'{shown(first.folder)}' and '{shown(run.folder)}' are runs of different classes, which "
                            f'can not be compared: {said}')
    kinds = {run.analysis['kind'] for run in runs if run.analysis is not None}
    if len(kinds) > 1:
        raise DataError(f'runs of different tasks can not be compared: {", ".join(sorted(kinds))}')


def _values(run: Gathered) -> dict[str, float | None]:
    """What is measured of a run: of its evaluation, the last validation and the test."""
    found: dict[str, float | None] = {}
    if run.analysis is not None:
        overall = run.analysis['overall']
        found |= {MEASURES[key]: value for key, value in overall.items() if key in MEASURES}
        found |= {_AT_BEST[key]: value for key, value in (overall.get('best') or {}).items() if key in _AT_BEST}
    if run.curves is not None:
        found |= {f'{key} (last validation)': points[-1][1] for key, points in run.curves.val.items()
                  if key not in ('time', 'data_time') and abs(points[-1][1]) < 1e15}
    found |= {f'{key} (test)': value for key, value in (run.metrics or {}).items()}
    if run.run is not None:
        found |= {'seconds of training': round(run.run['seconds']), 'iterations': run.run['iteration']}
    return found


def _classes(runs: Sequence[Gathered]) -> dict[str, list[float | None]]:
    found: dict[str, list[float | None]] = {}
    if all(run.analysis is not None for run in runs):
        key = _MEASURE[runs[0].analysis['kind']]
        measured = [{one['name']: one[key] for one in run.analysis['classes']} for run in runs]
        for name in runs[0].classes:
            found[name] = [of_run[name] for of_run in measured]
    return found


def _sentences(runs: Sequence[Gathered], values: Sequence[Mapping[str, float | None]],
               keys: Sequence[str]) -> list[str]:
    """Which run is the best by the first measure that all have."""
    for key in keys:
        measured = [of_run.get(key) for of_run in values]
        if any(value is None for value in measured) or 'loss' in key or key.startswith(('seconds', 'iterations')):
            continue
        best = max(range(len(runs)), key=lambda i: measured[i])
        others = ', '.join(f'{shown(runs[i].name, 60)} {measured[i]:.4g}' for i in range(len(runs)) if i != best)
        if all(value == measured[best] for value in measured):
            return [f'By {shown(key, 60)} no run is better than the others: {measured[best]:.4g}.']
        return [f'By {shown(key, 60)} {shown(runs[best].name, 60)} is the best: {measured[best]:.4g}; {others}. Runs '
                'that differ by the seed alone differ, too: small distances say little.']
    return ['There is no measure that all of these runs have.']


def _unlike(runs: Sequence[Gathered]) -> list[str]:
    """That the runs are not measured on the same."""
    measured = [(run, run.analysis) for run in runs if run.evaluation is not None]
    on = [f'{shown(run.name, 60)} {analysis["images"]:,} images of its {_SPLITS[run.evaluation["split"] == "test"]}'
          + (f', {analysis["measured_on"]}' if 'measured_on' in analysis else '') for run, analysis in measured]
    if len({(run.evaluation['split'] == 'test', analysis['images'], analysis.get('objects', analysis.get('pixels')),
             analysis.get('measured_on')) for run, analysis in measured}) < 2:
        return []
    return [f'They are not measured on the same: {"; ".join(on)}. Test them on one data set before you choose.']


def config_differences(texts: Sequence[str]) -> dict[str, list[str]]:
    """The settings that differ in some configs' texts, which are not run: {dotted key: the value in each, as text}."""
    flat = [dict(_flat(read_values(text))) for text in texts]
    keys = sorted({key for of_run in flat for key in of_run if not key.startswith('work_dir')})
    rows = {key: [of_run.get(key, _MISSING) for of_run in flat] for key in keys}
    return {key: row for key, row in rows.items() if len({*row}) > 1}


def _flat(value: Any, place: str = '', depth: int = 0):
    items = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) and any(
        isinstance(item, Mapping) for item in value) else None
    if items is None or depth > 20:
        yield place, shown(value, 200)
        return
    for key, item in items:
        yield from _flat(item, f'{place}.{key}' if place else str(key), depth + 1)
