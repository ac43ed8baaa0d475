"""Errors of a model in a batch of images say which image it was."""
import contextlib
from collections.abc import Iterator

from mmengine.hooks import Hook

from ...errors import DataError


class _CurrentImages(Hook):
    """Keeps the paths of the images that an iteration is about; outside of iterations there are none."""
    paths: list[str] = []

    def _before_iter(self, runner, batch_idx, data_batch=None, mode='train') -> None:
        samples = data_batch.get('data_samples') if isinstance(data_batch, dict) else None
        samples = samples if isinstance(samples, list) else []
        samples = sorted(samples, key=lambda sample: min(getattr(sample, 'img_shape', None) or (0,)))
        self.paths = [path for sample in samples if isinstance(path := getattr(sample, 'img_path', None), str)]

    def _after_iter(self, runner, batch_idx, data_batch=None, outputs=None, mode='train') -> None:
        self.paths = []


@contextlib.contextmanager
def naming_images(runner) -> Iterator[None]:
    """Have DataErrors of a runner's model, such as of an image too small for it, begin with the path of the image."""
    images = _CurrentImages()
    runner.register_hook(images, 'VERY_HIGH')
    try:
        yield
    except DataError as error:
        if not images.paths:  # raised while images were loaded: it names its file
            raise
        others = f' (or {len(images.paths) - 1} more of its batch)' if len(images.paths) > 1 else ''
        raise DataError(f'{images.paths[0]}{others}: {error}') from error
