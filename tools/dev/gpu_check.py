#!/usr/bin/env python
"""Check all that needs a GPU, from a bare machine to a report: correct numbers, speed, memory, trained models.

Needs CUDA, PyTorch, torchvision, timm and nvcc, no network: the rest comes from a folder that tools/pack_wheels.py
filled.
Stages run one after another, each in less than ten minutes; one that fails does not stop those that don't need it.
Called again with the same --out it runs the missing stages, also on another machine that --out was copied to.

  tools/gpu_check.py --wheels WHEELS                        everything
  tools/gpu_check.py --wheels WHEELS --stages kernels scan  some stages, and those they need
  tools/gpu_check.py --dry-run                              print the commands, on any machine
"""
import argparse
import json
import math
import os
import runpy
import shlex
import shutil
import statistics
import subprocess
import sys
import tarfile
import time
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

PRECISIONS = {'float32': [], 'float16': ['optim_wrapper.type=AmpOptimWrapper', 'optim_wrapper.dtype=float16'],
              'bfloat16': ['optim_wrapper.type=AmpOptimWrapper', 'optim_wrapper.dtype=bfloat16']}
AMP_ITERATIONS = 1000


@dataclass
class Stage:
    """A step of the check.

    Args:
        what: what it finds out or makes, for people.
        needs: names of the stages whose products it uses.
        benchmarks: parts of `tools/benchmark.py all` that it measures.
        local: whether its product is of use on this machine only, and made anew on another one.
    """
    what: str
    needs: list[str] = field(default_factory=list)
    benchmarks: list[str] = field(default_factory=list)
    local: bool = False


STAGES = {
    'environment': Stage('GPU, clocks, versions', local=True),
    'install': Stage('the wheels, into a folder of their own', local=True),
    'kernels': Stage('correctness: the tests marked gpu', ['install']),
    'mamba_ssm': Stage("mamba-ssm's CUDA scan, compiled for this GPU, to compare with", ['install'], local=True),
    'scan': Stage('scan and mixer, backend against backend', ['mamba_ssm'],
                  ['roofline', 'scan', 'scan_tokens', 'mixer']),
    'backbone': Stage('the backbone at 224 x 224 against the plain path', ['mamba_ssm'],
                      ['backbone', 'backbone_base']),
    'detection': Stage('the backbone at 800 x 1344 against the plain path', ['mamba_ssm'],
                       ['backbone_detection', 'backbone_detection_base']),
    'variants': Stage('compiled, as CUDA graphs, fused; where the time goes', ['install'], ['variants', 'profile']),
    'peers': Stage('Swin-T, ConvNeXt-T and ResNet-50 beside it', ['install'], ['peers', 'peers_detection']),
    'models': Stage('Cascade Mask R-CNN T and UperNet T, whole', ['install'], ['detector', 'segmentor', 'segmentor_4']),
    'large': Stage('UperNet L3 at 640 x 640: memory with and without checkpointing', ['install'],
                   ['large3', 'large3_checkpointing']),
    'demo': Stage("the demo's detector and segmentor trained to the end", ['install']),
    'amp': Stage(f'UperNet T, {AMP_ITERATIONS} iterations on Shapes in float32, float16 and bfloat16', ['demo']),
}


