"""What HTTP sees: how many requests are let in and how large, what they are answered with, and what is counted."""
import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from ..datasets.image_formats import read_header
from ..errors import DataError
from ..printable import shown
from .answers import NAME, Answer, Asked

BODY_SECONDS = 30  # for the whole of a request's body
FORM_BYTES = 2**16  # of what a form has beside the image
CLOSED = 499  # status of a request whose client has gone, in the counts; nginx's


class UnansweredError(Exception):
    """The model's processes ended again and again at a request."""


@dataclass
class Limits:
    """What a server takes.

    Args:
        requests: answered at a time, those that wait among them; more are refused with 429.
        bytes: of an image's file. pixels: of an image; larger ones are refused with 413.
        seconds: until a request is answered; after that it is given up with 504.
    """
    requests: int
    bytes: int
    pixels: int
    seconds: float


class Refused(Exception):
    """A request that is answered without the model."""

    def __init__(self, status: int, reason: str, **headers: str):
        super().__init__(reason)
        self.status, self.headers = status, {name.replace('_', '-'): value for name, value in headers.items()}


class Gate:
    """Lets requests in to a model.

    Args:
        ask: what answers one; raises UnansweredError.
        limits: what is let in.

    Attributes:
        open: whether requests are taken; `drain` ends that.
        inside: requests that were let in and are not answered yet.
    """

    def __init__(self, ask: Callable[[Asked], Awaitable[Answer]], limits: Limits):
        self.ask, self.limits, self.open, self.inside = ask, limits, True, 0
        registry = self._registry = CollectorRegistry()
        self._requests = Counter('mmvision_mamba_requests', 'Requests for predictions, by the status of the answer.',
                                 ['status'], registry=registry)
        self._inside = Gauge('mmvision_mamba_requests_inside', 'Requests let in and not answered yet.',
                             registry=registry)
        self._inside.set_function(lambda: self.inside)
        self._seconds = Histogram('mmvision_mamba_request_seconds', 'From a request let in to its answer.',
                                  registry=registry, buckets=(.01, .02, .05, .1, .2, .5, 1, 2, 5, 10, 20, 50, 100))
        self._model_seconds = Histogram('mmvision_mamba_batch_seconds', 'That reading and the model took for the '
                                        'batch of an answered request.', registry=registry,
                                        buckets=(.01, .02, .05, .1, .2, .5, 1, 2, 5, 10, 20, 50, 100))
        self._batches = Histogram('mmvision_mamba_batch_size', 'Images of the batch of an answered request.',
                                  registry=registry, buckets=(1, 2, 4, 8, 16, 32, 64))
        self.repeated = Counter('mmvision_mamba_repeated_requests', "Requests asked again since the model's process "
                                'ended.', registry=registry)

    async def predict(self, request: Request, output: str = 'json', score_thr: float | None = None,
                      masks: bool = True) -> Response:
        """The answer to a request whose body is an image's file, or a form with one; see `Asked`."""
        start = time.monotonic()
        try:
            response = await self._let_in(request, output, score_thr, masks)
        except Refused as refused:
            response = error(refused.status, str(refused), refused.headers)
        except (asyncio.CancelledError, ClientDisconnect):
            self._requests.labels(CLOSED).inc()
            raise
        except BaseException:
            self._requests.labels(500).inc()
            raise
        self._requests.labels(response.status_code).inc()
        if response.status_code == 200:
            self._seconds.observe(time.monotonic() - start)
        return response

    async def drain(self, seconds: float) -> int:
        """Take no more requests, and wait until those let in are answered; the number of those that are not."""
        self.open, until = False, time.monotonic() + seconds
        while self.inside and time.monotonic() < until:
            await asyncio.sleep(.05)
        return self.inside

    def metrics(self) -> Response:
        """What is counted, in Prometheus's text format."""
        return Response(generate_latest(self._registry), media_type=CONTENT_TYPE_LATEST)

    async def _let_in(self, request: Request, output: str, score_thr: float | None, masks: bool) -> Response:
        if not self.open:
            raise Refused(503, 'this server is stopping', connection='close', retry_after='10')
        if self.inside >= self.limits.requests:
            raise Refused(429, f'{self.limits.requests} requests are being answered or wait, and no more are taken: '
                          'try again', retry_after='1')
        self.inside += 1
        try:
            content = await self._image(request)
            answer = await asyncio.wait_for(self.ask(Asked(content, output, score_thr, masks)), self.limits.seconds)
        except asyncio.TimeoutError:
            raise Refused(504, f'not answered within {self.limits.seconds:g} seconds') from None
        except UnansweredError as problem:
            raise Refused(500, str(problem)) from None
        finally:
            self.inside -= 1
        if answer.refused:
            raise Refused(400, answer.body.decode())
        self._model_seconds.observe(answer.seconds)
        self._batches.observe(answer.batch)
        return Response(answer.body, media_type=answer.media_type)

    async def _image(self, request: Request) -> bytes:
        """The image's file in a request, whose header says that it is an image, and no larger than what is taken."""
        try:
            content = await asyncio.wait_for(self._body(request), BODY_SECONDS)
        except asyncio.TimeoutError:
            raise Refused(408, f'the image was not there within {BODY_SECONDS} seconds', connection='close') from None
        if not content:
            raise Refused(400, "the request has no image: send a file's bytes as the body, or a form with one file "
                          '(curl --data-binary @photo.jpg, or curl -F image=@photo.jpg)')
        try:
            width, height, *_ = (await asyncio.to_thread(read_header, content))[1]
        except DataError as problem:
            raise Refused(400, f'{NAME}: {problem}') from None
        if width * height > self.limits.pixels:
            raise Refused(413, f'{width} × {height} pixels are more than the {self.limits.pixels / 1e6:.3g} million '
                          'that this server takes')
        return content

    async def _body(self, request: Request) -> bytes:
        most, kind = self.limits.bytes, request.headers.get('content-type', '')
        is_form = kind.partition(';')[0].strip().lower() == 'multipart/form-data'
        most_sent = most + FORM_BYTES if is_form else most
        too_large = Refused(413, f'more than the {most / 2**20:.3g} MB that this server takes', connection='close')
        stated = request.headers.get('content-length', '')
        if stated.isascii() and stated.isdecimal() and (len(stated) > 18 or int(stated) > most_sent):
            raise too_large  # before any of it has come

        async def bounded() -> AsyncIterator[bytes]:
            came = 0
            async for part in request.stream():
                came += len(part)
                if came > most_sent:
                    raise too_large
                yield part
        if not is_form:
            return b''.join([part async for part in bounded()])
        try:
            form = await MultiPartParser(request.headers, bounded(), max_files=1, max_fields=16).parse()
        except (MultiPartException, KeyError) as problem:  # KeyError: of a form without a boundary
            reason = getattr(problem, 'message', "its 'Content-Type' names no boundary")
            raise Refused(400, f'the form can not be read: {shown(reason, 200)}') from None
        try:
            files = [value for _, value in form.multi_items() if not isinstance(value, str)]
            content = await files[0].read() if files else b''
        finally:
            await form.close()
        if len(content) > most:
            raise too_large
        return content


def error(status: int, reason: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """A line that says what is wrong, as JSON."""
    return JSONResponse({'error': shown(reason, 1000)}, status, headers)
