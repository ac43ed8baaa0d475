"""Accuracy over a data set."""
from collections.abc import Sequence

from mmengine.evaluator import BaseMetric
from mmengine.registry import METRICS

from ..errors import ConfigError


@METRICS.register_module()
class Accuracy(BaseMetric):
    """Percentage of images whose class is among the k of highest score: 'accuracy/top1', …, named as in mmpretrain.

    Args:
        topk: the values of k. Default: (1, 5).
        collect_device, prefix: as `BaseMetric`. Default: 'cpu', 'accuracy'.
    """

    default_prefix = 'accuracy'

    def __init__(self, topk: Sequence[int] = (1, 5), collect_device: str = 'cpu', prefix: str | None = None):
        super().__init__(collect_device, prefix)
        if not topk or not all(isinstance(k, int) and k > 0 for k in topk):
            raise ConfigError(f'Accuracy: topk takes positive integers, got {topk!r}')
        self.topk = tuple(topk)

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        for sample, label in zip(data_samples, data_batch['gt_label'].tolist()):
            scores = sample['pred_scores']
            self.check(len(scores))
            # Among equal scores the true class ranks last: a model that tells nothing apart must not score.
            self.results.append(int((scores >= scores[label]).sum()))

    def check(self, num_classes: int) -> None:
        """Raise ConfigError if a k exceeds the number of classes."""
        if max(self.topk) > num_classes:
            raise ConfigError(f'Accuracy: top {max(self.topk)} of {num_classes} classes is no question; set '
                              'val_evaluator.topk and test_evaluator.topk, to (1,) say')

    def compute_metrics(self, results: list[int]) -> dict:
        return {f'top{k}': 100 * sum(rank <= k for rank in results) / len(results) for k in self.topk}
