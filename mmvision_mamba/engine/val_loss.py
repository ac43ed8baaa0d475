"""A model's training losses on other data, without a trace in the training."""
import contextlib
import copy
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from mmengine.dist import all_gather_object, get_rank, get_world_size
from mmengine.model import MMDistributedDataParallel
from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.dropout import _DropoutNd
from torch.utils.data import DataLoader

from ..errors import ConfigError
from .data_loader import seeded
from .models import bare_model

_TOOLBOXES = 'mmdet', 'mmseg', 'mmdet3d', 'mmrotate', 'mmyolo', 'mmpose', 'mmocr', 'mmaction', 'mmselfsup'
PREFIX = 'val/'
"""What names of a validation's losses begin with."""
_SEED = 20  # of what losses draw, such as samples of boxes: each validation draws the same
_COPIED = list, dict, set, deque, np.ndarray, torch.Tensor
_OF_TORCH = frozenset(vars(nn.Module()))  # attributes of every module


@torch.no_grad()
def losses_on(runner: Any, loader: DataLoader, most: int | None = None,
              after_batch: Callable[[int], object] = lambda number: None) -> dict[str, float]:
    """The mean of a model's losses over the images of a data loader, with the training's precision.

    Heads compute as in training; BatchNorm has its running statistics, dropout and drop path are off, nothing is
    augmented. Parameters, buffers and states of random generators stay as they are. All processes have to call it.

    Args:
        runner: mmengine's, with its model and, in training, its optimiser wrapper.
        loader: whose sampler is a `DefaultSampler` without shuffling. Images that it gives to two processes, for all to
            have as many, count once.
        most: batches to look at. Default: all.
        after_batch: called with the number of each. Default: does nothing.

    Returns:
        What `BaseModel.parse_losses` gives: 'loss', the sum, then its parts and whatever the heads log besides. The
        same in all processes.

    Raises:
        ConfigError: the model has no losses.
    """
    wrapped, model = runner.model, bare_model(runner.model)
    called = model if isinstance(wrapped, MMDistributedDataParallel) else wrapped
    context = getattr(runner.optim_wrapper, 'optim_context', None)
    sums: dict[str, torch.Tensor] = {}
    counted = 0
    with as_for_losses(model), unseen_random(0):
        for number, batch in enumerate(loader):
            if number == most:
                break
            images = _images(loader, number)
            with unseen_random(number), _precision(context, model):
                for name, value in _losses(called, model, batch).items():
                    value = torch.as_tensor(value).double() * images
                    sums[name] = sums[name] + value if name in sums else value
            counted += images
            after_batch(number)
    gathered = all_gather_object(({name: float(value) for name, value in sums.items()}, counted))
    images = sum(count for _, count in gathered)
    names = dict.fromkeys(name for found, _ in gathered for name in found)
    return {name: sum(found.get(name, 0.) for found, _ in gathered) / max(images, 1) for name in names}


def _losses(called: nn.Module, model: nn.Module, batch: Any) -> dict:
    """'loss' and its parts of a batch."""
    data = model.data_preprocessor(batch, True)
    try:
        losses = called(**data, mode='loss') if isinstance(data, dict) else called(*data, mode='loss')
    except NotImplementedError as error:
        raise ConfigError(_without(model, 'it is not implemented')) from error
    if not isinstance(losses, dict) or not losses:
        raise ConfigError(_without(model, f'it gives {type(losses).__name__}'))
    return model.parse_losses(losses)[1]


def _without(model: nn.Module, why: str) -> str:
    return (f'{type(model).__name__} has no losses for validation: forward(…, mode="loss") must give a dict of them, '
            f'and {why}.\nLeave out --val-loss and ValLossHook')


def _images(loader: DataLoader, number: int) -> int:
    """How many images the number-th batch of this process has, without those that another one has, too."""
    size, world = loader.batch_size or 1, get_world_size()
    last = min((number + 1) * size, len(loader.sampler))
    return sum(get_rank() + world * i < len(loader.dataset) for i in range(number * size, last))


@contextlib.contextmanager
def _precision(context: Any, model: nn.Module) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        if context is not None:
            with contextlib.suppress(NotImplementedError):  # several optimisers
                stack.enter_context(context(model))
        yield


@contextlib.contextmanager
def as_for_losses(model: nn.Module) -> Iterator[None]:
    """Context in which a model computes losses that neither draw nor leave anything.

    The modules of detection and segmentation toolboxes are in training mode, since many heads give other outputs in
    testing; all others, and whatever drops, are in testing mode. The data preprocessor has no batch augmentations, an
    `ImageClassifier` neither mixup nor the further loss of a hook. What heads and losses note in buffers, lists or
    their assigners, such as Dynamic R-CNN's IoUs and thresholds, is as before at the end.
    """
    modules = [*model.modules()]
    before = [(module, dict(vars(module)), dict(module._buffers)) for module in modules]
    kept = [(buffer, buffer.detach().clone()) for buffer in model.buffers()]
    same = {id(one): one for one in (*modules, *model.parameters(), *model.buffers())}
    augmenting = [(owner, name, value) for owner, name in (
        (getattr(model, 'data_preprocessor', None), 'batch_augments'), (model, 'mixup'), (model, 'extra_loss'))
        if (value := getattr(owner, name, None)) is not None]
    try:
        for owner, name, _ in augmenting:
            setattr(owner, name, None)
        for module in modules:
            module.training = _answers_as_in_training(module)
            if module.training:
                vars(module).update(_copies(vars(module), same))
        yield
    finally:
        for module, attributes, buffers in before:
            vars(module).clear()
            vars(module).update(attributes)
            module._buffers.clear()
            module._buffers.update(buffers)
        for buffer, content in kept:
            if not torch.equal(buffer, content):
                buffer.copy_(content)
        for owner, name, value in augmenting:
            setattr(owner, name, value)


def _copies(attributes: Mapping[str, Any], same: dict[int, Any]) -> dict[str, Any]:
    """Copies of a module's attributes that a loss may write into: those of modules and parameters are `same`."""
    copies = {}
    for name, value in attributes.items():
        if name not in _OF_TORCH and not isinstance(value, nn.Module) and (
                isinstance(value, _COPIED) or _is_of_toolbox(value)):
            with contextlib.suppress(Exception):  # what can't be copied is used as it is
                copies[name] = copy.deepcopy(value, same)
    return copies


def _answers_as_in_training(module: nn.Module) -> bool:
    if isinstance(module, _NormBase | _DropoutNd | nn.MultiheadAttention | nn.RNNBase) or 'Drop' in \
            type(module).__name__:
        return False
    return _is_of_toolbox(module)


def _is_of_toolbox(value: object) -> bool:
    return any(cls.__module__.partition('.')[0] in _TOOLBOXES for cls in type(value).__mro__)


@contextlib.contextmanager
def unseen_random(number: int) -> Iterator[None]:
    """Context with random generators, the GPU's too, seeded by a number; at its end they are as they were."""
    device = torch.cuda.is_initialized()
    before = torch.cuda.get_rng_state() if device else None
    with seeded(_SEED, number):
        if device:
            torch.cuda.manual_seed(_SEED + number)
        try:
            yield
        finally:
            if device:
                torch.cuda.set_rng_state(before)


def main_metric(metrics: Any) -> str | None:
    """The metric that a validation's best checkpoint goes by: the first that is no loss; None without any."""
    return next((name for name in metrics if not name.startswith(PREFIX)), None)
