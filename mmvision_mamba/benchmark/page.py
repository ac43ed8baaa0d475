"""Fills the tables of docs/performance.md from the results' JSON files, so that no figure there is typed."""
import json
import re
from pathlib import Path

from ..errors import ConfigError
from .best import best_columns
from .plan import PLAN
from .report import columns, matmul_text, roofline_columns, share_columns

# Results that other commands write.
_COMMANDS = dict(evaluation='tools/dev/measure_evaluation.py docs/results/MACHINE/evaluation.json',
                 large_pictures='tools/dev/measure_large_pictures.py docs/results/MACHINE/large_pictures.json',
                 loading='tools/dev/measure_loading.py docs/results/MACHINE/loading.json')
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
    if name in _COMMANDS:
        return _COMMANDS[name]
    planned = any(name in plan for plan in PLAN.values())
    return f'tools/benchmark.py all --only {name}' if planned else 'python tools/dev/gpu_check --wheels WHEELS'


def _cells(roofline: dict, rows: list[dict]) -> tuple[list[str], list[list[str]]]:
    if not rows:
        return roofline_columns(roofline)
    return share_columns(rows) if any(row.get('shares') for row in rows) else columns(rows)


def _table(path: Path, root: Path) -> str:
    try:
        results = json.loads(path.read_text())
        machine = results['machine']
        table = results['table'] if 'table' in results else _cells(results['roofline'], results['rows'])
        best = best_columns(results.get('rows', []))
        limits = _limits(results)
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f'{path}: no results of `mmvision-mamba benchmark` '
                          f'({type(error).__name__}: {error})') from error
    facts = [machine['gpu'] or f'{machine["cpu"]}, {machine["cores"]} cores', f'{machine["threads"]} threads',
             machine.get('driver') and f'driver {machine["driver"]}',
             machine.get('sm_mhz') and f'{machine["sm_mhz"]} of {machine["sm_mhz_most"]} MHz',
             f'torch {machine["torch"]}', machine['commit'] and f'commit {machine["commit"]}', machine['date'][:10]]
    lines = [f'\n**{path.parent.name}** ({", ".join(filter(None, facts))}): `{results["command"]}`\n', *limits,
             *table_lines(*table)]
    if best:
        lines += ['\nEach model in its best setting; its time over that of the peer in *its* best:\n',
                  *table_lines(*best)]
    if results.get('note'):
        lines.append('\n' + results['note'])
    picture = path.with_suffix('.png')
    if picture.exists():
        lines.append(f'\n![{path.stem}, {path.parent.name}]({picture.relative_to(root / "docs").as_posix()})')
    return '\n'.join(lines) + '\n'


def table_lines(titles: list[str], cells: list[list[str]]) -> list[str]:
    """The lines of a table in Markdown."""
    return ['| ' + ' | '.join(line) + ' |' for line in (titles, ['---'] * len(titles), *cells)]


def _limits(results: dict) -> list[str]:
    """What the shares of the matrix product rate are shares of, where a library is named and rows have such shares."""
    roofline = results.get('roofline', {})
    if not results.get('rows') or not any(len(rates) > 1 for rates in roofline.get('matmul_libraries', {}).values()):
        return []
    return ['Matrix products: ' + ', '.join(f'{dtype} {matmul_text(roofline, dtype)}'
                                            for dtype in roofline['matmul_flops_per_second']) + '.\n']
