"""Text from outside that is written into a config stays text: mmengine's templates in it are not replaced."""
import json

import pytest
from mmengine import Config

from mmvision_mamba.engine.vis_backends import GuardedVisBackend
from mmvision_mamba.preflight.own_data import as_text
from mmvision_mamba.printable import is_name
from mmvision_mamba.text import without_templates

from .helpers.tiny_training import runner

NAMES = ("{{$X1:|(?:\\'+open('ran','w').name,#)}}", '{{ fileDirname }}', '{{$HOME:x}}', '{{ _base_.x }}', '{{{{ a }}}}',
         '\\{{$HOME:x}}')


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize('name', NAMES)
def test_a_config_as_text(name, tmp_path):
    (tmp_path / 'a.py').write_text(as_text(dict(classes=(name, 'b'), nested=dict(x=[name]))))
    found = Config.fromfile(tmp_path / 'a.py')
    assert found.classes == (name, 'b') and found.nested.x == [name]
    (tmp_path / 'a.json').write_text(without_templates(json.dumps(dict(classes=[name]))))
    assert Config.fromfile(tmp_path / 'a.json').classes == [name]
    assert not (tmp_path / 'ran').exists()


@pytest.mark.parametrize('suffix', ['py', 'json', 'yaml'])
@pytest.mark.parametrize('name', NAMES)
def test_the_config_that_a_run_writes(name, suffix, tmp_path):
    run = runner(tmp_path / 'run')
    (tmp_path / f'mine.{suffix}').touch()
    run.cfg = Config(dict(classes=(name,), texts=dict(x=[name])), filename=f'mine.{suffix}')
    run.settle()
    found = Config.fromfile(tmp_path / f'run/mine.{suffix}')
    assert list(found.classes) == [name] and found.texts.x == [name]
    assert not (tmp_path / 'ran').exists()


def test_the_config_that_a_backend_of_mmengine_writes(tmp_path):
    backend = GuardedVisBackend(dict(type='LocalVisBackend'), str(tmp_path / 'vis'))
    backend.add_config(Config(dict(classes=NAMES)))
    assert Config.fromfile(tmp_path / 'vis/config.py').classes == NAMES


def test_no_class_and_no_image_is_called_so():
    assert not any(map(is_name, NAMES)) and is_name('{a} {b}')
