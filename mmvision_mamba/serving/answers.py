"""From the bytes of uploaded images to answers: JSON, the picture, or the map. Nothing here knows of HTTP or Ray."""
import base64
import io
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from mmengine.structures import BaseDataElement
from PIL import Image

from ..allocator import keep_freed_memory
from ..datasets.label_maps import meaning, segment_map
from ..inference import Inferencer
from ..inference.inferencer import PICTURE_SIDE
from ..inference.report_thresholds import AUTO, ScoreThr, above
from ..inference.results import boxes_of, panoptic_map, to_dict, top_classes
from ..inference.sources import Source
from ..runtime.standalone import Detections
from ..version import __version__

OUTPUTS = ('json', 'picture', 'map')
TASKS = dict(mmdet='detection', mmseg='segmentation', mmengine='classification')  # by scope
NAME = 'the image'  # in messages


@dataclass
class Asked:
    """What a request asks.

    Args:
        content: of an image's file.
        output: one of `OUTPUTS`.
        score_thr: instances with a higher score are told. Default: the Inferencer's.
        masks: whether JSON has masks and maps. Default: True.
    """
    content: bytes
    output: str = 'json'
    score_thr: ScoreThr | None = None
    masks: bool = True


@dataclass
class Answer:
    """What is answered.

    Args:
        media_type: of the body; 'text/plain' of what the image or the question has wrong with it.
        body: the content.
        seconds: that reading and the model took, for its batch.
        batch: images of that batch.
    """
    media_type: str
    body: bytes
    seconds: float = 0.
    batch: int = 1

    @property
    def refused(self) -> bool:
        """Whether the image, or what was asked of it, can't be answered."""
        return self.media_type == 'text/plain'


class Answering:
    """A model that answers.

    Args:
        model: arguments of `Inferencer`.
    """

    def __init__(self, model: dict):
        self.model = Inferencer(**model, show_progress=False)
        self._path = str(getattr(self.model.model, 'path', self.model.checkpoint))  # of a file, which its errors name
        keep_freed_memory(self.model.device)
        bands = self.model.toolbox.bands
        self.model.predict(np.zeros((128, 128, 3), np.uint8) if bands is None else  # the first image compiles things
                           np.zeros((128, 128, len(bands.loader.bands)), np.float32))

    def about(self) -> dict:
        """What can be told of the model to anyone: no paths."""
        model = self.model
        file = model.checkpoint and Path(model.checkpoint).name
        return dict(model=file or 'random weights', task=TASKS.get(model.scope, str(model.scope)),
                    classes=[str(name) for name in model.classes], device=model.device, dtype=model.dtype,
                    score_thr=model.score_thr, version=__version__)

    def __call__(self, batch: Sequence[Asked]) -> list[Answer]:
        """The answers to some requests, whose images go through the model together where they can."""
        start = time.perf_counter()
        with tempfile.TemporaryDirectory(prefix='mmvision_mamba_serve_') as folder:
            sources = []
            for i, asked in enumerate(batch):
                path = Path(folder, str(i))
                path.write_bytes(asked.content)
                sources.append(Source(str(path), str(i), '', lambda path=path: iter([self.model.read(path)])))
            found = {prediction.source.name: prediction for prediction in self.model.stream(sources, len(sources))}
            reasons = dict(self.model.failures)
        seconds, answers = time.perf_counter() - start, []
        for asked, source in zip(batch, sources):
            prediction = found.get(source.name)
            if prediction is None:
                reason = reasons.get(source.name, 'it has no frame').replace(source.name, NAME)
                answers.append(_refusal(f'{NAME}: {reason.replace(self._path, "the model")}'))
            else:
                answers.append(self._answer(asked, prediction.image, prediction.sample, seconds))
            answers[-1].seconds, answers[-1].batch = seconds, len(batch)
        return answers

    def _answer(self, asked: Asked, image: np.ndarray, sample: BaseDataElement, seconds: float) -> Answer:
        score_thr = self.model.score_thr if asked.score_thr is None else asked.score_thr
        if asked.output == 'picture':
            bgr = image if self.model.toolbox.bands is None else self.model.toolbox.bands.picture(image)
            return _png(Image.fromarray(self.model.draw_on(bgr, sample, score_thr, PICTURE_SIDE)))
        maps = self._map(sample)
        if asked.output == 'map':
            return _refusal('output=map is for models that give each pixel a class, and this one has none: use json '
                            'or picture') if maps is None else _png(maps)
        height, width = image.shape[:2]
        told = dict(width=width, height=height, seconds=round(seconds, 4))
        told.update(self._told(sample, score_thr, asked.masks))
        if maps is not None and asked.masks:
            told['map'] = base64.b64encode(_png(maps).body).decode()
        return Answer('application/json', json.dumps(told).encode())

    def _map(self, sample: BaseDataElement) -> Image.Image | None:
        """The map of labels or of panoptic segments, as `infer` writes it; None where there is none."""
        if 'pred_panoptic_seg' in sample:
            return panoptic_map(sample, self.model.ids.categories)[0]
        if 'pred_sem_seg' not in sample:
            return None
        return segment_map(to_dict(sample)['sem_seg'], len(self.model.classes), self.model.palette,
                           self.model.reduce_zero_label)

    def _told(self, sample: BaseDataElement, score_thr: ScoreThr, masks: bool) -> dict:
        """The prediction in JSON's types, without maps."""
        names = [str(name) for name in self.model.classes]
        if 'pred_scores' in sample:
            return dict(top=[dict(label=label, name=names[label], score=score)
                             for label, score in top_classes(sample)])
        if 'pred_panoptic_seg' in sample:
            categories = self.model.ids.categories
            label_of = {category['id']: label for label, category in enumerate(categories)}
            return dict(segments=[dict(segment, label=label, name=names[label])
                                  for segment in panoptic_map(sample, categories)[1]
                                  for label in [label_of[segment['category_id']]]])
        if 'pred_instances' in sample:
            return dict(instances=self._instances(sample, score_thr, masks, names))
        labels, pixels = np.unique(to_dict(sample)['sem_seg'], return_counts=True)
        areas = [dict(label=label, name=names[label], pixels=count, share=round(count / pixels.sum(), 6))
                 for label, count in zip(labels.tolist(), pixels.tolist()) if label < len(names)]
        return dict(areas=sorted(areas, key=lambda area: -area['pixels']),
                    map_values=meaning(self.model.reduce_zero_label))

    def _instances(self, sample: BaseDataElement, score_thr: ScoreThr, masks: bool, names: Sequence[str]) -> list[dict]:
        """As `runtime.standalone.Detections.to_json` has them."""
        if score_thr == AUTO:
            instances = above(sample, self.model.report_thresholds).pred_instances
        else:
            instances = sample.pred_instances[sample.pred_instances.scores > score_thr]
        instances = instances[instances.scores.argsort(descending=True)]
        found = Detections(boxes_of(instances).numpy(), instances.scores.numpy(), instances.labels.numpy(),
                           np.asarray(instances.masks, bool) if masks and 'masks' in instances else None, names)
        return found.to_json()


def _png(image: Image.Image) -> Answer:
    content = io.BytesIO()
    image.save(content, 'PNG')
    return Answer('image/png', content.getvalue())


def _refusal(reason: str) -> Answer:
    return Answer('text/plain', reason.encode())
