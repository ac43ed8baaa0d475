"""Experiment trackers: really, offline, where they are installed; by stand-ins of their packages everywhere."""
import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import VISBACKENDS

from mmvision_mamba.engine import loggers
from mmvision_mamba.engine.vis_backends import CHOICES, GuardedVisBackend, use_vis_backends

SERVICES = ('mlflow', 'clearml', 'dvclive', 'aim', 'neptune', 'comet')
PACKAGES = dict(comet='comet_ml')


class Recorder:
    """Stands for any object of a tracker: each call of it is noted, those of `fails` raise."""

    def __init__(self, name='', calls=None, fails=()):
        self.name, self.calls, self.fails = name, [] if calls is None else calls, fails

    def __getattr__(self, name):
        if name.startswith('__'):
            raise AttributeError(name)
        return Recorder(f'{self.name}.{name}'.lstrip('.'), self.calls, self.fails)

    def __call__(self, *args, **kwargs):
        self.calls.append((self.name, args, kwargs))
        if self.name.split('.')[-1] in self.fails:
            raise SystemExit(1)
        return Recorder(self.name, self.calls, self.fails)

    def __getitem__(self, key):
        return Recorder(f'{self.name}[{key}]', self.calls, self.fails)

    def __setitem__(self, key, value):
        self.calls.append((f'{self.name}[{key}]', (value,), {}))


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """No credentials, no home, another working directory than the run's."""
    for name in ('MLFLOW_TRACKING_URI', 'COMET_API_KEY', 'NEPTUNE_API_TOKEN', 'NEPTUNE_DATA_DIRECTORY',
                 'CLEARML_API_ACCESS_KEY', 'CLEARML_API_SECRET_KEY', 'CLEARML_OFFLINE_MODE'):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv('HOME', str(tmp_path / 'home'))
    monkeypatch.setenv('CLEARML_CACHE_DIR', str(tmp_path / 'home'))
    (tmp_path / 'home').mkdir()
    (tmp_path / 'elsewhere').mkdir()
    monkeypatch.chdir(tmp_path / 'elsewhere')


@pytest.fixture
def stand_in(monkeypatch, offline):
    """stand_in('mlflow') puts a stand-in in the place of a tracker's package; returns the list of its calls."""
    def put(service, fails=()):
        calls = []
        package = PACKAGES.get(service, service)
        module = ModuleType(package)
        root = Recorder('', calls, fails)
        module.__getattr__ = lambda name: getattr(root, name)
        monkeypatch.setitem(sys.modules, package, module)
        if service == 'comet':
            module.config = SimpleNamespace(get_config=lambda name: None)
        if service == 'mlflow':
            module.get_experiment_by_name = lambda name: None
        if service == 'clearml':
            monkeypatch.setattr(loggers, '_clearml_credentials', lambda: False)
        if service == 'neptune':
            types = ModuleType('neptune.types')
            types.File = SimpleNamespace(from_content=str, as_image=lambda image: image)
            monkeypatch.setitem(sys.modules, 'neptune.types', types)
        if service == 'aim':
            module.Image = lambda image: image
        return calls
    return put


def backend(service, tmp_path) -> GuardedVisBackend:
    folder = tmp_path / 'wd' / '20250101_000000' / 'vis_data'
    folder.mkdir(parents=True)
    return GuardedVisBackend(dict(type=CHOICES[service]), str(folder))


def log_a_run(logger, tmp_path, steps=3):
    cfg = Config(dict(work_dir=str(tmp_path / 'wd'), model=dict(type='A', sizes=(1, 2), mixed=[dict(a=1), 'b', [None]],
                                                                text='x' * 9000), seed=None))
    cfg.model.act = torch.nn.ReLU
    logger.add_config(cfg)
    for step in range(1, steps + 1):
        logger.add_scalars({'loss': torch.tensor(0.5), 'coco/bbox_mAP@50': np.float32(0.25), 'note': 'a text'}, step)
    logger.add_image('picture', np.zeros((8, 9, 3), np.uint8), step=1)
    logger.close()


@pytest.mark.parametrize('service', SERVICES)
def test_each_is_chosen_by_its_name(service):
    cfg = Config(dict(visualizer=dict(type='Visualizer')))
    use_vis_backends(cfg, service)
    assert [b['type'] for b in cfg.visualizer.vis_backends] == ['LocalVisBackend', CHOICES[service]]
    assert VISBACKENDS.get(CHOICES[service]) is not None
    own = CHOICES[service].removeprefix('Safe')
    cfg.visualizer.vis_backends = [dict(type=own, init_kwargs=dict(mode='mine'))]
    use_vis_backends(cfg, service)
    assert cfg.visualizer.vis_backends[1] == dict(type=own, init_kwargs=dict(mode='mine')), 'the settings stay'


