#!/usr/bin/env python3
"""Measure how fast a core loads tiles of large pictures: tools/dev/measure_tile_loading.py OUT.json [--side N].

Tiles are loaded one after the other by one process, in random order, through a segmentor's pipeline that loads, flips
and packs: of pictures in compressed tiles (TIFF), and of PNGs and JPEGs, which are decoded as a whole unless they are
among the pictures that were decoded last. OUT.json is a table of docs/performance.md.
"""
import argparse
import shlex
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # run from anywhere, installed or not

from mmvision_mamba.benchmark.report import machine, number, write
from mmvision_mamba.datasets import tile_loading

PICTURES = 2
KINDS = {  # what is measured: suffix of the images, bytes of decoded pictures that are kept
    'TIFF in tiles of 256 × 256, Deflate': ('.tif', tile_loading.KEPT), 'PNG, kept': ('.png', 2**40), 'PNG, not kept': (
        '.png', 0), 'JPEG, kept': ('.jpg', 2**40), 'JPEG, not kept': ('.jpg', 0)}


def write_pictures(folder: Path, suffix: str, side: int) -> None:
    """Pictures and masks of that many pixels a side: clouds of colour and noise, and their brightness."""
    import tifffile
    for kind in ('images', 'masks'):
        (folder / kind).mkdir(parents=True)
    for number_ in range(PICTURES):
        random = np.random.default_rng(number_)
        clouds = cv2.resize(random.integers(0, 255, (side // 64, side // 64, 3), np.uint8), (side, side))
        picture = cv2.add(clouds, random.integers(0, 8, clouds.shape, np.uint8))
        mask = clouds[..., 0] // 64
        if suffix == '.tif':
            options: dict = dict(tile=(256, 256), compression='zlib')
            tifffile.imwrite(folder / f'images/{number_}.tif', picture[..., ::-1], photometric='rgb', **options)
            tifffile.imwrite(folder / f'masks/{number_}.tif', mask, photometric='minisblack', **options)
        else:
            cv2.imwrite(str(folder / f'images/{number_}{suffix}'), picture)
            cv2.imwrite(str(folder / f'masks/{number_}.png'), mask)


def measure(suffix: str, kept: int, side: int, tile: int, tiles: int) -> float:
    """Tiles per second of CPU time."""
    from mmengine.registry import DATASETS, init_default_scope
    init_default_scope('mmseg')
    with tempfile.TemporaryDirectory() as name:
        write_pictures(Path(name), suffix, side)
        dataset = DATASETS.build(dict(
            type='mmvision_mamba.datasets.image_mask.ImageMaskDataset', data_root=name, ann_file='',
            data_prefix=dict(img_path='images', seg_map_path='masks'), metainfo=dict(classes=tuple('abcd')),
            tile=tile, empty_tiles=1, pipeline=[dict(type='LoadImageFromFile'), dict(type='LoadAnnotations'), dict(
                type='RandomFlip', prob=0.5), dict(type='PackSegInputs')]))
        order = np.random.default_rng(0).integers(0, len(dataset), tiles).tolist()
        tile_loading.KEPT = kept
        for index in order[:PICTURES if kept == 0 else len(order)]:  # files in the page cache, pictures kept
            dataset[index]
        start = time.process_time()
        for index in order:
            dataset[index]
        return tiles / (time.process_time() - start)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('out', type=Path)
    parser.add_argument('--side', type=int, default=5000, help='pixels of a side of the pictures; default: %(default)s')
    parser.add_argument('--tile', type=int, default=1024, help='default: %(default)s')
    parser.add_argument('--tiles', type=int, default=24, help='tiles to load; default: %(default)s')
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    found = {kind: measure(*what, args.side, args.tile, args.tiles) for kind, what in KINDS.items()}
    rows = [[kind, number(speed), f'{number(1000 / speed)} ms'] for kind, speed in found.items()]
    for row in rows:
        print(' | '.join(row))
    write(args.out, dict(
        command=shlex.join(['tools/dev/measure_tile_loading.py', str(args.out), '--side', str(args.side), '--tile',
                            str(args.tile), '--tiles', str(args.tiles)]),
        machine=machine(torch.device('cpu')), tiles_per_second=found, table=[
            [f'pictures of {args.side:,} × {args.side:,} pixels', f'tiles of {args.tile} a second and core',
             'CPU time of a tile'], rows]))
    return 0


if __name__ == '__main__':
    sys.exit(main())
