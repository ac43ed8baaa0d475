"""What an evaluation shows of a classifier."""
from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..evaluation.calibration import calibration
from .parts import MOST_MATRIX, Picked, listed, picked, rounded


class Labels:
    """Collects the predicted classes of images; arguments as for `Detections`."""
    kind = 'classification'

    def __init__(self, dataset, classes: Sequence[str], colours: Sequence[Sequence[int]]):
        self.dataset, self.classes, self.colours = dataset, classes, colours

    def take(self, sample: dict, label: int | None = None) -> dict | None:
        """What is kept of an image and its prediction: `label` is the true one where the sample lacks it."""
        scores = sample.get('pred_scores', sample.get('pred_score'))  # mmpretrain's name
        if label is None and sample.get('gt_label') is not None:
            label = int(np.asarray(sample['gt_label'].cpu()).reshape(-1)[0])
        if label is None or scores is None:
            return None
        scores = scores.detach().float().cpu().numpy()
        guess = int(scores.argmax())
        return dict(path=str(sample.get('img_path') or ''), label=label, guess=guess, score=float(scores[guess]),
                    true_score=float(scores[label]), rank=int((scores >= scores[label]).sum()))

    def analyse(self, kept: Sequence[dict], seed: int, number: int) -> tuple[dict, list[Picked]]:
        """As `Detections.analyse`."""
        n = len(self.classes)
        truth, guess = (np.array([one[key] for one in kept], np.int64) for key in ('label', 'guess'))
        matrix = np.bincount(truth * n + guess, minlength=n * n).reshape(n, n)
        right = truth == guess
        measured = calibration(np.array([one['score'] for one in kept]), right)
        hits, of_truth, of_guess = np.diag(matrix), matrix.sum(axis=1), matrix.sum(axis=0)
        with np.errstate(invalid='ignore', divide='ignore'):
            accuracy, precision, f1 = hits / of_truth, hits / of_guess, 2 * hits / (of_truth + of_guess)
        analysis = dict(
            kind=self.kind, images=len(kept),
            overall=dict(accuracy=float(right.mean()), mean_accuracy=float(np.nanmean(accuracy)),
                         top5=float(np.mean([one['rank'] <= 5 for one in kept])) if n > 5 else None),
            classes=[dict(name=name, images=int(of_truth[i]), accuracy=float(accuracy[i]),
                          precision=float(precision[i]), f1=float(f1[i])) for i, name in enumerate(self.classes)],
            confusion=matrix.tolist() if n <= MOST_MATRIX else None,
            calibration=dict(counts=measured.counts.tolist(), scores=listed(measured.scores),
                             right=listed(measured.right), error=measured.error, bias=measured.bias))
        return rounded(analysis), picked([self._quality(one) for one in kept], seed, number)

    def _quality(self, one: dict) -> tuple:
        """(1 where it is right; how sure, less where wrong; both)."""
        name, right = self.classes[one['guess']], one['label'] == one['guess']
        note = f'{name}, {one["score"]:.2f}' + ('' if right else f'; true: {self.classes[one["label"]]}, '
                                                               f'{one["true_score"]:.2f}')
        return float(right), one['score'] if right else -one['score'], note

    def draw(self, image: np.ndarray, one: dict, _: float) -> tuple[np.ndarray, None]:
        """The image alone: truth and prediction are words."""
        return image, None
