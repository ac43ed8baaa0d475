"""The loops that numba compiles, against the step-by-step scan in float64."""
import os
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmvision_mamba.errors import ConfigError
from mmvision_mamba.ops import selective_scan

from ..helpers.scans import LEAST, error, inputs, scan_and_grads

pytest.importorskip('numba')

from mmvision_mamba.ops import numba_scan


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def agree(args, mask=None, to_y=1e-6, to_grads=1e-5, **options):
    exact = {k: v.detach().double().requires_grad_() for k, v in args.items()}
    y, grads = scan_and_grads(args, 'numba', mask=mask)
    expected, expected_grads = scan_and_grads(exact, 'reference', mask=mask)
    assert y.dtype == args['u'].dtype and y.shape == expected.shape and error(y, expected) <= to_y
    for name in args:
        assert grads[name].dtype == args[name].dtype
        assert error(grads[name], expected_grads[name], LEAST.get(name, 1e-12)) <= to_grads, name
    return y


# Few pairs of channels and states in this file: each is compiled, which takes seconds.
@settings(max_examples=30, deadline=None)
@given(batch=st.integers(1, 4), length=st.integers(1, 70), channels=st.sampled_from([7, 40]), masked=st.booleans())
def test_float32_agrees_with_float64_reference(batch, length, channels, masked):
    args = inputs(batch, length, channels, 8, requires_grad=True)
    agree(args, torch.rand(batch, length) > 0.3 if masked else None, 1e-5, 1e-4)


@pytest.mark.parametrize('shape', [(1, 1500, 160, 8), (70, 49, 40, 8), (2, 300, 160, 8), (3, 18, 24, 5)], ids=str)
def test_full_sizes(shape):
    agree(inputs(*shape, requires_grad=True))


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_low_precision_inputs_float32_state(dtype):
    agree(inputs(2, 500, 40, 8, dtype, requires_grad=True), None, 1e-2, 1e-2)


@pytest.mark.parametrize('softplus', [False, True])
@pytest.mark.parametrize('without', ['D', 'delta_bias', None])
def test_optional_arguments_and_strides(softplus, without):
    """u, Δ, B and C as they come from a split, a transposed, an expanded and a reversed tensor."""
    args = {k: v.detach() for k, v in inputs(3, 20, 7, 8).items() if k != without}
    args['u'] = torch.cat((args['u'], args['u']), -1)[..., :7]
    args['delta'] = args['delta'].transpose(1, 2).contiguous().transpose(1, 2)
    args['B'] = args['B'][:1].expand(3, -1, -1)
    args['C'] = args['C'].flip(0)[::2].repeat(2, 1, 1)[:3]
    if not softplus:
        args['delta'] = args['delta'].abs() + 3  # as step sizes are
    mask = torch.rand(3, 20) > 0.3
    results = []
    for backend, dtype in (('numba', torch.float32), ('reference', torch.float64)):
        leaves = [v.detach().to(dtype).requires_grad_() if v.is_contiguous() else v.to(dtype).requires_grad_()
                  for v in args.values()]
        y = selective_scan(**dict(zip(args, leaves)), delta_softplus=softplus, mask=mask, backend=backend)
        results.append((y, *torch.autograd.grad(y.sin().sum(), leaves)))
    for value, expected in zip(*results):
        assert error(value, expected) < 1e-5


def test_masked_tokens_get_no_gradient():
    args = inputs(2, 50, 40, 8, requires_grad=True)
    mask = torch.rand(2, 50) > 0.3
    _, grads = scan_and_grads(args, 'numba', mask=mask)
    assert not grads['delta'][~mask].any() and not grads['B'][~mask].any()


@pytest.mark.parametrize('name', ['u', 'delta', 'A', 'B', 'C', 'D'])
def test_a_nan_is_not_lost(name):
    args = inputs(1, 20, 40, 8)
    args[name].view(-1)[3] = float('nan')
    y = selective_scan(**args, delta_softplus=True, backend='numba')
    expected = selective_scan(**args, delta_softplus=True, backend='reference')
    assert y.isnan().any() and torch.equal(y.isnan(), expected.isnan())


def test_large_and_small_exponents():
    """States that die at once, hardly at all, and grow past what float32 holds."""
    args = inputs(1, 200, 40, 8)
    args['A'][:10], args['A'][10:20], args['A'][20:25] = -1e4, -1e-6, 3.
    exact = {k: v.double() for k, v in args.items()}
    y = selective_scan(**args, delta_softplus=True, backend='numba')
    expected = selective_scan(**exact, delta_softplus=True, backend='reference')
    assert error(y[..., :20], expected[..., :20]) < 1e-5 and error(y[..., 25:], expected[..., 25:]) < 1e-5
    assert not y[..., 20:25].isfinite().all() and y[..., :20].isfinite().all()


def test_small_steps_keep_their_digits():
    """softplus(-15) is 3.06e-7: as log(1 + e) it would have one digit, and so would its slope."""
    args = inputs(1, 30, 40, 8, requires_grad=True)
    with torch.no_grad():
        args['delta'].fill_(-15)
        args['delta_bias'].zero_()
        args['D'].zero_()
    agree(args)


