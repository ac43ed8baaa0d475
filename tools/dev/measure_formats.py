#!/usr/bin/env python3
"""Time and memory of data sets in several formats: tools/dev/measure_formats.py OUT.json [--images N] [--many N].

The same generated images and outlines are written as COCO, YOLO and Pascal VOC. Each goes through the training pipeline
of a detector; then a data set of many small images, seven outlines of 30 points in each, is read in a process of its
own, which tells its peak memory, and prepared in another as a run prepares it: classes found, annotations checked, the
data set built.
"""
import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # run from anywhere, installed or not

CONFIG = 'cascade_mask_rcnn_mambavision_t_custom'
NAMES = dict(coco='train/_annotations.coco.json', yolo='data.yaml#yolo-train', voc='#voc-train')
OBJECTS, POINTS, CLASSES = 7, 30, 20
SIZE = 640, 480


def content(images: int, size: tuple[int, int]) -> dict:
    """COCO content with outlines around random places."""
    random = np.random.default_rng(0)
    angles = np.linspace(0, 2 * math.pi, POINTS, endpoint=False)
    found = dict(images=[], annotations=[], categories=[dict(id=i, name=f'class {i}') for i in range(CLASSES)])
    for image in range(images):
        found['images'].append(dict(id=image + 1, file_name=f'{image}.jpg', width=size[0], height=size[1]))
        for _ in range(OBJECTS):
            centre, radius = random.uniform(0.3, 0.7, 2) * size, random.uniform(0.05, 0.25) * min(size)
            points = np.stack([centre[0] + radius * np.cos(angles), centre[1] + radius * np.sin(angles)], 1).round(2)
            (x, y), (w, h) = points.min(0), np.ptp(points, 0)
            found['annotations'].append(dict(
                id=len(found['annotations']) + 1, image_id=image + 1, category_id=int(random.integers(CLASSES)),
                iscrowd=0, bbox=[round(float(v), 3) for v in (x, y, w, h)], area=float(w * h),
                segmentation=[points.ravel().tolist()]))
    return found


def write_pictures(folder: Path, images: int, size: tuple[int, int], different: int) -> None:
    """`images` JPEG files, of which `different` differ: the others are links to them."""
    random = np.random.default_rng(0)
    for image in range(images):
        path = folder / f'{image}.jpg'
        if image < different:
            noise = [cv2.resize(random.integers(0, 256, (size[1] // step, size[0] // step, 3), dtype=np.uint8), size,
                                interpolation=cv2.INTER_CUBIC) for step in (2, 32)]
            Image.fromarray(cv2.addWeighted(noise[0], 0.3, noise[1], 0.7, 0)).save(path, quality=90)
        else:
            os.link(folder / f'{image % different}.jpg', path)


def measure(folder: Path, name: str) -> dict:
    """Images per CPU second of the training pipeline, and CPU seconds of reading the annotations."""
    from mmengine.registry import DATASETS, init_default_scope

    from mmvision_mamba.preflight.read import read_config
    cfg = read_config(CONFIG, {'data_root': str(folder), 'custom_data.train': name, 'custom_data.val': name})
    init_default_scope(cfg.default_scope)
    start = time.process_time()
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    read = time.process_time() - start
    dataset[0]
    start = time.process_time()
    for image in range(len(dataset)):
        dataset[image]
    return dict(images_per_second=len(dataset) / (time.process_time() - start), build_seconds=read)


def peak(folder: Path, name: str) -> dict:
    """Seconds and peak memory of building a data set, measured in this process."""
    from mmvision_mamba.datasets.coco_dataset import MendedCocoDataset
    before, start = _peak(), time.process_time()
    dataset = MendedCocoDataset(data_root=str(folder), ann_file=name, pipeline=[],
                                data_prefix=dict(img='train' if name.endswith('.json') else ''),
                                metainfo=dict(classes=[f'class {i}' for i in range(CLASSES)]))
    return dict(images=len(dataset), seconds=time.process_time() - start, bytes_before=before, peak_bytes=_peak())


def prepared(folder: Path, name: str) -> dict:
    """Seconds and peak memory until a run has its training data set, measured in this process."""
    from mmengine.registry import DATASETS, init_default_scope

    from mmvision_mamba.datasets.coco_files import reading_once
    from mmvision_mamba.preflight.check_data import check_datasets
    from mmvision_mamba.preflight.read import read_config
    start = time.process_time()
    with reading_once():
        cfg = read_config(CONFIG, {'data_root': str(folder), 'custom_data.train': name, 'custom_data.val': name})
        init_default_scope(cfg.default_scope)
        check_datasets(cfg, ('train', 'val'))
        DATASETS.build(cfg.train_dataloader.dataset)
    return dict(prepared_seconds=time.process_time() - start, prepared_peak_bytes=_peak())


def _peak() -> int:
    """Peak memory of this process in bytes; `resource` would tell that of its parent, too."""
    line, = (line for line in Path('/proc/self/status').read_text().splitlines() if line.startswith('VmHWM:'))
    return 1024 * int(line.split()[1])


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('out', type=Path)
    parser.add_argument('--images', type=int, default=100, help='default: %(default)s')
    parser.add_argument('--many', type=int, default=50_000, help='default: %(default)s')
    parser.add_argument('--peak', nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    torch.set_num_threads(1)  # as workers have it
    cv2.setNumThreads(0)
    if args.peak:
        step, folder, name = args.peak
        args.out.write_text(json.dumps(dict(peak=peak, prepared=prepared)[step](Path(folder), name)))
        return 0
    from mmvision_mamba.datasets.formats.writing import Split, write
    found: dict = {}
    for images, size, different in ((args.images, SIZE, args.images), (args.many, (64, 48), 1)):
        for target, name in NAMES.items():
            with tempfile.TemporaryDirectory() as folder:
                pictures, out = Path(folder) / 'pictures', Path(folder) / 'out'
                for path in (pictures, out):
                    path.mkdir()
                write_pictures(pictures, images, size, different)
                write(target, {'train': Split(content(images, size), str(pictures), Counter())}, out, link=True)
                if size == SIZE:
                    found[target] = measure(out, name)
                else:
                    for step in ('peak', 'prepared'):
                        subprocess.run([sys.executable, __file__, str(args.out), '--peak', step, str(out), name],
                                       check=True)
                        found[target].update(json.loads(args.out.read_text()))
            print(target, found[target], flush=True)
    args.out.write_text(json.dumps(found, indent=1) + '\n')
    return 0


if __name__ == '__main__':
    sys.exit(main())
