"""Do the main job on generated data: make Shapes, train and test a detector and a segmentor, draw predictions.

Every step runs a command that COCO or ADE20K would need too: make-shapes, train, test. It ends with a report on each
model, which says in words which class is the worst and why.
"""
import argparse
import json
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

from ..checkout import import_path
from ..configs import packaged_config
from ..work_dirs import hold, make_work_dir

CONFIGS = {'detector': 'cascade_mask_rcnn_mambavision_t_shapes', 'segmentor': 'upernet_mambavision_t_shapes'}
# Share of the cores that a model gets as threads; 1 for those not listed. The detector, much of whose training keeps
# only one core busy, ends first and leaves its cores to the segmentor.
SHARES = {'detector': 0.5}
METRICS = {  # name in the table: model, name in its metrics.json, its value there for 1.0, least value expected
    'box AP': ('detector', 'coco/bbox_mAP', 1, 0.60),
    'mask AP': ('detector', 'coco/segm_mAP', 1, 0.55),
    'mIoU': ('segmentor', 'mIoU', 100, 0.85),
}
PICTURED = 4  # validation images in the picture
# Lines such as 'Iter(train) [ 50/400] … eta: 0:03:21  time: 0.61  data_time: 0.01 … loss: 2.34'.
PROGRESS = re.compile(r'(?:Iter|Epoch)\((train|val|test)\)\s*(?:\[\d+\])?\[\s*(\d+)/(\d+)\].*?\beta: ([\d:]+)')
VALUE = re.compile(r'\b(time|data_time|loss): (\S+)')


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/demo'),
                        help='where everything is written (default: work_dirs/demo)')
    parser.add_argument('--seed', type=int, default=0, help='of the data and the training (default: %(default)s)')
    parser.add_argument('--quick', action='store_true', help='a few images and iterations, to see that it all runs')


def run(args: argparse.Namespace) -> int:
    make_work_dir(args.work_dir)
    with hold(args.work_dir):
        return 0 if Demo(args.work_dir, args.seed, args.quick).run() else 1


