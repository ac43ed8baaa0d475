#!/usr/bin/env python3
"""Measure inference by tiles on large pictures: tools/dev/measure_large_pictures.py OUT.json [--sizes N ...] [--test].

Each picture, a generated GeoTIFF, is segmented by `mmvision-mamba infer --tile` in a process of its own, whose peak
memory is taken; with --test by `mmvision-mamba test --tile`, against a mask of the same size, a TIFF. The model is a
very small one with random weights: what windows and their blending need is measured. OUT.json is a table of
docs/performance.md. Windows tells no peak memory in this way.
"""
import argparse
import os
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # run from anywhere, installed or not

from mmvision_mamba.benchmark.report import machine, number, size_text, write
from mmvision_mamba.checkout import ROOT
from mmvision_mamba.datasets.georeference import KEYS, SCALE, TIEPOINTS, Georeference
from mmvision_mamba.datasets.tile_grid import Grid, Tiling

BLOCK = 512  # pixels of a side of the pictures' own tiles
MODEL = f'''
_base_ = '{ROOT}/configs/upernet_mambavision_t_shapes.py'
model = dict(
    backbone=dict(arch=dict(_delete_=True, dim=8, in_dim=8, depths=(1, 1, 1, 1), num_heads=(1, 1, 1, 2)),
                  window_size=(8, 8), init_cfg=None),
    decode_head=dict(in_channels=[8, 16, 32, 64], channels=16), auxiliary_head=None)
test_dataloader = dict(dataset=dict(pipeline=[dict(type='LoadImageFromFile'), dict(type='PackSegInputs')]))
'''
TESTED = MODEL + '''
loading = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations')]
test_dataloader = dict(num_workers=0, persistent_workers=False, dataset=dict(
    _delete_=True, type='mmvision_mamba.datasets.image_mask.ImageMaskDataset', data_root={folder!r}, ann_file='',
    data_prefix=dict(img_path='images', seg_map_path='masks'), metainfo=dict(classes=tuple('abcd')),
    pipeline=[*loading, dict(type='PackSegInputs')]))
'''


def write_picture(path: Path, side: int) -> None:
    """A square GeoTIFF of discs in many colours, in compressed tiles."""
    import tifffile
    random = np.random.default_rng(0)
    y, x = np.mgrid[:BLOCK, :BLOCK] - BLOCK / 2
    disc = (x ** 2 + y ** 2 < (BLOCK / 3) ** 2)[..., None]

    def blocks():
        for _ in range((-(-side // BLOCK)) ** 2):
            yield np.where(disc, *random.integers(0, 256, (2, 3), dtype=np.uint8))
    place = Georeference({SCALE: (0.1, 0.1, 0.), TIEPOINTS: (0., 0., 0., 500_000., 5_000_000., 0.),
                          KEYS: (1, 1, 0, 1, 3072, 0, 1, 32633)})
    tifffile.imwrite(path, blocks(), shape=(side, side, 3), dtype=np.uint8, tile=(BLOCK, BLOCK), compression='zlib',
                     photometric='rgb', metadata=None, extratags=place.extra_tags())


def write_mask(path: Path, side: int) -> None:
    """A square TIFF of four labels, in compressed tiles."""
    import tifffile
    labels = np.arange(BLOCK * BLOCK).reshape(BLOCK, BLOCK) // 4096 % 4
    tifffile.imwrite(path, (labels.astype(np.uint8) for _ in range((-(-side // BLOCK)) ** 2)), shape=(side, side),
                     dtype=np.uint8, tile=(BLOCK, BLOCK), compression='zlib', photometric='minisblack', metadata=None)


def child(folder: Path, config: str, checkpoint: str, tile: int, test: bool) -> None:
    """Segment the picture of a folder, and print the peak of this process's memory, in bytes."""
    import resource

    from mmvision_mamba.commands import main as command
    if test:
        (folder / 'tested.py').write_text(TESTED.format(folder=str(folder)))
        code = command('test', [str(folder / 'tested.py'), checkpoint, '--work-dir', str(folder / 'out'), '--tile',
                                str(tile)])
    else:
        code = command('infer', [config, checkpoint, str(folder / 'images/picture.tif'), '--out-dir',
                                 str(folder / 'out'), '--tile', str(tile), '--device', 'cpu'])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f'peak {peak if sys.platform == "darwin" else peak * 1024}')
    sys.exit(code)


def measure(side: int, tile: int, config: str, checkpoint: str, test: bool) -> dict:
    """Seconds, peak memory and sizes of files of a picture with so many pixels a side."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for kind, write_one in (('images', write_picture), ('masks', write_mask)):
            (folder / kind).mkdir()
            write_one(folder / kind / 'picture.tif', side)
        start = _cpu_seconds() if test else time.perf_counter()
        found = subprocess.run([sys.executable, __file__, 'child', str(folder), config, checkpoint, str(tile),
                                *['test'] * test],
                               stdout=subprocess.PIPE, text=True, check=True)
        seconds = _cpu_seconds() - start if test else time.perf_counter() - start
        found_sizes = {} if test else dict(map_bytes=(folder / 'out/preds/picture.tif').stat().st_size)
        return dict(side=side, windows=len(Grid.of(Tiling(tile), side, side)), seconds=seconds,
                    peak_bytes=int(found.stdout.split('peak ')[1].split()[0]), pixel_bytes=3 * side * side,
                    file_bytes=(folder / 'images/picture.tif').stat().st_size, **found_sizes)


def _cpu_seconds() -> float:
    """CPU time of the processes that have ended so far."""
    times = os.times()
    return times.children_user + times.children_system


def main(argv: list[str] | None = None) -> int:
    argv = sys.argv[1:] if argv is None else argv
    if argv[:1] == ['child']:
        child(Path(argv[1]), argv[2], argv[3], int(argv[4]), argv[5:] == ['test'])
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('out', type=Path)
    parser.add_argument('--sizes', type=int, nargs='+', default=[5000, 10_000, 20_000], metavar='N',
                        help='pixels a side; default: 5000 10000 20000')
    parser.add_argument('--tile', type=int, default=1024, help='default: %(default)s')
    parser.add_argument('--test', action='store_true', help='measure `test` in the place of `infer`')
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        config, checkpoint = Path(folder, 'model.py'), Path(folder, 'model.pth')
        config.write_text(MODEL)
        from mmengine.registry import MODELS, init_default_scope

        from mmvision_mamba.preflight.read import read_config
        cfg = read_config(config)
        init_default_scope(cfg.default_scope)
        torch.manual_seed(0)
        torch.save(dict(state_dict=MODELS.build(cfg.model).state_dict(), meta={}), checkpoint)
        found = [measure(side, args.tile, str(config), str(checkpoint), args.test) for side in args.sizes]
    rows = [[f'{result["side"]:,} × {result["side"]:,}', size_text(result['pixel_bytes']), str(result['windows']),
             size_text(result['peak_bytes']), f'{number(result["seconds"])} s'] for result in found]
    for row in rows:
        print(' | '.join(row))
    write(args.out, dict(
        command=shlex.join(['tools/dev/measure_large_pictures.py', str(args.out), '--sizes', *map(str, args.sizes),
                            '--tile', str(args.tile), *['--test'] * args.test]),
        machine=machine(torch.device('cpu')), large_pictures=found, table=[
            ['picture', 'its pixels', f'windows of {args.tile}', 'peak memory',
            'CPU time, all in all' if args.test else 'time, all in all'], rows]))
    return 0


if __name__ == '__main__':
    sys.exit(main())
