"""The Triton scan against the step-by-step scan in float64, under Triton's interpreter.

On a GPU tools/dev/gpu_check compares them; the tests marked gpu are of what only a GPU shows.
"""
import importlib
import sys

import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmvision_mamba.errors import ConfigError, MissingExtraError
from mmvision_mamba.ops import check_backend, selective_scan

from ..helpers.scans import LEAST, error, inputs, scan_and_grads

pytest.importorskip('triton', minversion='3.3')
from mmvision_mamba.ops import triton_kernels, triton_scan

frontend = importlib.import_module('mmvision_mamba.ops.selective_scan')
interpreted = pytest.mark.skipif(not triton_kernels.INTERPRETED, reason='needs TRITON_INTERPRET=1')
DTYPES = {torch.float32: (1e-5, 1e-4), torch.bfloat16: (1e-2, 1e-2), torch.float16: (1e-2, 1e-2)}


@pytest.fixture(autouse=True)
def small_tiles(request, monkeypatch):
    """Tiles so small that short sequences have several; the interpreter takes a millisecond per handful of tokens."""
    if 'gpu' not in request.keywords:
        small = dict(tile_size=lambda length: max(1, min(4, length)), CHAIN=(2, 2), ENOUGH=1, PLENTY=1)
        for name, value in small.items():
            monkeypatch.setattr(triton_scan, name, value)


def doubled(args):
    return {k: v.detach().double().requires_grad_() for k, v in args.items()}


def agree(args, tolerances=DTYPES[torch.float32], oracle='reference', **options):
    y, grads = scan_and_grads(args, 'triton', **options)
    expected, expected_grads = scan_and_grads(doubled(args), oracle, **options)
    assert y.dtype == args['u'].dtype and y.shape == expected.shape
    assert error(y, expected) <= tolerances[0]
    for name in args:
        assert grads[name].dtype == args[name].dtype
        assert error(grads[name], expected_grads[name], LEAST.get(name, 1e-12)) <= tolerances[1], name


def launch(args, out, mask=None):
    return triton_scan.scan_forward(*args.values(), True, mask, out)


@interpreted
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batch=st.integers(1, 2), length=st.integers(1, 15), channels=st.sampled_from([1, 3, 12, 33]),
       state=st.integers(1, 3), split=st.booleans(), masked=st.booleans())
def test_float32_agrees_with_float64_reference(monkeypatch, batch, length, channels, state, split, masked):
    with monkeypatch.context() as patch:
        if split:
            patch.setattr(triton_scan, 'ENOUGH', 99)
            patch.setattr(triton_scan, 'PLENTY', 4)
        mask = torch.rand(batch, length) > 0.3 if masked else None
        agree(inputs(batch, length, channels, state, torch.float32, requires_grad=True), mask=mask)


@interpreted
@pytest.mark.parametrize('dtype', DTYPES)
def test_state_too_large_for_registers(dtype):
    agree(inputs(1, 11, 3, 18, dtype, requires_grad=True), DTYPES[dtype])


@interpreted
@pytest.mark.parametrize('length', [18, 30])
def test_full_sized_tiles(monkeypatch, length):
    monkeypatch.undo()
    agree(inputs(1, length, 3, 2, requires_grad=True))


@interpreted
@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_low_precision_inputs_float32_state(dtype):
    agree(inputs(1, 21, 5, 2, dtype, requires_grad=True), DTYPES[dtype])


@interpreted
@pytest.mark.parametrize('softplus', [False, True])
@pytest.mark.parametrize('without', ['D', 'delta_bias', None])
def test_optional_arguments(softplus, without):
    args = {k: v for k, v in inputs(1, 6, 3, 2, requires_grad=True).items() if k != without}
    mask = torch.rand(1, 6) > 0.3
    results = []
    for backend, values in (('triton', args), ('reference', doubled(args))):
        y = selective_scan(**values, delta_softplus=softplus, mask=mask, backend=backend)
        results.append((y, *torch.autograd.grad(y.sin().sum(), list(values.values()))))
    for value, expected in zip(*results):
        assert error(value, expected) < 1e-5


@interpreted
def test_step_sizes_keep_their_digits():
    """With A = 0 and one token, y is Δ: a softplus of small and of huge arguments."""
    delta = torch.linspace(-30, 30, 61, dtype=torch.float64)[None, None]
    delta = torch.cat((delta, torch.tensor([[[-80., 80., 1e4]]], dtype=torch.float64)), -1)
    ones = torch.ones(1, 1, 1)
    y = selective_scan(torch.ones(1, 1, 64), delta.float(), torch.zeros(64, 1), ones, ones, delta_softplus=True,
                       backend='triton')
    torch.testing.assert_close(y.double(), F.softplus(delta, threshold=50), rtol=4e-6, atol=1e-37)


@interpreted
def test_large_steps():
    args = inputs(1, 13, 3, 2, requires_grad=True)
    args['delta'] = (args['delta'].detach() * 300).requires_grad_()
    agree(args)


