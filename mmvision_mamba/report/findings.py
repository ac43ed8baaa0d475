"""What a report says in words: the worst class and why it is that, the threshold to use, whether the model learns."""
import math
import statistics
from collections.abc import Iterator, Sequence
from typing import Any

from ..printable import shown
from ..visualization.curves import METRICS, Run
from .gathering import NO_EVALUATION, Gathered

_FEW = 10  # objects, below which a class's numbers say little
_WORDS = {'class': 'taken for another class', 'location': 'found in the wrong place', 'duplicate': 'found twice',
          'background': 'found where nothing is', 'missed': 'missed',
          'both': 'of the wrong class and in the wrong place'}


def findings(run: Gathered) -> list[str]:
    """The sentences, the most important first."""
    found = [NO_EVALUATION] if run.analysis is None else [*dict(
        detection=_detector, segmentation=_segmentor, classification=_classifier)[run.analysis['kind']](run)]
    return [*found, *(learning(run.curves) if run.curves is not None else ())]


def where(evaluation: dict[str, Any]) -> str:
    """What was evaluated on what, such as 'best.pth on the test split'."""
    name = evaluation['checkpoint']
    model = f'{shown(name, 100)}' if name else f'iteration {evaluation["iteration"]:,}'
    return f'{model} on the {"test" if evaluation["split"] == "test" else "validation"} split'


def error_words(kind: str) -> str:
    """A kind of errors as words that follow 'objects'."""
    return _WORDS[kind]


def class_threshold(one: dict[str, Any], overall: dict[str, Any] | None) -> float | None:
    """The threshold of a class's best F1; that of all classes where it has none, or too few objects to tell."""
    best = (one['objects'] >= _FEW and one['best']) or overall
    return None if best is None else best['score_thr']


# By task ------------------------------------------------------------------------------------------------------------

def _detector(run: Gathered) -> Iterator[str]:
    analysis = run.analysis
    overall, best = analysis['overall'], analysis['overall']['best']
    there = [one for one in analysis['classes'] if one['objects'] and one['ap'] is not None]
    if not there:
        yield f'The {analysis["images"]:,} images have no objects: there is nothing to measure.'
        return
    if best is None:
        yield ('The model finds none of the objects: no detection is right. Is it trained, and are the classes those '
               'of the data?')
        return
    worst, *others = sorted(there, key=lambda one: (one['ap'], one['ap50']))
    on = analysis['measured_on']
    if others:
        yield (f'The worst class is {_quoted(worst["name"])}: AP {worst["ap"]:.3f} of {on}, '
               f'then {_quoted(others[0]["name"])} {others[0]["ap"]:.3f}, of all classes {overall["ap"]:.3f}. '
               f'{_why(worst, run)}')
    else:
        yield f'{_quoted(worst["name"])} has AP {worst["ap"]:.3f} of {on}. {_why(worst, run)}'
    thresholds = {one['name']: one['best']['score_thr'] for one in there if one['best'] and one['objects'] >= _FEW}
    lowest, highest = (choose(thresholds, key=thresholds.get, default='') for choose in (min, max))
    differ = (f' The best of single classes are from {thresholds[lowest]:g} ({_quoted(lowest)}) to '
              f'{thresholds[highest]:g} ({_quoted(highest)}).') if len(thresholds) > 1 else ''
    yield (f'Use the score threshold {best["score_thr"]:g}: {best["recall"]:.0%} of the objects are found (recall), '
           f'and {best["precision"]:.0%} of the detections are right (precision); F1 {best["f1"]:.3f}, the best there '
           f'is.{differ} infer --score-thr auto takes {"that of each class" if len(thresholds) > 1 else "it"}.')
    kind = max(analysis['errors'], key=lambda kind: analysis['errors'][kind]['cost'] or 0)
    if (cost := analysis['errors'][kind]['cost'] or 0) > 0.005:
        yield f'Over all classes most is lost by objects {error_words(kind)}: {cost:.3f} of AP at IoU 0.5.'
    sizes = {name: size for name, size in analysis['sizes'].items()
             if size['objects'] >= _FEW and None not in (size['ap'], size['recall'])}
    if len(sizes) > 1:
        low, high = (choose(sizes, key=lambda name: sizes[name]['ap']) for choose in (min, max))
        if sizes[high]['ap'] - sizes[low]['ap'] > 0.1:
            yield (f'{low.capitalize()} objects are the hardest: AP {sizes[low]["ap"]:.3f} of {on}, of {high} ones '
                   f'{sizes[high]["ap"]:.3f}. Found at any score are {sizes[low]["recall"]:.0%} of '
                   f'{sizes[low]["objects"]:,}, of {high} ones {sizes[high]["recall"]:.0%}.')
    yield from _calibrated(analysis['calibration'], 'detections')


