"""NumPy's arrays and numbers in a checkpoint."""
import pickle

import numpy as np
import pytest
import torch

from mmvision_mamba.checkpoints.reading import read_checkpoint


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


def test_what_a_process_allows_does_not_replace_the_stand_ins(tmp_path):
    """A program may have told torch that NumPy's own methods are safe; then they are two of a name."""
    scalar, reconstruct = np.float64(0).__reduce__()[0], np.arange(1).__reduce__()[0]
    allowed = [np.dtype, np.ndarray, scalar, reconstruct, getattr, slice]
    torch.save(dict(number=np.float64(0.1), array=np.arange(3), slice=slice(3)), tmp_path / 'w.pth')
    before = torch.serialization.get_safe_globals()[:]
    torch.serialization.add_safe_globals(allowed)
    try:
        found = read_checkpoint(tmp_path / 'w.pth')
        assert set(torch.serialization.get_safe_globals()) == {*before, *allowed}
    finally:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(before)
    assert found['number'] == 0.1 and found['array'].tolist() == [0, 1, 2] and found['slice'] == slice(3)
