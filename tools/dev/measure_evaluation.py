#!/usr/bin/env python3
"""Time COCO's evaluation beside the model: tools/dev/measure_evaluation.py OUT.json [--images N].

Pasting masks into images, encoding them as RLE, COCOeval of boxes and of masks, on synthetic results; where
faster-coco-eval is installed, COCOeval by that too, of which the numbers have to be the same. OUT.json is a table of
docs/performance.md.
"""
import argparse
import copy
import json
import shlex
import sys
import tempfile
import time
from pathlib import Path

import torch
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from pycocotools.cocoeval import COCOeval

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # run from anywhere, installed or not

from mmvision_mamba.benchmark.report import machine, number, write

HEIGHT, WIDTH, OBJECTS, CLASSES, SIDE = 480, 640, 7, 80, 28
STEPS = ('pasting', 'encoding', 'COCOeval, boxes', 'COCOeval, masks')
FAST = ('faster-coco-eval, boxes', 'faster-coco-eval, masks')


def random_boxes(count: int) -> torch.Tensor:
    """(count, 4), most of them small, as COCO's are."""
    sides = (0.04 + 0.5 * torch.rand(count, 1)**2) * (0.5 + torch.rand(count, 2))
    corners = torch.rand(count, 2) * (1 - sides).clamp(min=0)
    return torch.cat((corners, (corners + sides).clamp(max=1)), 1) * torch.tensor([WIDTH, HEIGHT] * 2)


def annotations(truth: list[tuple]) -> dict:
    """COCO's annotations: every object an ellipse, as a polygon of 24 corners, in its box."""
    angles = torch.linspace(0, 2 * torch.pi, 25)[:-1]
    circle = torch.stack((angles.cos(), angles.sin()), 1)
    found = []
    for image, (boxes, labels) in enumerate(truth):
        for box, label in zip(boxes, labels.tolist()):
            size = box[2:] - box[:2]
            polygon = ((box[:2] + box[2:]) / 2 + circle * size / 2).flatten().tolist()
            found.append(dict(
                id=len(found) + 1, image_id=image, category_id=label + 1, iscrowd=0, segmentation=[polygon],
                area=float(size.prod()) * torch.pi / 4, bbox=[*box[:2].tolist(), *size.tolist()]))
    return dict(images=[dict(id=i, file_name=f'{i}.jpg', height=HEIGHT, width=WIDTH) for i in range(len(truth))],
                annotations=found, categories=[dict(id=i + 1, name=str(i)) for i in range(CLASSES)])


def detections(boxes: torch.Tensor, labels: torch.Tensor, count: int) -> tuple[InstanceData, torch.Tensor]:
    """`count` detections of an image, its objects moved a little among them, and logits of their masks, ellipses."""
    guesses = random_boxes(count)
    guesses[:len(boxes)] = boxes[:count] + torch.randn(len(boxes), 4)[:count]
    classes = torch.randint(CLASSES, (count,))
    classes[:len(labels)] = labels[:count]
    axis = torch.linspace(-1, 1, SIDE)
    ellipse = 8 * (1 - axis[:, None]**2 - axis**2)
    return (InstanceData(bboxes=guesses, scores=torch.rand(count), labels=classes),
            ellipse + torch.randn(count, 1, SIDE, SIDE))


def measure(images: int, count: int, distinct: int) -> dict[str, float]:
    """Seconds of each of `STEPS` for so many images with `count` detections each.

    After `distinct` images the same come again, whose masks are there: these alone are pasted and encoded.
    """
    from mmdet.evaluation import CocoMetric
    from mmdet.evaluation.metrics import coco_metric
    from mmdet.models.roi_heads.mask_heads import FCNMaskHead
    head = FCNMaskHead(num_convs=0, in_channels=1, num_classes=CLASSES, class_agnostic=True)
    meta, settings = dict(ori_shape=(HEIGHT, WIDTH), scale_factor=(1., 1.)), ConfigDict(mask_thr_binary=0.5)
    seconds = dict.fromkeys(STEPS, 0.)  # those of `FAST` come where they can be measured

    def timed(step, function, *args, **kwargs):
        start = time.perf_counter()
        result = function(*args, **kwargs)
        seconds[step] = seconds.get(step, 0.) + time.perf_counter() - start
        return result
    torch.manual_seed(0)
    truth = [(random_boxes(OBJECTS), torch.randint(CLASSES, (OBJECTS,))) for _ in range(min(images, distinct))]
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        file = Path(folder) / 'annotations.json'
        file.write_text(json.dumps(annotations([truth[i % len(truth)] for i in range(images)])))
        metrics = {kind: CocoMetric(ann_file=str(file), metric=kind) for kind in ('bbox', 'segm')}
        for metric in metrics.values():
            metric.dataset_meta = dict(classes=tuple(map(str, range(CLASSES))))
        for image, (boxes, labels) in enumerate(truth):
            found, logits = detections(boxes, labels, count)
            found, = timed('pasting', head.predict_by_feat, (logits,), [found], [meta], settings, rescale=True)
            timed('encoding', metrics['segm'].process, {}, [dict(
                img_id=image, ori_shape=(HEIGHT, WIDTH), pred_instances=found.to_dict())])
        once = metrics['segm'].results
        for image in range(len(once), images):
            truth_, found_ = once[image % len(truth)]
            metrics['segm'].results.append((dict(truth_, img_id=image), dict(found_, img_id=image)))
        metrics['bbox'].results = metrics['segm'].results
        fast = coco_metric.COCOeval
        for step, fast_step, metric in zip(STEPS[2:], FAST, metrics.values()):
            # Each judges copies, for it leaves masks encoded; mmdet's data of truth is read anew.
            coco_metric.COCOeval = COCOeval
            results = [timed(step, metric.compute_metrics, copy.deepcopy(metric.results))]
            if fast is not COCOeval:
                coco_metric.COCOeval, metric._coco_api = fast, type(metric._coco_api)(str(file))
                results.append(timed(fast_step, metric.compute_metrics, metric.results))
                assert results[0] == results[1], results
    return seconds


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('out', type=Path)
    parser.add_argument('--images', type=int, default=5000, help='default: %(default)s')
    parser.add_argument('--distinct', type=int, metavar='N', help='images that differ, pasted and encoded once; '
                        'default: all')
    parser.add_argument('--detections', type=int, default=100, help='of an image; default: %(default)s')
    args = parser.parse_args(argv)
    distinct = min(args.distinct or args.images, args.images)
    seconds = measure(args.images, args.detections, distinct)
    if distinct == args.images:
        seconds['together, without faster-coco-eval'] = sum(map(seconds.__getitem__, STEPS))
    else:  # these were not done for all
        seconds = {step: time_ for step, time_ in seconds.items() if step not in STEPS[:2]}
    rows = [[step, f'{number(time_)} s', f'{number(1e3 * time_ / args.images)} ms'] for step, time_ in seconds.items()]
    for row in rows:
        print(' | '.join(row))
    command = ['tools/dev/measure_evaluation.py', str(args.out), '--images', str(args.images), '--detections',
               str(args.detections), *(['--distinct', str(distinct)] if distinct < args.images else [])]
    write(args.out, dict(command=shlex.join(command), machine=machine(torch.device('cpu')), seconds=seconds,
                         table=[['work', f'{args.images:,} images', 'an image'], rows]))
    return 0


if __name__ == '__main__':
    sys.exit(main())
