"""Random inputs of the selective scan, and how far one result is from another."""
import torch

from mmvision_mamba.ops import selective_scan

NAMES = ('u', 'delta', 'A', 'B', 'C', 'D', 'delta_bias')
# Gradients that are sums of terms of order one over all tokens, and can be next to nothing: their error isn't.
LEAST = dict(A=1e-2, D=1e-2, delta_bias=1e-2)


def inputs(batch, length, channels, state, dtype=torch.float32, requires_grad=False, device='cpu'):
    def random(*shape):
        return torch.randn(*shape, dtype=torch.float64, device=device)
    A = -torch.exp(0.5 * random(channels, state))
    values = (random(batch, length, channels), random(batch, length, channels), A, random(batch, length, state),
              random(batch, length, state), random(channels), random(channels))
    return dict(zip(NAMES, (v.to(dtype).requires_grad_(requires_grad) for v in values)))


def scan_and_grads(args, backend, **options):
    y = selective_scan(**args, delta_softplus=True, backend=backend, **options)
    weight = torch.cos(torch.arange(y.numel(), dtype=torch.float64, device=y.device)).view_as(y)
    return y, dict(zip(args, torch.autograd.grad((y.double() * weight).sum(), list(args.values()))))


def error(out, reference, least=1e-12):
    """Relative to the reference, or to `least` where that is more."""
    reference = reference.double()
    return ((out.double() - reference).norm() / reference.norm().clamp_min(least)).item()
