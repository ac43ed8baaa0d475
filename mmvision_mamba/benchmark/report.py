"""Results of benchmarks: facts about the machine, tables to read, JSON and CSV files."""
import csv
import functools
import io
import json
import os
import platform
import re
import subprocess
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path

import torch

from ..checkout import ROOT
from ..files import replace

PHASES = dict(forward='forward', training='training step')
FIGURES = ('median_ms', 'q1_ms', 'q3_ms', 'per_second', 'ratio', 'peak_bytes', 'flops', 'matmul_fraction',
           'least_bytes', 'copy_fraction')


def machine(device: torch.device) -> dict:
    """Facts about this machine that results depend on: hardware, threads, versions, commit, date."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()
    facts = dict(system=f'{platform.system()} {platform.machine()}', cpu=_cpu_name(), cores=cores,
                 threads=torch.get_num_threads(), gpu=None, python=platform.python_version(), torch=torch.__version__)
    if device.type == 'cuda':
        facts |= dict(gpu=torch.cuda.get_device_name(device), cuda=torch.version.cuda)
    return dict(device=device.type, **facts, commit=git_commit(),
                date=datetime.now(timezone.utc).isoformat(timespec='seconds'))


def machine_name(device: torch.device) -> str:
    """A name for the folder of this machine's results: its GPU's, or one made of the number of its cores."""
    facts = machine(device)
    return re.sub(r'\W+', '-', facts['gpu'].lower()) if facts['gpu'] else f'cpu-{facts["cores"]}cores'


def clocks(device: torch.device) -> dict:
    """Driver, clocks (MHz) and power limit (W) of a GPU, as nvidia-smi reports them now; {} on a CPU."""
    fields = dict(driver='driver_version', sm_mhz='clocks.sm', sm_mhz_most='clocks.max.sm', memory_mhz='clocks.mem',
                  watts='power.limit')
    if device.type != 'cuda':
        return {}
    try:
        output = subprocess.run(
            ['nvidia-smi', f'--id=GPU-{torch.cuda.get_device_properties(device).uuid}',
             f'--query-gpu={",".join(fields.values())}', '--format=csv,noheader,nounits'],
            capture_output=True, text=True, check=True, timeout=20).stdout
    except (OSError, subprocess.SubprocessError):
        return {}
    return dict(zip(fields, (value.strip() for value in output.split(','))))


def _cpu_name() -> str:
    with suppress(OSError):
        for line in Path('/proc/cpuinfo').read_text().splitlines():
            if line.startswith('model name'):
                return line.partition(':')[2].strip()
    return platform.processor() or platform.machine()


@functools.cache
def git_commit() -> str | None:
    """The checkout's commit, with '+' where the code has changed since. None: there is no checkout."""
    def git(*args):
        return subprocess.run(['git', *args], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    if ROOT is None or not (ROOT / '.git').exists():
        return None
    try:
        return git('rev-parse', '--short=10', 'HEAD') + (
            '+' if git('status', '--porcelain', '--', 'mmvision_mamba', 'tools', 'configs') else '')
    except (OSError, subprocess.CalledProcessError):
        return None


# A table ------------------------------------------------------------------------------------------------------------

def columns(rows: list[dict]) -> tuple[list[str], list[list[str]]]:
    """Titles and cells of the table of results, without empty columns."""
    titles, cells = ['work', 'setting'], [[row['group'], row['name']] for row in rows]

    def add(title, texts):
        if any(texts):
            titles.append(title)
            for line, text in zip(cells, texts):
                line.append(text)
    for phase, title in PHASES.items():
        def each(to_text, phase=phase):
            return [to_text(row[phase]) if phase in row else '' for row in rows]
        several = len({row['group'] for row in rows}) < len(rows)
        add(title, each(time_text))
        if phase == 'training':
            add('training batch', _training_batches(rows))
        if several:
            add('ratio', each(lambda f: '' if f.get('ratio') is None else f'{f["ratio"]:.2f}×'))
        add('per second', each(lambda f: '' if f.get('per_second') is None else f'{number(f["per_second"])}'))
        add('peak', each(lambda f: size_text(f.get('peak_bytes'))))
        add('of matmul rate', each(lambda f: percent(f.get('matmul_fraction'))))
        add('of copy rate', each(lambda f: percent(f.get('copy_fraction'))))
    add('kept for backward', [size_text(row.get('kept_bytes')) for row in rows])
    add('failed', [row.get('error') or '' for row in rows])
    return titles, cells


def _training_batches(rows: list[dict]) -> list[str]:
    """Images in a training step; all empty where they are as many as in an inference."""
    units = [(row['training']['units'], row['forward']['units']) if 'training' in row else (0, 0) for row in rows]
    differ = any(step != inference for step, inference in units)
    return [str(step) if differ and step else '' for step, _ in units]


def time_text(figures: dict) -> str:
    if figures.get('q1_ms') is None:
        return f'{number(figures["median_ms"])} ms'
    return f'{number(figures["median_ms"])} ms ({number(figures["q1_ms"])}–{number(figures["q3_ms"])})'


def number(value: float) -> str:
    """Three significant digits, or all before the point."""
    return f'{value:,.0f}' if value >= 100 else f'{value:#.3g}'.rstrip('.')


def size_text(size: int | None) -> str:
    return '' if size is None else f'{number(size / 2**20)} MiB' if size >= 2**20 else f'{number(size / 2**10)} KiB'


def percent(fraction: float | None) -> str:
    return '' if fraction is None else f'{100 * fraction:.2g}%' if fraction < 0.1 else f'{100 * fraction:.0f}%'


def roofline_columns(roofline: dict) -> tuple[list[str], list[list[str]]]:
    cells = [[f'matrix product, {dtype}', matmul_text(roofline, dtype)]
             for dtype in roofline['matmul_flops_per_second']]
    return ['this machine', 'rate'], [*cells, ['copy, read and written',
                                               f'{roofline["copy_bytes_per_second"] / 1e9:.3g} GB/s']]


def matmul_text(roofline: dict, dtype: str) -> str:
    """The best rate of matrix products in a dtype, the library that reached it, and the others' rates."""
    text = f'{roofline["matmul_flops_per_second"][dtype] / 1e12:.3g} TFLOP/s'
    # Earlier results name no library. Where there is but one, as on a GPU, it needs no name.
    rates = sorted(roofline.get('matmul_libraries', {}).get(dtype, {}).items(), key=lambda item: -item[1])
    if len(rates) < 2:
        return text
    return '; '.join([f'{text} ({rates[0][0]})', *(f'{name} {rate / 1e12:.3g}' for name, rate in rates[1:])])


def share_columns(rows: list[dict]) -> tuple[list[str], list[list[str]]]:
    """Titles and cells of the table of shares, for rows that have `shares`, by kind of operator or by part."""
    rows = [row for row in rows if row.get('shares')]
    kinds = list(dict.fromkeys(kind for row in rows for kind in row['shares']))
    return ['work', 'setting', *kinds], [
        [row['group'], row['name'], *(percent(row['shares'].get(kind)) for kind in kinds)] for row in rows]


# Files --------------------------------------------------------------------------------------------------------------

def write(path: Path, results: dict) -> None:
    """Write results atomically: JSON with every sample or CSV with a line per row, by the suffix of `path`."""
    if path.suffix == '.json':
        text = json.dumps(results, indent=2, ensure_ascii=False) + '\n'
    else:
        file = io.StringIO(newline='')
        lines = [_flat(row, results['machine']) for row in results['rows']]
        writer = csv.DictWriter(file, fieldnames=list(dict.fromkeys(key for line in lines for key in line)))
        writer.writeheader()
        writer.writerows(lines)
        text = file.getvalue()
    replace(path, lambda temporary: temporary.write_text(text, 'utf-8', newline=''))


def _flat(row: dict, machine_facts: dict) -> dict:
    """A line of the CSV file."""
    line = {key: row[key] for key in ('group', 'name', 'unit', 'dtype', 'error', 'kept_bytes')}
    for phase in PHASES:
        line |= {f'{phase}_{key}': row.get(phase, {}).get(key) for key in FIGURES}
    return line | {f'option_{key}': value for key, value in row['options'].items()} | \
        {f'machine_{key}': value for key, value in machine_facts.items()}
