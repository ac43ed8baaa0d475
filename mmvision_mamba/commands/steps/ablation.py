"""Trains variants of a model for the same short time from the same seeds, and compares them in one table."""
import hashlib
import json
import statistics
import time
from collections.abc import Callable, Sequence
from numbers import Real
from pathlib import Path

import torch
from mmengine.config import Config
from torch import nn

from ...costs.flops import count_flops
from ...datasets.json_numbers import is_integer, is_number
from ...errors import ConfigError, DataError
from ...files import read_text, replace
from ...limits import TEXT_BYTES
from ...preflight.schedule import set_length
from ...printable import shown
from .prepare import build_runner

RESULTS, TABLE = 'ablation.json', 'ablation.md'
SPEED_BATCH, SPEED_CALLS, SPEED_SECONDS = 32, 9, 10  # time SPEED_CALLS calls, or as many as begin in SPEED_SECONDS


def run_variants(configs: dict[str, Config], seeds: Sequence[int], out: Path, progress: Callable[[str], None]) -> list:
    """Train and validate each config with each seed, and write `ablation.json` and `ablation.md` after every run.

    A run whose results are in `out` already, of the very same config and seed, is not repeated: an interrupted call
    goes on where it stopped.

    Args:
        configs: config of each variant by name, from `shorten`; the others are compared with the first.
        seeds: random seeds; every variant runs once with each.
        out: folder for the results and, in a folder per run, mmengine's logs.
        progress: called with a line per run.

    Returns:
        A row per run: variant, about (the config's title), seed, config (a digest), metric, score, parameters, flops
        (per image), ms_per_image, training_seconds (both of processor time).

    Raises:
        ConfigError: a config without iterations or without a metric to compare.
        DataError: the results file in `out` can't be read.
    """
    results = _read_results(out / RESULTS)
    total, done = len(configs) * len(seeds), 0
    rows = []
    for seed in seeds:  # every variant once, before any twice
        for name, cfg in configs.items():
            cfg = _config_of_run(cfg, seed, out / f'{name}_seed{seed}')
            digest, done = _digest(cfg), done + 1
            row = next((r for r in results if (r['variant'], r['seed'], r['config']) == (name, seed, digest)), None)
            if row is None:
                row = dict(variant=name, about=_title(cfg), seed=seed, config=digest, **train_and_measure(cfg))
                results.append(row)
                replace(out / RESULTS, lambda path: path.write_text(json.dumps(results, indent=1) + '\n', 'utf-8'))
            rows.append(row)
            replace(out / TABLE, lambda path: path.write_text(as_markdown(rows), 'utf-8'))
            progress(f'{done}/{total} {name}, seed {seed}: {shown(row["metric"])} {row["score"]:.2f}, '
                     f'{row["training_seconds"]:.0f} s')
    return rows


def shorten(cfg: Config, iterations: int | None) -> Config:
    """Set the number of training iterations and shrink the learning rate schedule alike; None: change neither.

    Returns:
        `cfg`, changed in place.

    Raises:
        ConfigError: the config counts epochs.
    """
    if 'max_iters' not in cfg.get('train_cfg', {}):
        raise ConfigError(f'{cfg.filename}: ablations are counted in iterations, and there is no train_cfg.max_iters')
    if iterations is not None:
        set_length(cfg, iterations)
    return cfg


def as_markdown(rows: Sequence[dict]) -> str:
    """A table with a line per variant; with several seeds, mean and, behind ±, half the range of the scores."""
    variants = {row['variant']: [r for r in rows if r['variant'] == row['variant']] for row in rows}
    first = next(iter(variants.values()))
    base = {row['seed']: row['score'] for row in first}
    lines = [f'| variant | parameters (M) | MFLOPs | ms per image | {_cell(first[0]["metric"])} | difference |',
             '|---|---|---|---|---|---|']
    for name, runs in variants.items():
        scores = [row['score'] for row in runs]
        differences = [row['score'] - base[row['seed']] for row in runs if row['seed'] in base]
        milliseconds = statistics.median(row['ms_per_image'] for row in runs)
        cells = (f'`{name}`: {_cell(runs[0]["about"])}', f'{runs[0]["parameters"] / 1e6:.3f}',
                 f'{runs[0]["flops"] / 1e6:.1f}', f'{milliseconds:.2f}', _spread(scores),
                 '–' if runs is first else _spread(differences, sign='+'))
        lines.append(f'| {" | ".join(cells)} |')
    return '\n'.join(lines) + '\n'


def _cell(text: str) -> str:
    return shown(text).replace('|', r'\|')