class Demo:
    """Takes the steps of the demo, and records their seconds, the speed of training and the metrics.

    Args:
        work_dir: where everything is written.
        seed: random seed of the data and the training.
        quick: use a few images and iterations, and expect nothing of the metrics.
    """

    def __init__(self, work_dir: Path, seed: int, quick: bool):
        self.work_dir, self.seed, self.quick = work_dir.resolve(), seed, quick
        self.train_images, self.val_images = (16, 8) if quick else (2000, 200)
        self.data = self.work_dir / f'shapes_seed{seed}{"_quick" * quick}'
        self.picture = self.work_dir / 'truth_and_prediction.png'
        self.seconds: dict[str, float] = {}
        self.speed: dict[str, dict[str, float]] = {}
        self.metrics: dict[str, float] = {}
        self.total, self.failed = 0., False
        self.processes: list[subprocess.Popen] = []

    def run(self) -> bool:
        """Take all steps and print the table. Returns whether the metrics reach the least values expected."""
        self.work_dir.mkdir(parents=True, exist_ok=True)
        start = time.perf_counter()
        with self._step('data'):
            self._call('make-shapes', self.data, '--seed', self.seed, '--train', self.train_images,
                       '--val', self.val_images)
        with ThreadPoolExecutor(len(CONFIGS)) as models:
            for done in [models.submit(self._train_and_test, *model) for model in CONFIGS.items()]:
                done.result()
        with self._step('drawing'):
            self._draw()
        self.total = time.perf_counter() - start
        for name, (model, key, scale, _) in METRICS.items():
            self.metrics[name] = json.loads((self.work_dir / model / 'metrics.json').read_text())[key] / scale
        return self._report()

    def _train_and_test(self, model: str, config: str) -> None:
        options = ['--work-dir', self.work_dir / model, '--cfg-options', f'randomness.seed={self.seed}']
        if self.quick:
            options += ['train_cfg.max_iters=2', 'train_cfg.val_interval=2', 'default_hooks.logger.interval=1']
        with self._step(f'{model} training'):
            self.speed[model] = _speed(self._call('train', config, *options, model=model))
        with self._step(f'{model} test'):
            self._call('test', config, self._checkpoint(model), '--work-dir', self.work_dir / model, model=model)

    @contextmanager
    def _step(self, name: str) -> Iterator[None]:
        _print_line(f'[{name}]')
        start = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - start

    def _call(self, name: str, *args, model: str = 'data') -> list[dict[str, float]]:
        """Run a command, print its progress in lines that begin with `model`, and keep all its output in a log.

        Returns:
            A dict per line of its training log: iteration, iterations (their number), time and data_time in s, loss.
        """
        words = [name, *map(str, args)]
        _print_line(f'$ mmvision-mamba {" ".join(words)}')
        log_file = self.work_dir / 'logs' / f'{model}_{name}.log'
        log_file.parent.mkdir(exist_ok=True)
        # Threads that spin while they wait for each other make everything ten times slower on a busy machine.
        threads = max(1, int(os.cpu_count() * SHARES.get(model, 1)))
        environment = {'OMP_WAIT_POLICY': 'PASSIVE', 'OMP_NUM_THREADS': str(threads), **os.environ,
                       **import_path(), 'SHAPES_ROOT': str(self.data)}
        records = []
        with log_file.open('w') as log, subprocess.Popen(
                [sys.executable, '-m', 'mmvision_mamba', *words], env=environment, stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT, text=True, errors='replace') as process:
            self.processes.append(process)
            for line in process.stdout:
                print(line, end='', file=log, flush=True)
                if match := PROGRESS.search(line):
                    loop, done, total, eta = match.groups()
                    values = {name: float(value) for name, value in VALUE.findall(line)}
                    if loop == 'train':
                        records.append({'iteration': int(done), 'iterations': int(total), **values})
                    loss = f'  loss {values["loss"]:.3f}' if 'loss' in values else ''
                    _print_line(f'  {model:9} {loop:5} {done:>4}/{total}  eta {eta}{loss}')
                elif name == 'make-shapes':
                    _print_line(f'  {line.rstrip()}')
        if process.returncode:
            if self.failed:  # the other model's thread terminated this command, below
                sys.exit(1)
            self.failed = True
            for other in self.processes:
                other.terminate()
            print(*log_file.read_text().splitlines()[-20:], f'error: {name} failed; all it said is in {log_file}',
                  sep='\n', file=sys.stderr)
            sys.exit(process.returncode if process.returncode > 0 else 1)
        return records

    def _checkpoint(self, model: str) -> str:
        from ..checkpoints.newest import pointed
        return str(pointed(self.work_dir / model))

    def _draw(self) -> None:
        from mmengine.config import Config

        from ..visualization import draw_comparison, predict

        os.environ['SHAPES_ROOT'] = str(self.data)
        with (self.work_dir / 'logs/drawing.log').open('w') as log, redirect_stdout(log), redirect_stderr(log):
            (detections, _), (segmentations, meta) = (
                predict(Config.fromfile(packaged_config(config)), self._checkpoint(model), range(PICTURED))
                for model, config in CONFIGS.items())
        draw_comparison(self.picture, detections, segmentations, meta['classes'], meta['palette'])

    def _report(self) -> bool:
        """Print the table, write summary.json. Returns whether the metrics reach the least values expected."""
        print('\n' + '-' * 72)
        passed = True
        for name, (*_, least) in METRICS.items():
            reached = self.metrics[name] >= least
            passed &= reached
            expected = '' if self.quick else f'   expected: {least} or more{"" if reached else ", MISSED"}'
            print(f'{name:20} {self.metrics[name]:7.3f}{expected}')
        print('-' * 72)
        for name, seconds in self.seconds.items():
            print(f'{name:20} {_minutes(seconds):>7}{self._details(name)}')
        print(f'{"total":20} {_minutes(self.total):>7}   detector and segmentor side by side')
        print('-' * 72)
        files = {'data': self.data, **{model: self.work_dir / model for model in CONFIGS}, 'picture': self.picture,
                 **{f'{model} report': self.work_dir / model / 'report/index.html' for model in CONFIGS},
                 'summary': self.work_dir / 'summary.json', 'logs': self.work_dir / 'logs'}
        for name, path in files.items():
            print(f'{name:20} {os.path.relpath(path)}')
        summary = {'seed': self.seed, 'quick': self.quick, 'metrics': self.metrics, 'seconds': self.seconds,
                   'total_seconds': self.total, 'training': self.speed, 'files': {k: str(v) for k, v in files.items()},
                   'machine': f'{platform.machine()}, {os.cpu_count()} cores'}
        (self.work_dir / 'summary.json').write_text(json.dumps(summary, indent=2) + '\n')
        for model in CONFIGS:
            self._say_findings(model)
        return passed or self.quick

    def _say_findings(self, model: str) -> None:
        """Print what the report of a model says in words."""
        path = self.work_dir / model / 'report/report.json'
        if not path.exists():  # the test's log says why
            return
        report = json.loads(path.read_text())
        print('-' * 72, f'{model}, from its report:', *(f'- {sentence}' for sentence in report['findings']), sep='\n')

    def _details(self, step: str) -> str:
        model, _, phase = step.partition(' ')
        if phase != 'training':
            return ''
        speed = self.speed[model]
        compute = speed['seconds'] - speed['data_seconds']
        other = self.seconds[step] - speed['iterations'] * speed['seconds']
        return (f'   {speed["iterations"]} iterations of {compute:.2f} s compute + {speed["data_seconds"]:.2f} s data; '
                f'{_minutes(other)} start, validation')


def _print_line(line: str) -> None:
    """Print in one write: the two writes of `print`, text and newline, mix with those of the other model's thread."""
    sys.stdout.write(f'{line}\n')
    sys.stdout.flush()


def _speed(records: list[dict[str, float]]) -> dict[str, float]:
    """The number of iterations, and the mean seconds of one: in all, and waiting for data."""
    return {'iterations': records[-1]['iterations'],
            'seconds': sum(r['time'] for r in records) / len(records),
            'data_seconds': sum(r['data_time'] for r in records) / len(records)}


def _minutes(seconds: float) -> str:
    return f'{int(seconds) // 60}:{int(seconds) % 60:02}'
