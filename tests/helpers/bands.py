"""Data sets whose images have other bands than red, green and blue, and small configs for them."""
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from . import ROOT

NODATA = 65535
GEO = [(33550, 'd', 3, (10., 10., 0.), True), (33922, 'd', 6, (0., 0., 0., 500_000., 5_000_000., 0.), True),
       (34735, 'H', 8, (1, 1, 0, 1, 3072, 0, 1, 32633), True)]  # 10 m a pixel, EPSG:32633
SMALL = '''
_base_ = '{root}/configs/{base}.py'
model = dict(backbone=dict(
    arch=dict(_delete_=True, dim=16, in_dim=8, depths=(1, 1, 2, 2), num_heads=(1, 1, 2, 4)), window_size=(4, 2),
    init_cfg=None), {model})
train_dataloader = dict(batch_size=2, num_workers=0, persistent_workers=False{train})
val_dataloader = dict(num_workers=0, persistent_workers=False{val})
test_dataloader = val_dataloader
train_cfg = dict({length})
param_scheduler = [dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=2)]
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(interval=1, save_best=None))
custom_imports = dict(_delete_=True, imports=[], allow_failed_imports=False)
'''


def write_tiff(path, image: np.ndarray, nodata=None, **options) -> None:
    """An image ``(H, W, bands)`` as GDAL writes it."""
    tifffile = pytest.importorskip('tifffile')
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    tags = GEO + ([(42113, 's', 0, str(nodata).encode(), True)] if nodata is not None else [])
    settings = dict(photometric='minisblack', planarconfig='contig', extratags=tags) | options
    if settings['planarconfig'] == 'separate':
        image = np.moveaxis(image, -1, 0)
    elif image.shape[2] == 1:
        image = image[..., 0]
    if image.ndim == 2:
        settings.pop('planarconfig')
    tifffile.imwrite(path, image, **settings)


def fields(root: Path, bands: int = 12, dtype=np.uint16, count: int = 3) -> Path:
    """Images of ``bands`` bands, no two of a size, and masks of three classes that show in some of the bands."""
    rng = np.random.default_rng(0)
    for split in ('train', 'val'):
        for i in range(count):
            height, width = 65 + 2 * i, 91 - 4 * i
            mask = np.zeros((height, width), np.uint8)
            mask[10:40, 5 + 9 * i:45], mask[35:60, 50:80] = 1, 2
            image = rng.normal(1000, 100, (height, width, bands)) * np.linspace(1, 3, bands)
            image += np.array([0, 500, 900])[mask][..., None] * (np.arange(bands) % 2)
            image[:3, :7] = NODATA
            write_tiff(root / f'images/{split}/{i}.tif', image.astype(dtype), NODATA, compression='zlib',
                       **(dict(tile=(32, 32)) if i % 2 else dict(planarconfig='separate')))
            (root / f'masks/{split}').mkdir(parents=True, exist_ok=True)
            Image.fromarray(mask).save(root / f'masks/{split}/{i}.png')
    (root / 'classes.txt').write_text('soil\nwheat\nmaize\n')
    return root


def scans(root: Path, count: int = 2) -> Path:
    """Grey PNGs of 16 bits, and masks of two classes that show in them."""
    rng = np.random.default_rng(2)
    for split in ('train', 'val'):
        for folder in ('images', 'masks'):
            (root / folder / split).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            mask = np.zeros((66, 84), np.uint8)
            mask[10 + i:40, 5:45] = 1
            image = rng.normal(1000, 30, mask.shape) + 60 * mask
            Image.fromarray(image.astype(np.uint16)).save(root / f'images/{split}/{i}.png')
            Image.fromarray(mask).save(root / f'masks/{split}/{i}.png')
    (root / 'classes.txt').write_text('tissue\nlesion\n')
    return root


def objects(root: Path, bands: int = 4, count: int = 3) -> Path:
    """Images of floats, some NaN, no two of a size, and boxes and masks in COCO's format."""
    rng = np.random.default_rng(1)
    for split in ('train', 'val'):
        images, annotations = [], []
        for i in range(count):
            height, width = 71 + 6 * i, 97 - 10 * i
            x, y, w, h = 8 + 5 * i, 12, 30, 28
            image = rng.normal(-2, 0.5, (height, width, bands))
            image[y:y + h, x:x + w] += np.arange(bands)
            image[-2:, -5:] = np.nan
            write_tiff(root / f'{split}/{i}.tif', image.astype(np.float32))
            images.append(dict(id=i + 1, file_name=f'{i}.tif', height=height, width=width))
            annotations.append(dict(
                id=i + 1, image_id=i + 1, category_id=1, bbox=[x, y, w, h], area=w * h, iscrowd=0,
                segmentation=[[x, y, x + w, y, x + w, y + h, x, y + h]]))
        (root / split / '_annotations.coco.json').write_text(json.dumps(dict(
            images=images, annotations=annotations, categories=[dict(id=1, name='tank')])))
    return root


def config(path: Path, base: str = 'upernet') -> Path:
    """A custom config with a small network and small pictures: 'upernet' or 'faster_rcnn'."""
    seg = base == 'upernet'
    image, resize = "dict(type='LoadImageFromFile')", "dict(type='Resize', scale=(80, 64), keep_ratio=True)"
    annotations = f"dict(type='LoadAnnotations'{'' if seg else ', with_bbox=True'})"
    crop = "dict(type='RandomCrop', crop_size=(48, 56))" if seg else "dict(type='RandomFlip', prob=0.5)"
    meta = "meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')"
    pack = "dict(type='PackSegInputs')" if seg else f"dict(type='PackDetInputs', {meta})"
    model = ('decode_head=dict(in_channels=[16, 32, 64, 128], channels=16), auxiliary_head=dict(in_channels=64, '
             'channels=16), data_preprocessor=dict(size=(64, 80))') if seg else (
        'neck=dict(in_channels=[16, 32, 64, 128]), roi_head=dict(bbox_head=dict(fc_out_channels=16)), '
        'test_cfg=dict(rcnn=dict(score_thr=0.))')
    path.write_text(SMALL.format(
        root=ROOT, base=f'{base}_mambavision_t_custom', model=model,
        length='max_iters=2, val_interval=2' if seg else 'max_epochs=1',
        train=', dataset=dict(pipeline=['
              f"{image}, {annotations}, {resize}, {crop}, dict(type='PhotoMetricDistortion'), {pack}])",
        val=f', dataset=dict(pipeline=[{image}, {resize}, {annotations}, {pack}])'))
    return path
