"""Puts the results of a check into the documentation: docs/results/NAME/*.json, the tables drawn from them, README."""
import re
import runpy
from collections.abc import Sequence
from pathlib import Path

from mmvision_mamba.benchmark.page import table_lines
from mmvision_mamba.benchmark.report import write
from mmvision_mamba.errors import ConfigError
from mmvision_mamba.files import replace

from . import ROOT
from .page import parts_of, stage_files, target_columns

COMMAND = 'python tools/dev/gpu_check --wheels WHEELS'
# Tables of several parts in one: its name, and the parts.
JOINED = dict(kernels=('scan', 'mixer', 'convolution'), golden=('golden',), operators=('operators',),
               steps=('detector_steps', 'segmentor_steps'), demo=('demo',))


def publish(folders: Sequence[Path], name: str, results: Path = ROOT / 'docs' / 'results') -> list[Path]:
    """Write the results in the folders of one or more calls to RESULTS/NAME. Returns the files.

    Raises:
        ConfigError: there are none, or they are a dry run's.
    """
    stages = stage_files(*folders)
    parts = parts_of(stages)
    # Of the part `versions`, or else of any benchmark.
    machine = next((found for part in parts.values() for found in (
        part.get('machine'), part.get('results', {}).get('machine')) if found), None)
    if machine is None:
        raise ConfigError(f'{folders[0]}: no results of tools/dev/gpu_check that tell what the machine was')
    if not machine.get('gpu'):
        raise ConfigError(f'{folders[0]}: results of a dry run, on a machine without a GPU, measure nothing')
    facts = machine | dict(commit=machine['commit'] or next(iter(stages.values()))['commit'])
    files = {}
    for part_name, part in parts.items():
        if part.get('results'):
            files[part_name] = part['results'] | dict(machine=part['results']['machine'] | dict(commit=facts['commit']))
    for table, names in JOINED.items():
        found = [part for part_name, part in parts.items() if part_name.startswith(names) and part.get('table')
                 and not part.get('results')]
        if found:
            files[table] = dict(command=COMMAND, machine=facts, note=_longest(found), table=[
                found[0]['table'][0], [line for part in found for line in part['table'][1]]])
    files['targets'] = dict(command=COMMAND, machine=facts, table=target_columns(parts))
    paths = [results / name / f'{file}.json' for file in files]
    for path, content in zip(paths, files.values()):
        write(path, content)
    return paths


def _longest(parts: list[dict]) -> str:
    """The tables of the longest kernels of training steps, as the text below the table."""
    return '\n\n'.join('\n'.join([f'Where a training step of {part["steps"][0]["model"]} goes:\n',
                                  *table_lines(*part['longest'])]) for part in parts if part.get('longest'))


def draw_pages(parts: dict[str, dict], readme: Path = ROOT / 'README.md') -> None:
    """Fill the documentation's tables from docs/results, and the README's line about speed from a check's parts."""
    runpy.run_path(str(ROOT / 'tools' / 'dev' / 'performance_page.py'))['main']([])
    rows = parts.get('backbone', {}).get('results', {}).get('rows', [])
    speeds = [row['forward']['per_second'] for row in rows if row['options']['backend'] == 'auto' and 'forward' in row]
    if speeds:
        machine = parts['backbone']['results']['machine']
        cell = f'{max(speeds):,.0f} images/s of 224 × 224, T, bf16, batch 128 ({machine["gpu"]})'
        text = re.sub(r'^(\| speed on a GPU \| )[^|]*', lambda match: f'{match[1]}{cell} ', readme.read_text(),
                      flags=re.MULTILINE)
        replace(readme, lambda temporary: temporary.write_text(text))
