#!/usr/bin/env python3
"""Time training pipelines and count what workers send: tools/dev/measure_loading.py OUT.json [--images N].

The images are generated JPEG files of 640 x 480, seven objects in each. OUT.json is a table of docs/performance.md.
"""
import argparse
import io
import json
import pickle
import shlex
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # run from anywhere, installed or not

from mmvision_mamba.benchmark.report import machine, number, size_text, write
from mmvision_mamba.preflight.read import read_config
from tools.dev.measure_evaluation import CLASSES, HEIGHT, OBJECTS, WIDTH, annotations, random_boxes

CONFIGS = ('cascade_mask_rcnn_mambavision_t_coco', 'upernet_mambavision_t_ade20k')
QUALITY = 90  # of the JPEG files


class Sent(pickle.Pickler):
    """Counts what a worker of a data loader sends of a sample.

    Attributes:
        shared: bytes of tensors, which go through shared memory.
        file: everything else, which goes through a pipe.
    """

    def __init__(self):
        self.file, self.shared = io.BytesIO(), 0
        super().__init__(self.file)

    def persistent_id(self, value):
        if not isinstance(value, torch.Tensor):
            return None
        self.shared += value.nbytes
        return 'tensor'


def write_images(folder: Path, count: int) -> None:
    """Write a data set that both of `CONFIGS` read: blurred noise on two scales, about as large as COCO's files."""
    torch.manual_seed(0)
    random = np.random.default_rng(0)
    scenes = folder / 'ADEChallengeData2016'
    for path in ('train2017', 'annotations'):
        (folder / path).mkdir()
    for path in ('images/training', 'annotations/training'):
        (scenes / path).mkdir(parents=True)
    truth = [(random_boxes(OBJECTS), torch.randint(CLASSES, (OBJECTS,))) for _ in range(count)]
    (folder / 'annotations/instances_train2017.json').write_text(json.dumps(annotations(truth) | dict(
        categories=[dict(id=i + 1, name=name) for i, name in enumerate(_coco_classes())])))
    for image in range(count):
        noise = [cv2.resize(random.integers(0, 256, (HEIGHT // step, WIDTH // step, 3), dtype=np.uint8),
                            (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC) for step in (2, 32)]
        pixels = cv2.addWeighted(noise[0], 0.3, noise[1], 0.7, 0)
        labels = cv2.resize(random.integers(0, 151, (6, 8), dtype=np.uint8), (WIDTH, HEIGHT),
                            interpolation=cv2.INTER_NEAREST)
        for path in (folder / f'train2017/{image}.jpg', scenes / f'images/training/{image}.jpg'):
            cv2.imwrite(str(path), pixels, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
        cv2.imwrite(str(scenes / f'annotations/training/{image}.png'), labels)


def _coco_classes() -> tuple[str, ...]:
    from mmdet.datasets import CocoDataset
    return CocoDataset.METAINFO['classes']


def measure(config: str, folder: Path) -> dict:
    """CPU seconds of each step of the config's training pipeline, and bytes that a worker sends, of an image."""
    from mmengine.registry import DATASETS, init_default_scope
    cfg = read_config(config, dict(data_root=str(folder)))
    init_default_scope(cfg.default_scope)
    settings = cfg.train_dataloader.dataset
    settings.data_root = str(folder)
    if 'ann_file' in settings:
        settings.ann_file = 'annotations/instances_train2017.json'
    dataset = DATASETS.build(settings)
    seconds, shared, piped = {}, 0, 0
    for image in range(-1, len(dataset)):  # the first warms up
        sample = dataset.get_data_info(max(image, 0))
        for transform in dataset.pipeline.transforms:
            start = time.process_time()
            sample = transform(sample)
            if image >= 0:
                name = type(transform).__name__
                seconds[name] = seconds.get(name, 0.) + time.process_time() - start
        if image >= 0:
            sent = Sent()
            sent.dump(sample)
            shared, piped = shared + sent.shared, piped + sent.file.tell()
    return dict(seconds={name: value / len(dataset) for name, value in seconds.items()},
                shared_bytes=shared // len(dataset), piped_bytes=piped // len(dataset))


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('out', type=Path)
    parser.add_argument('--images', type=int, default=200, help='default: %(default)s')
    args = parser.parse_args(argv)
    torch.set_num_threads(1)  # as workers have it
    cv2.setNumThreads(0)
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        write_images(Path(folder), args.images)
        size = sum(path.stat().st_size for path in Path(folder).glob('train2017/*')) // args.images
        for config in CONFIGS:
            found[config] = measure(config, Path(folder))
    rows = []
    for config, result in found.items():
        slowest_first = sorted(result['seconds'].items(), key=lambda step: -step[1])
        rows.append([config, number(1 / sum(result['seconds'].values())),
                     ', '.join(f'{name} {number(1e3 * value)} ms' for name, value in slowest_first),
                     size_text(result['shared_bytes']), size_text(result['piped_bytes'])])
    for row in rows:
        print(' | '.join(row))
    write(args.out, dict(
        command=shlex.join(['tools/dev/measure_loading.py', str(args.out), '--images', str(args.images)]),
        machine=machine(torch.device('cpu')), loading=found, note=f'An image file has {size_text(size)}.', table=[
            ['pipeline of', 'images per second and core', 'steps of an image', 'in shared memory', 'through the pipe'],
            rows]))
    return 0


if __name__ == '__main__':
    sys.exit(main())
