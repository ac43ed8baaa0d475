"""Real data sets of a few images, and the parts of configs that load them."""
import io
import json

import numpy as np
from mmengine import Config
from PIL import Image

CLASSES = ('circle', 'square', 'star')


def picture(file_format: str, size=(40, 36), seed=0) -> bytes:
    out = io.BytesIO()
    noise = np.random.default_rng(seed).integers(0, 255, (*size[::-1], 3), dtype=np.uint8)
    Image.fromarray(noise).save(out, file_format)
    return out.getvalue()


def write(path, content) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content) if isinstance(content, bytes) else path.write_text(content)


def coco_content(count=4, names=CLASSES) -> dict:
    """One object an image: category i % 3 + 1 at the same place everywhere."""
    return {
        'images': [{'id': 10 + i, 'file_name': f'{i}.jpg', 'width': 40, 'height': 36} for i in range(count)],
        'annotations': [{'id': i + 1, 'image_id': 10 + i, 'category_id': i % 3 + 1, 'bbox': [2, 2, 20, 20], 'area': 400,
                         'iscrowd': 0, 'segmentation': [[2, 2, 22, 2, 22, 22, 2, 22]]} for i in range(count)],
        'categories': [{'id': i + 1, 'name': name} for i, name in enumerate(names)],
    }


def coco_dataset(tmp_path) -> Config:
    """A config in mmdet's manner and its data set on disk."""
    root = tmp_path / 'mine'
    for split in ('train', 'val'):
        write(root / f'annotations/{split}.json', json.dumps(coco_content()))
        for i in range(4):
            write(root / split / f'{i}.jpg', picture('JPEG', seed=i))
    return coco_config(str(root))


def coco_config(root: str) -> Config:
    pipeline = [{'type': 'LoadImageFromFile'}, {'type': 'LoadAnnotations', 'with_bbox': True},
                {'type': 'PackDetInputs'}]

    def loader(split):
        return {'batch_size': 1, 'num_workers': 0, 'sampler': {'type': 'DefaultSampler', 'shuffle': False},
                'dataset': {'type': 'CocoDataset', 'data_root': root, 'ann_file': f'annotations/{split}.json',
                            'data_prefix': {'img': f'{split}/'}, 'metainfo': {'classes': CLASSES},
                            'test_mode': split != 'train', 'pipeline': pipeline}}

    evaluator = {'type': 'CocoMetric', 'ann_file': f'{root.rstrip("/")}/annotations/val.json', 'metric': ['bbox']}
    return Config({'default_scope': 'mmdet', 'data_root': root, 'train_dataloader': loader('train'),
                   'val_dataloader': loader('val'), 'test_dataloader': loader('val'), 'val_evaluator': evaluator,
                   'test_evaluator': evaluator})


def ade_dataset(tmp_path) -> Config:
    """A config in mmseg's manner and its data set on disk."""
    root = tmp_path / 'ade'

    def loader(split):
        for i in range(3):
            write(root / f'ADEChallengeData2016/images/{split}/{i}.jpg', picture('JPEG', seed=i))
            labels = Image.fromarray(np.full((36, 40), i + 1, np.uint8))
            labels.save(out := io.BytesIO(), 'PNG')
            write(root / f'ADEChallengeData2016/annotations/{split}/{i}.png', out.getvalue())
        pipeline = [{'type': 'LoadImageFromFile'}, {'type': 'LoadAnnotations'}, {'type': 'PackSegInputs'}]
        return {'dataset': {'type': 'ADE20KDataset', 'data_root': str(root), 'pipeline': pipeline,
                            'data_prefix': {'img_path': f'ADEChallengeData2016/images/{split}',
                                            'seg_map_path': f'ADEChallengeData2016/annotations/{split}'}}}

    return Config({'default_scope': 'mmseg', 'data_root': str(root), 'train_dataloader': loader('training'),
                   'val_dataloader': loader('validation'), 'val_evaluator': {'type': 'IoUMetric'}})


def detection_config(tmp_path, change=lambda content: None) -> Config:
    """With masks, in training and in evaluation, and augmented; `change` is applied to both annotation files."""
    cfg = coco_dataset(tmp_path)
    pipeline = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
                dict(type='Resize', scale=(64, 64), keep_ratio=True), dict(type='RandomFlip', prob=0.5),
                dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'flip'))]
    for split in ('train', 'val'):
        cfg[f'{split}_dataloader'].dataset.pipeline = pipeline
        content = coco_content()
        change(content)
        with open(f'{cfg.data_root}/annotations/{split}.json', 'w') as file:
            json.dump(content, file)
    cfg.val_evaluator = dict(type='CocoMetric', ann_file=f'{cfg.data_root}/annotations/val.json',
                             metric=['bbox', 'segm'])
    return cfg


def segmentation_config(tmp_path, **loader) -> Config:
    """With four classes and augmented; `loader`: options of LoadAnnotations."""
    cfg = ade_dataset(tmp_path)
    cfg.model = dict(decode_head=dict(num_classes=4))
    pipeline = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations', **loader),
                dict(type='Resize', scale=(64, 64), keep_ratio=True), dict(type='RandomFlip', prob=0.5),
                dict(type='PackSegInputs', meta_keys=('img_path', 'ori_shape', 'img_shape', 'flip'))]
    for key in ('train_dataloader', 'val_dataloader'):
        cfg[key].dataset.update(type='BaseSegDataset', img_suffix='.jpg', pipeline=pipeline,
                                metainfo=dict(classes=tuple('abcd'), palette=[[0, 0, 0]] * 4))
    return cfg


def change_json(cfg, split, change) -> str:
    path = f'{cfg.data_root}/annotations/{split}.json'
    with open(path) as file:
        content = json.load(file)
    change(content)
    with open(path, 'w') as file:
        json.dump(content, file)
    return path
