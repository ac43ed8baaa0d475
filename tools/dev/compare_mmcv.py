#!/usr/bin/env python3
"""Train every neighbour's config with compiled mmcv and with this package's operators, and compare the results.

  tools/dev/compare_mmcv.py .venv-compiled/bin/python .venv/bin/python

The models are shrunk as in the tests, and learn Shapes at 64 x 64 for a hundred iterations of 4 images from one seed,
on one thread. Compared are AP or mIoU on other Shapes, and the weights, number by number. Both environments should hold
the same torch: another one computes other last digits itself. The table goes to docs/performance.md.
"""
import argparse
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from mmvision_mamba.files import replace  # noqa: E402

RESULTS = ROOT / 'docs/results/mmcv_comparison.json'
PAGE = ROOT / 'docs/performance.md'


def main() -> int:
    from tests.helpers.neighbours import NEIGHBOURS
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('compiled', type=Path, help='Python of an environment with compiled mmcv')
    parser.add_argument('lite', type=Path, help='Python of one with mmcv-lite')
    parser.add_argument('--models', nargs='*', default=NEIGHBOURS, choices=NEIGHBOURS, metavar='CONFIG')
    parser.add_argument('--iterations', type=int, default=100)
    parser.add_argument('--work-dir', type=Path, default=ROOT / 'work_dirs/compare_mmcv')
    args = parser.parse_args()

    data = make_data(args.work_dir.resolve() / 'shapes')
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for name in args.models:
        config = args.work_dir / f'{name}.py'
        shrunk_config(name, data, args.iterations).dump(config)
        runs = {kind: train(getattr(args, kind), config, args.work_dir / kind / name) for kind in ('compiled', 'lite')}
        weights = [run.pop('weights') for run in runs.values()]
        results[name] = dict(
            runs, iterations=args.iterations, date=time.strftime('%Y-%m-%d'),
            largest_difference=max(float((a.double() - b.double()).abs().max())
                                   for a, b in zip(*(w.values() for w in weights), strict=True) if a.numel()))
        print(name, json.dumps(results[name]), flush=True)
        replace(RESULTS, lambda temporary: temporary.write_text(json.dumps(results, indent=1, sort_keys=True) + '\n'))
    page = re.sub(r'(?<=<!-- compare_mmcv -->\n\n).*?(?=\n\n<!-- end -->)', lambda _: table(results),
                  PAGE.read_text(), flags=re.S)
    replace(PAGE, lambda temporary: temporary.write_text(page))
    return 0


def table(results: dict) -> str:
    """The results in Markdown: a row per model."""
    rows = ['| config | metric | compiled mmcv | mmcv-lite | largest difference of a weight |', '|---|---|---|---|---|']
    for name, result in sorted(results.items()):
        for metric, value in result['compiled']['metrics'].items():
            rows.append(f'| `{name}` | {metric.removeprefix("coco/")} | {value:.4g} | '
                        f'{result["lite"]["metrics"][metric]:.4g} | {result["largest_difference"]:g} |')
    return '\n'.join(rows)


def make_data(folder: Path) -> Path:
    """Shapes in `folder`, once."""
    from mmvision_mamba.datasets import make_shapes
    if not folder.exists():
        make_shapes(folder, train=400, val=50, size=(64, 64))
    return folder


def shrunk_config(name: str, data: Path, iterations: int):
    """The neighbour's model and losses with the data, the schedule and the metrics of Shapes."""
    from tests.helpers.neighbours import load, on_shapes, shrink
    os.environ['SHAPES_ROOT'] = str(data)
    neighbour = shrink(load(name))
    if 'panoptic_head' in neighbour.model:  # things alone: PQ would need panopticapi
        neighbour.train_dataloader.dataset = dict(type='CocoDataset')
        for head in (neighbour.model.panoptic_head, neighbour.model.panoptic_fusion_head):
            head.num_stuff_classes = 0
    neighbour = on_shapes(neighbour, data)
    segmentor = neighbour.default_scope == 'mmseg'
    cfg = load(f'{"upernet" if segmentor else "cascade_mask_rcnn"}_mambavision_t_shapes')
    masks = "'with_mask': True" in str(neighbour.train_pipeline)
    cfg.model = neighbour.model
    cfg.train_dataloader.dataset = neighbour.train_dataloader.dataset
    if 'panoptic' in name:
        cfg.model.test_cfg.update(panoptic_on=False, instance_on=True)
    if 'max_per_image' in (cfg.model.get('test_cfg') or {}):
        cfg.model.test_cfg.max_per_image = 20  # of 12 queries' 36 scores
    for loader in (cfg.val_dataloader, cfg.test_dataloader):
        loader.dataset.pipeline[1].scale = (64, 64)
    if not segmentor:
        for evaluator in (cfg.val_evaluator, cfg.test_evaluator):
            evaluator.metric = ['bbox', 'segm'] if masks else ['bbox']
            if name.startswith('solov2') or 'mask2former' in name:
                evaluator.metric = ['segm']
    wrapper = neighbour.optim_wrapper
    wrapper.update(type='OptimWrapper', clip_grad=dict(max_norm=1.))
    wrapper.pop('dtype', None)
    wrapper.pop('loss_scale', None)
    wrapper.optimizer.lr = 3e-4 if 'roi_head' in cfg.model else 1e-3
    for item in wrapper.paramwise_cfg.get('custom_keys', {}).values():
        item.pop('lr_mult', None)
    cfg.optim_wrapper = wrapper
    cfg.train_cfg = dict(type='IterBasedTrainLoop', max_iters=iterations, val_interval=iterations)
    warm = iterations // 10
    cfg.param_scheduler = [dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=warm),
                           dict(type='CosineAnnealingLR', eta_min=0., by_epoch=False, begin=warm, end=iterations)]
    cfg.default_hooks.checkpoint.update(interval=iterations, save_best=None)
    cfg.randomness = dict(seed=0)
    return cfg


def train(python: Path, config: Path, work_dir: Path) -> dict:
    """Seconds, metrics and weights of a training in the environment of `python`."""
    start = time.perf_counter()
    environment = {**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHONPATH': str(ROOT)}
    log = work_dir.with_suffix('.log')
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open('w') as output:
        subprocess.run([python.absolute(), '-m', 'mmvision_mamba', 'train', config, '--work-dir', work_dir], check=True,
                       env=environment, stdout=output, stderr=subprocess.STDOUT)
    seconds = time.perf_counter() - start
    records = [json.loads(line) for path in sorted(work_dir.glob('*/vis_data/scalars.json'))[-1:]
               for line in path.read_text().splitlines()]
    metrics = {key: value for record in records for key, value in record.items()
               if key in ('coco/bbox_mAP', 'coco/segm_mAP', 'mIoU')}
    losses = [record['loss'] for record in records if 'loss' in record]
    checkpoint = Path((work_dir / 'last_checkpoint').read_text().strip())
    weights = torch.load(checkpoint, weights_only=False)['state_dict']  # its own run wrote it just now
    return dict(seconds=round(seconds), metrics=metrics, loss=losses[-1], weights=weights)


if __name__ == '__main__':
    sys.exit(main())