def _why(worst: dict[str, Any], run: Gathered) -> str:
    """Why a class is the worst: what its errors cost, with what it is confused, how little there is of it."""
    parts = []
    costs = sorted(((one['cost'] or 0, kind) for kind, one in worst['errors'].items()), reverse=True)
    costs = [(cost, kind) for cost, kind in costs if cost > 0.005][:2]
    if costs:
        parts.append('What costs it most: objects ' + ', then '.join(
            f'{error_words(kind)}{_confused(worst, run, kind)} ({cost:.3f})' for cost, kind in costs)
                     + f', of AP at IoU 0.5, where it has {worst["ap50"]:.3f}.')
        if (gap := worst['ap50'] - worst['ap']) > max(0.1, sum(cost for cost, _ in costs)):
            parts.append(f'More, {gap:.3f}, it loses at stricter IoUs: it is found, but its outline is not exact.')
    elif (worst['ap50'] or 0) - worst['ap'] > 0.1:
        parts.append(f'At IoU 0.5 its AP is {worst["ap50"]:.3f}: it is found, but its outline is not exact.')
    if worst['objects'] < _FEW:
        parts.append(f'It has {_number(worst["objects"], "object")} here: that is too few to be sure of.')
    if (rare := _rare(worst['name'], run)) is not None:
        parts.append(rare)
    return ' '.join(parts)


def _confused(worst: dict[str, Any], run: Gathered, kind: str) -> str:
    """For which class a class is taken, or which is taken for it, most often."""
    matrix, names = run.analysis['confusion'], run.classes
    if kind != 'class' or matrix is None:
        return ''
    label = names.index(worst['name'])
    others = {name: matrix[label][i] + matrix[i][label] for i, name in enumerate(names) if i != label}
    other = max(others, key=others.get, default=None)
    return f', mostly {_quoted(other)},' if other is not None and others[other] else ''


def _rare(name: str, run: Gathered) -> str | None:
    """That a class is rare in training."""
    classes = ((run.run or {}).get('data', {}).get('train') or {}).get('classes')
    counts = {one['name']: one['objects'] for one in classes or ()}
    total = sum(counts.values())
    if name not in counts or len(counts) < 2 or counts[name] * len(counts) * 2 > total:
        return None
    return f'It is rare in training: {counts[name]:,} of {total:,} objects.'


def _segmentor(run: Gathered) -> Iterator[str]:
    analysis = run.analysis
    there = [one for one in analysis['classes'] if one['pixels'] and one['iou'] is not None]
    if not there:
        yield f'The {analysis["images"]:,} images have no pixel of a class: there is nothing to measure.'
        return
    (worst, *others), overall = sorted(there, key=lambda one: one['iou']), analysis['overall']
    label, why = run.classes.index(worst['name']), []
    lost = 1 - (worst['accuracy'] or 0)
    matrix = analysis['confusion']
    row, taken = [], None
    if matrix is not None and len(matrix) > 1:
        row, column = matrix[label], [line[label] for line in matrix]
        taken = max((i for i in range(len(row)) if i != label), key=lambda i: column[i])
    if worst['precision'] is None:
        why.append('No pixel is said to be it.')
    if lost >= 1 - (worst['precision'] if worst['precision'] is not None else 1):
        why.append(f'{lost:.0%} of its pixels are taken for something else'
                   + _taken_for(row, label, run.classes) + '.')
    else:
        why.append(f'{1 - worst["precision"]:.0%} of the pixels said to be it are something else'
                   + (f', mostly {_quoted(run.classes[taken])}' if taken is not None and column[taken] else '') + '.')
    if worst['boundary_iou'] is not None and worst['iou'] - worst['boundary_iou'] > 0.2:
        why.append(f'Along its outlines less is right: boundary IoU {worst["boundary_iou"]:.3f}.')
    if others and worst['pixels'] * 2 < statistics.median(one['pixels'] for one in others):
        why.append(f'It is rare: {worst["pixels"] / analysis["pixels"]:.2%} of the pixels, in '
                   f'{_number(worst["images"], "image")} of {analysis["images"]:,}.')
    yield (f'The worst class is {_quoted(worst["name"])}: IoU {worst["iou"]:.3f}, '
           + (f'then {_quoted(others[0]["name"])} {others[0]["iou"]:.3f}, ' if others else '')
           + f'of all classes {overall["iou"]:.3f}. '
           + ' '.join(why))
    yield (f'{overall["accuracy"]:.1%} of the pixels are right. Each pixel gets the class of the highest score: no '
           'threshold is needed.')


