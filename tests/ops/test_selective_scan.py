"""Every backend against the step-by-step scan in float64."""
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmvision_mamba.errors import ConfigError
from mmvision_mamba.ops import chunked, selective_scan

from ..helpers.scans import LEAST, error, inputs, scan_and_grads


@pytest.fixture
def small_slabs(monkeypatch):
    """Chunks and segments so small that short sequences have many."""
    monkeypatch.setattr(chunked, 'SLAB', 64)
    monkeypatch.setattr(chunked, 'STEPS', range(3, 5))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batch=st.integers(1, 4), length=st.integers(1, 70), channels=st.integers(1, 12), state=st.integers(1, 9),
       small=st.booleans(), masked=st.booleans())
def test_float32_agrees_with_float64_reference(monkeypatch, batch, length, channels, state, small, masked):
    with monkeypatch.context() as patch:
        if small:
            patch.setattr(chunked, 'SLAB', 64)
            patch.setattr(chunked, 'STEPS', range(3, 5))
        args = inputs(batch, length, channels, state, torch.float32, requires_grad=True)
        exact = {k: v.detach().double().requires_grad_() for k, v in args.items()}
        mask = torch.rand(batch, length) > 0.3 if masked else None
        y, grads = scan_and_grads(args, 'chunked', mask=mask)
        expected, expected_grads = scan_and_grads(exact, 'reference', mask=mask)
    assert y.dtype == torch.float32 and y.shape == expected.shape
    assert error(y, expected) <= 1e-5
    for name in args:
        assert error(grads[name], expected_grads[name], LEAST.get(name, 1e-12)) <= 1e-4, name


@pytest.mark.parametrize('shape', [(1, 1500, 160, 8), (70, 49, 40, 8), (2, 300, 160, 8), (1, 1, 1, 1)], ids=str)
def test_full_sized_chunks(shape):
    args = inputs(*shape, torch.float64, requires_grad=True)
    y, grads = scan_and_grads(args, 'chunked')
    expected, expected_grads = scan_and_grads(args, 'reference')
    assert error(y, expected) < 1e-12
    for name in args:
        assert error(grads[name], expected_grads[name]) < 1e-11, name


def test_reference_is_the_recurrence():
    """One channel, one state, by hand."""
    u, dt, A = torch.tensor([1., 2.]), torch.tensor([.5, .25]), -2.
    B, C = torch.tensor([3., 1.]), torch.tensor([1., 4.])
    h1 = .5 * 3 * 1
    h2 = torch.exp(torch.tensor(.25 * -2)) * h1 + .25 * 1 * 2
    for backend in ('reference', 'chunked'):
        y = selective_scan(u.view(1, 2, 1), dt.view(1, 2, 1), torch.full((1, 1), A), B.view(1, 2, 1), C.view(1, 2, 1),
                           D=torch.tensor([10.]), backend=backend)
        assert torch.allclose(y.flatten(), torch.tensor([h1 + 10, 4 * h2.item() + 20]))


@pytest.mark.parametrize('length', [1, 7, 25])
def test_gradcheck(small_slabs, length):
    args = inputs(2, length, 3, 2, torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda *values: selective_scan(*values, delta_softplus=True, backend='chunked'), tuple(args.values()))


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_low_precision_inputs_float32_state(dtype):
    args = inputs(2, 500, 16, 8, dtype, requires_grad=True)
    exact = {k: v.detach().double().requires_grad_() for k, v in args.items()}
    y, grads = scan_and_grads(args, 'chunked')
    expected, expected_grads = scan_and_grads(exact, 'reference')
    assert y.dtype == dtype and all(grads[name].dtype == dtype for name in args)
    assert error(y, expected) <= 1e-2
    for name in args:
        assert error(grads[name], expected_grads[name]) <= 1e-2, name


def test_autocast_leaves_the_scan_in_float32():
    args = inputs(2, 50, 8, 4, requires_grad=True)
    y, grads = scan_and_grads(args, 'chunked')
    with torch.autocast('cpu', torch.bfloat16):
        y_amp, grads_amp = scan_and_grads(args, 'chunked')
    assert torch.equal(y, y_amp)
    assert all(torch.equal(grads[name], grads_amp[name]) for name in args)


@pytest.mark.parametrize('backend', ['reference', 'chunked'])
def test_large_steps_stay_finite(backend):
    args = inputs(1, 200, 4, 4, requires_grad=True)
    args['delta'] = (args['delta'].detach() * 300).requires_grad_()
    y, grads = scan_and_grads(args, backend)
    assert torch.isfinite(y).all() and all(torch.isfinite(g).all() for g in grads.values())


@pytest.mark.parametrize('shape', [(0, 5, 4, 2), (2, 0, 4, 2)])
def test_empty(shape):
    args = inputs(*shape, requires_grad=True)
    y, grads = scan_and_grads(args, 'chunked')
    assert y.shape == selective_scan(**args, backend='reference').shape == shape[:3]
    assert not grads['A'].any()


def test_non_contiguous_inputs():
    args = inputs(2, 30, 6, 4)
    strided = {k: v.transpose(0, -1).contiguous().transpose(0, -1) for k, v in args.items()}
    assert not strided['u'].is_contiguous()
    assert torch.equal(selective_scan(**strided), selective_scan(**args))


