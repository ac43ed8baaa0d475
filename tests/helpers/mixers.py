"""Random mixers and tokens, and what a mixer gives for them: its output and all gradients."""
import copy

import torch

from mmvision_mamba.backbones.mixers import MambaVisionMixer


def build(dim=24, d_state=4, d_conv=3, backend='triton', dtype=torch.float32, device='cpu'):
    """A mixer whose every parameter matters."""
    layer = MambaVisionMixer(dim, d_state, d_conv, backend)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter += 0.2 * torch.randn_like(parameter)
    return layer.to(device, dtype)


def tokens(batch, length, dim, masked=False, dtype=torch.float32, device='cpu'):
    mask = torch.rand(batch, length, device=device) > 0.3 if masked else None
    x = torch.randn(batch, length, dim, device=device).to(dtype)
    return x if mask is None else x.masked_fill(~mask.unsqueeze(-1), 0), mask


def run(layer, x, mask=None, plain=None, scan='reference'):
    """Output and gradients by name; `plain`: the dtype to do it in with the plain operators and the scan `scan`."""
    if plain is not None:
        layer, x = copy.deepcopy(layer).to(plain), x.to(plain)
        layer.scan_backend = scan
    x = x.detach().requires_grad_()
    y = layer(x, mask)
    weight = torch.cos(torch.arange(y.numel(), dtype=torch.float64, device=y.device)).view_as(y)
    parameters = dict(layer.named_parameters())
    grads = torch.autograd.grad((y.double() * weight).sum(), [x, *parameters.values()])
    return {'output': y, **dict(zip(('input', *parameters), grads))}
