"""Files of torch's formats that must not be loaded as they are."""
import json
import pickle
import platform
import zipfile

import numpy as np
import pytest
import torch

from mmvision_mamba.runtime.loaders import load_model
from mmvision_mamba.runtime.standalone import RuntimeInputError


class Evil:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), 'w')


def test_a_program_whose_pickles_hold_code_runs_none(tmp_path):
    """Each part of the archive that torch unpickles is tried."""
    class Adds(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(2))

        def forward(self, x):
            return x + self.weight

    torch.export.save(torch.export.export(Adds(), (torch.zeros(2),)), tmp_path / 'good.pt2')
    with zipfile.ZipFile(tmp_path / 'good.pt2') as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    changed = [name for name in parts if not name.endswith((
        '.json', '/version', '/byteorder', '/archive_format', '/archive_version', 'serialization_id'))]
    for name in changed:
        with zipfile.ZipFile(tmp_path / 'bad.pt2', 'w') as archive:
            for other, content in parts.items():
                archive.writestr(other, pickle.dumps(Evil(tmp_path / 'ran')) if other == name else content)
        with pytest.raises(RuntimeInputError):
            load_model(tmp_path / 'bad.pt2')
        assert not (tmp_path / 'ran').exists(), name
    assert changed


@pytest.mark.parametrize(('about', 'message'), [
    (dict(AOTI_PLATFORM='linux', AOTI_MACHINE='riscv64'), 'is compiled for linux, riscv64'),
    (dict(AOTI_MACHINE=platform.machine(), AOTI_CPU_ISA='AVX9000'), 'is compiled for processors with avx9000')])
def test_a_package_for_another_processor_is_not_loaded(about, message, tmp_path):
    if 'AOTI_CPU_ISA' in about and platform.machine() not in ('x86_64', 'AMD64'):
        pytest.skip('of x86')
    with zipfile.ZipFile(tmp_path / 'm.pt2', 'w') as archive:
        archive.writestr('m/data/aotinductor/model/kernels_metadata.json', json.dumps(about))
        archive.writestr('m/data/aotinductor/model/kernels.so', b'not to be loaded')
    with pytest.raises(RuntimeInputError, match=message):
        load_model(tmp_path / 'm.pt2')


def test_a_program_that_fails_is_named(tmp_path):
    """It raises whatever it likes: AssertionError, where the size of its input is none of its own."""
    class Twice(torch.nn.Module):
        def forward(self, image):
            return image * 2

    about = dict(task='segmentation', inputs=dict(image=dict(type='float32', shape=[1, 3, 64, 64])), outputs=['logits'],
                 batch_pad=dict(size=[64, 64], divisor=1, value=0.))
    torch.export.save(torch.export.export(Twice(), (torch.zeros(1, 3, 48, 48),)), tmp_path / 'm.pt2', extra_files={
        'metadata.json': json.dumps(about)})
    model = load_model(tmp_path / 'm.pt2')
    with pytest.raises(RuntimeInputError, match=r'm\.pt2 can not be run on this image') as error:
        model(np.zeros((64, 64, 3), np.uint8))
    assert len(str(error.value).splitlines()) == 1
