"""An error of the model in an iteration names the images that it was about."""
from types import SimpleNamespace

import pytest

pytest.importorskip('mmengine')

from mmvision_mamba.commands.steps.named_images import naming_images
from mmvision_mamba.errors import DataError


class Runner:
    def register_hook(self, hook, priority):
        self.hook = hook


def batch(*images):
    return dict(data_samples=[SimpleNamespace(img_path=path, img_shape=shape) for path, shape in images])


@pytest.mark.parametrize(('images', 'message'), [
    ([('a.jpg', (24, 80))], r'^a.jpg: too small$'),
    ([('a.jpg', (64, 80)), ('b.jpg', (64, 20))], r'^b.jpg \(or 1 more of its batch\): too small$'),
    ([], '^too small$')])
@pytest.mark.parametrize('mode', ['train', 'val', 'test'])
def test_the_smallest_image_is_named(images, message, mode):
    runner = Runner()
    with pytest.raises(DataError, match=message), naming_images(runner):
        getattr(runner.hook, f'before_{mode}_iter')(runner, 0, batch(*images))
        raise DataError('too small')


def test_errors_of_loading_stay_as_they_are():
    runner = Runner()
    with pytest.raises(DataError, match=r'^c\.jpg: the file is missing'), naming_images(runner):
        runner.hook.before_test_iter(runner, 0, batch(('a.jpg', (64, 80))))
        runner.hook.after_test_iter(runner, 0)
        raise DataError('c.jpg: the file is missing')
