"""Parts that judge the kernels: results and gradients against float64, golden numbers, stored numbers of mmcv.

Memory that nothing has written is NaN here, so that an element which a kernel leaves out shows.
"""
import contextlib
from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F

from mmvision_mamba.ops import selective_scan
from tests.helpers import mixers
from tests.helpers.golden import FEATURES, TOLERANCES, golden_errors, golden_model
from tests.helpers.scans import LEAST, error, inputs, scan_and_grads

from .stages import Place

# Largest errors of the output and of gradients, relative by norms.
ALLOWED = dict(float32=(1e-5, 1e-4), bfloat16=(1e-2, 1e-2), float16=(1e-2, 1e-2))
# Sequences, tokens, channels, states: windows, whole maps, sizes that no tile divides, many states.
SCANS = [(128, 196, 160, 8), (64, 49, 320, 8), (2, 4200, 160, 8), (3, 1001, 197, 8), (2, 333, 160, 16), (1, 77, 33, 64)]
SMALL_SCANS = [(1, 17, 5, 2)]
# Sequences, tokens, channels, taps.
MIXERS = [(128, 196, 320, 3), (64, 49, 640, 3), (2, 4200, 320, 3), (3, 257, 394, 4)]
SMALL_MIXERS = [(1, 17, 8, 3)]
CONVOLUTIONS = [(128, 196, 320, 3), (3, 1001, 394, 4), (2, 77, 64, 8)]
SMALL_CONVOLUTIONS = [(2, 9, 12, 4)]
MASKED = (False, True)  # in a dry run the second alone
INFERENCE = 'output without gradients'  # another kernel's
OUTPUTS = ('output', INFERENCE)
LONG = 512  # tokens past which the float64 reference takes chunks, not steps


@contextlib.contextmanager
def exact() -> Iterator[None]:
    """Products of float32 in float32, and NaN in memory that nothing has written."""
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    torch.use_deterministic_algorithms(True, warn_only=True)  # which fills what `torch.empty` returns
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


def scan(place: Place, dtype: str) -> dict:
    """The scan's kernels: every argument's gradient, masks; the kernel without gradients; equal results of two runs."""
    rows = []
    for *shape, state in SMALL_SCANS if place.small else SCANS:
        for masked in MASKED[place.small:]:
            args = inputs(*shape, state, getattr(torch, dtype), device=place.device)
            args = {name: value.requires_grad_() for name, value in args.items()}
            mask = torch.rand(shape[:2], device=place.device) > 0.2 if masked else None
            with exact():
                found, again = (_outputs(scan_and_grads(args, 'triton', mask=mask)) for _ in range(2))
                exactly = {name: value.detach().double().requires_grad_() for name, value in args.items()}
                expected = _outputs(scan_and_grads(exactly, 'chunked' if shape[1] > LONG else 'reference', mask=mask))
                with torch.no_grad():
                    inference = selective_scan(**args, delta_softplus=True, mask=mask, backend='triton')
            errors = {name: error(value, expected[name], LEAST.get(name, 1e-12)) for name, value in found.items()}
            errors[INFERENCE] = error(inference, expected['output'])
            rows.append(_row(place, 'scan', dtype, (*shape, state), masked, errors,
                             equal=_equal(found, again)))
            place.keep(_table(rows))
    return _table(rows)


def _outputs(pair) -> dict:
    y, grads = pair
    return dict(output=y, **grads)


def mixer(place: Place, dtype: str) -> dict:
    """The fused mixer: in half precision as near to float64 as the plain operators in that dtype, or nearly so."""
    rows = []
    for batch, length, dim, taps in SMALL_MIXERS if place.small else MIXERS:
        for masked in MASKED[place.small:]:
            layer = mixers.build(dim, 2 if place.small else 8, taps, dtype=getattr(torch, dtype), device=place.device)
            with torch.no_grad():
                layer.dt_proj.bias -= 3  # steps as small as trained ones
            x, mask = mixers.tokens(batch, length, dim, masked, getattr(torch, dtype), place.device)
            reference = 'chunked' if length > LONG else 'reference'
            with exact():
                found, again = (mixers.run(layer, x, mask) for _ in range(2))
                expected = mixers.run(layer, x, mask, torch.float64, reference)
                plain = {} if dtype == 'float32' else mixers.run(layer, x, mask, getattr(torch, dtype), 'chunked')
                with torch.no_grad():
                    inference = layer(x, mask)
            least = {name: 1.5 * error(value, expected[name]) for name, value in plain.items()}
            rows.append(_row(
                place, 'mixer', dtype, (batch, length, dim, taps), masked,
                {name: error(value, expected[name]) for name, value in found.items()} | {
                    INFERENCE: error(inference, expected['output'])},
                least | {INFERENCE: least['output']} if least else {},
                equal=_equal(found, again)))
            place.keep(_table(rows))
    return _table(rows)


