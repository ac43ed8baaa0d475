"""Settings that need no OpenMMLab: the scan, the mixer, the backbone and other backbones beside it."""
from collections.abc import Iterator
from itertools import product

import torch

from ..backbones import MambaVision
from ..backbones.family import resolve_arch
from ..backbones.mixers import MambaVisionMixer
from ..costs.flops import scan_bytes, scan_flops
from ..errors import ConfigError
from ..ops import BACKENDS, check_backend, selective_scan
from .peers import build_peer
from .setting import Setting
from .variants import as_cuda_graph, compiled, module_setting, prepare, shared, variants

REFERENCE_STEPS = 8192  # tokens past which a call of 'reference' takes seconds and keeps gigabytes


def usable_backends(asked: list[str] | None, device: torch.device) -> list[str]:
    """The scan backends in `asked`, or by default all that run on `device`.

    Raises:
        ConfigError: a backend in `asked` is unknown or does not run.
    """
    usable = []
    # On a CPU Triton would run in its interpreter: only if it is asked for.
    left_out = ('auto', 'numba') if device.type == 'cuda' else ('auto', 'triton', 'mamba_ssm')
    for backend in asked or [name for name in BACKENDS if name not in left_out]:
        try:
            check_backend(backend)
            selective_scan(*(torch.zeros(shape, device=device) for shape in (
                (1, 16, 16), (1, 16, 16), (16, 8), (1, 16, 8), (1, 16, 8))), backend=backend)
            usable.append(backend)
        except Exception as error:
            if backend not in BACKENDS:
                raise
            if asked:
                raise ConfigError(f'--backends: {backend!r} does not run on {device}: '
                                  f'{str(error).splitlines()[0]}') from error
    return usable


class _Fed(torch.autograd.Function):
    """A loss of `y` whose gradient is `gradient`: it costs nothing beside the scan's own backward."""

    @staticmethod
    def forward(ctx, y, gradient):
        ctx.gradient = gradient
        return y.new_zeros(())

    @staticmethod
    def backward(ctx, _):
        return ctx.gradient, None


def scan_settings(args) -> Iterator[Setting]:
    for (batch, length, channels), dtype, backend, variant in product(
            args.shapes, args.dtypes, args.backends, variants(args)):
        if _too_long(backend, length):
            continue

        def random(*shape, dtype=torch.float32, tokens_last=backend == 'mamba_ssm'):
            if len(shape) < 3 or not tokens_last:
                return torch.randn(*shape, device=args.device).to(dtype).requires_grad_(args.training)
            # As that scan reads them: any other layout it copies.
            return random(*shape, dtype=dtype, tokens_last=False).detach().transpose(1, 2).contiguous().transpose(
                1, 2).requires_grad_(args.training)
        # Activations are in the dtype; A, D and the bias are parameters, and stay in float32.
        inputs = [random(batch, length, channels, dtype=dtype), random(batch, length, channels, dtype=dtype),
                  random(channels, args.state), random(batch, length, args.state, dtype=dtype),
                  random(batch, length, args.state, dtype=dtype), random(channels), random(channels)]

        def run(inputs=inputs, backend=backend):
            u, delta, A, *rest = inputs
            return selective_scan(u, delta, -A.exp(), *rest, delta_softplus=True, backend=backend)
        call = compiled(run) if 'compile' in variant else run
        gradient = random(batch, length, channels, dtype=dtype).detach()
        graph = 'cuda_graphs' in variant
        yield Setting(
            _shape(batch, length, channels), _name(backend, _dtype(dtype, args.dtypes), *variant), batch * length,
            'token', forward=as_cuda_graph(call) if graph else call,
            loss=None if graph else lambda call=call, gradient=gradient: _Fed.apply(call(), gradient), leaves=inputs,
            dtype=dtype,
            options=dict(batch=batch, tokens=length, channels=channels, state=args.state, backend=backend,
                         dtype=_dtype(dtype), variant=variant),
            count=lambda phase, size=(batch, length, channels, args.state): scan_flops(*size, phase),
            least_bytes=lambda phase, inputs=inputs: scan_bytes(inputs, inputs[0], phase), reports_memory=not graph)


def mixer_settings(args) -> Iterator[Setting]:
    for (batch, length, dim), amp, backend, variant in product(args.shapes, args.amp, args.backends, variants(args)):
        if _too_long(backend, length):
            continue
        x = torch.randn(batch, length, dim, device=args.device)
        mixer = prepare(MambaVisionMixer(dim, args.state, scan_backend=backend).to(args.device), variant)
        yield module_setting(
            mixer, x, variant, amp,
            group=_shape(batch, length, dim), name=_name(backend, _amp(amp), *variant), units=batch * length,
            unit='token', options=dict(batch=batch, tokens=length, channels=dim, state=args.state, backend=backend,
                                       amp=amp, variant=variant))


def backbone_settings(args) -> Iterator[Setting]:
    for size, batch in product(args.sizes, args.batch):
        x = torch.randn(batch, 3, *size, device=args.device)
        common = dict(group=_shape(batch, 3, *size), units=batch, unit='image')
        options = dict(batch=batch, height=size[0], width=size[1], side=size[0])
        for arch, padding, windows, backend in product(
                args.archs, args.paddings, args.windows or ['arch'], args.backends):
            def build(arch=arch, padding=padding, windows=windows, backend=backend):
                return MambaVision(arch, window_padding=padding, window_size=windows, scan_backend=backend)
            name = _name(arch, padding, windows != 'arch' and 'windows ' + '/'.join(str(w or 'all') for w in windows),
                         (len(args.backends) > 1 or backend != 'auto') and backend)
            yield from _model_settings(args, build, name, x, common, dict(
                options, arch=arch, padding=padding, backend=backend,
                windows=resolve_arch(arch)['window_size'] if windows == 'arch' else windows))
        for peer in args.peers or ():
            def build(peer=peer, size=size):
                return build_peer(peer, size)
            yield from _model_settings(args, build, peer, x, common, dict(options, arch=peer), peer=True)


def _model_settings(args, build, name, x, common, options, peer=False) -> Iterator[Setting]:
    """The settings of one model: every precision in every variant."""
    model = shared(lambda variant: prepare(build().to(args.device), variant))
    fusable = not peer or hasattr(model(()), 'fuse')
    for amp, variant in product(args.amp, variants(args, fusable)):
        yield module_setting(model(variant), x, variant, amp, name=_name(name, _amp(amp), *variant), **common,
                             options=dict(options, model=name, peer=peer, amp=amp, variant=variant))


def _too_long(backend: str, length: int) -> bool:
    if backend == 'reference' and length > REFERENCE_STEPS:
        print(f'reference, step by step, is left out at {length:,} tokens')
        return True
    return False


def _shape(*sizes: int) -> str:
    return ' × '.join(f'{size:,}' for size in sizes)


def _name(*parts) -> str:
    return ', '.join(str(part).replace('_', ' ') for part in parts if part)


def _amp(amp: str) -> str:
    return '' if amp == 'none' else amp


def _dtype(dtype: torch.dtype, among=()) -> str:
    """The dtype's name; '' where it is float32 and `among` has no other."""
    return '' if list(among) == [torch.float32] else str(dtype).removeprefix('torch.')
