"""What becomes of batches that are too small: for a norm's statistics, or for `drop_last`."""
from collections.abc import Callable

from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.data import BatchSampler
from torch.utils.hooks import RemovableHandle

from ...errors import ConfigError
from ...preflight.check_loops import is_endless
from ..models import bare_model


class SmallBatchesHook(Hook):
    """Lets batches of one image train where a model pools maps to 1 × 1, and says which images no batch takes.

    BatchNorm has one value per channel there, which has no variance: PyTorch raises an error. In a run with this hook
    such a value is normalised by the running statistics, as in testing, and leaves them as they are; the log says so
    once. So an epoch's last image counts like any other. With one image in every batch the statistics stay at mean 0
    and variance 1, and the layer is the same in training and testing: a learned scale and shift. SyncBN over several
    processes has more values than one, and is left alone. `MambaVisionRunner` adds this hook to every run.

    With `drop_last`, the log says how many images each pass over the data leaves out.
    """

    def before_train(self, runner) -> None:
        _check_batches(runner)
        self._handles = let_single_values_train(bare_model(runner.model), runner.logger.warning)

    def after_train(self, runner) -> None:
        for handle in self._handles:
            handle.remove()


def let_single_values_train(model: nn.Module, warn: Callable[[str], object]) -> list[RemovableHandle]:
    """Have BatchNorm take its running statistics wherever it gets one value per channel; see `SmallBatchesHook`.

    Args:
        model: whose norms are watched.
        warn: told once, when it first happens.

    Returns:
        Handles that end it. Until then a forward raises ConfigError where such a norm has no running statistics.
    """
    handles, said = [], []

    def watch(name: str, module: _BatchNorm) -> None:
        switched = False

        def before(_, inputs: tuple[Tensor, ...]) -> None:
            nonlocal switched
            size = inputs[0].shape
            if not module.training or size[0] != 1 or size[1:].numel() != size[1]:
                return
            if module.running_mean is None:
                raise ConfigError(f'{name} normalises over its batch alone, and a batch of one image has one value per '
                                  'channel there.\nSet train_dataloader.batch_size to 2 or more with '
                                  'train_dataloader.drop_last=True')
            if not said:
                said.append(name)
                warn(f'{name} has one value per channel, of one image pooled to 1 × 1: it takes its running '
                     'statistics, as in testing. Batches of 2 images or more have statistics of their own, and so has '
                     'SyncBN over several processes.')
            module.training, switched = False, True

        def after(*_) -> None:
            nonlocal switched
            if switched:
                module.training, switched = True, False

        handles.append(module.register_forward_pre_hook(before))
        handles.append(module.register_forward_hook(after, always_call=True))

    for name, module in model.named_modules():
        synced = isinstance(module, nn.SyncBatchNorm) and get_world_size() > 1
        if isinstance(module, _BatchNorm) and not synced:
            watch(name, module)
    return handles


def _check_batches(runner) -> None:
    """Log what `drop_last` leaves out of each pass over the training data; raise ConfigError where that is all."""
    batches = getattr(runner.train_dataloader, 'batch_sampler', None)
    sampler, size = getattr(batches, 'sampler', None), getattr(batches, 'batch_size', None)
    if not getattr(batches, 'drop_last', False) or is_endless(type(sampler)) or not hasattr(sampler, '__len__'):
        return
    images = len(sampler)
    if images < size:
        raise ConfigError(f'train_dataloader gives no batch: a process has {images} images, a batch {size}, and '
                          'drop_last=True leaves out what is less.\nSet drop_last=False there, or a smaller batch_size')
    if type(batches) is BatchSampler and images % size:
        runner.logger.info(f'drop_last=True: each pass over the data leaves out {images % size} of {images} images, '
                           f'those of a last batch that is smaller than {size}.')
