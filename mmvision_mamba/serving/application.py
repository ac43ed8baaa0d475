"""The Ray Serve application: processes with the model, and one in front of them that takes the requests.

`mmvision-mamba serve` runs it on this machine. On a cluster, Ray's own commands do, with the fields of `Settings`:

    serve run mmvision_mamba.serving.application:build model=/models/detector.onnx queue=32
"""
import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import NoneType
from typing import Annotated, Any, Literal

from ..errors import MissingExtraError

try:
    from fastapi import FastAPI, Query, Request
    from ray import serve
    from ray.serve.exceptions import RequestCancelledError
    from ray.serve.handle import DeploymentHandle
except ImportError:
    raise MissingExtraError('serving', 'serve') from None
from ..errors import ConfigError
from ..inference.ray_cluster import gone
from ..inference.report_thresholds import AUTO
from ..printable import shown
from ..text import check_names
from .answers import Answer, Answering, Asked
from .gate import Gate, Limits, UnansweredError, error

TRIES = 4  # of a request, each in another process where one ends
PAUSE = 0.2  # seconds until the next
REJECTING = 10_000  # requests more than are let in, which are refused without waiting
APPLICATION = 'mmvision-mamba'  # its name in Ray Serve
app = FastAPI(title='mmvision-mamba', docs_url=None, redoc_url=None)  # those pages load scripts from elsewhere


@dataclass
class Settings:
    """What is served, and how.

    Args:
        model: a config, the name of one, a checkpoint with its config beside it, or an exported file.
        weights: checkpoint or URL. Default: none, or those that `Inferencer` takes.
        cfg_options: settings of the config to override. Default: none.
        dtype: see `Inferencer`. Default: 'float32'.
        score_thr: see `Inferencer`. Default: 0.3.
        replicas: processes, each with a model. Default: 1.
        gpus: for each of them; 0: the CPU. Default: 0.
        threads: of each, to compute with on the CPU. Default: 1.
        batch_size: images that go through the model together, at most. Default: 1.
        batch_wait: milliseconds that the first image of a batch waits for others. Default: 5.
        queue: requests that may wait. Default: 64.
        max_megabytes, max_megapixels: the largest image. Default: 20, 40.
        timeout: seconds until a request is answered, and those that a stopping server takes at most. Default: 120.

    Raises:
        ConfigError: a number out of range, or a value of another kind; names it.
    """
    model: str
    weights: str | None = None
    cfg_options: dict = field(default_factory=dict)
    dtype: str = 'float32'
    score_thr: float | str = 0.3
    replicas: int = 1
    gpus: float = 0.
    threads: int = 1
    batch_size: int = 1
    batch_wait: float = 5.
    queue: int = 64
    max_megabytes: float = 20.
    max_megapixels: float = 40.
    timeout: float = 120.

    def __post_init__(self):
        for name, (kinds, expected) in KINDS.items():
            if not isinstance(getattr(self, name), kinds):
                raise ConfigError(f'{name} is {shown(getattr(self, name))}: expected {expected}')
        for name, (kind, least, most) in RANGES.items():
            given = getattr(self, name)
            if name == 'score_thr' and given == AUTO:
                continue
            try:  # `serve run` hands texts on
                value = kind(given)
            except (TypeError, ValueError, OverflowError):
                value = None
            if isinstance(given, float) and value != given:  # 2.5 processes
                value = None
            if value is None or not least <= value <= most:
                raise ConfigError(f'{name.replace("_", "-")} is {shown(given)}: expected a number from {least:g} to '
                                  f'{most:g}')
            setattr(self, name, value)

    @property
    def limits(self) -> Limits:
        """How much is let in: what can be computed at a time, and the queue."""
        return Limits(self.queue + self.replicas * self.batch_size, int(self.max_megabytes * 2**20),
                      int(self.max_megapixels * 1e6), self.timeout)


KINDS: dict[str, tuple[Any, str]] = dict(
    model=(str, 'a path'), weights=((str, NoneType), 'a path or URL'), dtype=(str, 'a name'),
    cfg_options=(Mapping, 'settings by their names'))
RANGES: dict[str, tuple[type, float, float]] = dict(
    replicas=(int, 1, 256), gpus=(float, 0, 1), threads=(int, 1, 1024), batch_size=(int, 1, 1024),
    batch_wait=(float, 0, 60_000), queue=(int, 0, 100_000), max_megabytes=(float, 0.001, 1e6),
    max_megapixels=(float, 0.001, 1e6), timeout=(float, 1, 86_400), score_thr=(float, 0, 1))