@pytest.mark.parametrize('service', SERVICES)
def test_a_missing_package_names_itself_and_how_to_get_it(service, tmp_path, monkeypatch, offline):
    package = PACKAGES.get(service, service)
    monkeypatch.setitem(sys.modules, package, None)
    said = []
    monkeypatch.setattr('mmvision_mamba.engine.vis_backends.print_log', lambda text, **_: said.append(text))
    log_a_run(backend(service, tmp_path), tmp_path)
    line, = said
    assert package in line and f'pip install {package}' in line and 'switched off' in line


@pytest.mark.parametrize('service', SERVICES)
def test_numbers_texts_pictures_and_any_config_reach_the_package(service, tmp_path, stand_in):
    calls = stand_in(service)
    logger = backend(service, tmp_path)
    log_a_run(logger, tmp_path)
    assert not logger._failed
    told = repr([call for call in calls if 'a text' not in repr(call)])
    assert told.count('0.25') == 3 and told.count("0.5") >= 3, 'each number once'
    assert 'a text' not in repr([call for call in calls if 'metric' in call[0] or 'append' in call[0]])
    assert 'ReLU' in told and "<class '" not in told.replace("<class 'torch", '')
    json_like = [value for _, args, kwargs in calls for value in (*args, *kwargs.values()) if isinstance(value, dict)]
    json.dumps(json_like)  # of plain types alone


@pytest.mark.parametrize('service', SERVICES)
def test_one_that_ends_the_process_ends_itself_alone(service, tmp_path, stand_in, monkeypatch):
    fails = ('log_metrics', 'log_metric', 'report_scalar', 'track', 'append')
    calls = stand_in(service, fails)
    said = []
    monkeypatch.setattr('mmvision_mamba.engine.vis_backends.print_log', lambda text, **_: said.append(text))
    log_a_run(backend(service, tmp_path), tmp_path)
    assert len(said) == 1 and 'is switched off; the run goes on without it: SystemExit' in said[0]
    assert sum(name.split('.')[-1] in fails for name, *_ in calls) == 1, 'told nothing more'


@pytest.mark.parametrize('service', ['comet', 'neptune', 'clearml'])
def test_without_credentials_it_is_offline_and_says_so(service, tmp_path, stand_in, monkeypatch):
    calls = stand_in(service)
    said = []
    monkeypatch.setattr(loggers, 'print_log', lambda text, **_: said.append(text))
    log_a_run(backend(service, tmp_path), tmp_path)
    assert len(said) == 1 and 'logged offline' in said[0] and 'uploads it later' in said[0]
    names = {name: kwargs for name, _, kwargs in calls}
    assert {'comet': lambda: 'OfflineExperiment' in names, 'clearml': lambda: 'Task.set_offline' in names,
            'neptune': lambda: names['init_run']['mode'] == 'offline'}[service]()


def test_with_a_key_comet_is_online(tmp_path, stand_in):
    calls = stand_in('comet')
    folder = str(tmp_path)
    logger = GuardedVisBackend(dict(type='CometVisBackend', init_kwargs=dict(api_key='k', project_name='p')), folder)
    log_a_run(logger, tmp_path)
    assert calls[0][0] == 'Experiment' and calls[0][2]['project_name'] == 'p' and not calls[0][2]['log_code']


# With the packages themselves ---------------------------------------------------------------------------------------

@pytest.mark.parametrize(('service', 'left'), [
    ('mlflow', 'mlflow.db'), ('dvclive', 'dvclive/metrics.json'), ('aim', '.aim'), ('neptune', '.neptune'),
    ('comet', '*.zip'), ('clearml', None)])
def test_really_offline(service, left, tmp_path, offline):
    pytest.importorskip(PACKAGES.get(service, service))
    logger = backend(service, tmp_path)
    log_a_run(logger, tmp_path)
    assert not logger._failed
    folder = tmp_path / 'wd' / '20250101_000000' / 'vis_data'
    if left is not None:
        assert list(folder.glob(left)), [*folder.rglob('*')][:20]
        assert not [*Path('.').iterdir()], 'nothing outside of the run'
    if service == 'mlflow':
        import mlflow
        run, = mlflow.search_runs(experiment_names=['mmvision_mamba'], output_format='list')
        assert run.data.metrics['loss'] == 0.5 and run.data.params['model.act'] == 'ReLU'
        assert run.info.status == 'FINISHED'
    if service == 'dvclive':
        assert json.loads((folder / left).read_text())['loss'] == 0.5
