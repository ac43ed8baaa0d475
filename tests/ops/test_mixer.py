"""The fused mixer against the plain operators, in float64 where numbers are compared.

Without CUDA the kernels run in Triton's interpreter: right or wrong shows there, at sizes of a few tiles. The scan
takes seconds so, and most tests put the chunked one in its place.
"""
import copy
import sys
from functools import partial

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmvision_mamba import MambaVision
from mmvision_mamba.backbones.mambavision import Block
from mmvision_mamba.backbones.mixers import MambaVisionMixer
from mmvision_mamba.ops import chunked, fuses, mixer

from ..backbones.test_mambavision import forward_backward, pixels, small
from ..helpers import mixers
from ..helpers.mixers import run
from ..helpers.scans import error

pytest.importorskip('triton', minversion='3.3')
triton_scan = pytest.importorskip('mmvision_mamba.ops.triton_scan')
DEVICE = 'cuda' if torch.cuda.is_available() else 'cpu'


@pytest.fixture
def real_scan():
    """For the tests that are to run the scan's own kernels."""


@pytest.fixture(autouse=True)
def quick_scan(request, monkeypatch):
    if DEVICE == 'cpu' and 'real_scan' not in request.fixturenames:
        monkeypatch.setattr(triton_scan, 'scan_forward', quick_forward)
        monkeypatch.setattr(triton_scan, 'scan_backward', quick_backward)


def quick_forward(u, *args, keep=True):
    """As `scan_forward`, but the states are left out: they are no more than a shape."""
    *args, out = args
    out.copy_(chunked.chunked_scan_op(u, *args)[0])
    return u.new_zeros(triton_scan.starts_shape(*u.shape, args[1].shape[1]), dtype=torch.float32)


def quick_backward(dy, *args):
    *args, _, du, ddelta, dB, dC = args
    starts = chunked.chunked_scan_op(*args)[1]
    *grads, dD, dbias = chunked.chunked_scan_backward_op(dy, *args, starts)
    for out, value in zip((du, ddelta, dB, dC), (*grads[:2], *grads[3:])):
        out.copy_(value)
    return grads[2], dD, dbias


@pytest.fixture
def nearest(monkeypatch):
    """Round to bfloat16 as the GPU does: Triton's interpreter cuts the digits off."""
    interpreter = pytest.importorskip('triton.runtime.interpreter')
    convert = interpreter._convert_float

    def rounded(values, source, target, mode):
        if (source.name, target.name) != ('fp32', 'bf16'):
            return convert(values, source, target, mode)
        return torch.from_numpy(values.copy()).bfloat16().view(torch.int16).numpy().view('uint16')

    monkeypatch.setattr(interpreter, '_convert_float', rounded)


build, tokens = partial(mixers.build, device=DEVICE), partial(mixers.tokens, device=DEVICE)


def assert_close(results, expected, forward=1e-5, backward=1e-4):
    for name, value in results.items():
        assert value.shape == expected[name].shape, name
        assert error(value, expected[name]) <= (forward if name == 'output' else backward), name


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batch=st.integers(1, 3), length=st.integers(1, 23), half=st.integers(1, 12), d_state=st.integers(1, 9),
       d_conv=st.integers(1, 8), masked=st.booleans())
def test_float32_agrees_with_plain_float64(batch, length, half, d_state, d_conv, masked):
    layer = build(2 * half, d_state, d_conv)
    x, mask = tokens(batch, length, 2 * half, masked)
    if masked:
        mask[:, 0] = True
    assert_close(run(layer, x, mask), run(layer, x, mask, plain=torch.float64))


@pytest.mark.parametrize('masked', [False, True])
def test_with_the_scans_own_kernels(real_scan, masked):
    layer = build(24, 2)
    x, mask = tokens(2, 18, 24, masked)
    results = run(layer, x, mask)
    assert_close(results, run(layer, x, mask, plain=torch.float64))
    with torch.no_grad():
        assert torch.equal(layer(x, mask), results['output'])


def test_more_channels_and_tokens_than_a_tile():
    layer = build(2 * 70)
    x, _ = tokens(1, 40, 140)
    assert_close(run(layer, x), run(layer, x, plain=torch.float64))


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
@pytest.mark.parametrize('masked', [False, True])
def test_low_precision(nearest, dtype, masked):
    """As far from float64 as the plain operators in the same dtype, give or take; 1% where they are closer."""
    layer = build(48, 8, dtype=dtype)
    x, mask = tokens(2, 30, 48, masked, dtype)
    results, expected, plain = run(layer, x, mask), run(layer, x, mask, torch.float64), run(layer, x, mask, dtype)
    for name, value in results.items():
        assert value.dtype == dtype
        assert error(value, expected[name]) <= max(1e-2, 1.5 * error(plain[name], expected[name])), name


