"""What a page shows of an evaluation: tables, charts and pictures, by task."""
from typing import Any

from ..evaluation.error_kinds import KINDS
from .charts import Line, line_chart
from .findings import class_threshold
from .html import Html, bar, matrix, table, text

_MOST_SHOWN = 30  # classes in a matrix
_MOST_LINES = 8  # classes with a curve: the worst
_MOST_PAIRS = 30  # confusions that are listed where there is no matrix
MEASURES = dict(ap='AP (IoU 0.5 to 0.95)', ap50='AP50', ap75='AP75', iou='mean IoU', accuracy='accuracy',
                mean_accuracy='mean accuracy of classes', boundary_iou='mean boundary IoU',
                top5='accuracy of the top 5')
_ROLES = dict(worst='Worst images', best='Best images', random='Random images')


def overall(analysis: dict[str, Any], metrics: dict[str, float | None] | None) -> str:
    """All that is measured over all classes."""
    rows = [(MEASURES[key], value) for key, value in analysis['overall'].items() if key in MEASURES and not (
        key == 'top5' and value is None)]
    on = f', of {analysis["measured_on"]}' if 'measured_on' in analysis else ''
    numbers = ', '.join(f'{analysis[key]:,} {key}' for key in ('images', 'objects', 'pixels') if key in analysis)
    parts = [table(f'All classes together{on}: {numbers}', ('measure', 'value'), rows)]
    if metrics:
        parts.append('<details><summary>All metrics of the test</summary>' + table(
            'metrics.json', ('metric', 'value'), measured(metrics)[:1000]) + '</details>')
    return ''.join(parts)


def measured(metrics: dict[str, float | None]) -> list[tuple[str, float | None]]:
    """Metrics as rows: COCO's have -1 where there is nothing to measure, such as no large objects."""
    return [(name, None if value == -1 else value) for name, value in metrics.items()]


def classes(analysis: dict[str, Any]) -> str:
    """The table of classes, the worst first."""
    key = dict(detection='ap', segmentation='iou', classification='accuracy')[analysis['kind']]
    ordered = sorted(analysis['classes'], key=lambda one: (one[key] is None, one[key] or 0))
    if analysis['kind'] == 'detection':
        titles = 'class', 'AP', 'threshold', 'precision', 'recall', 'F1', 'AP50', 'objects', 'images'
        rows = [(one['name'], one['ap'], *(
            (None,) * 4 if one['best'] is None else (Html(f'{one["best"]["score_thr"]:g}'), one['best']['precision'],
                                                     one['best']['recall'], one['best']['f1'])),
            one['ap50'], one['objects'], one['images']) for one in ordered]
        caption = 'Each class, the worst first; precision, recall and F1 at its own best threshold'
    elif analysis['kind'] == 'segmentation':
        titles = 'class', 'IoU', 'accuracy (recall)', 'precision', 'boundary IoU', 'pixels', 'images'
        rows = [(one['name'], one['iou'], one['accuracy'], one['precision'], one['boundary_iou'], one['pixels'],
                 one['images']) for one in ordered]
        caption = 'Each class, the worst first'
    else:
        titles = 'class', 'accuracy (recall)', 'precision', 'F1', 'images'
        rows = [(one['name'], one['accuracy'], one['precision'], one['f1'], one['images']) for one in ordered]
        caption = 'Each class, the worst first'
    if len(rows) <= 60:
        return table(caption, titles, rows)
    return table(f'{caption}; the first 30 of {len(rows)}', titles, rows[:30]) + (
        f'<details><summary>All {len(rows)} classes</summary>{table(caption, titles, rows)}</details>')


