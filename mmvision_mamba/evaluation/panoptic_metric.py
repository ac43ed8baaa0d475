"""Panoptic quality of mmdet's models, without the package panopticapi; registered in the place of mmdet's metric."""
import json
import os.path as osp
from collections.abc import Sequence
from pathlib import Path, PurePath, PurePosixPath

import numpy as np
from mmdet.evaluation import INSTANCE_OFFSET
from mmdet.evaluation.metrics.coco_panoptic_metric import parse_pq_results, print_panoptic_table
from mmdet.registry import METRICS
from mmengine.evaluator import BaseMetric
from mmengine.fileio import get_local_path
from mmengine.logging import MMLogger
from PIL import Image

from ..datasets.panoptic_files import check_ids, id_colours, number_segments, read_panoptic, read_segment_ids
from ..errors import ConfigError, DataError
from ..files import replace
from ..printable import shown
from .panoptic_quality import Counts, count_segments, mean_quality


@METRICS.register_module(force=True)
class CocoPanopticMetric(BaseMetric):
    """PQ, SQ and RQ, in per cent, of all classes, things and stuff: mmdet's `CocoPanopticMetric` with its arguments.

    An image is measured as soon as it is predicted. Values are NaN where nothing is there to be measured.

    Args:
        ann_file: panoptic annotation file. Default: the segments in the data samples, whose pipeline then gives
            `segments_info` among its `meta_keys`.
        seg_prefix: folder of the true PNGs.
        classwise: log a table of all classes too. Default: False.
        format_only: write the predictions, and measure nothing. Default: False.
        outfile_prefix: predictions are written to the folder `{outfile_prefix}.panoptic` and the file
            `{outfile_prefix}.panoptic.json`, as COCO's server takes them. Default: they are not.
        nproc: of mmdet, does nothing.
        backend_args: of mmengine's file backend, for `ann_file` and `seg_prefix`.
        collect_device, prefix: as for all of mmengine's metrics.

    Raises:
        ConfigError: `format_only` without `outfile_prefix`, or a model that predicts no panoptic segments.
        DataError: `ann_file` or a PNG can't be used, or predictions would be written outside of their folder.
    """

    default_prefix = 'coco_panoptic'

    def __init__(self, ann_file: str | None = None, seg_prefix: str | None = None, classwise: bool = False,
                 format_only: bool = False, outfile_prefix: str | None = None, nproc: int = 32,
                 backend_args: dict | None = None, collect_device: str = 'cpu', prefix: str | None = None):
        super().__init__(collect_device=collect_device, prefix=prefix)
        if format_only and outfile_prefix is None:
            raise ConfigError('CocoPanopticMetric: format_only=True writes predictions, so it needs '
                              'outfile_prefix=FOLDER/NAME')
        self.seg_prefix, self.classwise, self.format_only = seg_prefix, classwise, format_only
        self.outfile_prefix, self.backend_args = outfile_prefix, backend_args
        self.ann_file, self.content = ann_file, None
        if ann_file is not None:
            with get_local_path(ann_file, backend_args=backend_args) as path:
                self.content, _ = read_panoptic(path)
            self.annotations = {ann['image_id']: ann for ann in self.content.get('annotations') or ()}
            self.maps = _map_names(self.content)
            if outfile_prefix is not None:
                self._check_maps()

    def _check_maps(self) -> None:
        """Raise DataError where a prediction would be written outside of the folder of predictions."""
        for name in self.maps.values():
            if PurePath(name).anchor or '..' in PurePath(name).parts:
                raise DataError(f'{self.ann_file}: the PNG {shown(name, 200)} lies elsewhere than below its folder, '
                                'and predictions are written by these names.\nName PNGs, or images without one, '
                                'relative to their folders, or leave out outfile_prefix.')

    @property
    def categories(self) -> dict[int, dict]:
        """{label: category} of the classes that the annotation file has; without one, of all classes."""
        classes, things = self.dataset_meta['classes'], self.dataset_meta.get('thing_classes', ())
        if self.content is None:
            return {label: dict(id=label, name=name, isthing=int(name in things)) for label, name in enumerate(classes)}
        named = {category['name']: category for category in self.content['categories']}
        return {label: named[name] for label, name in enumerate(classes) if name in named}

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Measure, and write, the predictions for a batch of images."""
        for sample in data_samples:
            if 'pred_panoptic_seg' not in sample:
                raise ConfigError('CocoPanopticMetric: the model predicts no panoptic segments. Set '
                                  'model.test_cfg.panoptic_on=True, or remove the metric.')
            predicted = sample['pred_panoptic_seg']
            ids, segments = number_segments(
                predicted['sem_seg'][0].cpu().numpy(), len(self.dataset_meta['classes']), INSTANCE_OFFSET,
                predicted.get('ignore_index'))
            counts = {} if self.format_only else self._count(sample, ids, segments)
            self.results.append((counts, self._write(sample, ids, segments) if self.outfile_prefix else None))

    def _count(self, sample: dict, ids: np.ndarray, segments: list[dict]) -> dict[int, Counts]:
        if self.content is None:
            name, true_segments = self._map_of(sample), {
                segment['id']: (segment['category'], bool(
                    not segment['is_thing'] and self.categories[segment['category']]['isthing']))
                for segment in sample['segments_info']}
        elif sample['img_id'] not in self.annotations:
            return {}
        else:
            annotation = self.annotations[sample['img_id']]
            labels = {category['id']: label for label, category in self.categories.items()}
            name, true_segments = annotation['file_name'], {
                segment['id']: (labels[segment['category_id']], bool(segment['iscrowd']))
                for segment in annotation['segments_info'] if segment['category_id'] in labels}
        path = osp.join(self.seg_prefix or '', name)
        truth = read_segment_ids(path, ids.shape, self.backend_args)
        check_ids(path, truth, true_segments)
        return count_segments(truth, true_segments, ids, {segment['id']: segment['label'] for segment in segments})

    def _map_of(self, sample: dict) -> str:
        """File name of an image's PNG, for its prediction too."""
        if self.content is None:
            return str(PurePosixPath(osp.basename(sample['img_path'])).with_suffix('.png'))
        if sample['img_id'] not in self.maps:
            raise DataError(f'{self.ann_file}: no image {sample["img_id"]!r}, which the data set has '
                            f'({sample["img_path"]}). Give the metric the annotation file of its data set.')
        return self.maps[sample['img_id']]

    def _write(self, sample: dict, ids: np.ndarray, segments: list[dict]) -> dict:
        """Write the PNG of a prediction; returns its annotation."""
        name, categories = self._map_of(sample), self.categories
        # A class that the file lacks has no id there.
        known = [segment for segment in segments if segment['label'] in categories]
        ids = np.where(np.isin(ids, [segment['id'] for segment in known]), ids, 0)
        file = Path(f'{self.outfile_prefix}.panoptic', name)
        replace(file, Image.fromarray(id_colours(ids)).save)
        return dict(image_id=sample['img_id'], file_name=name, segments_info=[
            dict(id=segment['id'], category_id=categories[segment['label']]['id'], area=segment['area'],
                 bbox=segment['bbox'], iscrowd=0, isthing=categories[segment['label']]['isthing'])
            for segment in known])

    def compute_metrics(self, results: list) -> dict[str, float]:
        """'PQ', 'SQ', 'RQ', and the same with '_th' of things and '_st' of stuff, in per cent; empty if
        `format_only`."""
        logger = MMLogger.get_current_instance()
        if self.outfile_prefix:
            path = Path(f'{self.outfile_prefix}.panoptic.json')
            content = json.dumps(dict(annotations=[annotation for _, annotation in results])) + '\n'
            replace(path, lambda part: part.write_text(content))
            logger.info(f'{path} and the folder {path.with_suffix("")}: predictions in COCO\'s format')
        if self.format_only:
            return {}
        total: dict[int, Counts] = {}
        for counts, _ in results:
            for label, count in counts.items():
                total[label] = total.get(label, Counts()) + count
        categories = self.categories
        quality = {name: mean_quality(total, [label for label, category in categories.items()
                                              if wanted in (None, bool(category['isthing']))])
                   for name, wanted in (('All', None), ('Things', True), ('Stuff', False))}
        classwise = {category['name']: total.get(label, Counts()).quality() for label, category in categories.items()}
        print_panoptic_table(quality, classwise if self.classwise else None, logger=logger)
        return parse_pq_results(quality)


def _map_names(content: dict) -> dict:
    """{image id: file name of its PNG}: that of its annotation, else the image's with another ending."""
    names = {image['id']: image['file_name'] for image in content['images']}
    maps = {i: str(PurePosixPath(name).with_suffix('.png')) for i, name in names.items()}
    if len(set(maps.values())) < len(maps):  # a.jpg and a.png
        maps = {i: f'{name}.png' for i, name in names.items()}
    return {**maps, **{ann['image_id']: ann['file_name'] for ann in content.get('annotations') or ()}}
