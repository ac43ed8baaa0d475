"""The files in WORK_DIR/report that a report is made from: written whole, and read with suspicion."""
import json
import math
from pathlib import Path
from typing import Any

from ..errors import DataError
from ..files import read_text, replace
from ..printable import shown

VERSION = 1  # of what is kept: another is not read
EVALUATIONS = dict(val='validation', test='test')  # split -> name of its file
_MOST_BYTES = 2**26
_LATEST = 1e11  # seconds: dates of later years than 5138 are not those of runs

_OPTIONAL = float, type(None)  # a number, or none where there is nothing to measure
_BEST = [None, dict(score_thr=float, precision=float, recall=float, f1=float)]
_ERRORS = {kind: dict(count=int, cost=_OPTIONAL) for kind in (
    'class', 'location', 'both', 'duplicate', 'background', 'missed')}
_CURVE = dict.fromkeys(('precision', 'recall', 'f1'), (_OPTIONAL,))
_SIZE = dict(objects=int, ap=_OPTIONAL, ap50=_OPTIONAL, recall=_OPTIONAL)
_CALIBRATION = dict(counts=(int,), scores=(_OPTIONAL,), right=(_OPTIONAL,), error=_OPTIONAL, bias=_OPTIONAL)
_ANALYSES: dict[str, dict] = dict(
    detection=dict(
        measured_on=str, images=int, objects=int,
        overall=dict(ap=_OPTIONAL, ap50=_OPTIONAL, ap75=_OPTIONAL, best=_BEST),
        classes=(dict(name=str, objects=int, images=int, ap=_OPTIONAL, ap50=_OPTIONAL, best=_BEST, errors=_ERRORS),),
        sizes=dict(small=_SIZE, medium=_SIZE, large=_SIZE), errors=_ERRORS,
        curves=dict(thresholds=(float,), all=_CURVE, classes=(_CURVE,)), confusion=[None, ((int,),)],
        calibration=dict(_CALIBRATION, least_score=float)),
    segmentation=dict(
        images=int, pixels=int,
        overall=dict.fromkeys(('iou', 'accuracy', 'mean_accuracy', 'boundary_iou'), _OPTIONAL),
        classes=(dict(name=str, pixels=int, images=int, iou=_OPTIONAL, accuracy=_OPTIONAL, precision=_OPTIONAL,
                      boundary_iou=_OPTIONAL),), confusion=[None, ((int,),)]),
    classification=dict(
        images=int, overall=dict.fromkeys(('accuracy', 'mean_accuracy', 'top5'), _OPTIONAL),
        classes=(dict(name=str, images=int, accuracy=_OPTIONAL, precision=_OPTIONAL, f1=_OPTIONAL),),
        confusion=[None, ((int,),)], calibration=_CALIBRATION))
_TEXT = str, type(None)
_PICTURE = dict(role=str, note=str, name=str, truth=_TEXT, prediction=_TEXT)
_SPLIT = dict(images=int, counted=int, classes=[None, (dict(name=str, objects=int, images=int),)])
_VERSIONS = {...: str}
_RUN = dict(seconds=float, iterations=int, iteration=int, epochs=int, peak_memory={...: int}, versions=_VERSIONS,
            data={...: _SPLIT}, time=float)


def write_kept(path: Path, content: dict[str, Any]) -> None:
    """Write what is kept; raises OSError where that fails, and leaves what was there."""
    text = json.dumps(content, allow_nan=False)
    replace(path, lambda part: part.write_text(text + '\n', encoding='utf-8'))


def read_evaluation(path: Path) -> dict[str, Any] | None:
    """What `RecordingHook` kept of an evaluation; None where there is none.

    Raises:
        DataError: it can't be read, or is something else.
    """
    content = _read(path, dict(version=int, split=str, time=float, iteration=int, epoch=int, checkpoint=_TEXT,
                               versions=_VERSIONS, pictures=(_PICTURE,), analysis=dict(kind=str)))
    if content is None:
        return None
    analysis = content['analysis']
    spec = _ANALYSES.get(analysis['kind'])
    if content['version'] != VERSION or spec is None or not _fits(analysis, dict(spec, kind=str), True) \
            or not _is_whole(analysis):
        raise _foreign(path)
    return content


