"""Panoptic quality by its definition (Kirillov et al., Panoptic Segmentation, CVPR 2019), in sets of pixels.

Slow, and on purpose without anything of the package: what the package computes is held against it.
"""
import json
from collections import defaultdict
from pathlib import Path

import numpy as np
from PIL import Image


class Tally:
    """What one class adds up to: the IoU of each match, and numbers of false positives and false negatives."""

    def __init__(self):
        self.ious, self.false, self.missed = [], 0, 0

    def quality(self):
        """(PQ, SQ, RQ), or None where there is nothing of the class, neither true nor predicted."""
        half = (self.false + self.missed) / 2
        if not self.ious and not half:
            return None
        recognised = len(self.ious) / (len(self.ious) + half)
        segmented = sum(self.ious) / len(self.ious) if self.ious else 0.
        return segmented * recognised, segmented, recognised


def tally(truth, true_segments, predicted, predicted_segments):
    """{class: `Tally`} of one image, from ids (H, W), {id: (class, crowd)}, ids and {id: class}."""
    def pixels(ids, number):
        return {tuple(place) for place in np.argwhere(np.asarray(ids) == number).tolist()}

    true = {i: pixels(truth, i) for i in true_segments}
    guesses = {i: pixels(predicted, i) for i in predicted_segments}
    void = set(np.ndindex(np.shape(truth))).difference(*true.values())
    found = defaultdict(Tally)
    matched = set()  # (true, predicted)
    for i, (name, crowd) in true_segments.items():
        for j, guess in predicted_segments.items():
            union = (true[i] | guesses[j]) - void
            if guess == name and not crowd and union and (iou := len(true[i] & guesses[j]) / len(union)) > 0.5:
                found[name].ious.append(iou)
                matched.add((i, j))
    assert len({i for i, _ in matched}) == len({j for _, j in matched}) == len(matched)  # the paper's theorem
    for i, (name, crowd) in true_segments.items():
        found[name].missed += bool(true[i]) and not crowd and i not in {i for i, _ in matched}
    for j, name in predicted_segments.items():
        excused = void.union(*(true[i] for i, segment in true_segments.items() if segment == (name, True)))
        found[name].false += bool(guesses[j]) and j not in {j for _, j in matched} and \
            len(guesses[j] & excused) <= len(guesses[j]) / 2
    return {name: counts for name, counts in found.items() if counts.quality() is not None}


def total(tallies):
    """The `Tally` of each class over images."""
    sums = defaultdict(Tally)
    for image in tallies:
        for name, counts in image.items():
            sums[name].ious += counts.ious
            sums[name].false += counts.false
            sums[name].missed += counts.missed
    return sums


def qualities(tallies, things, stuff):
    """{'PQ', 'SQ', 'RQ', 'PQ_th', …} in per cent: means over the classes that are there or predicted."""
    sums = total(tallies)
    metrics = {}
    for ending, names in (('', [*things, *stuff]), ('_th', things), ('_st', stuff)):
        known = [quality for name in names if name in sums and (quality := sums[name].quality())]
        means = [100 * sum(values) / len(known) for values in zip(*known)] or [float('nan')] * 3
        metrics |= {f'{key}{ending}': value for key, value in zip(('PQ', 'SQ', 'RQ'), means)}
    return metrics


def score_files(annotations: Path, folder: Path, results: Path, results_folder: Path):
    """`qualities` of predictions in COCO's format: a JSON file and a folder of PNGs for truth and predictions."""
    truth, found = (json.loads(path.read_text()) for path in (annotations, results))
    predictions = {record['image_id']: record for record in found['annotations']}
    tallies = []
    for record in truth['annotations']:
        prediction = predictions[record['image_id']]
        tallies.append(tally(
            _ids(folder / record['file_name']),
            {s['id']: (s['category_id'], bool(s['iscrowd'])) for s in record['segments_info']},
            _ids(results_folder / prediction['file_name']),
            {s['id']: s['category_id'] for s in prediction['segments_info']}))
    things, stuff = ([c['id'] for c in truth['categories'] if c['isthing'] == kind] for kind in (1, 0))
    return qualities(tallies, things, stuff)


def _ids(path):
    return np.asarray(Image.open(path)).astype(int) @ [1, 256, 65536]
