"""The settings of the application, and what `serve run` hands on."""
import asyncio
from types import SimpleNamespace

import pytest

pytest.importorskip('ray.serve', exc_type=ImportError)

from ray.exceptions import ActorDiedError, ActorUnavailableError, OutOfMemoryError

from mmvision_mamba.errors import ConfigError
from mmvision_mamba.serving import application
from mmvision_mamba.serving.application import TRIES, Front, Settings, build
from mmvision_mamba.serving.gate import UnansweredError


def test_texts_become_numbers_as_ray_hands_them_on():
    settings = Settings('model.onnx', queue='7', timeout='2.5', replicas='2', batch_size='4')
    assert (settings.queue, settings.timeout) == (7, 2.5) and settings.limits.requests == 7 + 2 * 4
    assert Settings('model.onnx', score_thr='0.5').score_thr == 0.5
    assert Settings('model.onnx', score_thr='auto').score_thr == 'auto'


@pytest.mark.parametrize('name, value', [
    ('replicas', 0), ('replicas', 'many'), ('batch_size', -1), ('batch_wait', float('nan')), ('queue', None),
    ('timeout', 0), ('gpus', 2), ('max_megabytes', 0), ('max_megapixels', float('inf')), ('threads', 10**9),
    ('replicas', 1.5), ('queue', float('inf')), ('score_thr', 'much'), ('score_thr', 30), ('score_thr', None)])
def test_a_number_out_of_range_is_named(name, value):
    with pytest.raises(ConfigError, match=f'^{name.replace("_", "-")} is .*: expected a number from'):
        Settings('model.onnx', **{name: value})


@pytest.mark.parametrize('name, value', [
    ('model', 5), ('model', None), ('weights', ['a.pth']), ('cfg_options', 'a=b'), ('dtype', 16)])
def test_a_value_of_another_kind_is_named(name, value):
    with pytest.raises(ConfigError, match=f'^{name} is .*: expected '):
        Settings(**{'model': 'model.onnx', name: value})


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


@pytest.mark.parametrize('ended', [ActorDiedError(), ActorUnavailableError('gone', None), OutOfMemoryError('full')],
                         ids=['killed', 'out of reach', 'ended by Ray for want of memory'])
def test_an_image_is_asked_again_where_the_process_with_the_model_ends(ended, monkeypatch):
    monkeypatch.setattr(application, 'PAUSE', 0)
    for times in (1, TRIES - 1, TRIES):
        answers, again = [ended] * times + ['the answer'], []

        async def answer(asked, answers=answers):
            if isinstance(found := answers.pop(0), Exception):
                raise found
            return found
        front = SimpleNamespace(model=SimpleNamespace(answer=SimpleNamespace(remote=answer)),
                                gate=SimpleNamespace(repeated=SimpleNamespace(inc=lambda again=again: again.append(1))))
        asking = Front.func_or_class._ask(front, 'an image')
        if times < TRIES:
            assert asyncio.run(asking) == 'the answer' and len(again) == times
        else:
            with pytest.raises(UnansweredError, match='4 times at this image'):
                asyncio.run(asking)
