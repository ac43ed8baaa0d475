"""The card of a shared model, README.md: what it is, what it scores, how to load it, with the Hub's front matter."""
import re
from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np

from ..printable import shown
from ..text import shortened
from . import classifier
from .allowed import CLASSIFIERS
from .shared import Shared

_TASKS = {'object-detection': 'a detector of boxes', 'instance-segmentation': 'a detector of boxes and masks',
          'panoptic-segmentation': 'a panoptic model', 'semantic-segmentation': 'a segmentor',
          'image-classification': 'a classifier'}
_MARKED = re.compile(r'([\\`*_{}\[\]<>()#+|!~])')
_CLASSES = 30
_QUALITY = 88  # of JPEG


def task_of(config: Mapping[str, Any]) -> str:
    """What a model predicts, by its config."""
    model = config['model']
    if config['default_scope'] == CLASSIFIERS:
        return 'image-classification'
    if config['default_scope'] == 'mmseg':
        return 'semantic-segmentation'
    if 'panoptic_head' in model:
        return 'panoptic-segmentation'
    head = model.get('roi_head') if isinstance(model.get('roi_head'), Mapping) else {}
    masks = 'mask_head' in head or isinstance(model.get('mask_head'), Mapping)
    return 'instance-segmentation' if masks else 'object-detection'


def text(shared: Shared, parameters: int, picture: str | None = None) -> str:
    """The card.

    Args:
        shared: the model.
        parameters: their number.
        picture: name of the file of a picture. None: the card shows none.
    """
    task = task_of(shared.config)
    lines = [f'# {_escaped(shared.name)}', '',
             f'MambaVision as {_TASKS[task]}, {parameters / 1e6:.1f} million parameters, trained on '
             f'{_escaped(shared.data)}.', '']
    if picture:
        lines += [f'![Predictions on a test image]({picture})', '']
    if shared.metrics:
        lines += ['## Results', '', '| metric | value |', '|---|---|', *(
            f'| {_escaped(name)} | {"–" if value is None else f"{value:.4g}"} |'
            for name, value in shared.metrics.items()), '',
            f'On the test split of {_escaped(shared.data)}, by `mmvision-mamba test`.', '']
    lines += ['## Use', '', '```python', 'from mmvision_mamba import Model', '',
              "model = Model.load('FOLDER')        # or 'hf://OWNER/NAME'", "model.predict('photo.jpg')", '```', '',
              *(_elsewhere(shared) if task == 'image-classification' else []),
              'Nothing in this folder is a program: `config.json` is data, and `model.safetensors` holds tensors.', '',
              '## Classes', '', f'{len(shared.classes)}: {_escaped(shortened(shared.classes, _CLASSES))}.', '',
              '## Licence', '', f'{_escaped(shared.licence.name or "None given")}. {_escaped(shared.licence.why)}', '']
    return _front_matter(shared, task) + '\n'.join(lines)


def _elsewhere(shared: Shared) -> list[str]:
    """How a classifier is loaded by other libraries."""
    known = 'model_type' in classifier.settings(shared)
    lines = ['import timm, mmvision_mamba', "timm.create_model('hf-hub:OWNER/NAME', pretrained=True)"]
    if known:
        lines += ['', 'import mmvision_mamba.transformers', 'from transformers import pipeline',
                  "pipeline('image-classification', model='OWNER/NAME')"]
    return [f"It is a model of timm{' and of transformers' * known}, too:", '', '```python', *lines, '```', '']


def _front_matter(shared: Shared, task: str) -> str:
    """What the Hub reads, written by its own library, which checks it."""
    from huggingface_hub import EvalResult, ModelCardData
    pipeline = task if task in ('object-detection', 'image-classification') else 'image-segmentation'
    name = shown(shared.name, 96)
    results = [EvalResult(task_type=pipeline, dataset_type=slug(shared.data), dataset_name=shared.data,
                          dataset_split='test', metric_type=slug(metric), metric_name=metric, metric_value=value)
               for metric, value in shared.metrics.items() if value is not None]
    options: dict[str, Any] = dict(license=shared.licence.name) if shared.licence.name else {}
    if shared.licence.name == 'other':
        options.update(license_name='of-the-pretrained-weights')
    card = ModelCardData(library_name='mmvision_mamba', pipeline_tag=pipeline, datasets=[slug(shared.data)],
                         tags=['mambavision', 'mmvision_mamba', task, shared.config['default_scope']],
                         model_name=name if results else None, eval_results=results or None, **options)
    return f'---\n{card.to_yaml()}\n---\n\n'


def slug(text: str) -> str:
    return re.sub(r'[^A-Za-z0-9._-]+', '-', text).strip('-.')[:90] or 'unknown'


def _escaped(text: str) -> str:
    """A text from elsewhere as Markdown shows it."""
    return _MARKED.sub(r'\\\1', shown(text, 4000))


def jpeg(picture: np.ndarray, side: int = 1024) -> bytes:
    """A picture, uint8 ``(H, W, 3)``, RGB, as JPEG, its longer side `side` pixels at most."""
    height, width = picture.shape[:2]
    ratio = side / max(height, width)
    if ratio < 1:
        size = max(round(width * ratio), 1), max(round(height * ratio), 1)
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    return cv2.imencode('.jpg', np.ascontiguousarray(picture[..., ::-1]), (cv2.IMWRITE_JPEG_QUALITY, _QUALITY))[1] \
        .tobytes()
