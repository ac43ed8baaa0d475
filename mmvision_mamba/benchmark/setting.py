"""A setting: one thing to measure, and its calls in inference and training."""
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn


def _unknown(phase: str) -> None:
    """The default count: FLOPs or bytes are not known."""


@dataclass
class Setting:
    """One thing to measure.

    Args:
        group: the work, such as the shape of the input. Settings of a group are compared with each other.
        name: the way it is done, such as the backend.
        units: images or tokens per call.
        unit: 'image' or 'token'.
        forward: runs one inference.
        training_units: images or tokens per training step. None: as many as `units`.
        loss: returns the loss of a training step, to call backward on. None: this has no training.
        leaves: tensors that the backward gives gradients to.
        inputs: further tensors that are not counted as kept for the backward.
        model: the module to put into train or eval mode.
        optimizer: takes a step after the backward.
        scaler: scales the loss, for float16.
        dtype: dtype of matrix products.
        options: written to the results as they are.
        count: phase -> FLOPs of a call; None: not known.
        least_bytes: phase -> bytes that a call has to move at the least; None: not known.
        reports_memory: whether PyTorch sees what a call allocates. False for a CUDA graph, which keeps its memory.
    """
    group: str
    name: str
    units: int
    unit: str
    forward: Callable[[], object]
    training_units: int | None = None
    loss: Callable[[], Tensor] | None = None
    leaves: list[Tensor] = field(default_factory=list)
    inputs: list[Tensor] = field(default_factory=list)
    model: nn.Module | None = None
    optimizer: torch.optim.Optimizer | None = None
    scaler: torch.amp.GradScaler | None = None
    dtype: torch.dtype = torch.float32
    options: dict = field(default_factory=dict)
    count: Callable[[str], int | None] = _unknown
    least_bytes: Callable[[str], int | None] = _unknown
    reports_memory: bool = True

    def phases(self, training: bool) -> list[str]:
        return ['forward', 'training'] if training and self.loss is not None else ['forward']

    def prepared(self, phase: str):
        """The context to call `phase` in; the model's mode is switched."""
        if self.model is not None:
            self.model.train(phase == 'training')
        return torch.no_grad() if phase == 'forward' else nullcontext()

    def call(self, phase: str) -> None:
        """One inference, or one training step: forward, backward and, if there is one, the optimiser's step."""
        if phase == 'forward':
            self.forward()
            return
        loss = self.loss()
        if self.scaler is not None:
            self.scaler.scale(loss).backward()
            self.scaler.step(self.optimizer)
            self.scaler.update()
        else:
            loss.backward()
            if self.optimizer is not None:
                self.optimizer.step()
        self.clear()

    def clear(self) -> None:
        for leaf in self.leaves:
            leaf.grad = None
