"""Batch normalisation whose statistics mmcv averages over processes between these steps, all of them in float32.

`input` is (N, C, S); what belongs to a channel is (C,).
"""
from torch import Tensor


def sync_bn_forward_mean(input: Tensor, mean: Tensor) -> None:
    """Fill `mean`, of this process."""
    mean[:] = input.float().mean((0, 2))


def sync_bn_forward_var(input: Tensor, mean: Tensor, var: Tensor) -> None:
    """Fill `var`, this process's biased variance around the `mean` of all processes."""
    var[:] = (input.float() - mean[:, None]).square().mean((0, 2))


def sync_bn_forward_output(input: Tensor, mean: Tensor, var: Tensor, weight: Tensor | None, bias: Tensor | None,
                           running_mean: Tensor | None, running_var: Tensor | None, norm: Tensor, std: Tensor,
                           output: Tensor, eps: float, momentum: float | Tensor, group_size: int) -> None:
    """Fill `norm`, `std` and `output`, and move the running statistics, if there are any, by `momentum`."""
    std[:] = (var + eps).sqrt()
    norm[:] = (input.float() - mean[:, None]) / std[:, None]
    output[:] = norm if weight is None or bias is None else norm * weight[:, None] + bias[:, None]
    if running_mean is None or running_var is None:
        return
    count = input.shape[0] * input.shape[2] * group_size
    unbiased = var * (count / (count - 1)) if count > 1 else var
    running_mean[:] = momentum * mean + (1 - momentum) * running_mean
    running_var[:] = momentum * unbiased + (1 - momentum) * running_var


def sync_bn_backward_param(grad_output: Tensor, norm: Tensor, grad_weight: Tensor, grad_bias: Tensor) -> None:
    """Fill `grad_weight` and `grad_bias`, of this process."""
    grad_output = grad_output.float()
    grad_weight[:] = (grad_output * norm).sum((0, 2))
    grad_bias[:] = grad_output.sum((0, 2))


def sync_bn_backward_data(grad_output: Tensor, weight: Tensor, grad_weight: Tensor, grad_bias: Tensor, norm: Tensor,
                          std: Tensor, grad_input: Tensor) -> None:
    """Fill `grad_input`, from the parameters' gradients averaged over processes."""
    through_statistics = (grad_weight[:, None] * norm + grad_bias[:, None]) / (norm.shape[0] * norm.shape[2])
    grad_input[:] = (weight / std)[:, None] * (grad_output.float() - through_statistics)
