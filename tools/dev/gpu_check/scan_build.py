"""Compile mamba-ssm's scan from its sources for one GPU alone: the whole package needs more, and very long.

    python -m gpu_check.scan_build SOURCES.tar.gz FOLDER

FOLDER, on PYTHONPATH, then holds `mamba_ssm` and its extension; before it is whole it holds neither. Where SOURCES'
folder has what `ahead` compiled, and it runs here, nothing is compiled.
"""
import importlib
import os
import shutil
import subprocess
import sys
import tarfile
import time
from importlib.util import find_spec
from pathlib import Path

from mmvision_mamba.files import replace

_HALF = [f'-U__CUDA_NO_{kind}_{what}__' for kind in ('HALF', 'BFLOAT16', 'BFLOAT162')
         for what in ('OPERATORS', 'CONVERSIONS')]
FLAGS = ['-O3', *_HALF, '--expt-relaxed-constexpr', '--expt-extended-lambda', '--use_fast_math']
EXTENSION = 'selective_scan_cuda'
ARCHIVE = 'scan.tar.xz'
WHEELS_SECONDS = 60  # until the wheels are installed, at most
# Also a call, where there is a GPU: one that is compiled for another is imported all the same.
_TRIAL = '''
import torch
from mamba_ssm.ops.selective_scan_interface import selective_scan_fn
if torch.cuda.is_available():
    sizes = (1, 8, 16), (1, 8, 16), (8, 4), (1, 4, 16), (1, 4, 16)
    y = selective_scan_fn(*(torch.full(size, -1., device='cuda', requires_grad=True) for size in sizes))
    y.sum().backward()
    assert bool(torch.isfinite(y).all())
'''


def unpack(archive: Path, folder: Path) -> tuple[Path, list[Path]]:
    """Unpack the scan's sources and Python files. Returns the folder of the headers, and the files to compile."""
    with tarfile.open(archive) as file:
        file.extractall(folder / 'sources', filter='data')
    source = next(path for path in (folder / 'sources').iterdir() if path.is_dir())
    shutil.copytree(source / 'mamba_ssm', folder / 'mamba_ssm', dirs_exist_ok=True)
    (folder / 'mamba_ssm' / '__init__.py').write_text('')  # its own imports language models
    headers = source / 'csrc' / 'selective_scan'
    return headers, sorted([*headers.glob('*.cpp'), *headers.glob('*.cu')])


def nvcc_home() -> Path | None:
    """The folder of CUDA's compiler; None: there is none where it is looked for."""
    home = Path(os.environ.get('CUDA_HOME') or '/usr/local/cuda')
    return home if (home / 'bin' / 'nvcc').exists() else None


def compilers(capability: str) -> dict[str, str]:
    """Environment variables for torch's builder of extensions."""
    settings = {'MAX_JOBS': os.environ.get('MAX_JOBS') or str(os.cpu_count()), 'TORCH_CUDA_ARCH_LIST': capability}
    home = nvcc_home()
    if home:
        settings['CUDA_HOME'] = str(home)
    # Where nvcc came without CUDA's libraries, their headers lie beside torch's. Not in CPATH, which is searched before
    # nvcc's own headers: some of those here are incomplete.
    packages = getattr(find_spec('nvidia'), 'submodule_search_locations', None) or ()
    includes = [str(path) for package in packages for path in sorted(Path(package).glob('cu1*/include'))]
    if includes:
        settings['CPLUS_INCLUDE_PATH'] = os.pathsep.join(filter(None, (
            os.environ.get('CPLUS_INCLUDE_PATH'), *([str(home / 'include')] if home else []), *includes)))
    return settings


def build(sources: Path, folder: Path, capability: str) -> None:
    """Compile it into FOLDER, for a capability such as '9.0'. What an earlier call left there is not compiled again."""
    folder.mkdir(parents=True, exist_ok=True)
    headers, files = unpack(sources, folder)
    os.environ.update(compilers(capability))
    from torch.utils.cpp_extension import load  # reads CUDA_HOME when it is imported
    load(EXTENSION, list(map(str, files)), extra_cflags=['-O3'], extra_include_paths=[str(headers)],
         extra_cuda_cflags=FLAGS, build_directory=str(folder), verbose=True)
    try_out(folder)


def try_out(folder: Path) -> None:
    """Raises subprocess.CalledProcessError: what FOLDER holds does not run here."""
    until = time.monotonic() + WHEELS_SECONDS
    while find_spec('einops') is None and time.monotonic() < until:  # which it imports, and the wheels bring
        time.sleep(0.5)
        importlib.invalidate_caches()
    subprocess.run([sys.executable, '-c', _TRIAL], check=True, cwd=folder, env={
        **os.environ, 'PYTHONPATH': os.pathsep.join([str(folder), os.environ.get('PYTHONPATH', '')])})


def results(folder: Path) -> list[Path]:
    """The package and its extension; the package last: it is looked for."""
    return [*folder.glob(f'{EXTENSION}*.so'), folder / 'mamba_ssm']


def ahead(sources: Path, folder: Path, capability: int) -> Path:
    """Compile the scan, in FOLDER, into an archive beside its sources, where there is no GPU. Returns that file.

    It is for this machine's versions of Python and PyTorch.
    """
    build(sources, folder, f'{capability // 10}.{capability % 10}')

    def write(temporary: Path) -> None:
        with tarfile.open(temporary, 'w:xz') as file:
            for path in results(folder):
                file.add(path, path.name)
    archive = sources.with_name(ARCHIVE)
    replace(archive, write)
    return archive


def take(archive: Path, folder: Path) -> bool:
    """Unpack what `ahead` compiled into FOLDER. Returns whether it runs here."""
    try:
        with tarfile.open(archive) as file:
            file.extractall(folder, filter='data')
        try_out(folder)
    except (OSError, tarfile.TarError, EOFError, subprocess.CalledProcessError) as error:
        print(f'{archive.name}: {error}', flush=True)
        return False
    return True


def main(archive: str, folder: str) -> None:
    sources, target = Path(archive), Path(folder)
    part = target.with_name(f'{target.name}.part')
    for path in (part, target):
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(parents=True)
    if not take(sources.with_name(ARCHIVE), part):
        import torch
        shutil.rmtree(part)
        build(sources, part, '.'.join(map(str, torch.cuda.get_device_capability())))
    for path in results(part):
        path.rename(target / path.name)


if __name__ == '__main__':
    main(*sys.argv[1:])
