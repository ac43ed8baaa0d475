"""Check all that needs a GPU, on a bare machine without a network, in one call of at most nine minutes.

Right numbers first, then speed, whole models, training. Needs CUDA, PyTorch, torchvision, Triton and timm; the rest
comes from a folder that tools/dev/pack_wheels.py filled. nvcc, where there is one, builds mamba-ssm's scan, to compare
with.

  python tools/dev/gpu_check --compile-ahead WHEELS          beforehand, without a GPU: the kernels into WHEELS
  python3 tools/dev/gpu_check --wheels WHEELS --out OUT      the first call
  python3 tools/dev/gpu_check --wheels WHEELS --out OUT --minutes 4 --stages second --again backbone scan
                                                             a second one, with parts measured again
  python tools/dev/gpu_check --publish OUT [OUT2] --name MACHINE
                                                             results of the calls into docs/results and its pages
  python tools/dev/gpu_check --dry-run --out OUT             every part at small sizes, on a CPU

OUT gets a .json file a stage, written as its parts end, page.md with all tables, and log.txt.
"""
import argparse
import os
import sys
import tempfile
import time
from dataclasses import replace as changed
from pathlib import Path

from mmvision_mamba.benchmark.report import git_commit
from mmvision_mamba.errors import UserError
from mmvision_mamba.text import as_text

from . import BEGUN, ROOT, scan_build, worker
from .compile_ahead import ARCHIVE, compile_ahead, unpack
from .lanes import Lane, Process, read_result, run_lanes
from .page import draw, parts_of, stage_files, target_columns
from .stages import PARTS, SO_FAR, STAGES, Part, Stage

SOURCES = 'mamba_ssm-*.tar.gz'
MARGIN = 10  # seconds of a call that are kept for its end
AGAIN_SECONDS = 110  # of the parts that are measured again
DRY_RUN_SECONDS = 30  # a part's seconds count so many times in a dry run: the CPU is shared


def parse_args(argv=None) -> argparse.Namespace:
    stages = '\n'.join(f'  {name:8} {stage.what}' for name, stage in STAGES.items())
    parser = argparse.ArgumentParser('gpu_check', description=__doc__, epilog=f'stages:\n{stages}',
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--wheels', type=Path, help='the folder that tools/dev/pack_wheels.py filled; default: what is '
                        'installed is enough')
    parser.add_argument('--out', type=Path, default=ROOT / 'work_dirs' / 'gpu_check',
                        help='folder for the results; default: work_dirs/gpu_check')
    parser.add_argument('--stages', nargs='*', choices=STAGES, metavar='STAGE',
                        help='default: all of the first call')
    parser.add_argument('--again', nargs='+', choices=PARTS, default=[], metavar='PART',
                        help='parts of other stages to measure again, before the stages')
    parser.add_argument('--minutes', type=float, default=9, help='after which all has ended; default: %(default)s')
    parser.add_argument('--work-dir', type=Path, default=Path(tempfile.gettempdir()) / 'mmvision_mamba_gpu_check',
                        help='for what is installed, built and trained; default: %(default)s')
    parser.add_argument('--commit', default=git_commit() or 'unknown',
                        help='of the code, where its copy has no .git')
    parser.add_argument('--dry-run', action='store_true', help='on the CPU, at sizes too small to mean anything')
    parser.add_argument('--compile-ahead', type=Path, metavar='WHEELS', help='run nothing: compile the kernels into '
                        "WHEELS, with that machine's versions of Python, PyTorch and Triton")
    parser.add_argument('--capability', type=int, default=90, help='of its GPU, times ten; default: %(default)s')
    parser.add_argument('--publish', type=Path, nargs='+', metavar='OUT', help='run nothing: put the results into docs')
    parser.add_argument('--name', help='of the machine, for --publish')
    args = parser.parse_args(argv)
    if args.wheels and not any(args.wheels.glob('*.whl')):
        parser.error(f'--wheels: no wheels in {args.wheels}; tools/dev/pack_wheels.py FOLDER makes such a folder')
    if args.publish and not args.name:
        parser.error('--publish needs the --name of the machine')
    if args.stages is None:
        args.stages = [name for name, stage in STAGES.items() if stage.call == 1]
    return args


