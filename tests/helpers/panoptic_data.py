"""A small data set in COCO's panoptic layout, of odd, non-square sizes, and a config of a small model for it."""
import json
from pathlib import Path

import numpy as np
from PIL import Image

from . import ROOT

CLASSES = ('cat', 'dog', 'road', 'sky-other')
CATEGORIES = [dict(id=17, name='cat', supercategory='animal', isthing=1, color=[0, 220, 176]),
              dict(id=18, name='dog', supercategory='animal', isthing=1, color=[255, 99, 164]),
              dict(id=149, name='road', supercategory='ground', isthing=0, color=[128, 64, 128]),
              dict(id=187, name='sky-other', supercategory='sky', isthing=0, color=[70, 130, 180])]
METAINFO = dict(classes=CLASSES, thing_classes=CLASSES[:2], stuff_classes=CLASSES[2:],
                palette=[tuple(category['color']) for category in CATEGORIES])
SIZES = ((67, 91), (101, 53), (75, 141), (49, 83))  # height, width


def colours(ids: np.ndarray) -> np.ndarray:
    return np.stack([ids % 256, ids // 256 % 256, ids // 256 ** 2], axis=-1).astype(np.uint8)


def segments_of(height: int, width: int, seed: int) -> tuple[np.ndarray, list[dict]]:
    """Ids `(H, W)` with all three channels in use, and `segments_info`: sky over road with a void column between image
    and border, a cat and a dog, in odd images two, and in the last third a crowd of dogs."""
    ids = np.zeros((height, width), np.int64)
    id_of = {}  # id: (category, crowd)

    def put(rows, columns, category, crowd=0):
        number = 3_000_000 + 70_001 * len(id_of) + 257 * seed
        id_of[number] = category, crowd
        ids[rows, columns] = number

    put(slice(0, height // 2), slice(2, None), 187)
    put(slice(height // 2, None), slice(2, None), 149)
    put(slice(height // 4, height // 2 + 5), slice(5, width // 4), 17)
    put(slice(height // 3, height // 2 + 9), slice(width // 3, width // 2), 18)
    if seed % 2:
        put(slice(height // 2 - 9, height - 3), slice(width // 2 + 2, 2 * width // 3), 17)
    if seed % 3 == 2:
        put(slice(height // 2, height - 5), slice(3 * width // 4, width - 1), 18, crowd=1)
    infos = []
    for number, (category, crowd) in id_of.items():
        rows, columns = np.nonzero(ids == number)
        infos.append(dict(id=number, category_id=category, iscrowd=crowd, area=len(rows), bbox=[
            int(columns.min()), int(rows.min()), int(np.ptp(columns)) + 1, int(np.ptp(rows)) + 1]))
    return ids, infos


def make_panoptic(root: Path, train: int = 4, val: int = 3) -> Path:
    """Write COCO's folders and files, `train2017`, `annotations/panoptic_train2017.json` and so on; returns `root`.

    Pictures show the segments in their categories' colours. `annotations/instances_val2017.json` has the things.
    """
    colour_of = {category['id']: category['color'] for category in CATEGORIES}
    for split, count in (('train2017', train), ('val2017', val)):
        (root / split).mkdir(parents=True)
        (root / f'annotations/panoptic_{split}').mkdir(parents=True)
        images, records, instances = [], [], []
        for i in range(count):
            height, width = SIZES[i % len(SIZES)]
            ids, infos = segments_of(height, width, seed=i)
            name = f'{1000 + i:012}'
            picture = np.full((height, width, 3), 90, np.uint8)
            for info in infos:
                picture[ids == info['id']] = colour_of[info['category_id']]
            Image.fromarray(picture).save(root / split / f'{name}.jpg')
            Image.fromarray(colours(ids)).save(root / f'annotations/panoptic_{split}/{name}.png')
            images.append(dict(id=1000 + i, file_name=f'{name}.jpg', height=height, width=width))
            records.append(dict(image_id=1000 + i, file_name=f'{name}.png', segments_info=infos))
            for info in infos:
                if info['category_id'] < 100:
                    x, y, w, h = info['bbox']
                    instances.append(dict(info, id=len(instances) + 1, image_id=1000 + i, iscrowd=0, segmentation=[
                        [x, y, x + w, y, x + w, y + h, x, y + h]]))
        for kind, annotations, categories in (
                ('panoptic', records, CATEGORIES),
                ('instances', instances, [dict(id=c['id'], name=c['name']) for c in CATEGORIES if c['isthing']])):
            (root / f'annotations/{kind}_{split}.json').write_text(json.dumps(dict(
                images=images, annotations=annotations, categories=categories)))
    return root


def annotation_file(root: Path, split: str = 'val') -> Path:
    return root / f'annotations/panoptic_{split}2017.json'


def change_panoptic(root: Path, change, split: str = 'val') -> None:
    """Apply `change` to the content of an annotation file."""
    path = annotation_file(root, split)
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def small_config(root: Path, iterations: int = 2) -> str:
    """Text of a config: the panoptic neighbour, tiny, on that data set, with PQ alone."""
    arch = "dict(_delete_=True, dim=16, in_dim=8, depths=(1, 1, 2, 2), num_heads=(1, 1, 2, 4))"
    heads = dict(num_things_classes=2, num_stuff_classes=2)
    return f'''
_base_ = '{ROOT}/configs/mask2former_mambavision_t_coco-panoptic.py'
model = dict(
    data_preprocessor=dict(batch_augments=None),
    backbone=dict(arch={arch}, window_size=(4, 2), init_cfg=None),
    panoptic_head=dict(
        in_channels=[16, 32, 64, 128], feat_channels=32, out_channels=32, num_queries=10, **{heads},
        loss_cls=dict(class_weight=[1.0] * 4 + [0.1]), positional_encoding=dict(num_feats=16),
        pixel_decoder=dict(positional_encoding=dict(num_feats=16), encoder=dict(num_layers=1, layer_cfg=dict(
            self_attn_cfg=dict(embed_dims=32), ffn_cfg=dict(embed_dims=32, feedforward_channels=32)))),
        transformer_decoder=dict(num_layers=1, layer_cfg=dict(
            self_attn_cfg=dict(embed_dims=32), cross_attn_cfg=dict(embed_dims=32),
            ffn_cfg=dict(embed_dims=32, feedforward_channels=32)))),
    panoptic_fusion_head=dict({', '.join(f'{key}={value}' for key, value in heads.items())}),
    train_cfg=dict(num_points=64), # Hardly trained: without these thresholds all it predicts is void.
    test_cfg=dict(filter_low_score=False, object_mask_thr=0., iou_thr=0.1, max_per_image=10))
image = dict(type='LoadImageFromFile')
annotations = dict(type='LoadPanopticAnnotations')
resize = dict(type='Resize', scale=(99, 77), keep_ratio=True)
metainfo = {METAINFO!r}
data_root = '{root}/'
train_dataloader = dict(batch_size=2, num_workers=0, persistent_workers=False, dataset=dict(
    data_root=data_root, metainfo=metainfo, pipeline=[image, annotations, resize, dict(type='PackDetInputs')]))
val_dataloader = dict(num_workers=0, persistent_workers=False, dataset=dict(
    data_root=data_root, metainfo=metainfo, pipeline=[image, resize, annotations, dict(
        type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'))]))
test_dataloader = val_dataloader
val_evaluator = dict(
    _delete_=True, type='CocoPanopticMetric', ann_file=data_root + 'annotations/panoptic_val2017.json',
    seg_prefix=data_root + 'annotations/panoptic_val2017/', classwise=True)
test_evaluator = val_evaluator
train_cfg = dict(max_iters={iterations}, val_interval={iterations}, dynamic_intervals=None)
param_scheduler = dict(_delete_=True, type='ConstantLR', factor=1.0, by_epoch=False)
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(interval={iterations}))
custom_imports = dict(_delete_=True, imports=[], allow_failed_imports=False)
'''
