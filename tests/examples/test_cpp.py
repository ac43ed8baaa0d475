"""The C++ examples, compiled and run: what they find is what Python finds."""
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image

from mmvision_mamba.export.verify import normalise, verification_images
from mmvision_mamba.runtime import loaders
from mmvision_mamba.runtime.standalone import Model

from ..helpers import ROOT
from ..helpers.detectors import build, cascade, export

SHAPE = 64, 96

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture
def compiled(tmp_path):
    """compiled(source, *options): the program that g++ makes of one of the examples."""
    if not shutil.which('g++'):
        pytest.skip('g++ is not installed')

    def compile(source, *options):
        run = subprocess.run(['g++', '-std=c++17', '-Wall', ROOT / 'examples' / 'cpp' / source, *options, '-o',
                              tmp_path / 'run'], capture_output=True, text=True)
        assert run.returncode == 0, run.stderr
        return tmp_path / 'run'
    return compile


@pytest.fixture
def picture(tmp_path):
    """An RGB array and the PPM file of it."""
    image = verification_images(SHAPE, 1)[0]
    Image.fromarray(image).save(tmp_path / 'a picture.ppm')
    return image, tmp_path / 'a picture.ppm'


def test_aot_inductor(tool, segmentor_files, compiled, picture, shell, tmp_path):
    run = tool('export', *segmentor_files, '--shape', *SHAPE, '--format', 'aot-inductor', '--out', tmp_path / 'm.pt2')
    assert run.code == 0, run.err
    torch_folder = Path(torch.__file__).parent
    program = compiled('aot_inductor_run.cpp', '-std=c++20', f'-I{torch_folder}/include',
                       f'-I{torch_folder}/include/torch/csrc/api/include', f'-L{torch_folder}/lib',
                       '-Wl,--no-as-needed', '-ltorch', '-ltorch_cpu', '-lc10', f'-Wl,-rpath,{torch_folder}/lib')
    image, path = picture
    run = shell(program, tmp_path / 'm.pt2', path, tmp_path / 'map.pgm', env={})  # no LD_LIBRARY_PATH of Python's
    assert run.returncode == 0, run.stderr
    settings = dict(channel_order='RGB', mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])
    wanted, _ = loaders.load(tmp_path / 'm.pt2', 'aot-inductor')(normalise([image], settings))
    assert len(np.unique(wanted)) > 1
    assert (np.asarray(Image.open(tmp_path / 'map.pgm')) == wanted[0]).mean() > 0.999
    run = shell(program, tmp_path / 'm.pt2', tmp_path / 'm.pt2', tmp_path / 'map.pgm')
    assert run.returncode == 2 and 'is not a binary PPM' in run.stderr


@pytest.fixture
def onnxruntime_options(tmp_path):
    """g++'s options: headers of a release of onnxruntime for C++, or of the system; the library that is in the Python
    package, which has no headers."""
    header = next(Path(os.environ.get('ORT', '/usr')).glob('include/**/onnxruntime_cxx_api.h'), None)
    library = next(Path(onnxruntime.__file__).parent.glob('capi/libonnxruntime.so.*'), None)
    if not (header and library):
        pytest.skip('no headers of onnxruntime (set ORT to an unpacked release for C++) or no library')
    (tmp_path / 'libonnxruntime.so.1').symlink_to(library)  # the name that programs look for
    return f'-I{header.parent}', library, f'-Wl,-rpath,{tmp_path}'


def test_onnxruntime(tool, segmentor_files, compiled, picture, shell, onnxruntime_options, tmp_path):
    program = compiled('onnxruntime_run.cpp', *onnxruntime_options)
    image, path = picture
    run = tool('export', *segmentor_files, '--shape', *SHAPE, '--with-preprocess', '--out', tmp_path / 's.onnx')
    assert run.code == 0, run.err
    run = shell(program, tmp_path / 's.onnx', path, tmp_path / 'map.pgm')
    assert run.returncode == 0, run.stderr
    wanted = Model(tmp_path / 's.onnx')(image)
    assert len(np.unique(wanted)) > 1
    assert (np.asarray(Image.open(tmp_path / 'map.pgm')) == wanted).mean() > 0.999

    export(build(cascade()), tmp_path / 'd.onnx', with_preprocess=True)
    run = shell(program, tmp_path / 'd.onnx', path)
    assert run.returncode == 0, run.stderr
    wanted = Model(tmp_path / 'd.onnx')(image)
    found = np.array([line.split() for line in run.stdout.splitlines()], float)
    assert len(found) == len(wanted.scores) > 5
    assert found[:, 0].tolist() == wanted.labels.tolist()
    np.testing.assert_allclose(found[:, 1], wanted.scores, atol=1e-3)
    np.testing.assert_allclose(found[:, 2:], wanted.boxes, atol=0.1)
    assert 'name the file for its map' in shell(program, tmp_path / 's.onnx', path).stderr
