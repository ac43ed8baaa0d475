"""Compile the Triton kernels of all parts where there is no GPU, to carry them: a part's minute would go to compiling.

A kernel takes up to ten seconds of a core, all parts have hundreds of them. Triton finds a kernel again by its source,
its constants, the GPU's capability and Triton's own files: it must be of the version, and for the Python, of the other
machine. What it does not find there it compiles.

    python -m gpu_check.compile_ahead CACHE CAPABILITY     over there, where an archive's kernels are of another Triton
"""
import concurrent.futures
import contextlib
import functools
import hashlib
import importlib
import json
import multiprocessing
import os
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest.mock import patch

from mmvision_mamba.errors import UserError
from mmvision_mamba.files import replace

from . import ROOT

ARCHIVE = 'kernels.tar.gz'
MADE_FOR = 'made_for.json'
# Of the backbone: size, windows ('': the arch's), padding, precision, in the order of their worth.
BACKBONES = [(224, 224, '14,7', 'zeros', 'bf16'), (800, 1344, '112,56', 'fit', 'bf16'),
             (800, 1344, '112,56', 'zeros', 'bf16'), (512, 512, '64,32', 'fit', 'bf16'),
             (512, 512, '64,32', 'zeros', 'bf16'), (128, 128, '8,4', 'fit', 'none'), (224, 224, '14,7', 'fit', 'bf16'),
             (512, 512, '14,7', 'fit', 'bf16'), (512, 512, '14,7', 'zeros', 'bf16'),
             (800, 1344, '112,56', 'fit', 'fp16'), (512, 512, '64,32', 'fit', 'fp16')]


def works() -> list[tuple[str, tuple]]:
    """(function of this file, its arguments) of all that is to be compiled."""
    from .stages import DTYPES
    return [('backbone', work) for work in BACKBONES] + [('speed', ())] + [
        (name, (dtype,)) for dtype in DTYPES for name in ('scan', 'mixer', 'convolution')] + [('golden', ())]


def backbone(height: int, width: int, windows: str, padding: str, amp: str) -> None:
    import torch

    from mmvision_mamba import MambaVision
    from mmvision_mamba.backbones import FAMILY
    from mmvision_mamba.backbones.mixers import MambaVisionMixer
    from mmvision_mamba.benchmark.variants import mean_of, precision
    # A mixer a stage: the others have the same kernels. All else in float32: CPUs are slow in halves.
    model = MambaVision(FAMILY['tiny'] | dict(depths=(1, 1, 2, 2)), window_padding=padding,
                        window_size=tuple(map(int, windows.split(','))))
    for mixer in (module for module in model.modules() if isinstance(module, MambaVisionMixer)):
        mixer.forward = precision(torch.device('cpu'), amp)(mixer.forward)
    for training in (True, False):
        with torch.set_grad_enabled(training):
            out = model.train(training)(torch.zeros(1, 3, height, width))
        if training:
            mean_of(out).backward()


def speed() -> None:
    """The calls of the benchmark's scans."""
    from types import SimpleNamespace

    import torch

    from mmvision_mamba.benchmark.workloads import scan_settings, usable_backends
    usable_backends(['auto'], torch.device('cpu'))
    for setting in scan_settings(SimpleNamespace(
            shapes=[(2, 196, 160), (2, 4200, 160)], dtypes=[torch.bfloat16], backends=['triton'], training=True,
            state=8, device=torch.device('cpu'))):
        for phase in setting.phases(True):
            with setting.prepared(phase):
                setting.call(phase)


def scan(dtype: str) -> None:
    import torch

    from mmvision_mamba.ops import selective_scan
    from tests.helpers.scans import inputs, scan_and_grads

    from .kernels import MASKED, SCANS
    for batch, *shape in SCANS:
        for masked in MASKED:
            args = inputs(min(batch, 2), *shape, getattr(torch, dtype), requires_grad=True)
            mask = torch.ones(args['u'].shape[:2], dtype=torch.bool) if masked else None
            scan_and_grads(args, 'triton', mask=mask)
            with torch.no_grad():
                selective_scan(**args, delta_softplus=True, mask=mask, backend='triton')


def mixer(dtype: str) -> None:
    import torch

    from tests.helpers import mixers

    from .kernels import MASKED, MIXERS
    for batch, length, dim, taps in MIXERS:
        for masked in MASKED:
            layer = mixers.build(dim, 8, taps, dtype=getattr(torch, dtype))
            x, mask = mixers.tokens(min(batch, 2), length, dim, masked, getattr(torch, dtype))
            mixers.run(layer, x, mask)
            with torch.no_grad():
                layer(x, mask)


def convolution(dtype: str) -> None:
    import torch

    from mmvision_mamba.ops import triton_conv

    from .kernels import CONVOLUTIONS
    for batch, length, channels, taps in CONVOLUTIONS:
        xz = torch.zeros(min(batch, 2), length, channels, dtype=getattr(torch, dtype))
        out, half = torch.empty_like(xz), channels // 2
        weights = [torch.zeros(half, 1, taps) for _ in range(2)]
        triton_conv.conv_silu(xz, *weights, out[..., :half], out[..., half:])
        triton_conv.conv_silu_backward(xz[..., :half], xz[..., half:], xz, *weights)


def golden() -> None:
    from tests.helpers.golden import FEATURES, golden_errors, golden_model
    for path in FEATURES:
        golden_errors(path, golden_model(path))


class _Driver:
    """What Triton asks of a GPU's driver to compile for it."""

    def __init__(self, capability: int):
        from triton.backends.compiler import GPUTarget
        self._target = GPUTarget('cuda', capability, 32)

    def get_current_target(self):
        return self._target

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 0


