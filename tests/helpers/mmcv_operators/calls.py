"""What a call of an operator is, on whose operators it runs, and what it answers."""
import contextlib
import contextvars
import itertools
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import ModuleType

import numpy as np
import torch
from torch import Tensor

from .. import ROOT

FIXTURES = ROOT / 'tests' / 'data' / 'mmcv_ops'
Answer = dict[str, np.ndarray]
_device = contextvars.ContextVar('device', default='cpu')


@dataclass(frozen=True)
class Operator:
    """A function that draws inputs and gives them to mmcv's Python.

    Attributes:
        function: takes a RandomState and one value of each option; returns tensors by name. From the random state it
            takes uniform numbers alone (`rand`, `randint`, `permutation`), which are the same with every NumPy.
        options: name -> values.
        tolerance: of the difference, relative to the largest number that mmcv answers; 0: equal bit for bit.
    """
    function: Callable[..., dict[str, Tensor]]
    options: dict[str, tuple]
    tolerance: float

    def answers(self, extension: ModuleType, device: str = 'cpu') -> Answer:
        """What mmcv's Python returns on the operators of `extension` for every combination of options."""
        found, token = {}, _device.set(device)
        try:
            for seed, values in enumerate(itertools.product(*self.options.values())):
                options = dict(zip(self.options, values))
                for name, value in self.answer(extension, seed, **options).items():
                    found[f'{", ".join(f"{option}={value}" for option, value in options.items())}: {name}'] = value
        finally:
            _device.reset(token)
        return found

    def answer(self, extension: ModuleType, seed: int, **options) -> Answer:
        """What mmcv's Python returns on the operators of `extension`."""
        with operators_from(extension):
            found = self.function(np.random.RandomState(seed), **options)
        return {name: value.detach().cpu().numpy() for name, value in found.items()}


OPERATORS: dict[str, Operator] = {}  # by the function's name


def operator(tolerance: float = 0, **options: tuple) -> Callable:
    """Add the decorated function to OPERATORS, under its name."""
    def add(function):
        OPERATORS[function.__name__] = Operator(function, options, tolerance)
        return function
    return add


@contextlib.contextmanager
def operators_from(extension: ModuleType) -> Iterator[None]:
    """Let mmcv's Python take its operators from `extension`."""
    import mmcv.ops
    users = [module for name, module in sys.modules.items()
             if name.startswith(f'{mmcv.ops.__name__}.') and hasattr(module, 'ext_module')]
    before = [module.ext_module for module in users]
    for module in users:
        module.ext_module = extension
    try:
        yield
    finally:
        for module, extension_before in zip(users, before):
            module.ext_module = extension_before


def difference(found: Answer, expected: Answer, tolerance: float) -> str:
    """What differs, in words; '' where nothing does."""
    if found.keys() != expected.keys():
        return f'{sorted(found)} instead of {sorted(expected)}'
    for name, wanted in expected.items():
        got = found[name]
        if got.shape != wanted.shape or got.dtype != wanted.dtype:
            return f'{name}: {got.dtype} {got.shape} instead of {wanted.dtype} {wanted.shape}'
        allowed = tolerance * np.abs(wanted).max(initial=0) if tolerance else 0
        if not np.allclose(got, wanted, rtol=0, atol=allowed, equal_nan=True):
            distance = np.abs(got.astype(float) - wanted)
            wrong = np.count_nonzero(distance > allowed)
            return f'{name}: {wrong} of {wanted.size} numbers are off, by up to {distance.max():.3g}'
    return ''


def with_gradients(function: Callable[..., Tensor], random: np.random.RandomState,
                   **inputs: Tensor) -> dict[str, Tensor]:
    """The output of `function(*inputs)`, and the inputs' gradients for a random gradient of the output."""
    inputs = {name: tensor.detach().requires_grad_() for name, tensor in inputs.items()}
    output = function(*inputs.values())
    output.backward(uniform(random, *output.shape, dtype=output.dtype))
    return dict(output=output, **{f'grad_{name}': tensor.grad for name, tensor in inputs.items()})


def uniform(random: np.random.RandomState, *shape: int, low: float = -1, high: float = 1,
            dtype: torch.dtype = torch.float32) -> Tensor:
    """A tensor of numbers between `low` and `high`."""
    return on_device(low + (high - low) * random.rand(*shape)).to(dtype)


def on_device(array: np.ndarray) -> Tensor:
    """The array as a tensor where the operator is to run."""
    return torch.from_numpy(array).to(_device.get())
