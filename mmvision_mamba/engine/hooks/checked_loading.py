"""Errors that name the broken image or segmentation map."""
from mmengine.hooks import Hook


class CheckedLoadingHook(Hook):
    """Has the loading transforms of the run's data sets check what they load, see `datasets.loading`.

    `MambaVisionRunner` adds this hook to every run, the commands to a runner of another class. It acts before each
    epoch, because mmdet's `PipelineSwitchHook` replaces pipelines during a run, and before workers start. (mmengine's
    `IterBasedTrainLoop` starts those of a data loader that `ResumableDataLoader` can't replace, such as one of an
    `IterableDataset`, earlier: they don't check.)
    """
    priority = 'LOWEST'

    def before_train_epoch(self, runner) -> None:
        self._check(runner, 'train')

    def before_val_epoch(self, runner) -> None:
        self._check(runner, 'val')

    def before_test_epoch(self, runner) -> None:
        self._check(runner, 'test')

    @staticmethod
    def _check(runner, split: str) -> None:
        from ...datasets.loading import known_labels, use_checked_loading  # needs mmcv, which may come after mmengine
        name = f'{split}_dataloader'
        use_checked_loading(getattr(runner, name).dataset, known_labels(runner.cfg), f'{name}.dataset.pipeline')