@contextlib.contextmanager
def _only_compiling(capability: int) -> Iterator[None]:
    """Within it kernels take tensors of any device, are compiled for a GPU of the capability, and do not run."""
    from triton.runtime import JITFunction, driver

    from mmvision_mamba.ops import mixer as fused
    frontend = importlib.import_module('mmvision_mamba.ops.selective_scan')  # whose name is the function's too
    run = JITFunction.run

    def compile_only(self, *args, grid, warmup, **kwargs):
        return run(self, *args, grid=grid, warmup=True, **kwargs)

    def takes(u, interpreted=False):
        return True
    driver.set_active(_Driver(capability))
    with patch.object(JITFunction, 'run', compile_only), patch.object(frontend, 'triton_takes', takes), \
            patch.object(fused, 'triton_takes', takes):
        yield


def _do(name: str, arguments: tuple, capability: int) -> None:
    import torch
    torch.set_num_threads(1)
    with _only_compiling(capability):
        globals()[name](*arguments)


def _name(name: str, arguments: tuple) -> str:
    return ' '.join(map(str, (name, *arguments)))


def compile_ahead(folder: Path, capability: int, only: Callable[[str], bool] = lambda name: True) -> Path:
    """Compile all kernels into FOLDER/kernels.tar.gz, those left out that it has. Returns that file.

    Args:
        folder: that of the wheels.
        capability: of the GPU, times ten.
        only: of the works, by their names.

    Raises:
        UserError: some failed; the others' kernels are in the file.
    """
    archive = folder / ARCHIVE
    with tempfile.TemporaryDirectory() as cache:
        with contextlib.suppress(FileNotFoundError, OtherKernelsError, tarfile.TarError):
            print(f'{unpack(archive, Path(cache), capability)} kernels are compiled already', flush=True)
        # Packed each time: this takes many minutes, and can be ended before.
        failed = compile_into(Path(cache), capability, only, lambda: _pack(Path(cache), archive, capability))
    if failed:
        raise UserError(f'{archive}: not all kernels are compiled; what failed: {"; ".join(failed)}')
    return archive


def compile_into(cache: Path, capability: int, only: Callable[[str], bool] = lambda name: True,
                 note: Callable[[], None] = lambda: None) -> list[str]:
    """Compile the works that `only` names into a folder of Triton's, several at a time; `note` is called after each.

    Returns the names of those that failed.
    """
    os.environ |= dict(TRITON_CACHE_DIR=str(cache), TRITON_STORE_BINARY_ONLY='1', OMP_NUM_THREADS='1')
    os.environ.pop('TRITON_INTERPRET', None)
    with concurrent.futures.ProcessPoolExecutor(
            os.cpu_count(), multiprocessing.get_context('spawn'), max_tasks_per_child=1) as pool:
        waiting = {pool.submit(_do, *work, capability): _name(*work) for work in works() if only(_name(*work))}
        for done in concurrent.futures.as_completed(waiting):
            error = done.exception()
            print(waiting[done] + (f': {type(error).__name__}: {error}' if error else ''), flush=True)
            note()
    return [name for done, name in waiting.items() if done.exception()]


class OtherKernelsError(ValueError):
    """An archive's kernels are of another version of Triton or of this code, or for another GPU."""


@functools.cache
def made_for(capability: int) -> dict[str, str]:
    """What kernels must have been compiled for, to be found: Triton's files, with Python's version in them; the
    kernels' sources; the GPU."""
    import triton
    for module in ('triton.runtime.cache', 'triton.compiler.compiler'):  # the second before Triton 3.6
        if key := getattr(importlib.import_module(module), 'triton_key', None):
            break
    sources = b''.join((ROOT / 'mmvision_mamba' / 'ops' / f'triton_{name}.py').read_bytes()
                       for name in ('kernels', 'conv'))
    return dict(triton=f'{triton.__version__} {hashlib.sha256(key().encode()).hexdigest()[:16]}',
                kernels=hashlib.sha256(sources).hexdigest()[:16], capability=str(capability))


def _pack(cache: Path, archive: Path, capability: int) -> None:
    """Archive the kernels that are whole."""
    def write(temporary: Path) -> None:
        with tarfile.open(temporary, 'w:gz') as file:
            file.add(cache / MADE_FOR, MADE_FOR)
            for group in sorted(cache.glob('*/__grp__*')):
                file.add(group.parent, group.parent.name)
    (cache / MADE_FOR).write_text(json.dumps(made_for(capability)))
    replace(archive, write)


def unpack(archive: Path, cache: Path, capability: int) -> int:
    """Make `cache` Triton's, with the archive's kernels. Returns their number.

    Raises:
        OtherKernelsError: Triton would find none of them.
    """
    with tarfile.open(archive) as file:
        theirs = json.load(file.extractfile(MADE_FOR)) if MADE_FOR in file.getnames() else {}
        ours = made_for(capability)
        if theirs != ours:
            raise OtherKernelsError('; '.join(f'{name} {theirs.get(name, "?")}, here {value}'
                                              for name, value in ours.items() if theirs.get(name) != value))
        file.extractall(cache, filter='data')
    groups = list(cache.glob('*/__grp__*'))
    for group in groups:  # which name files by their whole paths
        names = json.loads(group.read_text())['child_paths']
        group.write_text(json.dumps(dict(child_paths={name: str(group.parent / name) for name in names})))
    return len(groups)


if __name__ == '__main__':
    compile_into(Path(sys.argv[1]), int(sys.argv[2]))