def convolution(place: Place, dtype: str) -> dict:
    """The convolutions with SiLU, of both halves of the channels, forward and backward."""
    from mmvision_mamba.ops import triton_conv
    rows = []
    for batch, length, channels, taps in SMALL_CONVOLUTIONS if place.small else CONVOLUTIONS:
        half = channels // 2

        def random(*shape, dtype=dtype):
            return torch.randn(*shape, device=place.device).to(getattr(torch, dtype))
        xz, grad = random(batch, length, channels), random(batch, length, channels)
        weights = [random(half, 1, taps, dtype='float32') for _ in range(2)]
        with exact():
            out = torch.empty_like(xz)
            triton_conv.conv_silu(xz, *weights, out[..., :half], out[..., half:])
            dxz, dweight = triton_conv.conv_silu_backward(grad[..., :half], grad[..., half:], xz, *weights)
            doubles = [value.detach().double().requires_grad_() for value in (xz, *weights)]
            expected = F.silu(F.conv1d(doubles[0].transpose(1, 2), torch.cat(doubles[1:]), padding='same',
                                       groups=channels)).transpose(1, 2)
            dx, *dw = torch.autograd.grad((expected * grad.double()).sum(), doubles)
        errors = dict(output=error(out, expected), input=error(dxz, dx), weight=error(dweight, torch.stack(dw)))
        rows.append(_row(place, 'convolution', dtype, (batch, length, channels, taps), False, errors))
        place.keep(_table(rows))
    return _table(rows)


def golden(place: Place) -> dict:
    """What the published model computes, in float32."""
    cells, passed = [], True
    for path in FEATURES[-2:-1] if place.small else FEATURES:
        with exact():
            errors = golden_errors(path, golden_model(path), place.device)
        right = all(value <= TOLERANCES[kind] for kind, value in errors.items())
        passed &= right
        cells.append([path.stem.removeprefix('features_'), *(
            f'{errors[kind]:.1e}' if kind in errors else '' for kind in TOLERANCES), 'yes' if right else '**no**'])
    titles = ['model, windows, images', *(f'{kind} (≤ {most:g})' for kind, most in TOLERANCES.items()), 'right']
    return dict(passed=passed, why='' if passed else 'numbers differ', table=[titles, cells])


def operators(place: Place) -> dict:
    """mmcv's operators as this package has them against what compiled mmcv answered on a CPU."""
    import mmcv.ops  # noqa: F401  before its operators are replaced

    from mmvision_mamba.mmcv_ops import extension
    from tests.helpers.mmcv_operators import FIXTURES, OPERATORS, difference
    cells = []
    for name, operator in list(OPERATORS.items())[:2 if place.small else None]:
        try:
            found = operator.answers(extension, place.device)
            complaint = difference(found, dict(np.load(FIXTURES / f'{name}.npz')), max(operator.tolerance, 1e-5))
        except Exception as error:  # the other operators are still to be judged
            complaint = f'{type(error).__name__}: {error}'.splitlines()[0][:200]
        cells.append([name, complaint or 'equal'])
    wrong = [name for name, complaint in cells if complaint != 'equal']
    return dict(passed=not wrong, why=f'differ: {", ".join(wrong)}' if wrong else '',
                table=[['operator', 'beside compiled mmcv'], cells])


def _equal(found: dict, again: dict) -> bool:
    return all(torch.equal(value, again[name]) for name, value in found.items())


def _row(place: Place, kernel: str, dtype: str, shape: tuple, masked: bool, errors: dict, least: dict | None = None,
         equal: bool = True) -> dict:
    """What a table has of a case.

    Args:
        least: errors that are allowed where the dtype's are smaller.
        equal: whether further runs gave the same to the last bit.
    """
    # Triton's interpreter cuts digits off where a GPU rounds to bfloat16.
    scale = 3 if place.small and dtype == 'bfloat16' else 1
    allowed = {name: max(scale * ALLOWED[dtype][name not in OUTPUTS], (least or {}).get(name, 0.)) for name in errors}
    right = all(errors[name] <= allowed[name] for name in errors)  # NaN is not
    gradients = {name: value for name, value in errors.items() if name not in OUTPUTS}
    # Of all gradients the one nearest to what is allowed, or past it; NaN before all.
    worst = max(gradients, key=lambda name: (gradients[name] != gradients[name], gradients[name] / allowed[name]))
    return dict(kernel=kernel, dtype=dtype, shape=list(shape), masked=masked, errors=errors, allowed=allowed,
                worst=worst, right=right, equal=equal)


def _largest(row: dict) -> float:
    """The larger error of the outputs, with gradients and without; NaN before all."""
    return max((row['errors'][name] for name in OUTPUTS if name in row['errors']),
               key=lambda value: (value != value, value))


def _table(rows: list[dict]) -> dict:
    cells = [[row['kernel'], row['dtype'], ' × '.join(f'{size:,}' for size in row['shape']),
              'masked' if row['masked'] else '', f'{_largest(row):.1e} (≤ {row["allowed"]["output"]:.1e})',
              f'{row["errors"][row["worst"]]:.1e} (≤ {row["allowed"][row["worst"]]:.1e}), {row["worst"]}',
              'yes' if row['equal'] else '**no**', 'yes' if row['right'] else '**no**'] for row in rows]
    wrong = [f'{row["kernel"]} {row["dtype"]} {row["shape"]}' for row in rows if not (row['right'] and row['equal'])]
    return dict(passed=not wrong, why=f'wrong: {"; ".join(wrong)}'[:300] if wrong else '', cases=rows, table=[
        ['kernel', 'dtype', 'shape', '', 'error of the output', 'worst gradient', 'runs equal', 'right'], cells])