@interpreted
@pytest.mark.parametrize('shape', [(0, 5, 4, 2), (2, 0, 4, 2), (2, 5, 0, 2)])
def test_empty(shape):
    args = inputs(*shape, requires_grad=True)
    y, grads = scan_and_grads(args, 'triton')
    assert y.shape == shape[:3]
    assert not any(grad.any() for grad in grads.values())


@interpreted
def test_strides():
    """Slices of wider buffers, batches after tokens, channels apart: all as if contiguous, forward and backward."""
    plain = inputs(2, 6, 5, 2, requires_grad=True)
    wide = torch.randn(2, 6, 20)
    wide[..., 3:8], wide[..., 9:11] = plain['u'].detach(), plain['B'].detach()
    args = dict(plain, u=wide[..., 3:8].requires_grad_(), B=wide[..., 9:11].requires_grad_(),
                delta=plain['delta'].detach().transpose(0, 1).contiguous().transpose(0, 1).requires_grad_(),
                C=plain['C'].detach().transpose(1, 2).contiguous().transpose(1, 2).requires_grad_())
    y, grads = scan_and_grads(plain, 'triton')
    y_strided, grads_strided = scan_and_grads(args, 'triton')
    assert torch.equal(y, y_strided)
    assert all(torch.equal(grads[name], grads_strided[name]) for name in args)
    assert torch.autograd.grad(selective_scan(**args, backend='triton').sum(), args['D'])[0].shape == (5,)


@interpreted
def test_launcher_fills_a_slice():
    args = inputs(2, 6, 5, 2)
    out, rest = torch.full((2, 6, 12), 7.).split((5, 7), -1)
    starts = launch(args, out)
    torch.testing.assert_close(out, selective_scan(**args, delta_softplus=True, backend='reference'))
    assert starts.shape == (2, 1, 2, 5) and (rest == 7).all()
    half = torch.empty(2, 6, 5, dtype=torch.float16)
    launch(args, half)
    torch.testing.assert_close(half, out.half())


@interpreted
@pytest.mark.parametrize(('state', 'enough', 'chunks'), [(2, 1, 1), (2, 99, 3), (18, 1, 6)])
def test_inference_writes_states_of_chunks_alone(monkeypatch, state, enough, chunks):
    monkeypatch.setattr(triton_scan, 'ENOUGH', enough)
    monkeypatch.setattr(triton_scan, 'PLENTY', 6)
    args, mask = inputs(2, 22, 3, state), torch.rand(2, 22) > 0.2
    out, again = torch.empty(2, 22, 3), torch.empty(2, 22, 3)
    kept = launch(args, out, mask)
    assert kept.shape == (2, 5, state, 3)
    states = triton_scan.scan_forward(*args.values(), True, mask, again, keep=False)
    assert states.shape == (2, chunks - 1, state, 3) and torch.equal(out, again)
    assert torch.equal(states, kept if chunks == 6 else kept[:, 1::2][:, :chunks - 1])
    with torch.no_grad():
        assert torch.equal(selective_scan(**args, delta_softplus=True, mask=mask, backend='triton'), out)


@interpreted
def test_mask_passes_the_state_through_unchanged():
    args = inputs(1, 14, 3, 2, requires_grad=True)
    keep = torch.rand(14) > 0.4
    y, grads = scan_and_grads(args, 'triton', mask=keep[None])
    short = {k: v[:, keep] if v.dim() == 3 else v for k, v in args.items()}
    torch.testing.assert_close(y[:, keep], selective_scan(**short, delta_softplus=True, backend='reference'))
    assert not grads['delta'][:, ~keep].any() and not grads['B'][:, ~keep].any()


@interpreted
def test_two_runs_are_equal():
    args = inputs(1, 9, 34, 2, requires_grad=True)
    (y, grads), (again, grads_again) = (scan_and_grads(args, 'triton') for _ in range(2))
    assert torch.equal(y, again) and all(torch.equal(grads[name], grads_again[name]) for name in args)


@interpreted
@pytest.mark.parametrize('options', ['none', 'all'])
def test_operators_are_well_formed(options):
    args = list(inputs(1, 6, 3, 2, torch.bfloat16, requires_grad=True).values())
    args = [*args, True, torch.rand(1, 6) > 0.3] if options == 'all' else [*args[:5], None, None, False, None]
    torch.library.opcheck(triton_scan.triton_scan_op, args)
    torch.library.opcheck(triton_scan.triton_scan_inference_op, [
        value.detach() if isinstance(value, torch.Tensor) else value for value in args])


@interpreted
def test_compiles_to_one_operator():
    args = inputs(1, 6, 3, 2, requires_grad=True)
    graphs = []

    def backend(graph, example_inputs):
        graphs.append(graph)
        return torch._dynamo.lookup_backend('aot_eager')(graph, example_inputs)

    def function(**kwargs):
        return selective_scan(**kwargs, delta_softplus=True, backend='triton') * 2

    y = torch.compile(function, fullgraph=True, backend=backend)(**args)
    torch.testing.assert_close(y, function(**args))
    y.sum().backward()
    nodes = [str(node.target) for node in graphs[0].graph.nodes]
    assert len(nodes) < 40 and sum('triton_scan' in node for node in nodes) == 1


