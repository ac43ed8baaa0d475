"""What is let in, what is refused and how, and what is counted; the model is a function here."""
import asyncio
import io
import json
import time

import pytest

pytest.importorskip('prometheus_client')
pytest.importorskip('httpx')

import httpx
from PIL import Image
from starlette.applications import Starlette
from starlette.routing import Route

from mmvision_mamba.serving import gate as gates
from mmvision_mamba.serving.answers import Answer
from mmvision_mamba.serving.gate import Gate, Limits, UnansweredError


def answered(asked):
    return Answer('application/json', json.dumps(dict(bytes=len(asked.content), output=asked.output,
                                                      masks=asked.masks)).encode(), 0.5, 3)


def client(gate):
    """What asks the gate by HTTP, all in this process."""
    async def predict(request):
        return await gate.predict(request, request.query_params.get('output', 'json'))
    app = Starlette(routes=[Route('/predict', predict, methods=['POST'])])
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url='http://here')


def gate_of(ask, requests=4, most=50_000, pixels=10**6, seconds=5.):
    async def asked(question):
        result = ask(question)
        return await result if asyncio.iscoroutine(result) else result
    return Gate(asked, Limits(requests, most, pixels, seconds))


def post(gate, **request):
    async def run():
        async with client(gate) as http:
            return await http.post('/predict', **request)
    return asyncio.run(run())


def counted(gate) -> dict:
    lines = gate.metrics().body.decode().splitlines()
    return {line.rpartition(' ')[0]: float(line.rpartition(' ')[2]) for line in lines if not line.startswith('#')}


def test_bytes_and_forms_are_taken(content):
    gate = gate_of(answered)
    for request in (dict(content=content), dict(files=dict(image=('a.png', content))),
                    dict(files=dict(any=('../b', content, 'text/html')), data=dict(more='x')),
                    dict(content=content, headers={'Content-Type': 'application/x-www-form-urlencoded'})):
        answer = post(gate, **request)
        assert answer.status_code == 200 and answer.json() == dict(bytes=len(content), output='json', masks=True)
    numbers = counted(gate)
    assert numbers['mmvision_mamba_requests_total{status="200"}'] == numbers['mmvision_mamba_batch_size_count'] == 4
    assert numbers['mmvision_mamba_batch_seconds_sum'] == 2 and numbers['mmvision_mamba_requests_inside'] == 0


def form(*parts: bytes, boundary: bytes = b'x') -> dict:
    body = b''.join(b'--' + boundary + b'\r\n' + part + b'\r\n' for part in parts) + b'--' + boundary + b'--\r\n'
    return dict(content=body, headers={'Content-Type': f'multipart/form-data; boundary={boundary.decode()}'})


PART = b'Content-Disposition: form-data; name="i"; filename="i"\r\n\r\n'


@pytest.mark.parametrize('request_, status, reason', [
    (dict(), 400, 'the request has no image'),
    (dict(content=b'hello'), 400, 'the image: it is not an image'),
    (dict(content=b'\x89PNG\r\n\x1a\n'), 400, 'the image: '),
    (form(b'Content-Disposition: form-data; name="i"\r\n\r\ntext'), 400, 'the request has no image'),
    (form(PART + b'a', PART + b'b'), 400, 'the form can not be read'),
    (dict(content=b'x', headers={'Content-Type': 'multipart/form-data'}), 400, 'the form can not be read'),
    (dict(content=b'x', headers={'Content-Type': 'multipart/form-data; boundary=y'}), 400, 'the form can not be read'),
    (form(b'no header at all'), 400, 'the form can not be read'),
    (dict(content=b'x' * 50_001), 413, 'more than the 0.047'),
    (form(PART + b'x' * 50_001), 413, 'more than the'),
    (form(PART + b'x' * 200_001), 413, 'more than the'),
])
def test_what_is_no_image_or_too_large_is_refused_in_a_line(request_, status, reason):
    def never(asked):
        raise AssertionError
    gate = gate_of(never)
    answer = post(gate, **request_)
    assert answer.status_code == status and reason in answer.json()['error']
    assert '\n' not in answer.json()['error'] and gate.inside == 0