def thresholds(analysis: dict[str, Any]) -> str:
    """Precision, recall and F1 over the score threshold, and precision over recall."""
    curves, best = analysis['curves'], analysis['overall']['best']
    grid, of_all = curves['thresholds'], curves['all']
    mark = [] if best is None else [(best['score_thr'], best['f1'])]
    charts = [line_chart('All classes together, over the score threshold', [
        Line(name, [*zip(grid, of_all[key])]) for name, key in (('F1', 'f1'), ('precision', 'precision'),
                                                               ('recall', 'recall'))],
        'score threshold', '', (0, 1), (0, 1), mark)]
    names = [one['name'] for one in analysis['classes']]
    worst = sorted((i for i in range(len(curves['classes'])) if analysis['classes'][i]['ap'] is not None),
                   key=lambda i: analysis['classes'][i]['ap'])[:_MOST_LINES - 1]
    several = f', the {len(worst)} worst classes' if len(worst) < len(names) else ''
    charts.append(line_chart(f'Precision over recall{several}', [
        Line('all classes', [*zip(of_all['recall'], of_all['precision'])]),
        *(Line(names[i], [*zip(curves['classes'][i]['recall'], curves['classes'][i]['precision'])]) for i in worst)],
        'recall', 'precision', (0, 1), (0, 1)))
    if worst:
        charts.append(line_chart(f'F1 over the score threshold{several}', [
            Line('all classes', [*zip(grid, of_all['f1'])]),
            *(Line(names[i], [*zip(grid, curves['classes'][i]['f1'])]) for i in worst)],
            'score threshold', 'F1', (0, 1), (0, 1), mark))
    said = '' if best is None else (
        f'<p>The best threshold for all classes is <strong>{best["score_thr"]:g}</strong>, the ring: precision '
        f'{best["precision"]:.3f}, recall {best["recall"]:.3f}, F1 {best["f1"]:.3f}. The table of classes has that of '
        'each. They are the best of these very images: on others expect a little less.</p>')
    return f'{said}<div class="charts">{"".join(charts)}</div>'


def errors(analysis: dict[str, Any]) -> str:
    """What each kind of errors costs, over all and of each class."""
    kinds = sorted(analysis['errors'], key=lambda kind: -(analysis['errors'][kind]['cost'] or 0))
    most = max(analysis['errors'][kind]['cost'] or 0 for kind in kinds) or 1
    rows = [(f'{kind}: {KINDS[kind]}', analysis['errors'][kind]['count'], analysis['errors'][kind]['cost'],
             bar((analysis['errors'][kind]['cost'] or 0) / most)) for kind in kinds]
    parts = ['<p>What the mean AP at IoU 0.5 would gain without the errors of one kind, after TIDE (arXiv 2008.08115). '
             'Detections of all scores count: missed are objects that are not found at any.</p>',
             table('Errors by kind', ('kind', 'number', 'cost in AP50', ''), rows, 'bars')]
    ordered = sorted((one for one in analysis['classes'] if one['ap'] is not None), key=lambda one: one['ap'])[:30]
    if len(ordered) > 1:
        rows = [(one['name'], one['ap50'], *(one['errors'][kind]['cost'] for kind in kinds)) for one in ordered]
        parts.append(table('Of each class, what its AP at IoU 0.5 would gain; the worst first',
                           ('class', 'AP50', *kinds), rows))
    return ''.join(parts)


def sizes(analysis: dict[str, Any]) -> str:
    """Objects by size."""
    spans = dict(small='under 32 × 32 pixels', medium='32 × 32 to 96 × 96', large='over 96 × 96')
    titles = 'size', 'objects', 'AP', 'AP50', 'recall'
    return table('By size of the objects; recall at IoU 0.5 and any score', titles, [
        (f'{name}: {spans[name]}', one['objects'], one['ap'], one['ap50'], one['recall'])
        for name, one in analysis['sizes'].items()])


def confusion(analysis: dict[str, Any]) -> str:
    """The confusion matrix, or of many classes its largest entries."""
    counts, names = analysis['confusion'], [one['name'] for one in analysis['classes']]
    if counts is None:
        return '<p>There are too many classes for a matrix.</p>'
    what = dict(detection='objects', segmentation='pixels', classification='images')[analysis['kind']]
    caption = f'Confusion matrix: {what} of each true class, in per cent'
    if analysis['kind'] == 'detection':
        names.append('background')
        best = analysis['overall']['best']
        caption += (f', at IoU 0.5 and scores above {best["score_thr"] if best else 0.5:g}; the last row is '
                    'of detections without an object of their own, the last column of objects without a detection. '
                    'An object and a detection of another class are a pair here; for precision and recall they are '
                    'a false detection and a miss')
    if len(names) <= _MOST_SHOWN:
        return matrix(caption, counts, names)
    pairs = sorted(((count, i, j) for i, row in enumerate(counts) for j, count in enumerate(row) if i != j and count),
                   reverse=True)[:_MOST_PAIRS]
    return table(f'The {len(pairs)} most frequent confusions', ('true', 'predicted', what, 'of the true class'), [
        (names[i], names[j], count, f'{count / sum(counts[i]):.1%}') for count, i, j in pairs], left=(0, 1))


