"""Parts with whole models: training steps in half precision, where their time goes, and the demo."""
import copy
import json
import math
import statistics
import time
from pathlib import Path

import torch

from .benchmarks import small_config
from .stages import Place

STEPS = 50
SECONDS = 20  # of each precision: what is left of the steps then is left out
WARM_UP = 5  # steps that don't count for the time
SMALL_STEPS = 2
DTYPES = dict(cuda=('bfloat16', 'float16'), cpu=('bfloat16',))
KERNELS = 15  # in the table of those that take longest


def steps(place: Place, kind: str, config: str, size: tuple[int, int], batch: int) -> dict:
    """Training steps on random images by the config's optimiser, in each half precision: losses, time, memory.

    `longest` has the kernels that a step in bfloat16 spends most time in. Losses and weights are to stay finite.
    """
    if place.small:
        config, size, batch = str(small_config(place.folder, kind)), (64, 64), 2
    rows, longest = [], None

    def result():
        cells = [[row['model'], f'{row["batch"]} × {row["size"][0]} × {row["size"][1]}', row['dtype'],
                  f'{row["median_ms"]:.0f} ms', f'{row["peak_bytes"] / 2**30:.1f} GiB' if row['peak_bytes'] else '',
                  str(len(row['losses'])), f'{row["losses"][0]:.3f}', f'{row["losses"][-1]:.3f}',
                  'yes' if row['finite'] else '**no**'] for row in rows]
        passed = all(row['finite'] for row in rows)
        return dict(passed=passed, why='' if passed else 'a loss or a weight is not finite', steps=rows,
                    longest=longest, table=[['model', 'images', 'precision', 'step', 'peak', 'steps', 'first loss',
                                             'last loss', 'finite'], cells])
    for dtype in DTYPES[place.device]:
        torch.manual_seed(0)
        model, wrapper, data = _training(kind, config, size, batch, place.device, dtype)
        rows.append(dict(model=Path(config).stem, size=list(size), batch=batch, dtype=dtype,
                         **_train(model, wrapper, data, place)))
        place.keep(result())
        if longest is None:
            longest = _longest(model, wrapper, data, place.device)
        del model, wrapper
    return result()


def _training(kind: str, config: str, size: tuple[int, int], batch: int, device: str, dtype: str):
    """The config's model, its optimiser's wrapper with autocast, and a batch of random images with ground truth."""
    from mmengine.optim import build_optim_wrapper

    from mmvision_mamba.benchmark.experiments import build_model, random_data
    from mmvision_mamba.preflight.read import read_config
    model = build_model(config, None, kind, size).to(device).train()
    settings = copy.deepcopy(read_config(config).optim_wrapper)
    settings.pop('dtype', None)
    settings |= dict(type='AmpOptimWrapper', dtype=dtype) if device == 'cuda' else dict(type='CPUAmpOptimWrapper')
    return model, build_optim_wrapper(model, settings), random_data(kind, model, size, batch, truth=True)


def _train(model, wrapper, data: dict, place: Place) -> dict:
    from mmvision_mamba.benchmark.timing import synchronize
    device, losses, seconds = torch.device(place.device), [], []
    if device.type == 'cuda':
        torch.cuda.reset_peak_memory_stats()
    end = time.perf_counter() + SECONDS
    for step in range(SMALL_STEPS if place.small else STEPS):
        if step > WARM_UP and time.perf_counter() > end:
            break
        synchronize(device)
        start = time.perf_counter()
        logged = model.train_step(copy.deepcopy(data), wrapper)
        losses.append(logged['loss'].item())
        synchronize(device)
        seconds.append(time.perf_counter() - start)
    finite = all(map(math.isfinite, losses)) and all(
        bool(torch.isfinite(value).all()) for value in model.parameters())
    return dict(losses=losses, finite=finite, median_ms=1e3 * statistics.median(seconds[WARM_UP:] or seconds),
                peak_bytes=torch.cuda.max_memory_allocated() if device.type == 'cuda' else None)


def _longest(model, wrapper, data: dict, device: str) -> list:
    """Titles and cells of the table of a training step's longest kernels."""
    from mmvision_mamba.benchmark.operators import longest
    rows = longest(lambda: model.train_step(copy.deepcopy(data), wrapper), torch.device(device), KERNELS)
    return [['kernel or operator', 'calls', 'ms', 'share'], [
        [row['name'][:90].replace('|', '/'), str(row['calls']), f'{row["ms"]:.2f}', f'{100 * row["share"]:.1f}%']
        for row in rows]]


def demo(place: Place) -> dict:
    """The demo: both models trained side by side, tested, judged by the aims that it states."""
    from mmvision_mamba.commands.demo import Demo
    try:
        passed = Demo(place.folder, 0, place.small).run()
    except SystemExit as error:
        raise RuntimeError(f'a command of the demo ended with code {error.code}') from error
    return {**demo_so_far(place.folder), 'passed': passed, 'why': '' if passed else 'an aim was missed'}


def demo_so_far(folder: Path) -> dict:
    """What the demo in a folder has reached, whether it ended or not: metrics, and each model's last iteration."""
    from mmvision_mamba.commands.demo import CONFIGS, METRICS
    cells = []
    for model in CONFIGS:
        lines = [json.loads(line) for file in sorted((folder / model).glob('*/vis_data/scalars.json'))
                 for line in file.read_text().splitlines()]
        trained = [line for line in lines if 'loss' in line]
        if trained:
            cells.append([f'{model}, iteration {trained[-1].get("iter", trained[-1].get("step"))}',
                          f'loss {trained[-1]["loss"]:.3f}', f'{trained[-1].get("time", 0):.3f} s an iteration'])
        for name, (of, key, scale, aim) in METRICS.items():
            values = [line[key] for line in lines if key in line]
            if of == model and values:
                cells.append([name, f'{values[-1] / scale:.3f}', f'aim: {aim}'])
    summary = folder / 'summary.json'
    if summary.exists():
        cells += [[step, f'{seconds:.0f} s', '']
                  for step, seconds in json.loads(summary.read_text())['seconds'].items()]
    return dict(table=[['the demo', '', ''], cells])


def data_command(folder: Path) -> list[str]:
    """The command that makes the demo's data before the demo needs them."""
    from mmvision_mamba.commands.demo import Demo
    plan = Demo(folder, 0, quick=False)
    return ['-m', 'mmvision_mamba', 'make-shapes', str(plan.data), '--seed', '0', '--train', str(plan.train_images),
            '--val', str(plan.val_images)]
