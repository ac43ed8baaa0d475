"""The label maps that a segmentor predicts in a test run, as files."""
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from mmengine.evaluator import BaseMetric

from ..datasets.label_maps import segment_map
from ..files import replace


class LabelMaps(BaseMetric):
    """Writes the predicted label maps of a segmentor to `folder`, as the images come. It measures nothing.

    Args:
        folder: where ``NAME.png`` are written.
        names: the name of each image, by path.
        reduce_zero_label: of samples that don't tell themselves.
    """

    def __init__(self, folder: str | os.PathLike, names: Mapping[str, str], reduce_zero_label: bool):
        super().__init__()
        self.folder, self.names, self.reduce_zero_label = Path(folder), names, reduce_zero_label

    def path(self, image: str) -> Path:
        """Where the label map of an image, by its path, is written."""
        return self.folder / f'{self.names[image]}.png'

    def process(self, data_batch, data_samples: Sequence[dict]) -> None:
        for sample in data_samples:
            labels = sample['pred_sem_seg']['data'].squeeze().cpu().numpy()
            image = segment_map(labels, len(self.dataset_meta['classes']),
                                reduce_zero_label=bool(sample.get('reduce_zero_label', self.reduce_zero_label)))
            replace(self.path(sample['img_path']), image.save)
            self.results.append(None)

    def compute_metrics(self, results: list) -> dict:
        return {}