def reliability(analysis: dict[str, Any]) -> str:
    """How far scores are probabilities."""
    measured = analysis['calibration']
    if measured['error'] is None:
        return ''
    points = [(x, y) for x, y in zip(measured['scores'], measured['right']) if x is not None and y is not None]
    what = f'detections of scores from {measured["least_score"]:g}' if 'least_score' in measured else 'predictions'
    rows = [(f'{i / len(measured["counts"]):.1f} to {(i + 1) / len(measured["counts"]):.1f}', count, score, right)
            for i, (count, score, right) in enumerate(zip(measured['counts'], measured['scores'], measured['right']))]
    chart = line_chart('Share of right ones over the mean score', [Line('the model', points, True)], 'score', 'right',
                       (0, 1), (0, 1), diagonal=True)
    return (f'<p>Expected calibration error {measured["error"]:.3f}, of {sum(measured["counts"]):,} {what}. On the '
            f'dashed line scores are probabilities; below it they are too high.</p><div class="charts">{chart}<div>'
            + table('By score', ('score', 'number', 'mean score', 'right'), rows) + '</div></div>')


def pictures(evaluation: dict[str, Any]) -> str:
    """The images, truth beside prediction."""
    best = evaluation['analysis']['overall'].get('best')
    parts = []
    if evaluation['analysis']['kind'] == 'detection':
        least = best['score_thr'] if best else 0.3
        parts.append(f'<p>Left the truth, right the prediction, with scores above {least:g}.</p>')
    elif evaluation['analysis']['kind'] == 'segmentation':
        parts.append('<p>Left the truth, right the prediction. mIoU of an image is the mean over the classes that it '
                     'has or is said to have: few pixels of a class that is not there cost as much as a class that is '
                     'not found.</p>')
    for role, title in _ROLES.items():
        chosen = [one for one in evaluation['pictures'] if one['role'] == role]
        if chosen:
            parts.append(f'<h3 id="{role}">{title}</h3><div class="pictures">{"".join(map(_picture, chosen))}</div>')
    return ''.join(parts) if any(part.startswith('<h3 ') for part in parts) else ''


def _picture(one: dict[str, Any]) -> str:
    name = one['name'].replace('\\', '/').rsplit('/', 1)[-1] or one['name']
    said = f'{text(name, 60)}: {text(one["note"])}'
    images = [(f'{kind}', one[key]) for kind, key in (('truth', 'truth'), ('prediction', 'prediction'))
              if one[key] is not None and _is_base64(one[key])]
    if not images:
        shown = f'<p class="soft">no picture: {text(one.get("problem") or "it could not be read")}</p>'
    elif len(images) == 1:
        shown = _image(images[0][1], said)
    else:
        shown = '<div class="pair">' + ''.join(
            f'<div>{_image(data, f"{kind} of {said}")}<span>{kind}</span></div>' for kind, data in images) + '</div>'
    return f'<figure class="picture" tabindex="0">{shown}<figcaption>{said}</figcaption></figure>'


def _image(data: str, said: str) -> str:
    return f'<img alt="{said}" src="data:image/jpeg;base64,{data}">'


def _is_base64(data: str) -> bool:
    return data.isascii() and data.replace('+', '').replace('/', '').rstrip('=').isalnum()


def recommended(analysis: dict[str, Any] | None) -> dict[str, Any] | None:
    """The thresholds of a detector: 'all', and 'classes', {name: threshold}; None where nothing is recommended."""
    if analysis is None or analysis['kind'] != 'detection' or analysis['overall']['best'] is None:
        return None
    best = analysis['overall']['best']
    return dict(all=best['score_thr'],
                classes={one['name']: class_threshold(one, best) for one in analysis['classes']})
