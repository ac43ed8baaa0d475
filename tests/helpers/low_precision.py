"""What bfloat16 does to a model, computed in float32."""
import copy

import torch
import torchvision
from torch import nn


class ReLUWithoutBF16(nn.ReLU):
    """A ReLU that calls an operator which knows no bfloat16, as several of compiled mmcv's don't."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        torchvision.ops.roi_pool(x, x.new_zeros(1, 5), 1)
        return super().forward(x)


def rounded(model: nn.Module) -> nn.Module:
    """A copy that rounds by hand, to bfloat16, the factors of its products and what each layer gives.

    Its errors are those to expect of bfloat16, whoever computes in it.
    """
    def to_bf16(value):
        return value.bfloat16().float() if isinstance(value, torch.Tensor) and value.is_floating_point() else value

    model = copy.deepcopy(model)
    for layer in model.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            layer.weight.data = to_bf16(layer.weight.data)
            layer.register_forward_pre_hook(lambda layer, inputs: tuple(map(to_bf16, inputs)))
        if not list(layer.children()):
            layer.register_forward_hook(lambda layer, inputs, output: to_bf16(output))
    return model


def error(found, exact) -> float:
    """The root mean square of the errors of several tensors, each relative to its own size."""
    shares = [(x - y).square().mean() / y.square().mean() for x, y in zip(found, exact)]
    return torch.stack(shares).mean().sqrt().item()
