"""Data sets as people have them, none laid out like COCO or ADE20K."""
import json

import cv2
import numpy as np
from pycocotools import mask as rle


def write_image(path, rng, size=(64, 80)):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), rng.integers(0, 256, (*size, 3), np.uint8))


def coco(root, splits, names=('cat', 'dog'), ids=(7, 90), masks='rle', count=4):
    """COCO annotations with ids that are not 1, 2, …; every other image a PNG in a folder of its own.

    splits: {annotation file: folder of its images}.
    """
    rng = np.random.default_rng(0)
    for number, (ann_file, images_folder) in enumerate(splits.items()):
        images, annotations = [], []
        for i in range(count):
            name = f'deep/er {i}/pic.png' if i % 2 else f'pic {i}.JPG'
            write_image(root / images_folder / name, rng)
            images.append(dict(id=100 * number + i, file_name=name, height=64, width=80))
            for j in range(2):
                x, y, w, h = 5 + 30 * j, 8 + i, 24, 30
                item = dict(id=len(annotations) + 1, image_id=images[-1]['id'], category_id=ids[(i + j) % len(ids)],
                            bbox=[x, y, w, h], area=w * h, iscrowd=0)
                mask = np.zeros((64, 80), np.uint8, order='F')
                mask[y:y + h, x:x + w] = 1
                if masks == 'rle':
                    encoded = rle.encode(mask)
                    item['segmentation'] = dict(size=encoded['size'], counts=encoded['counts'].decode())
                elif masks == 'polygon':
                    item['segmentation'] = [[x, y, x + w, y, x + w, y + h, x, y + h]]
                annotations.append(item)
        (root / ann_file).parent.mkdir(parents=True, exist_ok=True)
        (root / ann_file).write_text(json.dumps(dict(
            info={}, images=images, annotations=annotations,
            categories=[dict(id=i, name=name, supercategory='animal') for i, name in zip(ids, names)])))
    return root


def image_mask(root, pairs, values=(0, 1, 2), count=4):
    """Images, half JPEG half PNG and in folders of their own, and their masks. pairs: {image folder: mask folder}."""
    rng = np.random.default_rng(0)
    for images, masks in pairs.items():
        for i in range(count):
            name = f'pic {i}' if i % 2 else f'site {i}/pic'
            write_image(root / images / f'{name}.{"jpeg" if i % 2 else "PNG"}', rng)
            mask = np.full((64, 80), values[0], np.uint8)
            for j, value in enumerate(values[1:]):
                mask[10 + i:50, 10 + 20 * j:25 + 20 * j] = value
            (root / masks / name).parent.mkdir(parents=True, exist_ok=True)
            assert cv2.imwrite(str(root / masks / f'{name}.png'), mask)
    return root
