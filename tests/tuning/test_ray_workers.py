"""Workers on Ray whose processes end."""
from types import SimpleNamespace

import pytest

pytest.importorskip('ray')

from ray import exceptions

from mmvision_mamba.tuning.loop import WorkerDied
from mmvision_mamba.tuning.ray_workers import RayWorker


@pytest.mark.parametrize('error', [exceptions.ActorDiedError(), exceptions.OutOfMemoryError('full'),
                                   exceptions.GetTimeoutError('late'), exceptions.RaySystemError('gone')],
                         ids=lambda error: type(error).__name__)
def test_a_worker_whose_process_ends_has_died(error):
    """However Ray says it: the study goes on without it."""
    def get(*arguments, **options):
        raise error
    worker = RayWorker(0.)
    worker._ray = SimpleNamespace(exceptions=exceptions, get=get, kill=lambda actor: None)
    worker._actor = SimpleNamespace(poll=SimpleNamespace(remote=lambda: None))
    with pytest.raises(WorkerDied, match=type(error).__name__):
        worker.poll()
    assert worker._actor is None  # another one is started in its place