def test_autocast_casts_the_projections_and_nothing_else(nearest):
    layer = build(48, 8)
    x, mask = tokens(2, 30, 48, masked=True)
    expected = run(layer, x, mask, torch.float64)
    with torch.autocast(DEVICE, torch.bfloat16):
        results = run(layer, x, mask)  # the backward too
        assert mixer.fused_mixer(layer.in_proj(x).float(), *weights(layer)).dtype == torch.bfloat16
        assert mixer.mixer_op(layer.in_proj(x), *weights(layer), None)[1].dtype == torch.bfloat16
    assert results['output'].dtype == torch.bfloat16
    assert all(value.dtype == torch.float32 for name, value in results.items() if name != 'output')
    assert_close(results, expected, 1e-2, 2e-2)


def weights(layer):
    return (layer.conv1d_x.weight, layer.conv1d_z.weight, layer.x_proj.weight, layer.dt_proj.weight, layer.dt_proj.bias,
            layer.A_log, layer.D)


@pytest.mark.parametrize('layout', ['slice', 'transposed', 'broadcast'])
def test_any_strides(layout):
    layer = build(16)
    xz = {'slice': lambda: torch.randn(2, 9, 24, device=DEVICE)[:, :, 4:20],
          'transposed': lambda: torch.randn(2, 16, 9, device=DEVICE).transpose(1, 2),
          'broadcast': lambda: torch.randn(1, 9, 16, device=DEVICE).expand(2, 9, 16)}[layout]().requires_grad_()
    results = []
    for source in (xz, xz.contiguous()):
        y = mixer.fused_mixer(source, *weights(layer))
        results.append((y, *torch.autograd.grad(y.sum(), [xz, *weights(layer)])))  # the sum's gradient has strides 0
    for value, expected in zip(*results):
        torch.testing.assert_close(value, expected)


def test_same_input_same_gradient_to_the_last_bit():
    layer = build()
    x, mask = tokens(2, 20, 24, masked=True)
    first, second = run(layer, x, mask), run(layer, x, mask)
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize('shape', [(0, 5), (2, 0)])
def test_no_tokens(shape):
    results = run(build(), torch.zeros(*shape, 24, device=DEVICE))
    assert results['output'].shape == (*shape, 24) and not results['A_log'].any()


@pytest.mark.parametrize('junk', [0., 5., -1e4])
def test_what_lies_in_the_padding_reaches_nothing(junk):
    block = Block(16, build(16), 4., 0., 1.).to(DEVICE)
    mask = torch.ones(2, 20, dtype=torch.bool, device=DEVICE)
    mask[0, 15:] = mask[1, 4::5] = False
    x, _ = tokens(2, 20, 16)

    def result(value):
        block.zero_grad()
        y = block(torch.where(mask.unsqueeze(-1), x, value), mask)
        y[mask].square().sum().backward()
        return y[mask], *(p.grad.clone() for p in block.parameters())

    for value, expected in zip(result(junk), result(0.1)):
        torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-5)


# One operator --------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
@pytest.mark.parametrize('masked', [False, True])
def test_operator_is_well_formed(dtype, masked):
    layer = build(12, 3, dtype=dtype)
    xz, mask = tokens(2, 9, 12, masked, dtype)
    torch.library.opcheck(mixer.mixer_op, (xz.requires_grad_(), *weights(layer), mask))
    torch.library.opcheck(mixer.mixer_inference_op, (xz.detach(), *(value.detach() for value in weights(layer)), mask))


@pytest.mark.parametrize('autocast', [False, True])
def test_compiles_to_one_node(autocast):
    layer, (x, mask), graphs = build(12, 3), tokens(2, 9, 12, masked=True), []

    def backend(graph, example_inputs):
        graphs.append(graph)
        return torch._dynamo.lookup_backend('aot_eager')(graph, example_inputs)

    compiled = torch.compile(layer, fullgraph=True, backend=backend)
    with torch.autocast(DEVICE, torch.bfloat16, enabled=autocast):
        y, expected = compiled(x, mask), layer(x, mask)
    torch.testing.assert_close(y, expected)
    y.sum().backward()
    calls = [str(node.target) for node in graphs[0].graph.nodes if node.op == 'call_function']
    assert sum('mixer' in call for call in calls) == 1
    assert not any('conv' in call or 'silu' in call for call in calls), calls