@serve.deployment
class Model:
    """A process with the model; requests that come together go through it together."""

    def __init__(self, settings: Settings):
        import torch
        torch.set_num_threads(settings.threads)
        self.answering = Answering(dict(
            model=settings.model, weights=settings.weights, cfg_options=settings.cfg_options or None,
            dtype=settings.dtype, score_thr=settings.score_thr, device='cuda:0' if settings.gpus else 'cpu'))
        self.answer.set_max_batch_size(settings.batch_size)
        self.answer.set_batch_wait_timeout_s(settings.batch_wait / 1000)

    @serve.batch
    async def answer(self, asked: list[Asked]) -> list[Answer]:
        return await asyncio.to_thread(self.answering, asked)

    async def about(self) -> dict:
        return self.answering.about()


def running() -> int:
    """Number of processes with the model that answer."""
    about = serve.status().applications.get(APPLICATION)
    states = {} if about is None else about.deployments['Model'].replica_states
    return sum(count for state, count in states.items() if getattr(state, 'value', state) == 'RUNNING')


@serve.deployment
@serve.ingress(app)  # it pickles the class, with what is defined above it
class Front:
    """The process that takes requests: it bounds what is let in, and asks again where a model's process ends."""

    def __init__(self, model: DeploymentHandle, settings: Settings):
        self.model, self.gate = model, Gate(self._ask, settings.limits)
        self.about: dict | None = None

    @app.post('/predict', summary="The prediction for an image: its file's bytes, or a form with it")
    async def predict(self, request: Request, output: Literal['json', 'picture', 'map'] = 'json',
                      score_thr: Annotated[float | None, Query(ge=0, le=1)] = None, masks: bool = True):
        return await self.gate.predict(request, output, score_thr, masks)

    @app.get('/', summary='The model, and what is taken')
    async def tell(self):
        self.about = self.about or await self.model.about.remote()
        limits = self.gate.limits
        return dict(self.about, most=dict(megabytes=limits.bytes / 2**20, megapixels=limits.pixels / 1e6,
                                          requests=limits.requests, seconds=limits.seconds))

    @app.get('/health', summary='200 where requests are answered, else 503')
    async def health(self):
        if not self.gate.open:
            return error(503, 'this server is stopping')
        models = await asyncio.to_thread(running)
        return dict(status='ready', models=models) if models else error(503, 'no process with the model is running')

    @app.get('/metrics', summary="Counts and times, for Prometheus")
    async def metrics(self):
        return self.gate.metrics()

    async def drain(self, seconds: float) -> int:
        return await self.gate.drain(seconds)

    async def _ask(self, asked: Asked) -> Answer:
        for left in reversed(range(TRIES)):
            try:
                return await self.model.answer.remote(asked)
            except RequestCancelledError:  # its client has gone
                raise asyncio.CancelledError from None
            except gone():  # or can't be reached; an image is asked anew
                if left:
                    self.gate.repeated.inc()
                    await asyncio.sleep(PAUSE)
        raise UnansweredError(f"the model's process ended {TRIES} times at this image, as it does where memory runs "
                              'out')


def application(settings: Settings) -> serve.Application:
    """The application of some settings."""
    model = Model.options(
        num_replicas=settings.replicas, max_ongoing_requests=2 * settings.batch_size,  # the next batch waits there
        graceful_shutdown_timeout_s=settings.timeout, graceful_shutdown_wait_loop_s=0.2,
        ray_actor_options=dict(num_cpus=1, num_gpus=settings.gpus))
    front = Front.options(
        num_replicas=1, max_ongoing_requests=settings.limits.requests + REJECTING,
        graceful_shutdown_timeout_s=settings.timeout, graceful_shutdown_wait_loop_s=0.2,
        ray_actor_options=dict(num_cpus=0))
    return front.bind(model.bind(settings), settings)


def build(args: dict[str, Any]) -> serve.Application:
    """For Ray's own commands: the application of the fields of `Settings`.

    Raises:
        ConfigError: a field that there is not, or a number out of range.
    """
    check_names(args, Settings.__dataclass_fields__, 'serve has no setting')
    if 'model' not in args:
        raise ConfigError('model is missing: a config, a checkpoint or an exported file')
    return application(Settings(**args))
