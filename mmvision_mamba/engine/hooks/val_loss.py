"""Logs the training losses of validation images."""
import time
from collections.abc import Sequence

from mmengine.hooks import Hook
from mmengine.registry import DATASETS, HOOKS
from torch.utils.data import Dataset, Subset

from ...errors import DataError
from ...preflight.loss_data import learns_from_empty, loss_dataloader
from ...text import duration
from ..val_loss import PREFIX, losses_on, unseen_random
from .preemption import PreemptionHook


@HOOKS.register_module()
class ValLossHook(Hook):
    """Adds to the metrics of each validation the training losses on the validation set: 'val/loss' and its parts.

    They are logged beside the metrics; `save_best='val/loss'` and `EarlyStoppingHook(monitor='val/loss')` go by them.
    A second pass over the validation set computes them, see `preflight.loss_data.loss_dataloader` for its images and
    annotations and `engine.val_loss.losses_on` for the mode of the model. Where training leaves out images without
    objects (`filter_empty_gt`), so does this. The training goes on bit for bit as without the hook.

    Args:
        pipeline: of the images and annotations. Default: the test pipeline's steps, with the training's annotations.

    Raises:
        ConfigError: when training begins: there is no validation set, or the model has no losses.
        DataError: no image of the validation set has annotations.
    """
    priority = 'HIGHEST'  # ahead of those that read metrics, and of EMAHook, which takes the averaged weights back

    def __init__(self, pipeline: Sequence[dict] | None = None):
        self._pipeline, self._loader = pipeline, None

    def before_train(self, runner) -> None:
        self._build(runner)
        losses_on(runner, self._loader, most=1)  # what is wrong shows now, not after hours

    def before_val_epoch(self, runner) -> None:
        # mmengine 0.10.7 has no seam here: it logs whatever is called a loss as a mean of several validations.
        for name in [name for name in runner.message_hub.log_scalars if name.startswith(f'val/{PREFIX}')]:
            del runner.message_hub.log_scalars[name]
        self._began = time.perf_counter()

    def after_val_epoch(self, runner, metrics=None) -> None:
        if self._loader is None:  # a validation alone
            self._build(runner)
        self._loader.batches = 0  # of a `ResumableDataLoader`: each pass has the same random numbers

        def left(number: int) -> None:
            for hook in runner.hooks:
                if isinstance(hook, PreemptionHook):
                    hook.after_val_iter(runner, number)
        began = time.perf_counter()
        losses = losses_on(runner, self._loader, after_batch=left)
        metrics.update({f'{PREFIX}{name}': value for name, value in losses.items()})
        seconds, all_seconds = (time.perf_counter() - start for start in (began, self._began))
        runner.logger.info(f'The loss of validation took {duration(seconds)}, {seconds / all_seconds:.0%} of the '
                           'validation')

    def _build(self, runner) -> None:
        settings = loss_dataloader(runner.cfg, self._pipeline)
        dataset = DATASETS.build(settings['dataset'])
        if hasattr(dataset, 'full_init'):
            dataset.full_init()
        if not learns_from_empty(runner.cfg):
            dataset = _with_objects(dataset)
        with unseen_random(0):  # a sampler draws
            self._loader = runner.build_dataloader({**settings, 'dataset': dataset}, seed=runner.seed)
        from ...datasets.loading import known_labels, use_checked_loading  # needs mmcv, which may come after mmengine
        use_checked_loading(self._loader.dataset, known_labels(runner.cfg), 'val_dataloader.dataset.pipeline')


def _with_objects(dataset: Dataset) -> Dataset:
    """The part of a data set of objects whose images have some."""
    if not hasattr(dataset, 'get_data_info'):
        return dataset
    items = [dataset.get_data_info(i).get('instances') for i in range(len(dataset))]
    if not any(items):
        raise DataError('the loss of validation needs annotated images, and no image of val_dataloader has an object: '
                        'name another val_dataloader.dataset.ann_file, or leave out --val-loss and ValLossHook')
    kept = [i for i, objects in enumerate(items) if objects is None or any(
        not one.get('ignore_flag') for one in objects)]
    return Subset(dataset, kept) if len(kept) < len(dataset) else dataset
