"""Times settings in turns, round after round, so that other load on the machine slows all of them alike."""
import statistics
import time
from collections.abc import Callable, Iterable

import torch

from ..costs.memory import kept_for_backward, peak_memory
from ..errors import UserError
from .setting import Setting

TURN_SECONDS = 0.1  # a fast setting makes several calls in a turn, so that one interrupt does not spoil it
MOST_CALLS = 50


def milliseconds(function: Callable, device: torch.device, calls: int = 1) -> float:
    """Milliseconds per call of `calls` calls in a row. The device is waited for before and after, not between them."""
    synchronize(device)
    start = time.perf_counter()
    for _ in range(calls):
        function()
    synchronize(device)
    return 1e3 * (time.perf_counter() - start) / calls


def measure(settings: Iterable[Setting], device: torch.device, rounds: int, training: bool = True) -> list[dict]:
    """Call each setting unmeasured, then all of them in turns, then count bytes and FLOPs.

    Returns:
        A row per setting. Its `forward` and, where there is one, `training` hold `samples_ms`, every call begun when
        the device is idle; on CUDA `burst_ms` too, per call of several that follow each other; `peak_bytes`; `flops`;
        `least_bytes`. `kept_bytes` is what the forward keeps for the backward. `error` says why a setting can't run.
    """
    settings = list(settings)
    rows = [dict(group=s.group, name=s.name, unit=s.unit, dtype=str(s.dtype).removeprefix('torch.'),
                 options=s.options, error=None, kept_bytes=None) for s in settings]
    runs = []
    for setting, row in zip(settings, rows):
        for phase in setting.phases(training):
            try:
                with setting.prepared(phase):
                    calls = _warm_up(setting, phase, device)
            except Exception as error:  # out of memory, a kernel that does not compile: the others go on
                if isinstance(error, UserError):
                    raise
                row['error'] = f'{phase}: {(str(error).strip() or type(error).__name__).splitlines()[0]}'
                print(f'{setting.group}, {setting.name}: {row["error"]}')
                break
            units = setting.training_units if phase == 'training' and setting.training_units else setting.units
            row[phase] = dict(units=units, samples_ms=[], burst_ms=[] if device.type == 'cuda' else None)
            runs.append((setting, phase, calls, row))
    for _ in range(rounds):
        for setting, phase, calls, row in runs:
            with setting.prepared(phase):
                _take_turn(row[phase], lambda setting=setting, phase=phase: setting.call(phase), calls, device)
    for setting, phase, _, row in runs:
        with setting.prepared(phase):
            figures = row[phase]
            figures['peak_bytes'] = peak_memory(lambda setting=setting, phase=phase: setting.call(phase), device) \
                if setting.reports_memory else None
            figures['flops'], figures['least_bytes'] = setting.count(phase), setting.least_bytes(phase)
            if phase == 'training':
                row['kept_bytes'] = kept_for_backward(setting.loss, [*setting.leaves, *setting.inputs])
    return rows


def _warm_up(setting: Setting, phase: str, device: torch.device) -> int:
    """Call the setting until it has compiled, tuned and filled caches. Returns the number of calls in a turn."""
    try:
        for _ in range(2 if device.type == 'cpu' else 4):
            last = milliseconds(lambda: setting.call(phase), device)
    except BaseException:
        setting.clear()
        raise
    return max(1, min(MOST_CALLS, round(1e3 * TURN_SECONDS / last)))


def _take_turn(figures: dict, call: Callable, calls: int, device: torch.device) -> None:
    figures['samples_ms'] += [milliseconds(call, device) for _ in range(calls)]
    if device.type == 'cuda':
        figures['burst_ms'].append(milliseconds(call, device, calls))


def synchronize(device: torch.device) -> None:
    if device.type == 'cuda':
        torch.cuda.synchronize(device)


def summarize(rows: list[dict], rates: dict[str, float], copy_rate: float | None, baseline: str | None = None) -> None:
    """Add medians, quartiles, rates and ratios to the rows, in place.

    Args:
        rows: as `measure` returns them.
        rates: FLOP/s of matrix products by dtype.
        copy_rate: bytes read and written per second by a copy. None: not measured.
        baseline: the name of the setting whose times are divided by each one's. None: the first of each group.
    """
    for row in rows:
        for phase in ('forward', 'training'):
            if phase not in row:
                continue
            figures = row[phase]
            q1, median, q3 = quartiles(figures['samples_ms'])
            throughput_ms = statistics.median(figures['burst_ms']) if figures['burst_ms'] else median
            figures |= dict(median_ms=median, q1_ms=q1, q3_ms=q3, per_second=1e3 * figures['units'] / throughput_ms)
            for name, amount, rate in (('matmul_fraction', 'flops', rates.get(row['dtype'])),
                                       ('copy_fraction', 'least_bytes', copy_rate)):
                figures[name] = figures[amount] / (throughput_ms / 1e3) / rate if figures[amount] and rate else None
    for phase in ('forward', 'training'):
        base = {}
        for row in rows:
            if phase in row and baseline in (None, row['name']):
                base.setdefault(row['group'], row[phase]['median_ms'])
        for row in rows:
            if phase in row:
                first = base.get(row['group'])
                row[phase]['ratio'] = None if first is None else first / row[phase]['median_ms']


def quartiles(samples: list[float]) -> tuple[float, float, float]:
    return tuple(statistics.quantiles(samples, n=4, method='inclusive')) if len(samples) > 1 else (samples[0],) * 3
