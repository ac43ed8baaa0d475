"""Focal losses (https://arxiv.org/abs/1708.02002) of class indices; the log is clamped at float32's smallest number.

An empty `weight` is none: all classes count alike. Of C classes, the sigmoid's takes the index C for background, which
has no score and the weight 1. The softmax's ignores indices below 0 and above C - 1.
"""
import torch
from torch import Tensor

from .precision import widened

SMALLEST = torch.finfo(torch.float32).tiny


def sigmoid_focal_loss_forward(input: Tensor, target: Tensor, weight: Tensor, output: Tensor, gamma: float,
                               alpha: float) -> None:
    """Fill `output` (N, C) with the loss of the scores `input` (N, C) and the classes `target` (N,)."""
    scores, = widened(input)
    p = scores.sigmoid()
    positive = -alpha * (1 - p)**gamma * p.clamp_min(SMALLEST).log()
    negative = -(1 - alpha) * p**gamma * (1 - p).clamp_min(SMALLEST).log()
    output[:] = torch.where(_is_class(target, scores), positive, negative) * _weights(weight, target, scores)


def sigmoid_focal_loss_backward(input: Tensor, target: Tensor, weight: Tensor, grad_input: Tensor, gamma: float,
                                alpha: float) -> None:
    """Fill `grad_input` (N, C)."""
    scores, = widened(input)
    p = scores.sigmoid()
    positive = -alpha * (1 - p)**gamma * (1 - p - gamma * p * p.clamp_min(SMALLEST).log())
    negative = -(1 - alpha) * p**gamma * (gamma * (1 - p) * (1 - p).clamp_min(SMALLEST).log() - p)
    grad_input[:] = torch.where(_is_class(target, scores), positive, negative) * _weights(weight, target, scores)


def softmax_focal_loss_forward(input: Tensor, target: Tensor, weight: Tensor, output: Tensor, gamma: float,
                               alpha: float) -> None:
    """Fill `output` (N,) with the loss of the probabilities `input` (N, C) and the classes `target` (N,)."""
    probabilities, = widened(input)
    p = (probabilities * _is_class(target, probabilities)).sum(1, keepdim=True)
    loss = -alpha * (1 - p)**gamma * p.clamp_min(SMALLEST).log() * _weights(weight, target, probabilities)
    output[:] = (loss * _counts(target, probabilities)).squeeze(1)


def softmax_focal_loss_backward(input: Tensor, target: Tensor, weight: Tensor, buff: Tensor, grad_input: Tensor,
                                gamma: float, alpha: float) -> None:
    """Fill `grad_input` (N, C) with the gradient of the scores, from their probabilities `input` (N, C)."""
    probabilities, = widened(input)
    is_class = _is_class(target, probabilities)
    p = (probabilities * is_class).sum(1, keepdim=True)
    # For gamma below 1 the power grows without bound as p nears 1; its product with the log is 0 there.
    slope = gamma * (1 - p).clamp_min(SMALLEST)**(gamma - 1) * p * p.clamp_min(SMALLEST).log() - (1 - p)**gamma
    slope = alpha * slope * _weights(weight, target, probabilities) * _counts(target, probabilities)
    grad_input[:] = slope * (is_class.to(p.dtype) - probabilities)


def _is_class(target: Tensor, scores: Tensor) -> Tensor:
    """(N, C), where each row's class is."""
    return target[:, None] == torch.arange(scores.shape[1], device=scores.device)


def _counts(target: Tensor, scores: Tensor) -> Tensor:
    """(N, 1), whether the row has a class."""
    return ((target >= 0) & (target < scores.shape[1]))[:, None]


def _weights(weight: Tensor, target: Tensor, scores: Tensor) -> Tensor | float:
    """(N, 1), the weight of each row's class."""
    if not weight.numel():
        return 1.
    of_class = weight.to(scores.dtype)[target.clamp(0, scores.shape[1] - 1)]
    return torch.where(_counts(target, scores), of_class[:, None], 1)