def _taken_for(row: Sequence[int], label: int, names: Sequence[str]) -> str:
    """What the pixels of a class are taken for instead: one class if that is most of it, else the two that are most."""
    wrong = sorted(((count, i) for i, count in enumerate(row) if i != label and count), key=lambda one: -one[0])
    if not wrong:
        return ''
    many = wrong[0][0] * 2 > sum(count for count, _ in wrong)
    said = [f'{_quoted(names[i])} ({count / sum(row):.0%})' for count, i in wrong[:1 if many else 2]]
    return f', {"mostly" if many else "first of all"} {" and ".join(said)}'


def _classifier(run: Gathered) -> Iterator[str]:
    analysis = run.analysis
    there = [one for one in analysis['classes'] if one['images'] and one['accuracy'] is not None]
    if not there:
        return
    worst, *others = sorted(there, key=lambda one: (one['accuracy'], one['f1'] or 0))
    matrix, why = analysis['confusion'], ''
    following = f'then {_quoted(others[0]["name"])} {others[0]["accuracy"]:.1%}, ' if others else ''
    if matrix is not None and len(matrix) > 1 and worst['accuracy'] < 1:
        row = matrix[run.classes.index(worst['name'])]
        label = run.classes.index(worst['name'])
        other = max((i for i in range(len(row)) if i != label), key=lambda i: row[i])
        why = f' It is taken for {_quoted(run.classes[other])} most often: {_number(row[other], "image")}.'
    few = f' It has {_number(worst["images"], "image")} here: too few to be sure of.' if worst['images'] < _FEW else ''
    rare = _rare(worst['name'], run)
    yield (f'The worst class is {_quoted(worst["name"])}: {worst["accuracy"]:.1%} of its '
           f'{_number(worst["images"], "image")} are right, {following}of all images '
           f'{analysis["overall"]["accuracy"]:.1%}.{why}'
           f'{few}{" " + rare if rare else ""}')
    yield 'Each image gets the class of the highest score: no threshold is needed.'
    yield from _calibrated(analysis['calibration'], 'predictions')


def _calibrated(measured: dict[str, Any], what: str) -> Iterator[str]:
    error, bias = measured['error'], measured['bias']
    if error is None or bias is None:
        return
    if error < 0.05:
        yield (f'Scores are near the share of the {what} that are right, off by {error:.3f} in the mean (ECE); how far '
               'at each score, the chart of calibration shows.')
    elif abs(bias) > error / 2:
        how, number = ('high', 'fewer') if bias > 0 else ('low', 'more')
        yield (f'Scores are too {how}, by {abs(bias):.2f} in the mean: {number} of the {what} are right than they say.')
    else:
        yield f'Scores are no probabilities: they are off by {error:.2f} in the mean (ECE).'


# The training -------------------------------------------------------------------------------------------------------

def main_metric(curves: Run) -> str | None:
    """The key of the run's main metric of validation."""
    ends = [end for group in METRICS.values() for end in group]
    return next((key for end in ends for key in curves.val if key.endswith(end)), None)


def learning(curves: Run) -> Iterator[str]:
    """Whether the training was long enough, or too long."""
    key = main_metric(curves)
    points = [(x, y) for x, y in curves.val.get(key, ()) if math.isfinite(y) and y >= 0] if key else []
    if len(points) == 1 and curves.train:
        yield (f'It was validated once, at iteration {points[0][0]:,g}: whether more training would bring more can not '
               'be told. Validate more often (train_cfg.val_interval).')
    if len(points) > 2:
        best = max(points, key=lambda point: point[1])
        last = points[-1]
        if best[0] == last[0] and best[1] > points[-2][1]:
            yield (f'{shown(key, 60)} was highest at the end, {best[1]:.4g} at iteration {best[0]:,g}: a longer '
                   'training may bring more.')
        elif best[1] - last[1] > 0.02 * abs(best[1]):
            yield (f'{shown(key, 60)} was highest at iteration {best[0]:,g}, {best[1]:.4g}, and fell to '
                   f'{last[1]:.4g}: take the best checkpoint, or stop earlier.')
        else:
            yield (f'{shown(key, 60)} was highest at iteration {best[0]:,g}, {best[1]:.4g}, and is {last[1]:.4g} at '
                   'the end: it has levelled off.')
    losses = [(x, y) for name in ('val/loss', 'loss') for x, y in curves.val.get(name, ()) if math.isfinite(y)]
    if len(losses) > 2:
        least = min(losses, key=lambda point: point[1])
        if losses[-1][1] > 1.05 * least[1]:
            yield (f'The validation loss was least at iteration {least[0]:,g}, {least[1]:.4g}, and has risen to '
                   f'{losses[-1][1]:.4g} since: the model begins to learn its training images by heart.')


def _quoted(name: str) -> str:
    return f'‘{shown(name, 60)}’'


def _number(count: int, noun: str) -> str:
    return f'{count:,} {noun}{"s" * (count != 1)}'