def _spread(values: list[float], sign: str = '') -> str:
    """Mean and, of several values, ± half their range, with one decimal."""
    if not values:
        return '–'
    half = (max(values) - min(values)) / 2
    return f'{statistics.mean(values):{sign}.1f}' + (f' ± {half:.1f}' if len(values) > 1 else '')


def _config_of_run(cfg: Config, seed: int, work_dir: Path) -> Config:
    """Copy of `cfg` with the run's seed and folder, one validation at the end, and no checkpoints."""
    cfg = Config(cfg.to_dict(), filename=cfg.filename)
    cfg.randomness = dict(seed=seed)
    iterations = cfg.train_cfg.max_iters
    cfg.train_cfg.val_interval = iterations + 1  # once, after the training
    cfg.default_hooks.logger.interval = max(1, iterations // 5)
    cfg.compared = (cfg.default_hooks.get('checkpoint') or {}).get('save_best')
    cfg.default_hooks.checkpoint = dict(type='CheckpointHook', by_epoch=False, interval=iterations + 1, save_last=False)
    cfg.work_dir, cfg.launcher, cfg.log_level = str(work_dir), 'none', 'WARNING'
    cfg.experiment_name = f'{work_dir.name}_{time.time_ns()}'  # mmengine wants another name for every run in a process
    return cfg


def _digest(cfg: Config) -> str:
    """Digest of all settings but the run's folder and name."""
    settings = {key: cfg[key] for key in cfg if key not in ('work_dir', 'experiment_name')}
    return hashlib.sha256(repr(sorted(settings.items(), key=lambda item: item[0])).encode()).hexdigest()[:16]


def _title(cfg: Config) -> str:
    """The comment in the config file's first line; '' where there is none."""
    first = read_text(cfg.filename, TEXT_BYTES.value).split('\n', 1)[0]
    return first.removeprefix('#').strip().rstrip('.') if first.startswith('#') else ''


def train_and_measure(cfg: Config) -> dict:
    """Train and validate once; returns the measured columns of the row, see `run_variants`."""
    runner = build_runner(cfg)
    start = time.process_time()
    model = runner.train()
    seconds = time.process_time() - start
    metrics = {key: float(value) for key, value in runner.val_loop.run().items() if isinstance(value, Real)}
    if not metrics:
        raise ConfigError(f'{cfg.filename}: val_evaluator gives no number to compare')
    metric = cfg.compared if cfg.compared in metrics else next(iter(metrics))
    return dict(metric=metric, score=metrics[metric], parameters=sum(p.numel() for p in model.parameters()),
                training_seconds=seconds, **_cost(model, runner.val_dataloader))


@torch.no_grad()
def _cost(model: nn.Module, loader) -> dict:
    """FLOPs and milliseconds of processor time, per image, of a forward through backbone, neck and heads."""
    data = model.data_preprocessor(next(iter(loader)), False)
    batch = dict(inputs=data['inputs'][:1].expand(SPEED_BATCH, -1, -1, -1).contiguous())
    if 'data_samples' in data:  # two-stage detectors read the images' sizes there
        batch['data_samples'] = data['data_samples'][:1] * SPEED_BATCH
    model.eval()

    def forward():
        return model(**batch, mode='tensor')
    flops = count_flops(forward, model, 'forward') / SPEED_BATCH
    seconds = []
    while len(seconds) < SPEED_CALLS and sum(seconds) < SPEED_SECONDS:
        start = time.process_time()
        forward()
        seconds.append(time.process_time() - start)
    return dict(flops=round(flops), ms_per_image=1e3 * statistics.median(seconds) / SPEED_BATCH)


def _read_results(path: Path) -> list[dict]:
    """Rows of earlier runs; none where the file does not exist."""
    if not path.exists():
        return []
    try:
        rows = json.loads(read_text(path, TEXT_BYTES.value))
        if not isinstance(rows, list) or not all(map(_is_row, rows)):
            raise ValueError('a run lacks its keys, or has others than it can have')
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise DataError(f'{shown(path)} is no file of results ({shown(error)}): remove it or choose another --out'
                        ) from error
    return rows


def _is_row(row: object) -> bool:
    """Whether it is a row of `run_variants`; a score may be NaN or infinite."""
    return isinstance(row, dict) and is_integer(row.get('seed')) and all(
        isinstance(row.get(key), str) for key in ('variant', 'about', 'config', 'metric')) and all(
        is_number(row.get(key)) for key in ('parameters', 'flops', 'ms_per_image', 'training_seconds')) and (
        isinstance(row.get('score'), float) or is_number(row.get('score')))
