"""NumPy's arrays and numbers in a checkpoint."""
import pickle

import numpy as np
import pytest
import torch

from mmvision_mamba.checkpoints.reading import read_checkpoint
from mmvision_mamba.errors import CheckpointError


@pytest.mark.parametrize('value', [
    np.float64(0.1), np.float32(3), np.float16(2), np.int64(-7), np.uint8(200), np.bool_(True), np.arange(6.),
    np.arange(6, dtype='>i4'), np.asfortranarray(np.arange(6).reshape(2, 3)), np.zeros((0, 3)), np.array(4.),
    np.array([True, False]), np.arange(624, dtype=np.uint32)], ids=repr)
def test_numpy_values_come_back(value, tmp_path):
    """What a Runner keeps of NumPy is read as it was, and can be saved and read again."""
    for _ in range(2):
        torch.save(dict(x=value), tmp_path / 'w.pth')
        found = read_checkpoint(tmp_path / 'w.pth')['x']
        assert np.array_equal(found, value) and found.shape == value.shape
        assert found.dtype == value.dtype.newbyteorder('=')
        value = found
    assert type(pickle.loads(pickle.dumps(value))).__module__ == 'numpy', 'a class of the reader'


def test_what_a_process_allows_torch_is_not_allowed_here(tmp_path):
    """A program may have told torch that NumPy's own methods, or any others, are safe."""
    scalar, reconstruct = np.float64(0).__reduce__()[0], np.arange(1).__reduce__()[0]
    torch.save(dict(number=np.float64(0.1), array=np.arange(3)), tmp_path / 'w.pth')
    torch.save(slice(3), tmp_path / 'slice.pth')
    before = torch.serialization.get_safe_globals()[:]
    torch.serialization.add_safe_globals([np.dtype, np.ndarray, scalar, reconstruct, getattr, slice])
    try:
        found = read_checkpoint(tmp_path / 'w.pth')
        with pytest.raises(CheckpointError, match=r'builtins\.slice'):
            read_checkpoint(tmp_path / 'slice.pth')
    finally:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(before)
    assert found['number'] == 0.1 and found['array'].tolist() == [0, 1, 2]


@pytest.mark.parametrize(('value', 'kind'), [
    (np.str_('a'), 'text'), (np.array(['a', 'bc']), 'text'), (np.bytes_(b'a'), 'bytes'),
    (np.array([{}, None]), 'objects'),
    (np.datetime64('2024-01-01'), 'dates'), (np.zeros(2, 'i4,f4'), 'records')], ids=repr)
def test_what_is_no_number_is_said_with_the_way_to_save_it(value, kind, tmp_path):
    torch.save(dict(a=torch.ones(1), x=value), tmp_path / 'w.pth')
    with pytest.raises(CheckpointError, match=rf'w\.pth holds NumPy {kind} \(of dtype .*\): refused.*\n.*\.item\(\)'):
        read_checkpoint(tmp_path / 'w.pth')
