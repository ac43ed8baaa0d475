"""Writes the report of a run, and the comparison of several."""
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import DataError
from ..files import replace
from ..inference.report_thresholds import REPORT
from ..printable import printable, shown
from ..text import duration
from . import sections
from .comparison import comparison_page
from .curves_section import curve_charts
from .findings import findings, where
from .gathering import Gathered, gather_run
from .html import page, table, text, words

INDEX = 'index.html'


def make_report(folder: Path, out_dir: Path | None = None) -> Path:
    """Write the report of the run in a folder.

    Args:
        folder: the run's.
        out_dir: where `index.html` and `report.json` go. Default: report/ in the run's folder.

    Returns:
        The path of the page.

    Raises:
        DataError: it is no run's folder, what it holds is broken, or its report/ is a link.
        OSError: nothing can be written there.
    """
    run = gather_run(folder)
    if out_dir is None:
        out_dir = folder / REPORT.parent
        if out_dir.is_symlink():  # the folder may be someone else's, and lead to any of the user's
            raise DataError(f"'{shown(out_dir)}' is a link, and the report would replace what lies where it leads.\n"
                            'Name the folder that it is to go to: --out-dir DIR')
    _write(out_dir / REPORT.name, json.dumps(as_json(run), indent=1, allow_nan=False) + '\n')
    _write(out_dir / INDEX, report_page(run))
    return out_dir / INDEX


def make_comparison(folders: Sequence[Path], out_dir: Path) -> Path:
    """Write the comparison of the runs in several folders; returns and raises as `make_report`.

    Raises:
        DataError: also where their classes differ.
    """
    html, content = comparison_page([gather_run(folder) for folder in folders])
    _write(out_dir / REPORT.name, json.dumps(content, indent=1, allow_nan=False) + '\n')
    _write(out_dir / INDEX, html)
    return out_dir / INDEX


def _write(path: Path, content: str) -> None:
    replace(path, lambda part: part.write_text(content, encoding='utf-8', errors='backslashreplace'))


def as_json(run: Gathered) -> dict[str, Any]:
    """The content of report.json: all but pictures."""
    evaluation = None if run.evaluation is None else {
        key: value for key, value in run.evaluation.items() if key != 'pictures'}
    return dict(name=run.name, findings=findings(run), classes=run.classes,
                thresholds=sections.recommended(run.analysis), evaluation=evaluation, metrics=run.metrics, run=run.run,
                last_values=None if run.curves is None else {
                    key: points[-1][1] if abs(points[-1][1]) < 1e15 else None
                    for part in (run.curves.train, run.curves.val) for key, points in part.items()})


def report_page(run: Gathered) -> str:
    """The report as HTML."""
    analysis, evaluation = run.analysis, run.evaluation
    kind = None if analysis is None else analysis['kind']
    detection = kind == 'detection'
    of = '' if evaluation is None else f'<p class="soft">{text(kind.capitalize())}: {text(where(evaluation))}</p>'
    notes = ''.join(f'<p class="soft">{text(note)}</p>' for note in run.notes)
    parts = [
        ('results', 'Results', '' if analysis is None else sections.overall(analysis, run.metrics)),
        ('metrics', 'Metrics', '' if analysis is not None or not run.metrics else table(
            'metrics.json, of the last test', ('metric', 'value'), sections.measured(run.metrics)[:2000])),
        ('classes', 'Classes', '' if analysis is None else sections.classes(analysis)),
        ('thresholds', 'Thresholds', sections.thresholds(analysis) if detection else ''),
        ('errors', 'Errors', sections.errors(analysis) if detection else ''),
        ('sizes', 'Sizes', sections.sizes(analysis) if detection else ''),
        ('confusion', 'Confusion', '' if analysis is None else sections.confusion(analysis)),
        ('calibration', 'Calibration', '' if analysis is None or 'calibration' not in analysis else
         sections.reliability(analysis)),
        ('images', 'Images', '' if evaluation is None else sections.pictures(evaluation)),
        ('curves', 'Curves', '' if run.curves is None else curve_charts([run.curves])),
        ('data', 'Data', _data(run)),
        ('run', 'Run', _run(run))]
    return page(f'Report: {run.name}', parts, of + notes + words(findings(run)))


def _data(run: Gathered) -> str:
    splits = (run.run or {}).get('data', {})
    if not splits:
        return ''
    counts = {split: {one['name']: one for one in part['classes'] or ()} for split, part in splits.items()}
    parts = [table('Images of each split', ('split', 'images'), [
        (split, part['images']) for split, part in splits.items()])]
    names = list(dict.fromkeys(name for part in counts.values() for name in part))
    if names:
        titles = [f'{split}: {what}' for split in splits if counts[split] for what in ('objects', 'images')]
        rows = [(name, *(counts[split].get(name, {}).get(what) for split in splits if counts[split]
                         for what in ('objects', 'images'))) for name in names]
        rows.sort(key=lambda row: row[1] or 0)
        cut = [f'the first {part["counted"]:,} images of {split}' for split, part in splits.items()
               if part['counted'] and part['counted'] < part['images']]
        caption = 'Objects, and images that have them, by class' + (f', of {", ".join(cut)}' if cut else '')
        parts.append(table(caption, ('class', *titles), rows[:2000]))
    return ''.join(parts)


def _run(run: Gathered) -> str:
    facts, rows = run.run or {}, []
    if facts:
        rows += facts['settings'].items()
        rows.append(('ended', time.strftime('%Y-%m-%d %H:%M', time.localtime(facts['time']))))
        rows += [('iterations', facts['iterations']), ('time of the training', duration(facts['seconds']))]
        if facts['iterations']:
            rows.append(('time of an iteration, validation included',
                         f'{facts["seconds"] / facts["iterations"]:.3g} s'))
        rows += [(f'peak memory, {"GPU" if name == "gpu" else "process"}', f'{value / 2**30:.2f} GiB')
                 for name, value in facts['peak_memory'].items() if isinstance(value, int | float)]
    versions = facts.get('versions') or (run.evaluation or {}).get('versions') or {}
    rows += [(name, str(value)) for name, value in versions.items()]
    rows.append(('folder', str(run.folder)))
    config = f'<details><summary>Config</summary><pre>{_lines(run.config)}</pre></details>' if run.config else ''
    return table('What was run, and on what', ('', ''), rows, left=(0, 1)) + config


def _lines(content: str) -> str:
    from html import escape
    return escape(printable(content))
