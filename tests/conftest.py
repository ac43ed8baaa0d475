"""What tests of several rooms use. Nothing of OpenMMLab is imported before a fixture needs it: some rooms don't."""
import os

# Tests run several at a time: one thread each, and none that spins while it waits. The tools they start inherit it.
os.environ.setdefault('OMP_NUM_THREADS', '1')
os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')

import gc
import runpy
import socket
import subprocess
import sys
from types import SimpleNamespace

import hypothesis
import pytest
import torch

from .helpers import ROOT
from .helpers.fresh_start import forget_earlier_runs
from .helpers.small_configs import DETECTOR, SEGMENTOR

if not torch.cuda.is_available():
    os.environ.setdefault('TRITON_INTERPRET', '1')  # before the kernels are imported: they run on CPU tensors then


class _TorchRandom:
    """Torch's generator, for hypothesis to set before each example: one that failed fails when it is run again."""
    seed = staticmethod(torch.manual_seed)
    getstate = staticmethod(torch.get_rng_state)
    setstate = staticmethod(torch.set_rng_state)


_torch_random = _TorchRandom()  # hypothesis keeps no reference
hypothesis.register_random(_torch_random)


@pytest.fixture(autouse=True, scope='module')
def _libraries_are_not_searched_for_garbage():
    """mmengine's data sets call the collector each, which takes a second with all that libraries hold."""
    yield
    if len(gc.get_objects()) > 200_000:  # libraries were imported; of those that are left out nothing is collected
        gc.unfreeze()
        gc.collect()
        gc.freeze()
    from mmvision_mamba.allocator import give_freed_memory_back
    give_freed_memory_back()


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


# Commands -----------------------------------------------------------------------------------------------------------

@pytest.fixture
def tool(monkeypatch, capfd, tmp_path):
    """tool('train', *arguments) runs tools/train.py's main; returns exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def run(name, *arguments):
        forget_earlier_runs()
        path = ROOT / 'tools' / f'{name}.py'
        monkeypatch.setattr(sys, 'argv', [str(path), *map(str, arguments)])
        capfd.readouterr()
        code = 0
        try:
            runpy.run_path(str(path), run_name='__main__')
        except SystemExit as exit_:
            code = exit_.code or 0
        out, err = capfd.readouterr()
        return SimpleNamespace(code=code, out=out, err=err, errors=[
            line for line in err.splitlines() if line.startswith('error: ')])
    return run


@pytest.fixture
def shell(tmp_path):
    """shell(*command) runs a command in a process of its own, in another folder than the project's."""
    def run(*command, **options):
        return subprocess.run([str(c) for c in command], cwd=tmp_path, capture_output=True, text=True, **options)
    return run


@pytest.fixture
def port():
    """A TCP port that is free, for the processes of a job to meet at."""
    with socket.create_server(('127.0.0.1', 0)) as server:
        return server.getsockname()[1]


# A data set, and models on it ---------------------------------------------------------------------------------------

@pytest.fixture(scope='session')
def shapes(tmp_path_factory):
    """The folder of a Shapes data set of 6 + 3 images."""
    from mmvision_mamba.datasets import make_shapes
    root = tmp_path_factory.mktemp('data') / 'shapes'
    make_shapes(root, train=6, val=3, seed=0, size=(64, 64))
    return root


@pytest.fixture
def configs(tmp_path):
    """Paths of a small detector's and a small segmentor's config."""
    paths = SimpleNamespace(detector=tmp_path / 'detector.py', segmentor=tmp_path / 'segmentor.py')
    paths.detector.write_text(DETECTOR)
    paths.segmentor.write_text(SEGMENTOR)
    return paths


@pytest.fixture
def segmentor_files(configs, tmp_path):
    """A small segmentor's config and checkpoint; its classes differ clearly."""
    from mmengine.registry import MODELS

    from mmvision_mamba.preflight.read import read_config
    cfg = read_config(configs.segmentor)
    model = MODELS.build(cfg.model)
    torch.nn.init.normal_(model.decode_head.conv_seg.weight)
    path = tmp_path / 'a checkpoint.pth'
    torch.save(dict(state_dict=model.state_dict(), meta={}), path)
    return configs.segmentor, path


@pytest.fixture(scope='session')
def model_files(tmp_path_factory):
    """detector and segmentor, small and with random weights, each with config and checkpoint (paths)."""
    from mmengine.config import Config
    from mmengine.registry import MODELS, init_default_scope
    shapes = ('ellipse', 'rectangle', 'triangle')
    folder, found = tmp_path_factory.mktemp('models'), {}
    for name, text, classes in (('detector', DETECTOR, shapes), ('segmentor', SEGMENTOR, ('background', *shapes))):
        config, checkpoint = folder / f'{name}.py', folder / f'{name}.pth'
        config.write_text(text)
        cfg = Config.fromfile(config)
        init_default_scope(cfg.default_scope)
        torch.manual_seed(0)
        torch.save({'state_dict': MODELS.build(cfg.model).state_dict(),
                    'meta': {'dataset_meta': {'classes': classes}}}, checkpoint)
        found[name] = SimpleNamespace(config=config, checkpoint=checkpoint)
    return SimpleNamespace(**found)


@pytest.fixture(scope='session')
def detector(model_files):
    """The Inferencer of that detector."""
    from mmvision_mamba import Inferencer
    files = model_files.detector
    return Inferencer(files.config, files.checkpoint, device='cpu', show_progress=False)


@pytest.fixture(scope='session')
def segmentor(model_files):
    """The Inferencer of that segmentor."""
    from mmvision_mamba import Inferencer
    files = model_files.segmentor
    return Inferencer(files.config, files.checkpoint, device='cpu', show_progress=False)


@pytest.fixture(scope='session')
def exported_files(model_files, tmp_path_factory):
    """detector.onnx, segmentor.onnx, segmentor.pt (TorchScript) and segmentor.pt2, of those models, by name."""
    from mmvision_mamba.commands import call
    folder, found = tmp_path_factory.mktemp('exported'), {}
    for name, format, options in (('detector.onnx', 'onnx', dict(shape=(128, 128))),
                                  ('segmentor.onnx', 'onnx', dict(dynamic=True)),
                                  ('segmentor.pt', 'torchscript', dict(dynamic=True)),
                                  ('segmentor.pt2', 'torch-export', dict(shape=(128, 128)))):
        files = getattr(model_files, name.split('.')[0])
        call('export', config=str(files.config), checkpoint=str(files.checkpoint), format=format, out=folder / name,
             **dict(dict(shape=(64, 64)), **options))
        found[name] = folder / name
    return found


@pytest.fixture(scope='session')
def exported(tmp_path_factory):
    """Models, ONNX files and what was checked: a Cascade Mask R-CNN of any batch, a RetinaNet of images as they are."""
    from .helpers.detectors import build, cascade, export, single_stage  # needs mmdet and onnx
    folder = tmp_path_factory.mktemp('onnx')
    kinds = dict(cascade=(cascade(), dict(dynamic='batch')),
                 retinanet=(single_stage('RetinaNet'), dict(with_preprocess=True)))
    found = {}
    for name, (cfg, options) in kinds.items():
        model, path = build(cfg), folder / f'{name}.onnx'
        found[name] = model, path, export(model, path, **options)
    return found