def test_mask_passes_the_state_through_unchanged(small_slabs):
    """Masked tokens, whatever they hold, are as if they weren't there."""
    args = inputs(2, 40, 6, 4, torch.float64, requires_grad=True)
    keep = torch.rand(40) > 0.4
    y, grads = scan_and_grads(args, 'chunked', mask=keep.expand(2, -1))
    short = {k: v[:, keep] if v.dim() == 3 else v for k, v in args.items()}
    expected = selective_scan(**short, delta_softplus=True, backend='reference')
    torch.testing.assert_close(y[:, keep], expected)
    assert not grads['delta'][:, ~keep].any() and not grads['B'][:, ~keep].any()


@pytest.mark.parametrize('steps', [range(3, 5), range(24, 33)])
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
@pytest.mark.parametrize('options', ['none', 'all'])
def test_operators_are_well_formed(monkeypatch, steps, dtype, options):
    monkeypatch.setattr(chunked, 'STEPS', steps)
    args = list(inputs(2, 30, 4, 3, dtype, requires_grad=True).values())
    args = [*args, True, torch.rand(2, 30) > 0.3] if options == 'all' else [*args[:5], None, None, False, None]
    torch.library.opcheck(chunked.chunked_scan_op, args)


@pytest.mark.parametrize('softplus', [False, True])
@pytest.mark.parametrize('without', ['D', 'delta_bias', None])
def test_optional_arguments(small_slabs, softplus, without):
    args = {k: v for k, v in inputs(2, 20, 3, 2, torch.float64, requires_grad=True).items() if k != without}
    mask = torch.rand(2, 20) > 0.3
    results = []
    for backend in ('chunked', 'reference'):
        y = selective_scan(**args, delta_softplus=softplus, mask=mask, backend=backend)
        results.append((y, *torch.autograd.grad(y.sin().sum(), list(args.values()))))
    for value, expected in zip(*results):
        torch.testing.assert_close(value, expected)


@pytest.mark.parametrize('name', ['chunked', 'numba'])
def test_compiles_without_graph_break(name):
    if name == 'numba':
        pytest.importorskip('numba')
    args = inputs(2, 30, 40, 8, requires_grad=True)

    def function(**kwargs):
        return selective_scan(**kwargs, delta_softplus=True, backend=name) * 2

    graphs = []

    def backend(graph, example_inputs):
        graphs.append(graph)
        return torch._dynamo.lookup_backend('aot_eager')(graph, example_inputs)

    compiled = torch.compile(function, fullgraph=True, backend=backend)
    y = compiled(**args)
    torch.testing.assert_close(y, function(**args))
    y.sum().backward()
    nodes = [str(node.target) for node in graphs[0].graph.nodes]
    assert len(nodes) < 40 and sum(f'{name}_scan' in node for node in nodes) == 1, 'one opaque operator'


@pytest.mark.parametrize('length', [1, 10, 30])
def test_exports_as_plain_operators(length):
    class Scan(torch.nn.Module):
        def forward(self, u, delta, A, B, C):
            return selective_scan(u, delta, A, B, C, delta_softplus=True)

    args = tuple(v for k, v in inputs(2, length, 4, 3).items() if k not in ('D', 'delta_bias'))
    program = torch.export.export(Scan(), args, strict=False)
    operators = {str(node.target) for node in program.run_decompositions().graph.nodes if node.op == 'call_function'}
    assert all(name.startswith('aten.') for name in operators), operators
    torch.testing.assert_close(program.module()(*args), Scan()(*args))


def test_memory_kept_for_the_backward():
    """Nothing of size (batch, length, channels, state), and less than four times the inputs in all."""
    args = inputs(1, 4200, 160, 8, requires_grad=True)
    kept = {}

    def pack(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        y = selective_scan(**args, delta_softplus=True)
    own = {v.untyped_storage().data_ptr() for v in args.values()}
    extra = sum(size for pointer, size in kept.items() if pointer not in own)
    given = sum(v.numel() * v.element_size() for v in args.values())
    assert max(kept.values()) <= y.numel() * 4
    assert extra <= 4 * given


@pytest.mark.parametrize(('name', 'value', 'message'), [
    ('delta', torch.zeros(2, 5, 3), r'delta must be \(batch, length, channels\) = \(2, 5, 4\)'),
    ('A', torch.zeros(4), r'A must be \(channels, state\), got shape \(4,\)'),
    ('B', torch.zeros(2, 4, 3), r'B must be \(batch, length, state\) = \(2, 5, 3\)'),
    ('C', torch.zeros(2, 5, 2), r'C must be'),
    ('D', torch.zeros(3), r'D must be \(channels,\) = \(4,\)'),
    ('mask', torch.zeros(2, 5), r'mask must be bool'),
    ('delta', torch.zeros(2, 5, 4, dtype=torch.complex64), r'delta must be real floating point'),
    ('delta_bias', torch.zeros(4, device='meta'), r'delta_bias must be on cpu'),
    ('u', torch.zeros(2, 5), r'u must be \(batch, length, channels\)')])
def test_misfits_are_named(name, value, message):
    with pytest.raises(ValueError, match=message):
        selective_scan(**{**inputs(2, 5, 4, 3), name: value})


def test_unknown_backend_lists_the_valid_ones():
    with pytest.raises(ConfigError, match="'cuda'; valid ones: 'auto', 'reference', 'chunked'"):
        selective_scan(**inputs(1, 2, 3, 4), backend='cuda')
