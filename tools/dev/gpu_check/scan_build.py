"""Compile mamba-ssm's scan from its sources for this machine's GPU alone: the whole package needs more, and very long.

    python -m gpu_check.scan_build SOURCES.tar.gz FOLDER

FOLDER, on PYTHONPATH, then holds `mamba_ssm` and its extension; before it is whole it holds neither.
"""
import os
import shutil
import subprocess
import sys
import tarfile
from importlib.util import find_spec
from pathlib import Path

import torch

_HALF = [f'-U__CUDA_NO_{kind}_{what}__' for kind in ('HALF', 'BFLOAT16', 'BFLOAT162')
         for what in ('OPERATORS', 'CONVERSIONS')]
FLAGS = ['-O3', *_HALF, '--expt-relaxed-constexpr', '--expt-extended-lambda', '--use_fast_math']
EXTENSION = 'selective_scan_cuda'


def unpack(archive: Path, folder: Path) -> tuple[Path, list[Path]]:
    """Unpack the scan's sources and Python files. Returns the folder of the headers, and the files to compile."""
    with tarfile.open(archive) as file:
        file.extractall(folder / 'sources', filter='data')
    source = next(path for path in (folder / 'sources').iterdir() if path.is_dir())
    shutil.copytree(source / 'mamba_ssm', folder / 'mamba_ssm')
    (folder / 'mamba_ssm' / '__init__.py').write_text('')  # its own imports language models
    headers = source / 'csrc' / 'selective_scan'
    return headers, sorted([*headers.glob('*.cpp'), *headers.glob('*.cu')])


def compilers() -> dict[str, str]:
    """Environment variables for torch's builder of extensions."""
    capability = '.'.join(map(str, torch.cuda.get_device_capability()))
    settings = {'MAX_JOBS': str(os.cpu_count()), 'TORCH_CUDA_ARCH_LIST': capability}
    home = Path(os.environ.get('CUDA_HOME') or '/usr/local/cuda')
    if (home / 'bin' / 'nvcc').exists():
        settings['CUDA_HOME'] = str(home)
    # Where nvcc came without CUDA's libraries, their headers lie beside torch's. Not in CPATH, which is searched before
    # nvcc's own headers: some of those here are incomplete.
    packages = getattr(find_spec('nvidia'), 'submodule_search_locations', None) or ()
    includes = [str(path) for package in packages for path in sorted(Path(package).glob('cu1*/include'))]
    if includes:
        settings['CPLUS_INCLUDE_PATH'] = os.pathsep.join(
            filter(None, (os.environ.get('CPLUS_INCLUDE_PATH'), str(home / 'include'), *includes)))
    return settings


def main(archive: str, folder: str) -> None:
    target = Path(folder)
    part = target.with_name(f'{target.name}.part')
    for path in (part, target):
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(parents=True)
    headers, sources = unpack(Path(archive), part)
    os.environ.update(compilers())
    from torch.utils.cpp_extension import load  # reads CUDA_HOME when it is imported
    load(EXTENSION, list(map(str, sources)), extra_cflags=['-O3'], extra_include_paths=[str(headers)],
         extra_cuda_cflags=FLAGS, build_directory=str(part), verbose=True)
    subprocess.run([sys.executable, '-c', 'import mamba_ssm.ops.selective_scan_interface'], check=True,
                   env={**os.environ, 'PYTHONPATH': os.pathsep.join([str(part), os.environ.get('PYTHONPATH', '')])})
    for path in (*part.glob(f'{EXTENSION}*.so'), part / 'mamba_ssm'):  # the package last: it is looked for
        path.rename(target / path.name)


if __name__ == '__main__':
    main(*sys.argv[1:])
