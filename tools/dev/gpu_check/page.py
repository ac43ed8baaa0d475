"""The page of a check, drawn from the files of its stages; what these say of the targets."""
import json
from pathlib import Path

from mmvision_mamba.benchmark.best import best_columns
from mmvision_mamba.benchmark.page import table_lines
from mmvision_mamba.benchmark.report import columns, roofline_columns, share_columns

from .stages import STAGES

# What it is, part, this package's setting, phase, figure, aim. Times and memory are beside the plain path's:
# mamba-ssm's scan and, of backbones, zero padding. Where a part has several sizes the worst counts.
_SPEED, _MEMORY, _COPY = 'per_second', 'peak_bytes', 'copy_fraction'
_TRITON, _AUTO, _FIT = dict(backend='triton'), dict(backend='auto'), dict(backend='auto', padding='fit')
TARGETS = (
    ('scan, forward', 'scan', _TRITON, 'forward', _SPEED, 2.),
    ('scan with backward', 'scan', _TRITON, 'training', _SPEED, 2.),
    ('scan, forward', 'scan', _TRITON, 'forward', _COPY, 0.6),
    ('backbone, inference', 'backbone', _AUTO, 'forward', _SPEED, 1.6),
    ('backbone, training step', 'backbone', _AUTO, 'training', _SPEED, 1.5),
    ("backbone at detection size, 'fit', inference", 'backbone_detection', _FIT, 'forward', _SPEED, 4.),
    ("backbone at detection size, 'fit', training step", 'backbone_detection', _FIT, 'training', _SPEED, 4.),
    ("backbone at detection size, 'fit', training step", 'backbone_detection', _FIT, 'training', _MEMORY, 0.3),
)
_MEANING = {_SPEED: '{:.2f} times as fast', _MEMORY: '{:.2f} of the memory', _COPY: '{:.0%} of the copy rate'}


def stage_files(*folders: Path) -> dict[str, dict]:
    """What the stages left in folders, by their names, in their order; of several with one name the last folder's."""
    found = {name: folder / f'{name}.json' for folder in folders for name in (*STAGES, 'again')
             if (folder / f'{name}.json').exists()}
    return {name: json.loads(found[name].read_text()) for name in (*STAGES, 'again') if name in found}


def parts_of(stages: dict[str, dict]) -> dict[str, dict]:
    """Parts by name; one that was done again as it was the last time."""
    return {name: part for stage in stages.values() for name, part in stage['parts'].items()}


def draw(folder: Path) -> str:
    """The page."""
    stages = stage_files(folder)
    lines = ['# GPU check', '', *table_lines(*target_columns(parts_of(stages)))]
    for name, stage in stages.items():
        lines += ['', f'## {name}: {stage["what"]}', '', f'{stage["seconds"]:.0f} s, commit {stage["commit"]}.']
        for part_name, part in stage['parts'].items():
            state = 'passed' if part['passed'] else f'**failed**: {part["why"]}'
            lines += ['', f'### {part_name}', '', f'{state}, {part["seconds"]:.0f} s.', *(
                line for table in tables(part) for line in ('', *table_lines(*table)))]
    return '\n'.join(lines) + '\n'


def tables(part: dict) -> list[tuple]:
    """(titles, cells) of each table of a part."""
    found = [part[key] for key in ('table', 'longest') if part.get(key)]
    if results := part.get('results'):
        rows = results['rows']
        found.append(columns(rows) if rows else roofline_columns(results['roofline']))
        found += [table for table in (best_columns(rows), share_columns(rows)) if table and table[1]]
    return [table for table in found if table[1]]


def target_columns(parts: dict[str, dict]) -> tuple[list[str], list[list[str]]]:
    """Titles and cells of the table of TARGETS."""
    cells = []
    for what, name, ours, phase, figure, aim in TARGETS:
        rows = parts.get(name, {}).get('results', {}).get('rows', [])
        values = _values(rows, ours, phase, figure)
        if not values:
            cells.append([what, _aim(figure, aim), 'not measured', ''])
            continue
        worst = max(values) if figure == _MEMORY else min(values)
        met = worst <= aim if figure == _MEMORY else worst >= aim
        beside = ', of chunked' if figure != _COPY and _plain(rows) == 'chunked' else ''
        text = _MEANING[figure].format(worst) + beside
        cells.append([what, _aim(figure, aim), text, 'met' if met else '**missed**'])
    return ['target', 'aim', 'measured', ''], cells


def _aim(figure: str, aim: float) -> str:
    return ('at most ' if figure == _MEMORY else 'at least ') + _MEANING[figure].format(aim)


def _plain(rows: list[dict]) -> str:
    """The scan of the plain path: mamba-ssm's, or, where that could not be measured, the chunked one."""
    measured = any(row['options'].get('backend') == 'mamba_ssm' and 'forward' in row for row in rows)
    return 'mamba_ssm' if measured else 'chunked'


def _values(rows: list[dict], ours: dict, phase: str, figure: str) -> list[float]:
    """Of each group: the figure of our setting; of times and memory beside that of the plain path."""
    found = []
    for group in dict.fromkeys(row['group'] for row in rows):
        def setting(group=group, **wanted):
            return next((row[phase] for row in rows if row['group'] == group and phase in row
                         and all(row['options'].get(key, value) == value for key, value in wanted.items())), None)
        mine, plain = setting(**ours), setting(backend=_plain(rows), padding='zeros')
        if figure == _COPY:
            found += [mine[figure]] if mine and mine.get(figure) else []
        elif mine and plain and mine.get(figure) and plain.get(figure):
            found.append(mine[figure] / plain[figure])
    return found
