"""Tables of docs/performance.md out of the results' JSON files, so that no figure there is typed."""
import json
import re
from pathlib import Path

from ..errors import ConfigError
from .command import PLAN
from .report import columns, roofline_columns, share_columns

_PLACE = re.compile(r'(<!-- results: ([\w.-]+) -->\n).*?(<!-- end -->)', re.DOTALL)


def fill_page(text: str, results: Path, root: Path) -> str:
    """The page with everything between `<!-- results: NAME -->` and `<!-- end -->` made anew.

    Args:
        text: of the page.
        results: NAME.json is looked for in every folder in here, one per machine.
        root: of the project; pictures are linked relative to the page's folder, docs.

    Raises:
        ConfigError: a file that the page has no place for, or that can't be read.
    """
    names = {match[2] for match in _PLACE.finditer(text)}
    files = sorted(results.glob('*/*.json'))
    if lost := [path for path in files if path.stem not in names]:
        raise ConfigError(f'{lost[0]}: the page has no place <!-- results: {lost[0].stem} --> … <!-- end -->')

    def fill(match):
        tables = [_table(path, root) for path in files if path.stem == match[2]]
        return match[1] + ''.join(tables or [
            f'\nNot measured yet: `{_command(match[2])}` does.\n']) + '\n' + match[3]
    return _PLACE.sub(fill, text)


def _command(name: str) -> str:
    """What measures the results called `name`."""
    planned = any(name in plan for plan in PLAN.values())
    return f'tools/benchmark.py all --only {name}' if planned else f'tools/gpu_check.py --wheels WHEELS --stages {name}'


def _cells(roofline: dict, rows: list[dict]) -> tuple[list[str], list[list[str]]]:
    if not rows:
        return roofline_columns(roofline)
    return share_columns(rows) if any(row.get('shares') for row in rows) else columns(rows)


def _table(path: Path, root: Path) -> str:
    try:
        found = json.loads(path.read_text())
        machine = found['machine']
        titles, cells = found['table'] if 'table' in found else _cells(found['roofline'], found['rows'])
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f'{path}: no results of tools/benchmark.py ({type(error).__name__}: {error})') from error
    about = [machine['gpu'] or f'{machine["cpu"]}, {machine["cores"]} cores', f'{machine["threads"]} threads',
             machine.get('driver') and f'driver {machine["driver"]}',
             machine.get('sm_mhz') and f'{machine["sm_mhz"]} of {machine["sm_mhz_most"]} MHz',
             f'torch {machine["torch"]}', machine['commit'] and f'commit {machine["commit"]}', machine['date'][:10]]
    lines = [f'\n**{path.parent.name}** ({", ".join(filter(None, about))}): `{found["command"]}`\n',
             *('| ' + ' | '.join(line) + ' |' for line in (titles, ['---'] * len(titles), *cells))]
    if found.get('note'):
        lines.append('\n' + found['note'])
    picture = path.with_suffix('.png')
    if picture.exists():
        lines.append(f'\n![{path.stem}, {path.parent.name}]({picture.relative_to(root / "docs").as_posix()})')
    return '\n'.join(lines) + '\n'
