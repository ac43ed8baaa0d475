"""The mamba_ssm backend, with a stand-in for the package that has its documented interface."""
import importlib
import sys
import types

import pytest
import torch

from mmvision_mamba.errors import ConfigError, MissingExtraError
from mmvision_mamba.ops import check_backend, chunked, selective_scan
from mmvision_mamba.ops.mamba_ssm import mamba_ssm_scan, mamba_ssm_scan_op
from mmvision_mamba.ops.reference import reference_scan

from ..helpers.scans import inputs


class StandIn(torch.autograd.Function):
    """One autograd function, as in the package: it works where nothing else is recorded."""

    @staticmethod
    def forward(ctx, u, delta, A, B, C, D=None, z=None, delta_bias=None, delta_softplus=False,
                return_last_state=False):
        assert z is None and not return_last_state
        assert u.dtype == delta.dtype == B.dtype == C.dtype
        assert all(v is None or v.dtype == torch.float32 for v in (A, D, delta_bias))
        u, delta, B, C = (v.transpose(1, 2) for v in (u, delta, B, C))
        assert delta.shape == u.shape and B.shape == C.shape == (*u.shape[:2], A.shape[1])
        ctx.args = u, delta, A, B, C, D, delta_bias, delta_softplus, None
        return reference_scan(*ctx.args).transpose(1, 2)

    @staticmethod
    def backward(ctx, dy):
        starts = chunked.chunked_scan_op(*ctx.args)[1]
        *grads, dD, dbias = chunked.chunked_scan_backward_op(dy.transpose(1, 2), *ctx.args, starts)
        du, ddelta, dA, dB, dC = (g.transpose(1, 2) if g.dim() == 3 else g for g in grads)
        D, bias = ctx.args[5:7]
        return (du, ddelta, dA, dB, dC, None if D is None else dD, None, None if bias is None else dbias, None, None)


def selective_scan_fn(u, delta, A, B, C, D=None, z=None, delta_bias=None, delta_softplus=False,
                      return_last_state=False):
    return StandIn.apply(u, delta, A, B, C, D, z, delta_bias, delta_softplus, return_last_state)


@pytest.fixture
def package(monkeypatch):
    for name in ('mamba_ssm', 'mamba_ssm.ops', 'mamba_ssm.ops.selective_scan_interface'):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    sys.modules['mamba_ssm.ops.selective_scan_interface'].selective_scan_fn = selective_scan_fn


def values_and_grads(scan, args, softplus, mask):
    y = scan(*(args.get(name) for name in ('u', 'delta', 'A', 'B', 'C', 'D', 'delta_bias')), softplus, mask)
    return y, *torch.autograd.grad(y.double().sin().sum(), list(args.values()))


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
@pytest.mark.parametrize('masked', [False, True])
@pytest.mark.parametrize('without', ['D', 'delta_bias', None])
def test_agrees_with_the_reference(package, dtype, masked, without):
    args = {k: v for k, v in inputs(2, 7, 3, 2, dtype, requires_grad=True).items() if k != without}
    mask = torch.rand(2, 7) > 0.3 if masked else None
    tolerance = dict(rtol=1e-4, atol=1e-5) if dtype == torch.float32 else dict(rtol=3e-2, atol=3e-2)
    results = (values_and_grads(scan, args, True, mask) for scan in (mamba_ssm_scan, reference_scan))
    for value, expected in zip(*results):
        assert value.dtype == expected.dtype
        torch.testing.assert_close(value, expected, **tolerance)


@pytest.mark.parametrize('masked', [False, True])
def test_compiles_to_one_operator(package, masked):
    args = inputs(2, 7, 3, 2, requires_grad=True)
    mask = torch.rand(2, 7) > 0.3 if masked else None
    graphs = []

    def backend(graph, example_inputs):
        graphs.append(graph)
        return torch._dynamo.lookup_backend('aot_eager')(graph, example_inputs)

    compiled = torch.compile(mamba_ssm_scan, fullgraph=True, backend=backend)
    for value, expected in zip(values_and_grads(compiled, args, True, mask),
                               values_and_grads(reference_scan, args, True, mask)):
        torch.testing.assert_close(value, expected, rtol=1e-4, atol=1e-5)
    assert sum('mamba_ssm_scan' in str(node.target) for node in graphs[0].graph.nodes) == 1


@pytest.mark.parametrize('options', ['none', 'all'])
def test_operator_is_well_formed(package, options):
    args = list(inputs(2, 7, 3, 2, requires_grad=True).values())
    torch.library.opcheck(mamba_ssm_scan_op, [*args, True] if options == 'all' else [*args[:5], None, None, False])


def test_wants_cuda_tensors(package):
    assert check_backend('mamba_ssm') == 'mamba_ssm'
    with pytest.raises(ConfigError, match="'mamba_ssm' needs CUDA tensors, u is on cpu: use 'auto' or 'chunked'"):
        selective_scan(**inputs(1, 2, 3, 4), backend='mamba_ssm')


def test_missing_and_broken_packages(monkeypatch, tmp_path):
    frontend = importlib.import_module('mmvision_mamba.ops.selective_scan')
    monkeypatch.setitem(sys.modules, 'mamba_ssm', None)
    monkeypatch.setattr(frontend, 'find_spec', lambda name: None)
    with pytest.raises(MissingExtraError, match=r'mamba_ssm.*not installed: pip install .*\bmamba\b'):
        check_backend('mamba_ssm')
    monkeypatch.setattr(frontend, 'find_spec', lambda name: True)
    with pytest.raises(MissingExtraError, match="installed package can't be imported"):
        check_backend('mamba_ssm')


@pytest.mark.gpu
def test_gpu_package_agrees():
    pytest.importorskip('mamba_ssm')
    args = {k: v.detach().cuda().requires_grad_() for k, v in inputs(2, 300, 40, 8).items()}
    mask = torch.rand(2, 300, device='cuda') > 0.1
    results = (values_and_grads(scan, args, True, mask) for scan in (mamba_ssm_scan, reference_scan))
    for value, expected in zip(*results):
        torch.testing.assert_close(value, expected, rtol=1e-3, atol=1e-4)