def test_same_bits_again_and_on_any_number_of_threads(threads):
    args = inputs(3, 100, 160, 8, requires_grad=True)
    results = []
    for count in (2, 2, 1, 3):
        threads(count)
        y, grads = scan_and_grads(args, 'numba')
        results.append((y, *grads.values()))
    assert all(torch.equal(a, b) for a, b in zip(results[0], results[1]))
    for others in results[2:]:
        assert torch.equal(results[0][0], others[0])


@pytest.mark.parametrize(('channels', 'sequences', 'threads', 'width'), [
    (160, 1, 2, 80), (160, 1, 8, 20), (160, 64, 8, 80), (160, 1, 64, 16), (320, 1, 2, 80), (392, 1, 2, 56),
    (7, 1, 2, 7), (997, 1, 2, 1), (13, 5, 2, 13), (1, 1, 1, 1)])
def test_channels_of_a_loop(channels, sequences, threads, width):
    assert numba_scan._width(channels, sequences, threads) == width


@pytest.mark.parametrize('shape', [(0, 5, 40, 8), (2, 0, 40, 8), (2, 5, 0, 8)])
def test_empty(shape):
    args = inputs(*shape, requires_grad=True)
    y, grads = scan_and_grads(args, 'numba')
    assert y.shape == shape[:3] and not any(grad.any() for grad in grads.values())


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
@pytest.mark.parametrize('options', ['none', 'all'])
def test_operators_are_well_formed(dtype, options):
    args = list(inputs(2, 30, 40, 8, dtype, requires_grad=True).values())
    args = [*args, True, torch.rand(2, 30) > 0.3] if options == 'all' else [*args[:5], None, None, False, None]
    torch.library.opcheck(numba_scan.numba_scan_op, args)
    torch.library.opcheck(numba_scan.numba_scan_inference_op, [v.detach() if isinstance(v, torch.Tensor) else v
                                                               for v in args])


def test_auto_takes_it_on_a_cpu_and_leaves_float64_to_others(monkeypatch):
    module = sys.modules['mmvision_mamba.ops.selective_scan']  # whose name the function has
    assert module._choose('auto', torch.zeros(1)) == 'numba'
    assert module._choose('auto', torch.zeros(1, dtype=torch.float64)) == 'chunked'
    monkeypatch.setattr(module, '_numba_missing', lambda: 'not there')
    assert module._choose('auto', torch.zeros(1)) == 'chunked'


def test_what_it_does_not_take():
    with pytest.raises(ConfigError, match=r"'numba' takes float32, float16 and bfloat16 on a CPU, u is torch\.float64 "
                                          "on cpu: use 'auto' or 'chunked'"):
        selective_scan(**inputs(1, 5, 4, 2, torch.float64), backend='numba')


def test_exports_as_plain_operators():
    class Scan(torch.nn.Module):
        def forward(self, u, delta, A, B, C):
            return selective_scan(u, delta, A, B, C, delta_softplus=True, backend='numba')
    values = tuple(inputs(1, 30, 4, 3).values())[:5]
    program = torch.export.export(Scan(), values)
    assert not any('mmvision_mamba' in str(node.target) for node in program.graph.nodes)
    torch.testing.assert_close(program.module()(*values), Scan()(*values))


def test_parameters_stay_resizable():
    """Sharding frees the storage of those that it gathered."""
    args = inputs(1, 20, 40, 8, requires_grad=True)
    scan_and_grads(args, 'numba')
    for name in ('A', 'D', 'delta_bias'):
        args[name].untyped_storage().resize_(0)


FORKED = '''
import os, torch
from mmvision_mamba.ops import selective_scan
torch.set_num_threads(2)
def scan():
    return selective_scan(torch.ones(1, 50, 160), torch.ones(1, 50, 160), -torch.ones(160, 8), torch.ones(1, 50, 8),
                          torch.ones(1, 50, 8), backend='numba').sum().item()
before = scan()
pid = os.fork()
if not pid:
    os._exit(0 if scan() == before else 3)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), scan() == before)
'''


def run(code, **environment):
    return subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, timeout=120, check=False,
                          env=dict(os.environ, **environment))


@pytest.mark.skipif(not hasattr(os, 'fork'), reason='no fork')
def test_a_forked_process_has_threads_of_its_own():
    done = run(FORKED)
    assert done.stdout.split() == ['0', 'True'], done.stderr


def test_where_nothing_can_be_kept_on_the_disk():
    """numba finds no folder for its cache: it compiles for this process."""
    code = 'from numba.core.caching import CacheImpl\nCacheImpl._locator_classes = []\n' \
        + FORKED.split('pid =')[0] + 'print(before)'
    done = run(code)
    assert done.returncode == 0 and float(done.stdout) > 0, done.stderr


def test_a_numba_that_does_not_compile_is_told():
    code = ("import torch\nfrom mmvision_mamba.ops.selective_scan import _choose, why_not\n"
            "print(_choose('auto', torch.zeros(1)), why_not('numba').splitlines()[0])")
    done = run(code, NUMBA_DISABLE_JIT='1')
    assert done.stdout.strip() == "chunked scan backend 'numba': numba can't be used: NUMBA_DISABLE_JIT is set: its " \
                                  'loops would run in Python', done.stderr