def parse_args(argv=None) -> argparse.Namespace:
    stages = '\n'.join(f'  {name:12} {stage.what}' for name, stage in STAGES.items())
    parser = argparse.ArgumentParser(description=__doc__, epilog=f'stages:\n{stages}',
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--wheels', type=Path, help='the folder that tools/pack_wheels.py filled')
    parser.add_argument('--stages', nargs='+', choices=STAGES, default=list(STAGES), metavar='STAGE',
                        help='only these, and those they need; default: all')
    parser.add_argument('--again', action='store_true', help='run stages that have passed before, too')
    parser.add_argument('--out', type=Path, default=ROOT / 'work_dirs' / 'gpu_check',
                        help='folder for logs, builds, state, and gpu_check.tar.gz with all results; default: '
                        'work_dirs/gpu_check')
    parser.add_argument('--name', help="name of this machine, under docs/results; default: the GPU's")
    parser.add_argument('--limit', type=float, default=570, metavar='SECONDS',
                        help='a command that takes longer is ended, and its stage has failed; default: %(default)s')
    parser.add_argument('--dry-run', action='store_true', help='print the commands, run none')
    args = parser.parse_args(argv)
    if not args.dry_run and (args.wheels is None or not any(args.wheels.glob('*.whl'))):
        parser.error(f'--wheels: no wheels in {args.wheels}; tools/pack_wheels.py FOLDER makes such a folder')
    return args


class Check:
    """Runs the stages. Products go to `out`, but the benchmarks' results to docs/results/NAME."""

    def __init__(self, args: argparse.Namespace):
        self.wheels, self.limit, self.dry_run = args.wheels, args.limit, args.dry_run
        self.out, self.name = args.out.resolve(), args.name
        self.site, self.built = self.out / 'site', self.out / 'built'
        self.state_file = self.out / 'state.json'
        self.state = json.loads(self.state_file.read_text()) if self.state_file.exists() else {}
        self.log = None
        self.environment = {
            'PYTHONPATH': os.pathsep.join(map(str, (self.site, self.built / 'mamba_ssm', ROOT))),
            'PATH': os.pathsep.join(map(str, (self.site / 'bin', Path(sys.executable).parent,
                                              os.environ.get('PATH', os.defpath)))),
            'PYTHONUNBUFFERED': '1'}

    @property
    def results(self) -> Path:
        return ROOT / 'docs' / 'results' / (self.name or 'GPU')

    def run(self, names: list[str], again: bool) -> bool:
        """Run the stages `names` and those they need. Returns whether all have passed."""
        stages = _with_needs(names)
        if self.dry_run:
            print('all with ' + ' '.join(f'{key}={value}' for key, value in self.environment.items() if key != 'PATH'))
        else:
            self._know_machine()
        for name in stages:
            earlier = self.state.get(name, {})
            usable = not STAGES[name].local or earlier.get('machine') == _boot()
            if earlier.get('passed') and usable and not (again and name in names):
                print(f'[{name}] passed before, {earlier["date"]}')
                continue
            if failed := [need for need in STAGES[name].needs if not self._passed(need)]:
                self._note(name, False, 0, f'needs {", ".join(failed)}')
                continue
            self._stage(name)
        if not self.dry_run:
            self._report(stages)
        return self.dry_run or all(self._passed(name) for name in stages)

    def _passed(self, name: str) -> bool:
        return self.dry_run or self.state.get(name, {}).get('passed', False)

    def _stage(self, name: str) -> None:
        print(f'[{name}] {STAGES[name].what}', flush=True)
        self.log = self.out / 'logs' / f'{name}.log'
        if not self.dry_run:
            self.log.parent.mkdir(parents=True, exist_ok=True)
            self.log.write_text('')
        start, why = time.perf_counter(), ''
        try:
            if STAGES[name].benchmarks:
                self._call('tools/benchmark.py', 'all', '--only', *STAGES[name].benchmarks, '--name', self.results.name)
            else:
                getattr(self, f'_{name}')()
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired, OSError, ValueError, KeyError) as error:
            why = f'{type(error).__name__}: {error}'.splitlines()[0][:300]
        self._note(name, not why, time.perf_counter() - start, why)

    def _note(self, name: str, passed: bool, seconds: float, why: str) -> None:
        if self.dry_run:
            return
        print(f'[{name}] {"passed" if passed else "FAILED"} in {seconds:.0f} s{f": {why}" if why else ""}', flush=True)
        self.state[name] = dict(passed=passed, seconds=round(seconds, 1), why=why, machine=_boot(),
                                date=datetime.now(timezone.utc).isoformat(timespec='seconds'))
        from mmvision_mamba.files import replace
        replace(self.state_file, lambda temporary: temporary.write_text(json.dumps(self.state, indent=2)))

    def _call(self, *command, python: bool = True, env: dict | None = None, cwd: Path = ROOT) -> None:
        """Run a Python script or module of this environment, or another program; its output goes to the log."""
        command = [str(part) for part in ([sys.executable] if python else []) + list(command)]
        settings = {**self.environment, **(env or {})}
        line = shlex.join([*(f'{key}={value}' for key, value in (env or {}).items()), *command])
        if self.dry_run:
            print(f'  {line}')
            return
        with self.log.open('a') as log:
            print(f'$ {line}', file=log, flush=True)
            # A process group of its own, so that a compiler's or a data loader's processes end with it.
            with subprocess.Popen([sys.executable, '-c', _GUARD, *command], cwd=cwd, env={**os.environ, **settings},
                                  stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT,
                                  start_new_session=True) as process:
                try:
                    code = process.wait(self.limit)
                except BaseException:
                    os.killpg(process.pid, 9)
                    raise
        if code:
            print('\n'.join(f'  | {line}' for line in self.log.read_text(errors='replace').splitlines()[-15:]))
            raise subprocess.CalledProcessError(code, command[:4])

    def _know_machine(self) -> None:
        import torch

        from mmvision_mamba.benchmark.report import machine_name
        if not torch.cuda.is_available():
            sys.exit('error: no CUDA device that PyTorch can use; --dry-run shows what would be run on one')
        self.name = self.name or machine_name(torch.device('cuda'))

    # The stages ------------------------------------------------------------------------------------------------------

    def _environment(self) -> None:
        self._call('nvidia-smi', python=False)
        self._call('nvcc', '--version', python=False)
        self._call('-m', 'torch.utils.collect_env')
        self._call('-m', 'pip', '--disable-pip-version-check', 'list')

    def _install(self) -> None:
        wheels = sorted(self.wheels.glob('*.whl')) if self.wheels else ['WHEELS/*.whl']
        if not self.dry_run:
            shutil.rmtree(self.site, ignore_errors=True)
        self._pip('--target', self.site, *wheels)
        self._call('-c', 'import numpy, pycocotools.mask; print(numpy.__version__)')

    def _pip(self, *args) -> None:
        self._call('-m', 'pip', '--disable-pip-version-check', 'install', '--no-index', '--no-deps', '--upgrade', *args)

    def _kernels(self) -> None:
        self._call('-m', 'pytest', '-m', 'gpu', 'tests/ops', 'tests/backbones', 'tests/mmcv_ops', '-rs',
                   '--timeout=500', f'--junitxml={self.out / "kernels.xml"}')

    def _mamba_ssm(self) -> None:
        """Compile the package's scan alone, for this GPU alone: all of it wants more packages, and takes very long."""
        source = self._unpack('mamba_ssm')
        package = self.built / 'mamba_ssm'
        if not self.dry_run:
            shutil.rmtree(package, ignore_errors=True)
            shutil.copytree(source / 'mamba_ssm', package / 'mamba_ssm')
            (package / 'mamba_ssm' / '__init__.py').write_text('')  # its own imports language models
        files = sorted((source / 'csrc' / 'selective_scan').glob('*.c[pu]*')) if not self.dry_run else []
        self._call('-c', _BUILD_SCAN, package, source / 'csrc' / 'selective_scan',
                   *(path for path in files if path.suffix in ('.cpp', '.cu')), env=self._compilers())
        self._call('-c', 'from mamba_ssm.ops.selective_scan_interface import selective_scan_fn')

    def _demo(self) -> None:
        self._call('tools/demo.py', '--work-dir', self.out / 'demo')
        if not self.dry_run:
            summary = json.loads((self.out / 'demo' / 'summary.json').read_text())
            self._write('demo', [[name, f'{value:.3f}'] for name, value in summary['metrics'].items()] + [
                [name, f'{seconds:.0f} s'] for name, seconds in summary['seconds'].items()], ['the demo', ''])

    def _amp(self) -> None:
        rows = [[precision, *self._train(precision)] for precision in PRECISIONS]
        if not self.dry_run:
            self._write('amp', rows, ['precision', 'mIoU', 'mean loss of the last 100 iterations', 'largest loss'])

    def _train(self, precision: str) -> list[str]:
        work_dir, config = self.out / 'amp' / precision, 'configs/upernet_mambavision_t_shapes.py'
        self._call('tools/train.py', config, '--work-dir', work_dir, '--cfg-options', 'randomness.seed=0',
                   f'train_cfg.max_iters={AMP_ITERATIONS}', f'train_cfg.val_interval={AMP_ITERATIONS}',
                   f'param_scheduler.1.end={AMP_ITERATIONS}', *PRECISIONS[precision],
                   env={'SHAPES_ROOT': str(self.out / 'demo' / 'shapes_seed0')})
        if self.dry_run:
            return []
        scalars = [json.loads(line) for file in sorted(work_dir.glob('*/vis_data/scalars.json'))[-1:]
                   for line in file.read_text().splitlines()]
        losses = [row['loss'] for row in scalars if 'loss' in row]
        if not losses or not all(map(math.isfinite, losses)):
            raise ValueError(f'a loss is not finite, or none was logged: {work_dir}')
        miou = next(row['mIoU'] for row in reversed(scalars) if 'mIoU' in row)
        return [f'{miou:.2f}', f'{statistics.mean(losses[-10:]):.4f}', f'{max(losses):.3f}']

    # Shared by stages ------------------------------------------------------------------------------------------------

    def _unpack(self, name: str) -> Path:
        if self.dry_run:
            return Path('WHEELS') / name
        archives = sorted(self.wheels.glob(f'{name}-*.tar.gz'))
        if not archives:
            raise FileNotFoundError(f'no {name}-*.tar.gz in {self.wheels}; tools/pack_wheels.py packs it')
        folder = self.out / 'sources' / name
        if not folder.exists():
            part = folder.with_name(f'{name}.part')  # of a run that was killed, it may be there already
            shutil.rmtree(part, ignore_errors=True)
            with tarfile.open(archives[-1]) as archive:
                archive.extractall(part, filter='data')
            part.rename(folder)
        return next(path for path in folder.iterdir() if path.is_dir())

    def _compilers(self) -> dict[str, str]:
        env = {'MAX_JOBS': str(os.cpu_count()), 'TORCH_CUDA_ARCH_LIST': 'ARCH' if self.dry_run else _arch()}
        home = Path(os.environ.get('CUDA_HOME') or '/usr/local/cuda')
        if (home / 'bin' / 'nvcc').exists():
            env['CUDA_HOME'] = str(home)
        # Where nvcc came without CUDA's libraries, their headers lie beside torch's. Not in CPATH, which is searched
        # before nvcc's own headers: some of those here are incomplete.
        from importlib.util import find_spec
        folders = getattr(find_spec('nvidia'), 'submodule_search_locations', None) or ()
        includes = [str(include) for folder in folders for include in sorted(Path(folder).glob('cu1*/include'))]
        if includes:
            env['CPLUS_INCLUDE_PATH'] = os.pathsep.join(
                filter(None, (os.environ.get('CPLUS_INCLUDE_PATH'), str(home / 'include'), *includes)))
        return env

    def _write(self, name: str, cells: list[list[str]], titles: list[str]) -> None:
        import torch

        from mmvision_mamba.benchmark.report import clocks, machine, write
        cuda = torch.device('cuda')
        write(self.results / f'{name}.json', dict(
            command=f'tools/gpu_check.py --wheels WHEELS --stages {name}', machine=machine(cuda) | clocks(cuda),
            table=[titles, cells]))

    def _report(self, names: list[str]) -> None:
        """Write the page's tables, CSV files and an archive of results and logs; print how each stage ended."""
        for path in self.results.glob('*.json') if self.results.exists() else ():
            self._csv(path)
        runpy.run_path(str(ROOT / 'tools' / 'dev' / 'performance_page.py'))['main']([])
        archive = self.out / 'gpu_check.tar.gz'
        part = archive.with_name('gpu_check.part')
        with tarfile.open(part, 'w:gz') as tar:
            for path in (self.results, ROOT / 'docs' / 'performance.md', self.out / 'logs', self.out / 'kernels.xml',
                         self.state_file):
                if path.exists():
                    tar.add(path, path.relative_to(ROOT) if path.is_relative_to(ROOT / 'docs') else path.name)
        part.replace(archive)
        print('-' * 72)
        for name in names:
            state = self.state.get(name, {})
            print(f'{name:12} {"passed" if state.get("passed") else "FAILED":7} {state.get("seconds", 0):6.0f} s  '
                  f'{state.get("why", "")}')
        print(f'results: {self.results}\nall of it: {archive}')

    def _csv(self, path: Path) -> None:
        from mmvision_mamba.benchmark.report import write
        results = json.loads(path.read_text())
        if results.get('rows'):
            (self.out / 'csv').mkdir(parents=True, exist_ok=True)
            write(self.out / 'csv' / f'{path.stem}.csv', results)


