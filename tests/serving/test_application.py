"""The settings of the application, and what `serve run` hands on."""
import pytest

pytest.importorskip('ray.serve', exc_type=ImportError)

from mmvision_mamba.errors import ConfigError
from mmvision_mamba.serving.application import Settings, build


def test_texts_become_numbers_as_ray_hands_them_on():
    settings = Settings('model.onnx', queue='7', timeout='2.5', replicas='2', batch_size='4')
    assert (settings.queue, settings.timeout) == (7, 2.5) and settings.limits.requests == 7 + 2 * 4


@pytest.mark.parametrize('name, value', [
    ('replicas', 0), ('replicas', 'many'), ('batch_size', -1), ('batch_wait', float('nan')), ('queue', None),
    ('timeout', 0), ('gpus', 2), ('max_megabytes', 0), ('max_megapixels', float('inf')), ('threads', 10**9)])
def test_a_number_out_of_range_is_named(name, value):
    with pytest.raises(ConfigError, match=f'^{name.replace("_", "-")} is .*: expected a number from'):
        Settings('model.onnx', **{name: value})


def test_the_application_of_texts_has_what_they_say():
    built = build(dict(model='model.onnx', replicas='3', batch_size='2', timeout='9'))
    front = built._bound_deployment
    model = front.init_args[0]._bound_deployment
    assert (front.num_replicas, model.num_replicas, model.max_ongoing_requests) == (1, 3, 4)
    assert model._deployment_config.graceful_shutdown_timeout_s == 9


def test_a_setting_that_there_is_not_is_named():
    with pytest.raises(ConfigError, match="serve has no setting 'modle' \\(did you mean 'model'"):
        build(dict(modle='x'))
    with pytest.raises(ConfigError, match='model is missing'):
        build(dict(queue=3))