def test_a_body_of_unknown_length_is_read_up_to_the_bound_alone():
    read = []

    async def endless():
        for _ in range(1000):
            read.append(1)
            yield b'x' * 1000
    assert post(gate_of(answered), content=endless()).status_code == 413
    assert len(read) < 60


def test_an_image_of_too_many_pixels_is_not_decoded():
    file = io.BytesIO()
    Image.new('1', (2000, 1000)).save(file, 'PNG')
    answer = post(gate_of(answered), content=file.getvalue())
    assert answer.status_code == 413 and '2000 × 1000 pixels are more than the 1 million' in answer.json()['error']


def test_a_body_that_does_not_come_is_given_up(monkeypatch):
    monkeypatch.setattr(gates, 'BODY_SECONDS', 0.1)

    async def slow():
        yield b'x'
        await asyncio.sleep(5)
    start = time.monotonic()
    assert post(gate_of(answered), content=slow()).status_code == 408
    assert time.monotonic() - start < 3


def test_more_requests_than_are_let_in_are_refused_and_those_inside_are_answered(content):
    most = []

    async def run():
        release = asyncio.Event()

        async def wait(asked):
            most.append(gate.inside)
            await release.wait()
            return answered(asked)
        gate = gate_of(wait)
        async with client(gate) as http:
            asked = [asyncio.create_task(http.post('/predict', content=content)) for _ in range(10)]
            refused, waiting = await asyncio.wait(asked, timeout=2)
            assert {task.result().status_code for task in refused} == {429} and len(waiting) == 4
            assert all(task.result().headers['retry-after'] == '1' for task in refused)
            release.set()
            assert [task.status_code for task in await asyncio.gather(*waiting)] == [200] * 4
            assert (await http.post('/predict', content=content)).status_code == 200
        return gate
    gate = asyncio.run(run())
    assert max(most) == 4 and counted(gate)['mmvision_mamba_requests_total{status="429"}'] == 6


def test_a_gate_that_drains_answers_what_is_inside_and_takes_no_more(content):
    async def run():
        async def slowly(asked):
            await asyncio.sleep(0.5)
            return answered(asked)
        gate = gate_of(slowly)
        async with client(gate) as http:
            inside = asyncio.create_task(http.post('/predict', content=content))
            while not gate.inside:
                await asyncio.sleep(0.01)
            draining = asyncio.create_task(gate.drain(5))
            await asyncio.sleep(0.05)
            late = await http.post('/predict', content=content)
            assert late.status_code == 503 and late.headers['connection'] == 'close'
            assert await draining == 0 and (await inside).status_code == 200
    asyncio.run(run())


def test_draining_ends_after_its_time_and_says_how_many_are_left(content):
    async def run():
        gate = gate_of(lambda asked: asyncio.sleep(5))
        async with client(gate) as http:
            inside = asyncio.create_task(http.post('/predict', content=content))
            while not gate.inside:
                await asyncio.sleep(0.01)
            assert await gate.drain(0.2) == 1
            inside.cancel()
    asyncio.run(run())


def test_an_answer_that_does_not_come_in_time_is_504_and_lets_the_next_in(content):
    gate = gate_of(lambda asked: asyncio.sleep(30), seconds=0.1, requests=1)
    for _ in range(2):
        answer = post(gate, content=content)
        assert answer.status_code == 504 and 'within 0.1 seconds' in answer.json()['error']


def test_what_the_model_refuses_is_400_and_what_ended_its_processes_500(content):
    answer = post(gate_of(lambda asked: Answer('text/plain', b'the image: \x1b[2J too small')), content=content)
    assert answer.status_code == 400 and 'too small' in answer.json()['error'] and '\x1b' not in answer.json()['error']

    def ended(asked):
        raise UnansweredError('it ended')
    assert (post(gate_of(ended), content=content)).status_code == 500


def test_a_client_that_goes_makes_room(content):
    async def run():
        gate = gate_of(lambda asked: asyncio.sleep(30), requests=1)
        async with client(gate) as http:
            inside = asyncio.create_task(http.post('/predict', content=content))
            while not gate.inside:
                await asyncio.sleep(0.01)
            inside.cancel()
            await asyncio.gather(inside, return_exceptions=True)
        return gate
    gate = asyncio.run(run())
    assert gate.inside == 0 and counted(gate)['mmvision_mamba_requests_total{status="499"}'] == 1
