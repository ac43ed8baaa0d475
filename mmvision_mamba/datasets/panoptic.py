"""mmdet's parts for COCO's panoptic files, without the package panopticapi; registered in the place of mmdet's own."""
import copy
import os.path as osp

import numpy as np
from mmdet.datasets import CocoPanopticDataset as _CocoPanopticDataset
from mmdet.datasets.api_wrappers import COCOPanoptic
from mmdet.datasets.transforms import LoadPanopticAnnotations as _LoadPanopticAnnotations
from mmdet.registry import DATASETS, TRANSFORMS
from mmdet.structures.mask import BitmapMasks

from ..errors import DataError
from .coco_files import ids_of_classes
from .coco_masks import bitmaps_problem
from .panoptic_files import check_ids, read_panoptic, read_segment_ids

VOID = 255  # the label of pixels that no loss counts


class PanopticCOCO(COCOPanoptic):
    """mmdet's index of a panoptic annotation file, which knows the file names of the PNGs.

    Args:
        annotation_file: path of the JSON file.

    Attributes:
        maps: {image id: file name of its PNG}, of the images with annotations.
    """

    def __init__(self, annotation_file: str):
        super().__init__()
        self.dataset, _ = read_panoptic(annotation_file)
        self.dataset.setdefault('annotations', [])
        self.maps = {ann['image_id']: ann['file_name'] for ann in self.dataset['annotations']}
        self.createIndex()
        self.img_ann_map, self.cat_img_map = self.imgToAnns, self.catToImgs

    def get_cat_ids(self, cat_names=(), sup_names=(), cat_ids=()) -> list:
        """Ids of categories, as in mmdet; of `cat_names` alone as `ids_of_classes`."""
        if isinstance(cat_names, str) or not len(cat_names) or len(sup_names) or len(cat_ids):
            return super().get_cat_ids(cat_names, sup_names, cat_ids)
        return ids_of_classes(self.dataset['categories'], cat_names, [*self.cat_img_map])


@DATASETS.register_module(force=True)
class CocoPanopticDataset(_CocoPanopticDataset):
    """mmdet's `CocoPanopticDataset` with the same arguments, and the same samples of files such as COCO's.

    Beyond that it takes each image's PNG by the name that the annotation file gives; numbers labels in the order of its
    classes, and leaves segments of other categories to void; and leaves out images without annotations in training.
    """

    COCOAPI = PanopticCOCO

    def parse_data_info(self, raw_data_info: dict) -> dict:
        """A data sample of an image record and its segments; `seg_map_path` is None for an image without any."""
        image = raw_data_info['raw_img_info']
        segments = [segment for segment in raw_data_info['raw_ann_info'] if segment['category_id'] in self.cat2label]
        info = super().parse_data_info(dict(raw_data_info, raw_ann_info=segments))
        if self.data_prefix.get('seg'):
            name = self.coco.maps.get(image['img_id'])
            info['seg_map_path'] = name and osp.join(self.data_prefix['seg'], name)
        return info

    def filter_data(self) -> list[dict]:
        """The data samples that training uses."""
        if not self.test_mode and self.data_prefix.get('seg'):
            self.data_list = [info for info in self.data_list if info['seg_map_path']]
        return super().filter_data()


@TRANSFORMS.register_module(force=True)
class LoadPanopticAnnotations(_LoadPanopticAnnotations):
    """mmdet's `LoadPanopticAnnotations`, arguments and results, whose errors name the PNG.

    Raises:
        DataError: the PNG at `results['seg_map_path']` can't be used, see `read_segment_ids` and `check_ids`.
    """

    def __init__(self, with_bbox: bool = True, with_label: bool = True, with_mask: bool = True, with_seg: bool = True,
                 box_type: str = 'hbox', imdecode_backend: str = 'cv2', backend_args: dict | None = None):
        # mmdet's own __init__ imports panopticapi.
        super(_LoadPanopticAnnotations, self).__init__(
            with_bbox=with_bbox, with_label=with_label, with_mask=with_mask, with_seg=with_seg, with_keypoints=False,
            box_type=box_type, imdecode_backend=imdecode_backend, backend_args=copy.deepcopy(backend_args))

    def _load_masks_and_semantic_segs(self, results: dict) -> None:
        path = results.get('seg_map_path')
        if path is None:  # an image without annotations, as in test-dev
            return
        height, width = results['ori_shape']
        ids = read_segment_ids(path, (height, width), self.backend_args)
        check_ids(path, ids, [segment['id'] for segment in results['segments_info']])
        if problem := bitmaps_problem(len(results['segments_info']), width, height):
            raise DataError(f'{results.get("img_path")}: {problem}')
        labels, masks = np.full(ids.shape, VOID, ids.dtype), []
        for segment in results['segments_info']:
            mask = ids == segment['id']
            labels[mask] = segment['category']
            if segment.get('is_thing'):
                masks.append(mask.astype(np.uint8))
        if self.with_mask:
            results['gt_masks'] = BitmapMasks(masks, height, width)
        if self.with_seg:
            results['gt_seg_map'] = labels
