"""The files that the web page offers: the picture, and the results as `mmvision-mamba infer` writes them."""
from __future__ import annotations

from copy import copy
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.structures import PixelData

from ..datasets.label_maps import segment_map
from ..files import replace
from ..inference.results import coco_results, panoptic_map, result_files, write_json
from .answers import Answer
from .packed import mask_of


def write_picture(picture: np.ndarray, folder: Path, name: str) -> Path:
    """Write an RGB picture as NAME.png; returns its path."""
    path = folder / f'{name}.png'
    folder.mkdir(parents=True, exist_ok=True)
    replace(path, lambda temporary: temporary.write_bytes(
        cv2.imencode('.png', np.ascontiguousarray(picture[..., ::-1]))[1].tobytes()))
    return path


def write_results(answer: Answer, folder: Path, file_name: str) -> list[Path]:
    """Write a prediction in the uploaded image's own pixels, as `Results` does; returns the files.

    These are results.json, boxes.json (of models with masks) and images.json of instances, NAME.png of a segment map,
    and NAME_panoptic.png and panoptic.json of a panoptic one. All instances are there, whatever their score.
    """
    folder.mkdir(parents=True, exist_ok=True)
    model, sample = answer.model, answer.sample
    height, width = (round(side / answer.scale) for side in answer.image.shape[:2])
    ids = copy(model.ids)  # a run gives ids to its own images
    known, = ids.assign([file_name])
    image_id = ids.new() if known is None else known
    # Without the header's description, which names files of this machine.
    header = dict(info={}, images=[dict(id=image_id, file_name=file_name, height=height, width=width)],
                  categories=ids.categories)
    name, paths = Path(file_name).stem, []

    def json(name: str, content) -> None:
        write_json(folder / name, content)
        paths.append(folder / name)

    def resized(values) -> np.ndarray:
        values = np.asarray(values, np.int32)
        if values.shape == (height, width):
            return values
        return cv2.resize(values, (width, height), interpolation=cv2.INTER_NEAREST)

    if 'pred_instances' in sample:
        instances, results = sample.pred_instances, []
        for i in range(len(instances)):  # one by one: masks at full size are large
            instance = instances[i:i + 1]
            instance.bboxes = instance.bboxes / answer.scale
            if 'masks' in instance:
                instance.masks = resized(mask_of(instance.masks[0]))[None]
            results += coco_results(instance, image_id, ids.categories)
        for file, content in result_files(results, 'masks' in instances).items():
            json(file, content)
        json('images.json', header)
    if 'pred_sem_seg' in sample:
        seg = sample.pred_sem_seg
        labels = resized(seg.get('data' if 'data' in seg else 'sem_seg')[0])
        paths.append(folder / f'{name}.png')
        segment_map(labels, len(model.classes), model.palette, model.reduce_zero_label).save(paths[-1])
    if 'pred_panoptic_seg' in sample:
        whole = sample.new()
        whole.pred_panoptic_seg = PixelData(sem_seg=torch.as_tensor(
            resized(sample.pred_panoptic_seg.sem_seg[0]))[None])
        picture, segments = panoptic_map(whole, ids.categories)
        paths.append(folder / f'{name}_panoptic.png')
        picture.save(paths[-1])
        json('panoptic.json', dict(header, annotations=[dict(
            image_id=image_id, file_name=paths[-1].name, segments_info=segments)]))
    return paths