class Check:
    """A call: its stages one after another, beside them what they need."""

    def __init__(self, args: argparse.Namespace):
        self.args, self.dry_run = args, args.dry_run
        self.out, self.work = args.out.resolve(), args.work_dir.resolve()
        self.site, self.built, self.logs = self.work / 'site', self.work / 'built', self.work / 'logs'
        # Which the parts' processes find by PYTHONPATH: a folder made later would be missed.
        self.installed = self.work / 'installed'  # a file: the wheels are
        for folder in (self.out, self.site, self.built, self.logs):
            folder.mkdir(parents=True, exist_ok=True)
        for path in self.logs.iterdir():
            path.unlink()
        # The checkout first: wheels bring a package `tests` too.
        # Programs of Python's folder too, ninja among them: it may be called by its path. Caches where one may write.
        self.environment = {
            'PYTHONPATH': os.pathsep.join(map(str, (ROOT, self.site, self.built, ROOT / 'tools' / 'dev'))),
            'PYTHONUNBUFFERED': '1', 'OMP_WAIT_POLICY': 'PASSIVE', 'MPLCONFIGDIR': str(self.work / 'matplotlib'),
            'TRITON_CACHE_DIR': str(self.work / 'triton'), 'PATH': os.pathsep.join(filter(None, (
                os.environ.get('PATH'), str(Path(sys.executable).parent), str(self.site / 'bin'),
                '/usr/local/cuda/bin')))}
        if self.dry_run:
            self.environment |= {'TRITON_INTERPRET': '1', 'CUDA_VISIBLE_DEVICES': ''}
        self.beside: dict[str, Process] = {}

    def run(self) -> bool:
        """Run all stages. Returns whether all their parts have passed."""
        deadline = BEGUN + (60 * self.args.minutes - MARGIN) * (DRY_RUN_SECONDS if self.dry_run else 1)
        stages = {name: STAGES[name] for name in self.args.stages}
        if self.args.again:
            stages = {'again': Stage('parts measured again', AGAIN_SECONDS,
                                     (tuple(PARTS[name] for name in self.args.again),)), **stages}
        try:
            self._prepare(list(stages))
            until = time.monotonic()
            for name, stage in stages.items():
                # The time that one stage leaves is the next ones'.
                until = min(until + stage.seconds * (DRY_RUN_SECONDS if self.dry_run else 1), deadline)
                self._run_stage(name, stage, until)
        finally:
            for process in self.beside.values():
                process.end()
            self._gather_logs()
        parts = parts_of({name: found for name, found in stage_files(self.out).items() if name in stages})
        self._summarize(parts)
        return all(part['passed'] for part in parts.values())

    def _prepare(self, stages: list[str]) -> None:
        """Start what runs beside the stages: the wheels' installation, mamba-ssm's scan, kernels, data."""
        wheels, sources, kernels = (sorted(self.args.wheels.resolve().glob(pattern)) if self.args.wheels else []
                                    for pattern in ('*.whl', SOURCES, ARCHIVE))
        if wheels and not self.installed.exists():
            self._begin('wheels', '-m', 'pip', '--disable-pip-version-check', 'install', '-q', '--no-index',
                        '--no-deps', '--no-compile', '--no-cache-dir', '--upgrade', '--target', self.site, *wheels)
        if sources and not self.dry_run and not (self.built / 'mamba_ssm').exists():
            self._begin('mamba_ssm', '-m', 'gpu_check.scan_build', sources[-1], self.built)
        if kernels:
            self._take_kernels(kernels[0])

    def _take_kernels(self, archive: Path) -> None:
        """Give the kernels that are compiled to Triton; where they are of another Triton, compile them beside."""
        cache, capability = self.work / 'triton', self.args.capability
        if not self.dry_run:
            import torch
            capability = int('{}{}'.format(*torch.cuda.get_device_capability()))
        try:
            print(f'{unpack(archive, cache, capability)} kernels are compiled', flush=True)
        except Exception as error:  # whatever it is, the check goes on
            print(f'{archive.name}: {type(error).__name__}: {error}', flush=True)
            if not self.dry_run:
                self._begin('kernels', '-m', 'gpu_check.compile_ahead', cache, capability)

    def _begin(self, name: str, *command) -> None:
        self.beside[name] = Process([sys.executable, *command], self.logs / f'{name}.log', self.environment, ROOT)

    def _wait(self, name: str, until: float, why: str) -> None:
        """Wait for what runs beside the stages; where it failed, the stages that need it say so in their own words."""
        process = self.beside.get(name)
        if process is not None and process.wait(until - time.monotonic()) != 0:
            print(f'{why}: {process.last_words()}', flush=True)

    def _wait_for_wheels(self, until: float) -> None:
        self._wait('wheels', until, 'the wheels are not installed')
        if 'wheels' in self.beside and self.beside['wheels'].poll() == 0:
            self.installed.touch()
        if 'demo' in self.args.stages and not self.dry_run and 'data' not in self.beside:
            from .models import data_command
            self._begin('data', *data_command(self.work / 'files' / 'demo'))

    def _run_stage(self, name: str, stage: Stage, until: float) -> None:
        print(f'[{name}] {stage.what}', flush=True)
        begun = time.monotonic()
        if name != 'machine':
            self._wait_for_wheels(min(until, begun + 60))
        if name in ('speed', 'again'):
            self._wait('mamba_ssm', min(until, begun + 30), "mamba-ssm's scan, to compare with, is not built")
        if name == 'demo':
            self._wait('data', until, "the demo's data are not made")
        found = dict(stage=name, what=stage.what, commit=self.args.commit, seconds=0., parts={})

        def note(part: Part, seconds: float, why: str) -> None:
            result = {**self._so_far(part), 'passed': False, 'why': why} if why else read_result(self._result(part))
            found['parts'][part.name] = result | dict(seconds=seconds)
            found['seconds'] = time.monotonic() - begun
            worker.write(self.out / f'{name}.json', found)
            state = 'passed' if result['passed'] else f'FAILED: {result["why"]}'
            print(f'  {part.name:20} {seconds:5.0f} s  {state}', flush=True)
        parts = self._lanes(stage)
        threads = max(1, (os.cpu_count() or 1) // len(parts))
        lanes = [Lane(lane, lambda left, log=f'{name}_{i}.log': self._start(left, log, threads), self._result, note)
                 for i, lane in enumerate(parts)]
        for part in (part for lane in lanes for part in lane.left):
            self._result(part).unlink(missing_ok=True)
            (self._files(part) / SO_FAR).unlink(missing_ok=True)
        run_lanes(lanes, until)
        worker.write(self.out / f'{name}.json', found)
        (self.out / 'page.md').write_text(draw(self.out))
        self._gather_logs()

    def _lanes(self, stage: Stage) -> list[tuple[Part, ...]]:
        """A stage's lanes; in a dry run one, for the CPU is shared, with more time."""
        if not self.dry_run:
            return list(stage.lanes)
        parts = (part for lane in stage.lanes for part in lane)
        return [tuple(changed(part, seconds=part.seconds * DRY_RUN_SECONDS) for part in parts)]

    def _start(self, parts: list[Part], log: str, threads: int) -> Process:
        return Process([sys.executable, '-m', 'gpu_check.worker', self.work, 'cpu' if self.dry_run else 'cuda',
                        'small' if self.dry_run else '', *(part.name for part in parts)], self.logs / log,
                       {'OMP_NUM_THREADS': str(threads), **self.environment}, ROOT)

    def _result(self, part: Part) -> Path:
        return self.work / 'results' / f'{part.name}.json'

    def _files(self, part: Part) -> Path:
        return self.work / 'files' / part.name

    def _so_far(self, part: Part) -> dict:
        """What can be said of a part that did not end."""
        try:
            if part.name != 'demo':
                return read_result(self._files(part) / SO_FAR)
            from .models import demo_so_far
            return demo_so_far(self._files(part))
        except Exception as error:  # a log's last line may be half of one
            print(f'  {part.name}: {error}', flush=True)
            return {}

    def _gather_logs(self) -> None:
        """The end of every log, in one file."""
        texts = [f'===== {path.name}\n{path.read_text(errors="replace")[-60_000:]}' for path in
                 sorted(self.logs.glob('*.log'))]
        (self.out / 'log.txt').write_text('\n'.join(texts))

    def _summarize(self, parts: dict[str, dict]) -> None:
        print('-' * 72)
        print(as_text(*target_columns(parts)))
        failed = [name for name, part in parts.items() if not part['passed']]
        print('-' * 72)
        print(f'{len(parts) - len(failed)} of {len(parts)} parts passed' + (f'; failed: {", ".join(failed)}' if failed
                                                                            else '') + f'\nresults: {self.out}')


def compile_all(args: argparse.Namespace) -> None:
    """Compile what --compile-ahead asks for; what was compiled before an interruption is not compiled again."""
    print(compile_ahead(args.compile_ahead, args.capability), flush=True)
    sources = sorted(args.compile_ahead.glob(SOURCES))
    if not sources or scan_build.nvcc_home() is None:
        print("mamba-ssm's scan is left for that machine: " + (
            'no nvcc here' if sources else 'tools/dev/pack_wheels.py packs its sources'))
        return
    print(scan_build.ahead(sources[-1].resolve(), args.work_dir.resolve() / 'scan', args.capability))


def main(argv=None) -> int:
    args = parse_args(argv)
    try:
        if args.publish:
            from .publish import draw_pages, publish
            print(*publish(args.publish, args.name), sep='\n')
            draw_pages(parts_of(stage_files(*args.publish)))
            return 0
        if args.compile_ahead:
            compile_all(args)
            return 0
    except UserError as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    if not args.dry_run:
        import torch
        if not torch.cuda.is_available():
            print('error: no CUDA device that PyTorch can use; --dry-run walks all parts on a CPU', file=sys.stderr)
            return 2
    return 0 if Check(args).run() else 1


