"""Fills the tables of docs/performance.md from the results' JSON files, so that no figure there is typed."""
import json
import re
from pathlib import Path

from ..errors import ConfigError
from .plan import PLAN
from .report import columns, roofline_columns, share_columns

_PLACE = re.compile(r'(<!-- results: ([\w.-]+) -->\n).*?(<!-- end -->)', re.DOTALL)


def fill_page(text: str, results: Path, root: Path) -> str:
    """The page with new tables between every `<!-- results: NAME -->` and `<!-- end -->`.

    Args:
        text: the page.
        results: folder with a folder per machine, each with files NAME.json.
        root: the checkout; pictures are linked relative to the page's folder, docs.

    Raises:
        ConfigError: the page has no place for a file, or a file can't be read.
    """
    names = {match[2] for match in _PLACE.finditer(text)}
    files = sorted(results.glob('*/*.json'))
    if unplaced := [path for path in files if path.stem not in names]:
        raise ConfigError(f'{unplaced[0]}: the page has no place <!-- results: {unplaced[0].stem} --> … <!-- end -->')

    def fill(match):
        tables = [_table(path, root) for path in files if path.stem == match[2]]
        return match[1] + ''.join(tables or [
            f'\nNot measured yet: `{_command(match[2])}` does.\n']) + '\n' + match[3]
    return _PLACE.sub(fill, text)


def _command(name: str) -> str:
    """The command that measures the results called `name`."""
    planned = any(name in plan for plan in PLAN.values())
    return f'tools/benchmark.py all --only {name}' if planned else f'tools/gpu_check.py --wheels WHEELS --stages {name}'


def _cells(roofline: dict, rows: list[dict]) -> tuple[list[str], list[list[str]]]:
    if not rows:
        return roofline_columns(roofline)
    return share_columns(rows) if any(row.get('shares') for row in rows) else columns(rows)


def _table(path: Path, root: Path) -> str:
    try:
        results = json.loads(path.read_text())
        machine = results['machine']
        titles, cells = results['table'] if 'table' in results else _cells(results['roofline'], results['rows'])
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f'{path}: no results of `mmvision-mamba benchmark` '
                          f'({type(error).__name__}: {error})') from error
    facts = [machine['gpu'] or f'{machine["cpu"]}, {machine["cores"]} cores', f'{machine["threads"]} threads',
             machine.get('driver') and f'driver {machine["driver"]}',
             machine.get('sm_mhz') and f'{machine["sm_mhz"]} of {machine["sm_mhz_most"]} MHz',
             f'torch {machine["torch"]}', machine['commit'] and f'commit {machine["commit"]}', machine['date'][:10]]
    lines = [f'\n**{path.parent.name}** ({", ".join(filter(None, facts))}): `{results["command"]}`\n',
             *('| ' + ' | '.join(line) + ' |' for line in (titles, ['---'] * len(titles), *cells))]
    if results.get('note'):
        lines.append('\n' + results['note'])
    picture = path.with_suffix('.png')
    if picture.exists():
        lines.append(f'\n![{path.stem}, {path.parent.name}]({picture.relative_to(root / "docs").as_posix()})')
    return '\n'.join(lines) + '\n'
