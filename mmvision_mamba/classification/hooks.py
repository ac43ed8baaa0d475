"""Hooks: load published weights into `ImageClassifier`; compare the classes of model, data sets and checkpoint."""
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from ..checkpoints.loaded import behind_backbone
from ..checkpoints.reading import extract_state_dict
from ..engine.models import bare_model
from ..errors import ConfigError, DataError
from ..text import shortened
from .metric import Accuracy


@HOOKS.register_module()
class PublishedWeightsHook(Hook):
    """Lets `ImageClassifier` load the published ImageNet checkpoints, whose keys have no 'backbone.' before them."""

    priority = 'HIGH'  # ahead of EMAHook and of CheckpointFitHook, which read the keys

    def after_load_checkpoint(self, runner, checkpoint):
        state = extract_state_dict(checkpoint, prefix='')
        if not any(key.startswith('backbone.') for key in state):
            checkpoint['state_dict'] = behind_backbone(state, bare_model(runner.model).state_dict().keys())


@HOOKS.register_module()
class ClassesCheckHook(Hook):
    """Compares the classes of model, data sets, checkpoint and `Accuracy` before a run.

    Raises:
        ConfigError: the model's number of classes isn't the data set's, or a k of `Accuracy` exceeds it.
        DataError: two data sets, or data set and checkpoint, number their classes differently.
    """

    def __init__(self):
        self._checkpoint = None

    def after_load_checkpoint(self, runner, checkpoint):
        classes = ((checkpoint.get('meta') or {}).get('dataset_meta') or {}).get('classes')
        self._checkpoint = classes and tuple(classes)

    def before_train(self, runner):
        classes = self._check_model(runner, runner.train_dataloader.dataset)
        if runner.val_loop is not None:
            self._compare(runner.val_dataloader.dataset, classes, "the training set's")
            self._check_metrics(runner.val_evaluator, classes)

    def before_test(self, runner):
        self._check_metrics(runner.test_evaluator, self._check_model(runner, runner.test_dataloader.dataset))
        if self._checkpoint:
            self._compare(runner.test_dataloader.dataset, self._checkpoint, "the checkpoint's")

    @staticmethod
    def _check_model(runner, dataset) -> tuple[str, ...]:
        model = bare_model(runner.model)
        classes = tuple(dataset.metainfo['classes'])
        if model.num_classes != len(classes):
            raise ConfigError(f'the model has {model.num_classes} classes, {_place(dataset)} has {len(classes)}: set '
                              f'model.num_classes={len(classes)}')
        return classes

    @staticmethod
    def _check_metrics(evaluator, classes: tuple[str, ...]) -> None:
        for metric in evaluator.metrics:
            if isinstance(metric, Accuracy):
                metric.check(len(classes))

    @staticmethod
    def _compare(dataset, expected: tuple[str, ...], whose: str) -> None:
        classes = tuple(dataset.metainfo['classes'])
        if classes != expected:
            missing, extra = sorted(set(expected) - set(classes)), sorted(set(classes) - set(expected))
            difference = '; '.join(f'{title} {shortened(names, 5)}' for title, names in (
                ('without', missing), ('and besides', extra)) if names) or 'in another order'
            raise DataError(f'{_place(dataset)}: its classes are not {whose} ({difference}), so labels would not '
                            "agree. Make the folders alike, or set metainfo=dict(classes=…) in each data set.")


def _place(dataset) -> str:
    prefix = getattr(dataset, 'data_prefix', None) or {}
    return str(prefix.get('img_path') or getattr(dataset, 'data_root', None) or 'the data set')