@pytest.mark.parametrize('backend', ['triton', 'mamba_ssm'])
def test_exports_as_plain_operators(backend):
    class Scan(torch.nn.Module):
        def forward(self, *args):
            return selective_scan(*args, delta_softplus=True, backend=backend)

    args = tuple(inputs(2, 10, 4, 3).values())
    program = torch.export.export(Scan(), args)
    operators = {str(node.target) for node in program.run_decompositions().graph.nodes if node.op == 'call_function'}
    assert all(name.startswith('aten.') for name in operators), operators
    torch.testing.assert_close(program.module()(*args), selective_scan(*args, delta_softplus=True))


def test_what_cannot_run_says_so(monkeypatch):
    with pytest.raises(ConfigError, match=r"'triton' takes float32, float16 and bfloat16, u is torch.float64"):
        selective_scan(**inputs(1, 2, 3, 4, torch.float64), backend='triton')
    monkeypatch.setattr(triton_kernels, 'INTERPRETED', False)
    with pytest.raises(ConfigError, match="'triton' needs CUDA tensors, u is on cpu: use 'auto' or 'chunked'"):
        selective_scan(**inputs(1, 2, 3, 4), backend='triton')


def test_without_triton(monkeypatch):
    frontend._triton_missing.cache_clear()
    monkeypatch.setattr(frontend, 'find_spec', lambda name: None)
    try:
        with pytest.raises(MissingExtraError, match='Triton is not installed: pip install triton'):
            check_backend('triton')
        assert selective_scan(**inputs(1, 2, 3, 4)).shape == (1, 2, 3)
    finally:
        frontend._triton_missing.cache_clear()


@pytest.mark.parametrize('kind', [ImportError, OSError, RuntimeError])
def test_a_triton_that_fails_is_done_without(kind, monkeypatch):
    class Failing:
        def find_spec(self, name, path=None, target=None):
            if name == 'mmvision_mamba.ops.triton_scan':
                raise kind('no driver')

    frontend._triton_missing.cache_clear()
    monkeypatch.delitem(sys.modules, 'mmvision_mamba.ops.triton_scan')
    monkeypatch.delattr('mmvision_mamba.ops.triton_scan')
    monkeypatch.setattr(sys, 'meta_path', [Failing(), *sys.meta_path])
    try:
        with pytest.raises(MissingExtraError, match="Triton can't be used: no driver"):
            check_backend('triton')
        assert selective_scan(**inputs(1, 2, 3, 4)).shape == (1, 2, 3)
    finally:
        frontend._triton_missing.cache_clear()


def on_gpu(args):
    return {k: v.detach().cuda().requires_grad_() for k, v in args.items()}


@pytest.mark.gpu
def test_gpu_auto_is_triton():
    args = on_gpu(inputs(2, 50, 40, 8))
    assert torch.equal(selective_scan(**args), selective_scan(**args, backend='triton'))
    assert selective_scan(**{k: v.double() for k, v in args.items()}).dtype == torch.float64


@pytest.mark.gpu
def test_gpu_repeats_exactly_and_needs_no_atomics():
    args = on_gpu(inputs(4, 1000, 160, 8))
    torch.use_deterministic_algorithms(True)
    try:
        (y, grads), (again, grads_again) = (scan_and_grads(args, 'triton') for _ in range(2))
    finally:
        torch.use_deterministic_algorithms(False)
    assert torch.equal(y, again) and all(torch.equal(grads[name], grads_again[name]) for name in args)


@pytest.mark.gpu
def test_gpu_graph_capture():
    args = {k: v.detach() for k, v in on_gpu(inputs(2, 1000, 160, 8)).items()}
    expected = selective_scan(**args, delta_softplus=True, backend='triton')  # compiles, which can't be captured
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        y = selective_scan(**args, delta_softplus=True, backend='triton')
    y.zero_()
    graph.replay()
    assert torch.equal(y, expected)


@pytest.mark.gpu
def test_gpu_more_elements_than_32_bits_count():
    """Past 2^31 elements the last sequence must still be its own."""
    batch, length, channels, state = 2, 2**20, 1056, 1
    if torch.cuda.mem_get_info()[0] < 40 * 2**30:
        pytest.skip('needs 40 GB')
    args = on_gpu(inputs(1, 40, channels, state, torch.bfloat16))
    u = torch.zeros(batch, length, channels, dtype=torch.bfloat16, device='cuda')
    B = torch.zeros(batch, length, state, dtype=torch.bfloat16, device='cuda')
    big = dict(args, u=u, delta=u.clone(), B=B, C=B.clone())
    for name in ('u', 'delta', 'B', 'C'):
        big[name][-1, -40:] = args[name].detach()[0]
    with torch.no_grad():
        y = selective_scan(**big, backend='triton')
        expected = selective_scan(**args, backend='reference')
    assert error(y[-1, -40:], expected[0].double()) < 1e-2


@pytest.mark.gpu
def test_gpu_compiles():
    args = on_gpu(inputs(2, 100, 40, 8))

    def function(**kwargs):
        return selective_scan(**kwargs, delta_softplus=True) * 2

    torch.testing.assert_close(torch.compile(function, fullgraph=True)(**args), function(**args))
