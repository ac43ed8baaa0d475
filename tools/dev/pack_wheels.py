#!/usr/bin/env python
"""Pack what tools/dev/gpu_check needs on a machine that has CUDA, PyTorch and nvcc but no network.

Wheels of the OpenMMLab stack and of the tests' packages, in the versions of requirements/constraints.txt, for that
machine's Python and platform; mamba-ssm, to compare with, as sources, since it is compiled for its GPU. Packages that
the machine has stay out: torch, torchvision, triton and timm with all they bring, and what --have names.
"""
import argparse
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
CONSTRAINTS = ROOT / 'requirements' / 'constraints.txt'
SOURCES = {'mamba-ssm': '2.3.2.post1'}
TESTS = ['hypothesis', 'psutil', 'pytest', 'pytest-timeout', 'pytest-xdist', 'tensorboard', 'einops', 'ninja', 'wheel']
# With what they bring, of which other packages of that machine may want just that version.
TORCH = {'torch', 'torchvision', 'triton', 'timm', 'huggingface-hub', 'hf-xet', 'safetensors', 'filelock', 'fsspec',
         'typing-extensions'}
# Large ones, which a machine set up for PyTorch commonly has.
COMMON = ['numpy', 'matplotlib', 'opencv-python', 'pillow', 'scipy', 'fonttools', 'kiwisolver', 'contourpy', 'grpcio']


def parse_args(argv=None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('out', type=Path, help='the folder to fill; files in it that are no longer needed are removed')
    parser.add_argument('--python', default=f'{sys.version_info[0]}.{sys.version_info[1]}',
                        help="that machine's Python version (default: this one's, %(default)s)")
    parser.add_argument('--platform', nargs='+', metavar='TAG',
                        default=['manylinux_2_28_x86_64', 'manylinux_2_17_x86_64', 'manylinux2014_x86_64'],
                        help='platform tags its pip accepts (default: %(default)s)')
    parser.add_argument('--have', nargs='*', default=COMMON, metavar='PACKAGE|FILE',
                        help='packages it has beside PyTorch and timm, or a file with its `pip freeze`; without a '
                        'value none (default: %(default)s)')
    parser.add_argument('--limit', type=float, default=60, metavar='MB',
                        help='exit code 1 if the files together are larger than this (default: %(default)s)')
    args = parser.parse_args(argv)
    if not re.fullmatch(r'3\.\d+', args.python):
        parser.error(f'--python takes a version such as 3.12, got {args.python!r}')
    if args.out.exists() and not args.out.is_dir():
        parser.error(f'{args.out} is a file; a folder is needed')
    return args


def constraints(python: str) -> dict[str, Requirement]:
    """The pins that hold for a Python version. pip would read their markers for the Python it runs in."""
    lines = (line.split('#')[0].strip() for line in CONSTRAINTS.read_text().splitlines())
    pins = [Requirement(line) for line in lines if line]
    environment = {'python_version': python, 'python_full_version': f'{python}.0'}
    return {canonicalize_name(pin.name): pin for pin in pins
            if pin.marker is None or pin.marker.evaluate(environment)}


def already_there(have: list[str]) -> set[str]:
    """Names of the packages that the machine has: TORCH, and the entries of `have` or of the files they name."""
    names = set(TORCH)
    for entry in have:
        lines = Path(entry).read_text().splitlines() if Path(entry).is_file() else [entry]
        names |= {canonicalize_name(match[0]) for line in lines if (match := re.match(r'[A-Za-z0-9][\w.-]*', line))}
    return names


def pip(*args, **kwargs) -> None:
    """Run pip.

    Raises:
        SystemExit: it failed; its last lines have been printed.
    """
    done = subprocess.run([sys.executable, '-m', 'pip', '--disable-pip-version-check', '--no-input', *map(str, args)],
                          capture_output=True, text=True, **kwargs)
    if done.returncode:
        sys.exit('error: pip ' + args[0] + ' failed:\n' + '\n'.join((done.stdout + done.stderr).splitlines()[-6:]))


def pack(args: argparse.Namespace) -> list[Path]:
    """Fill the folder `args.out`. Returns its files."""
    pins, present = constraints(args.python), already_there(args.have)
    target = ['--python-version', args.python, '--only-binary=:all:',
              *(part for tag in args.platform for part in ('--platform', tag))]
    args.out.mkdir(parents=True, exist_ok=True)
    folder = args.out / '.packing'
    shutil.rmtree(folder, ignore_errors=True)  # of a run that was killed
    try:
        folder.mkdir()
        (folder / 'pins').write_text('\n'.join(f'{pin.name}{pin.specifier}' for pin in pins.values()))
        names = [canonicalize_name(line.split('#')[0].strip()) for file in ('openmmlab', 'torch')
                 for line in (ROOT / f'requirements/{file}.txt').read_text().splitlines() if line.split('#')[0].strip()]
        packages = [name for name in dict.fromkeys([*names, *TESTS]) if name not in TORCH]
        pip('install', '--dry-run', '--ignore-installed', '--target', folder / 'none', '--report', folder / 'report',
            '--constraint', folder / 'pins', *target, *packages)
        versions = {canonicalize_name(item['metadata']['name']): item['metadata']['version']
                    for item in json.loads((folder / 'report').read_text())['install']}
        pip('download', '--no-deps', '--dest', folder / 'files', *target,
            *(f'{name}=={version}' for name, version in versions.items() if name not in present))
        for name, version in SOURCES.items():
            pip('download', '--no-deps', '--no-build-isolation', '--no-binary', name, '--dest', folder / 'files',
                f'{name}=={version}')
        # What `tools/dev/gpu_check --compile-ahead` left there stays: it says itself what it is for.
        for old in [*args.out.glob('*.whl'), *(old for name in SOURCES for old in args.out.glob(
                f'{name.replace("-", "_")}-*.tar.gz'))]:
            old.unlink()
        return [Path(shutil.move(path, args.out / path.name)) for path in sorted((folder / 'files').iterdir())]
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main(argv=None) -> int:
    args = parse_args(argv)
    files = pack(args)
    for path in files:
        print(f'{path.stat().st_size / 1e6:8.2f} MB  {path.name}')
    total = sum(path.stat().st_size for path in files) / 1e6
    print(f'{total:8.2f} MB  in all, {len(files)} files for Python {args.python} -> {args.out}')
    if total > args.limit:
        print(f'error: more than {args.limit:g} MB; name more of what the machine has with --have', file=sys.stderr)
    return int(total > args.limit)


if __name__ == '__main__':
    sys.exit(main())