# Runs a command, and ends its process group with this process, whose pipe nobody else holds: after SIGKILL too.
_GUARD = '''
import os, subprocess, sys, threading
def end():
    os.read(0, 1)
    os.killpg(0, 9)
threading.Thread(target=end, daemon=True).start()
sys.exit(subprocess.call(sys.argv[1:], stdin=subprocess.DEVNULL))
'''

_BUILD_SCAN = '''
import sys
from torch.utils.cpp_extension import load
folder, include, *sources = sys.argv[1:]
half = [f'-U__CUDA_NO_{kind}_{what}__' for kind in ('HALF', 'BFLOAT16', 'BFLOAT162')
        for what in ('OPERATORS', 'CONVERSIONS')]
load('selective_scan_cuda', sources, extra_cflags=['-O3', '-std=c++17'], extra_include_paths=[include],
     extra_cuda_cflags=['-O3', '-std=c++17', *half, '--expt-relaxed-constexpr', '--expt-extended-lambda',
                        '--use_fast_math'], build_directory=folder, verbose=True)
'''


def _with_needs(names: list[str]) -> list[str]:
    """`names` and all stages they need, in the order of STAGES."""
    selected, queue = set(), list(names)
    while queue:
        if (name := queue.pop()) not in selected:
            selected.add(name)
            queue += STAGES[name].needs
    return [name for name in STAGES if name in selected]


def _arch() -> str:
    import torch
    return '.'.join(map(str, torch.cuda.get_device_capability()))


def _boot() -> str:
    """An id of this machine since it was last started; '' where Linux gives none."""
    path = Path('/proc/sys/kernel/random/boot_id')
    return path.read_text().strip() if path.exists() else ''


def main(argv=None) -> int:
    args = parse_args(argv)
    return 0 if Check(args).run(args.stages, args.again) else 1


if __name__ == '__main__':
    sys.exit(main())
