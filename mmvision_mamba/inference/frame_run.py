"""The `Inferencer` on images, videos and cameras frame by frame: batches; one that fails does not end the run."""
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain

import numpy as np
import torch
from mmengine.structures import BaseDataElement

from .calls import Call
from .failures import NO_MEMORY, free_memory, reason_of
from .prediction import Prediction
from .progress import progress_bar
from .sources import Source


class FrameRun:
    """One call of an `Inferencer` on the frames of its inputs.

    Args:
        prepare: an image, uint8 ``(H, W, 3)``, BGR, -> the model's input for it, `inputs` and `data_samples`.
        forward: a list of such inputs -> data samples.
        batch_size: frames per forward.
        equal: whether the inputs of a batch have to be of one shape: mmseg pads none, mmdet pads to the largest.
        call: where failures are recorded.
        show_progress: whether to show a progress bar on stderr.
    """

    def __init__(self, prepare: Callable[[np.ndarray], dict], forward: Callable[[list[dict]], list[BaseDataElement]],
                 batch_size: int, equal: bool, call: Call, show_progress: bool):
        self.prepare, self.forward, self.batch_size, self.equal = prepare, forward, batch_size, equal
        self.call, self.show_progress = call, show_progress

    def __call__(self, sources: Sequence[Source]) -> Iterator[Prediction]:
        """Yield a prediction for each frame, in order; record the frames that fail."""
        lengths = [source.length for source in sources]
        total = None if None in lengths else sum(lengths)  # type: ignore[arg-type]
        with progress_bar(total, self.show_progress) as advance:
            frames = chain.from_iterable(self._frames(source, advance) for source in sources)
            for batch in batches(frames, self.batch_size, self.equal):
                yield from self._infer(batch, advance)

    def _frames(self, source: Source, advance: Callable[[], None]) -> Iterator[tuple[Source, int, np.ndarray, dict]]:
        """Yields an input's frames and the model's inputs for them; ends at one that can't be read, and records it."""
        reason = None
        try:
            for i, image in enumerate(source.frames()):
                yield source, i, image, self.prepare(image)
        except Exception as error:
            if (reason := reason_of(error, source.name)) is None:
                raise
        if reason is not None:
            self.call.record_failure(source, reason)
            advance()

    @torch.no_grad()
    def _infer(self, batch: list[tuple], advance: Callable[[], None]) -> Iterator[Prediction]:
        """Predictions for a batch of frames; where it fails, for each frame that does not fail by itself."""
        reason = None
        try:
            samples = self.forward([prepared for *_, prepared in batch])
        except Exception as error:
            if (reason := reason_of(error, batch[0][0].name)) is None:
                raise
        if reason is not None and len(batch) == 1:
            self.call.record_failure(batch[0][0], reason)
            advance()
            return
        if reason is not None:  # find the frame that fails, now that the error and with it the batch's tensors are gone
            if reason == NO_MEMORY:
                free_memory()
            for frame in batch:
                yield from self._infer([frame], advance)
            return
        for (source, i, image, _), sample in zip(batch, samples):
            sample.set_metainfo(dict(img_path=source.name))
            yield Prediction(source, i, image, sample)
            advance()


def batches(frames: Iterable[tuple], batch_size: int, equal: bool) -> Iterator[list[tuple]]:
    """Successive frames, tuples that end in the model's prepared input, in batches.

    Args:
        frames: them.
        batch_size: most frames of a batch.
        equal: whether a batch ends, too, where the shape of the input changes.
    """
    batch: list[tuple] = []
    for frame in frames:
        if batch and (len(batch) == batch_size or (
                equal and frame[-1]['inputs'].shape != batch[-1][-1]['inputs'].shape)):
            yield batch
            batch = []
        batch.append(frame)
    if batch:
        yield batch
