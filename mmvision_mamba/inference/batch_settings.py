"""What the results of batch inference depend on besides the images, and the manifest that keeps it in their folder."""
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import mmcv
import mmengine
import numpy as np
import PIL
import torch

from ..datasets.label_maps import meaning
from ..errors import DataError
from ..files import read_text
from ..printable import shown
from ..text import shortened
from ..version import __version__
from .report_thresholds import AUTO, ScoreThr, check_score_thr

NAME = 'manifest.json'
TOOL, VERSION = 'mmvision-mamba batch-infer', 2  # version 1 had no such keys
INFORMATION = 'begun_with'  # not compared: where config and weights lay
EARLIER = dict(dtype='float32', score_thr=None)  # settings that all jobs had before they could be chosen
_MOST_BYTES = 2**28
_WAY_OUT = 'Give --out another folder, or remove this one.'


def settings_of(inferencer, dtype: str, weights_sha256: str, batch_size: int, operators: str,
                information: Mapping[str, str], score_thr: ScoreThr | None = None) -> dict:
    """The settings of a job, JSON-ready: model and pipeline as the config has them, weights by their hash, versions.

    Args:
        inferencer: the `Inferencer` of the model.
        dtype: what the model computes in, see `compute_in`.
        weights_sha256: of its checkpoint.
        batch_size: images per forward, which detectors pad to the largest.
        operators: the kind of mmcv's operators, see `mmcv_ops.Source`.
        information: where config and weights lie, for people.
        score_thr: instances are kept whose score is higher; 'auto': than their class's in the report beside the
            weights. Default: all.

    Raises:
        ConfigError: there are no such instances or no such report; see `check_score_thr` and `report_thresholds`.
    """
    thresholds: Mapping[str, float] | float | None = None
    if score_thr is not None:
        check_score_thr(score_thr, inferencer.model, inferencer.scope, filters=True)
        thresholds = dict(zip(inferencer.classes, inferencer.report_thresholds)) if score_thr == AUTO else \
            float(score_thr)
    cfg = inferencer.toolbox.cfg
    toolbox = __import__(inferencer.scope or '')
    versions = dict(mmvision_mamba=__version__, torch=torch.__version__, mmengine=mmengine.__version__,
                    mmcv=f'{mmcv.__version__} ({operators})', opencv=cv2.__version__,
                    pillow=PIL.__version__, numpy=np.__version__, **{toolbox.__name__: toolbox.__version__},
                    **getattr(inferencer.model, 'versions', {}))
    # Where an exported file lies does not matter, what is in it does.
    model = {key: value for key, value in cfg.model.items() if key != 'file'}
    return plain(dict(
        model=model, pipeline=cfg.test_dataloader.dataset.pipeline, scope=inferencer.scope,
        classes=inferencer.classes, palette=inferencer.palette, label_maps=meaning(inferencer.reduce_zero_label),
        weights_sha256=weights_sha256, dtype=dtype, batch_size=batch_size, score_thr=thresholds,
        versions=versions,
        **{INFORMATION: information}))


def plain(value: Any) -> Any:
    """Settings as JSON holds them; classes by their names, other objects by their types'."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in (sorted(value, key=repr) if isinstance(value, set | frozenset) else value)]
    if isinstance(value, np.ndarray | np.generic | torch.Tensor):
        return plain(value.tolist())
    if value is None or isinstance(value, bool | int | float | str):
        return value
    kind = value if hasattr(value, '__qualname__') else type(value)
    return f'{kind.__module__}.{kind.__qualname__}'


def text_of(manifest: dict) -> str:
    """The content of a manifest's file."""
    return json.dumps(manifest, indent=1) + '\n'


def read_manifest(folder: Path, tool: str = TOOL, version: int = VERSION, way_out: str = _WAY_OUT) -> dict | None:
    """The manifest in a folder; None where there is none.

    Args:
        folder: of the results.
        tool, version: whose manifest it must be. Default: batch inference's.
        way_out: said of one that can't be used.

    Raises:
        DataError: it is damaged, or of another program or version.
    """
    path = folder / NAME
    if not path.exists():
        return None
    try:
        saved = json.loads(read_text(path, _MOST_BYTES))
    except OSError as error:
        raise DataError(f'{shown(path)} can not be read ({error.strerror or error}).\n{way_out}') from None
    except (ValueError, RecursionError) as error:
        raise DataError(f'{shown(path)} is damaged, and with it is lost what the parts beside it were made with '
                        f'({shown(error, 100)}).\n{way_out}') from None
    if isinstance(saved, dict) and 'manifest' not in saved and {'inputs_sha256', 'config_sha256'} <= saved.keys():
        raise DataError(f'{shown(folder)} was begun by an earlier version, which noted neither pipeline nor versions: '
                        f'it can not be told whether the results would be alike.\n{way_out}')
    if not isinstance(saved, dict) or saved.get('tool') != tool or not isinstance(saved.get('manifest'), int):
        raise DataError(f'{shown(path)} is another program\'s.\n{way_out}')
    if saved['manifest'] != version:
        raise DataError(f'{shown(path)} has the version {shown(saved["manifest"], 50)}, and this is one that knows '
                        f'{version}: another version of mmvision_mamba wrote it, with which you can go on.\n{way_out}')
    return saved


def check_same(folder: Path, saved: dict, now: dict, way_out: str = _WAY_OUT) -> None:
    """Raise DataError, which names what differs, where a folder's manifest is of another job."""
    without = [{key: value for key, value in {**EARLIER, **manifest}.items() if key != INFORMATION}
               for manifest in (saved, now)]
    if differing := list(_differences(*without)):
        raise DataError(f'{shown(folder)} holds the results of another job; different: {shortened(differing, 4)}.\n'
                        f'{way_out}')


_ABSENT = object()


def _differences(saved: Any, now: Any, key: str = '') -> Iterator[str]:
    if isinstance(saved, dict) and isinstance(now, dict):
        for name in [*now, *(name for name in saved if name not in now)]:
            yield from _differences(saved.get(name, _ABSENT), now.get(name, _ABSENT), f'{key}.{name}' if key else name)
    elif isinstance(saved, list) and isinstance(now, list) and len(saved) == len(now):
        for i, (one, other) in enumerate(zip(saved, now)):
            yield from _differences(one, other, f'{key}.{i}')
    elif type(saved) is not type(now) or saved != now:
        values = ['not there' if value is _ABSENT else f'{len(value)} of them' if isinstance(value, Sequence)
                  and not isinstance(value, str) else shown(value, 40) for value in (saved, now)]
        yield f'{shown(key, 100)} ({values[0]}, now {values[1]})'