def read_run(path: Path) -> dict[str, Any] | None:
    """What `RecordingHook` kept of a training; None where there is none. Raises DataError as `read_evaluation`."""
    found = _read(path, _RUN)
    if found is not None and not (_fits(found.setdefault('settings', {}), {...: str})  # earlier versions had none
                                  and 0 <= found['time'] < _LATEST):
        raise _foreign(path)
    return found


def read_metrics(path: Path) -> dict[str, float | None] | None:
    """The metrics that `mmvision-mamba test` wrote; None where there are none. Raises DataError as `read_evaluation`.
    """
    content = _read(path, {})
    return None if content is None else {name: value for name, value in content.items() if _fits(value, _OPTIONAL)}


def _foreign(path: Path) -> DataError:
    return DataError(f"'{shown(path)}' is not what this version keeps of a run for its report.\nRemove it, or run "
                     '`mmvision-mamba test CONFIG CHECKPOINT --work-dir WORK_DIR`, which writes it anew')


def _read(path: Path, spec: dict) -> dict[str, Any] | None:
    try:
        content = json.loads(read_text(path, _MOST_BYTES))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DataError(f"'{shown(path)}' can not be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise _foreign(path) from error
    if not _fits(content, spec):
        raise _foreign(path)
    return content


def _fits(value: Any, spec: Any, alone: bool = False) -> bool:
    """Whether a value from JSON is what is expected.

    Args:
        value: it.
        spec: a type, or several; a dict of what keys hold, that of `...` all keys; a tuple of one, a list of such; a
            list of None and a spec, either.
        alone: dicts have no further keys. Default: they may.
    """
    if isinstance(spec, dict):
        if not isinstance(value, dict) or (alone and ... not in spec and not value.keys() <= spec.keys()):
            return False
        if ... in spec:
            return all(_fits(item, spec[...], alone) for item in value.values())
        return all(key in value and _fits(value[key], item, alone) for key, item in spec.items())
    if isinstance(spec, list):
        return value is None or _fits(value, spec[1], alone)
    if isinstance(spec, tuple) and len(spec) == 1:
        return isinstance(value, list) and all(_fits(item, spec[0], alone) for item in value)
    types = spec if isinstance(spec, tuple) else (spec,)
    if isinstance(value, bool):
        return False
    if isinstance(value, int | float):
        return (float in types or (int in types and isinstance(value, int))) and abs(value) < 1e15 and math.isfinite(
            value)
    return isinstance(value, types)


def _is_whole(analysis: dict) -> bool:
    """Whether lists are as long as others of the same analysis, there is a class and an image, and what is measured of
    a class is measured of all together."""
    number, matrix = len(analysis['classes']), analysis['confusion']
    sides = {number + (analysis['kind'] == 'detection')}
    sound = number > 0 and analysis['images'] > 0 and (matrix is None or (
        {len(matrix), *map(len, matrix)} == sides and min(map(min, matrix)) >= 0))
    keys = dict(detection=('ap', 'ap50'), segmentation=('iou', 'accuracy'), classification=('accuracy',))[
        analysis['kind']]
    if any(one[keys[0]] is not None for one in analysis['classes']):
        sound &= None not in [analysis['overall'][key] for key in keys]
        sound &= analysis['kind'] != 'detection' or all(
            one['ap50'] is not None for one in analysis['classes'] if one['ap'] is not None)
    if 'calibration' in analysis:
        sound &= len({len(analysis['calibration'][key]) for key in ('counts', 'scores', 'right')}) == 1
    if 'curves' in analysis:
        curves = analysis['curves']
        sound &= len(curves['classes']) in (0, number) and all(
            len(values) == len(curves['thresholds']) for curve in (curves['all'], *curves['classes'])
            for values in (curve['precision'], curve['recall'], curve['f1']))
    return sound