def test_little_is_kept_for_the_backward():
    """xz, x_proj's output and the scan's states; no activated, shifted or joined copy of anything."""
    layer, (x, _), kept = build(64), tokens(2, 50, 64), {}

    def pack(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    xz = layer.in_proj(x)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        out, proj, starts = mixer.mixer_op(xz, *weights(layer), None)
    own = {p.untyped_storage().data_ptr() for p in layer.parameters()}
    extra = sum(size for pointer, size in kept.items() if pointer not in own)
    assert extra == sum(v.numel() * v.element_size() for v in (xz, proj, starts))
    assert proj.numel() < out.numel() / 4


# Where it does not apply ----------------------------------------------------------------------------------------------

def test_where_it_applies(monkeypatch):
    x = torch.zeros(2, 9, 24, device=DEVICE)
    assert fuses(x, 3, 'triton') and fuses(x, 8, 'triton')
    assert fuses(x, 3, 'auto') == x.is_cuda
    assert not fuses(x, 9, 'triton') and not fuses(x.double(), 3, 'triton')
    assert not fuses(x, 3, 'chunked') and not fuses(x, 3, 'reference')
    monkeypatch.setattr(sys.modules['mmvision_mamba.ops.selective_scan'], '_missing', lambda backend: 'no Triton')
    assert not fuses(x, 3, 'triton')


@pytest.mark.parametrize('options', [dict(d_conv=9), dict(dtype=torch.float64), dict(backend='chunked'), dict()])
def test_the_rest_runs_as_plain_operators(monkeypatch, options):
    if not options:
        monkeypatch.setattr(sys.modules['mmvision_mamba.ops.selective_scan'], '_missing', lambda backend: 'no Triton')
    monkeypatch.setattr(mixer, 'mixer_op', None)
    layer = build(**options)
    if layer.scan_backend == 'triton':
        layer.scan_backend = 'auto'  # 'triton' asks for the scan's own kernels, whatever is around them
    x, mask = tokens(2, 20, 24, masked=True, dtype=options.get('dtype', torch.float32))
    assert_close(run(layer, x, mask), run(layer, x, mask, torch.float64))


def test_a_replaced_layer_is_called(monkeypatch):
    """Low-rank adapters, quantised layers: their weight is not what they compute."""
    class Doubled(torch.nn.Linear):
        def forward(self, x):
            return 2 * super().forward(x)

    layer, (x, _) = build(backend='auto'), tokens(2, 9, 24)
    replaced = copy.deepcopy(layer)
    replaced.x_proj = Doubled(12, layer.x_proj.out_features, bias=False).to(DEVICE)
    replaced.x_proj.weight = torch.nn.Parameter(layer.x_proj.weight / 2)
    monkeypatch.setattr('mmvision_mamba.backbones.mixers.fuses', lambda *args: True)
    torch.testing.assert_close(replaced(x), layer(x), rtol=1e-4, atol=1e-5)


def test_exports_as_plain_operators():
    layer, (x, _) = build(12, 3), tokens(1, 9, 12)
    program = torch.export.export(layer, (x,))
    calls = {str(node.target) for node in program.run_decompositions().graph.nodes if node.op == 'call_function'}
    assert not any('mmvision_mamba' in call for call in calls), calls
    torch.testing.assert_close(program.module()(x), layer(x), rtol=1e-4, atol=1e-5)


# Within the backbone -------------------------------------------------------------------------------------------------

def with_backend(model, backend):
    for module in model.modules():
        if isinstance(module, MambaVisionMixer):
            module.scan_backend = backend
    return model


@pytest.mark.parametrize('options', [dict(), dict(with_cp=True), dict(window_padding='zeros')], ids=str)
def test_backbone_is_the_same(monkeypatch, options):
    calls = []
    monkeypatch.setattr(mixer, 'mixer_op', lambda *args, op=mixer.mixer_op: calls.append(1) or op(*args))
    x = pixels(1, 64, 96).to(DEVICE)
    results = []
    for backend in ('triton', 'chunked'):
        model = with_backend(small(drop_path_rate=0., **options).to(DEVICE).train(), backend)
        results.append(forward_backward(model, x))
        assert len(calls) == 3 * (1 + ('with_cp' in options)), 'once for each mixer, and again where recomputed'
    (features, grads), (expected, expected_grads) = results
    for value, reference in zip(features, expected):
        assert error(value, reference) <= 1e-5
    for name, grad in grads.items():
        torch.testing.assert_close(grad, expected_grads[name], rtol=1e-3, atol=1e-4, msg=lambda m, n=name: f'{n}: {m}')


# On CUDA. At real sizes tools/dev/gpu_check compares it with float64 --------------------------------------------------

@pytest.mark.gpu
def test_backbone_trains_under_autocast_on_cuda():
    model = MambaVision('tiny', drop_path_rate=0.).cuda()
    x = torch.randn(4, 3, 224, 224, device='cuda')
    with torch.autocast('cuda', torch.bfloat16):
        features = model(x)
        sum(feature.float().square().mean() for feature in features).backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())
    with torch.no_grad(), torch.autocast('cuda', torch.bfloat16):
        for value, expected in zip(model.eval()(x), with_backend(model, 'chunked')(x)):
            assert error(value, expected) <= 2e-2
