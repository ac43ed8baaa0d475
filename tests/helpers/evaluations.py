"""Evaluations of models that exist on paper alone, through the recorder of reports: detector, segmentor, classifier."""
from types import SimpleNamespace

import numpy as np
import torch
from pycocotools import mask as coco_mask

from mmvision_mamba.report.kept import VERSION, write_kept
from mmvision_mamba.report.recording import Recorder, kept_at

CLASSES = ('circle', 'square', '<b>star</b> & "co"')
SIDE = 96


class Objects:
    """A data set of objects, as mmengine's tell them."""
    ignore_index = 255

    def __init__(self, infos=(), classes=CLASSES):
        self.infos, self.metainfo = list(infos), dict(classes=classes)

    def __len__(self):
        return len(self.infos)

    def get_data_info(self, i):
        return self.infos[i]


def picture(path: str) -> np.ndarray:
    """A picture without a file, uint8 `(96, 96, 3)`."""
    if 'missing' in path:
        raise FileNotFoundError(path)
    return np.random.default_rng(len(path)).integers(40, 200, (SIDE, SIDE, 3), dtype=np.uint8)


def recorder(dataset, warn=None, metrics=()) -> Recorder:
    made = Recorder(dataset, picture, warn or (lambda message: (_ for _ in ()).throw(AssertionError(message))), metrics)
    made.dataset_meta = dataset.metainfo
    return made


def rectangle_mask(box) -> dict:
    mask = np.zeros((SIDE, SIDE), np.uint8)
    x1, y1, x2, y2 = (int(v) for v in box)
    mask[y1:y2, x1:x2] = 1
    return coco_mask.encode(np.asfortranarray(mask))


def detections(seed=0, images=24, masks=False):
    """A data set of rectangles and predictions: class 2 is missed often, and taken for class 1."""
    rng = np.random.default_rng(seed)
    infos, samples = [], []
    for i in range(images):
        number = rng.integers(1, 5)
        corners = rng.integers(0, 60, (number, 2))
        boxes = np.concatenate([corners, corners + rng.integers(8, 36, (number, 2))], 1).astype(float)
        labels = rng.integers(0, 3, number)
        infos.append(dict(img_id=i, img_path=f'/data/picture {i}<i>.png', height=SIDE, width=SIDE, instances=[
            dict(bbox=box.tolist(), bbox_label=int(label), ignore_flag=0,
                 **(dict(mask=rectangle_mask(box)) if masks else {})) for box, label in zip(boxes, labels)]))
        found = [(box + rng.normal(0, 1, 4), 1 if label == 2 and rng.random() < 0.3 else label, rng.uniform(0.4, 0.99))
                 for box, label in zip(boxes, labels) if rng.random() < (0.5 if label == 2 else 0.95)]
        found += [(np.array([2., 3, 30, 33]) + i, rng.integers(0, 3), rng.uniform(0.01, 0.45)) for _ in range(2)]
        predicted = dict(bboxes=torch.tensor(np.array([box for box, *_ in found])).clamp(0, SIDE),
                         labels=torch.tensor([int(label) for _, label, _ in found]),
                         scores=torch.tensor([score for *_, score in found]))
        if masks:
            predicted['masks'] = torch.stack([torch.from_numpy(coco_mask.decode(rectangle_mask(np.clip(box, 0, SIDE))))
                                              for box, *_ in found]).bool()
        samples.append(dict(img_id=i, img_path=infos[-1]['img_path'], ori_shape=(SIDE, SIDE), pred_instances=predicted))
    return Objects(infos), samples


def segmentations(seed=0, images=8):
    """Label maps of halves, of which a sixth of class 1 is taken for class 0; rows that do not count."""
    rng = np.random.default_rng(seed)
    samples = []
    for i in range(images):
        truth = np.zeros((SIDE, SIDE), np.int64)
        truth[:, int(rng.integers(20, 70)):] = 1
        truth[60:80, 10:30] = 2 * (i % 2)
        predicted = truth.copy()
        predicted[:16][predicted[:16] == 1] = 0
        truth[-4:] = 255
        samples.append(dict(img_path=f'/data/{i}.png', gt_sem_seg=dict(data=torch.from_numpy(truth)[None]),
                            pred_sem_seg=dict(data=torch.from_numpy(predicted)[None])))
    return Objects(), samples


def classifications(seed=0, images=60):
    """Labels and scores: class 2 is right half of the time."""
    rng = np.random.default_rng(seed)
    samples, labels = [], []
    for i in range(images):
        label = int(rng.integers(0, 3))
        guess = 0 if label == 2 and rng.random() < 0.5 else label
        scores = rng.dirichlet(np.ones(3)) * 0.3
        scores[guess] += 0.7
        samples.append(dict(img_path=f'/data/{i}.png', pred_scores=torch.tensor(scores)))
        labels.append(label)
    return Objects(), samples, labels


def evaluated(kind: str, **options) -> dict:
    """The content that a recorder has of an evaluation, and its metrics."""
    made = dict(detection=detections, segmentation=segmentations, classification=classifications)[kind](**options)
    record = recorder(made[0])
    record.process(dict(gt_label=torch.tensor(made[2])) if len(made) == 3 else {}, made[1])
    metrics = record.evaluate(len(made[1]))
    return SimpleNamespace(content=record.content, metrics=metrics)


def write_run(folder, kind='detection', name='best.pth', **options):
    """A run's folder with a log and an evaluation."""
    log = folder / '20260101_000000/vis_data/scalars.json'
    log.parent.mkdir(parents=True)
    key = dict(detection='coco/bbox_mAP', segmentation='mIoU', classification='accuracy/top1')[kind]
    lines = [f'{{"lr": 0.001, "loss": {2 / (i + 1)}, "loss_cls": {1 / (i + 1)}, "iter": {i}, "step": {i}}}\n' + (
        f'{{"{key}": {0.5 - abs(6 - i) / 20}, "step": {i}}}\n' if i % 2 == 0 else '') for i in range(1, 11)]
    log.write_text(''.join(lines))
    (folder / 'run.py').write_text("model = dict(type='Made', depth=3)\nlr = 0.001\n")
    write_kept(kept_at(folder, 'val'), dict(
        version=VERSION, split='val', time=1., iteration=10, epoch=0, checkpoint=name, versions=dict(torch='2.0'),
        **evaluated(kind, **options).content))
    write_kept(kept_at(folder, 'run'), dict(
        seconds=100., iterations=10, iteration=10, epochs=1, peak_memory=dict(process=2**30), time=1.,
        versions=dict(torch='2.0'), data=dict(train=dict(images=40, counted=40, classes=[
            dict(name=name, objects=number, images=number) for name, number in zip(CLASSES, (50, 45, 5))]))))
    return folder
