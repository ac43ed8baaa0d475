"""Plain data in checkpoints: read as what was written."""
import datetime
import os
import pathlib

import pytest
import torch

from mmvision_mamba.checkpoints.plain_pickles import SAFE
from mmvision_mamba.checkpoints.reading import read_checkpoint
from mmvision_mamba.errors import CheckpointError

from ..helpers.calls import Calls

PLAIN = [
    datetime.datetime(2024, 2, 29, 23, 59, 58, 123457), datetime.datetime(1, 1, 1), datetime.date(9999, 12, 31),
    datetime.datetime(2024, 2, 29, tzinfo=datetime.timezone(datetime.timedelta(hours=5, minutes=45), 'Kathmandu')),
    datetime.time(23, 1, 2, 999999), datetime.time(7, tzinfo=datetime.timezone.utc),
    datetime.timedelta(days=-3, microseconds=7), pathlib.Path('work_dirs') / 'a b' / 'ü.pth', pathlib.Path('/'),
    pathlib.PurePosixPath('/a'), pathlib.PureWindowsPath('C:/a/b')]


@pytest.mark.parametrize('value', PLAIN, ids=repr)
def test_plain_data_is_read_as_it_was_written(value, tmp_path):
    torch.save(dict(args=[value, dict(a=value)]), tmp_path / 'w.pth')
    found, nested = read_checkpoint(tmp_path / 'w.pth')['args']
    assert found == nested['a'] == value and type(found) is type(value)
    if hasattr(value, 'tzname'):
        assert found.tzname() == value.tzname()


@pytest.mark.parametrize('module', ['pathlib', 'pathlib._local'])
def test_paths_of_another_system_are_pure(module):
    name, pure = ('PosixPath', pathlib.PurePosixPath) if os.name == 'nt' else ('WindowsPath', pathlib.PureWindowsPath)
    make, = (one for one in SAFE if (one.__module__, one.__name__) == (module, name))
    assert make('C:', 'a') == pure('C:', 'a')


def test_config_dict(tmp_path):
    mmengine = pytest.importorskip('mmengine')
    value = mmengine.ConfigDict(classes=('a', 'b'), nested=dict(lr=0.1, parts=[dict(x=1)]))
    torch.save(dict(args=value), tmp_path / 'w.pth')
    found = read_checkpoint(tmp_path / 'w.pth')['args']
    assert type(found) is mmengine.ConfigDict and found == value and found.nested.parts[0].x == 1


@pytest.mark.parametrize('call', [
    Calls(pathlib.Path, 3), Calls(datetime.date, b'\x07\xe8\x0d\x01'), Calls(datetime.datetime, b'\x07'),
    Calls(datetime.time, 'seven')], ids=['path of a number', 'month 13', 'too short', 'no bytes'])
def test_what_none_of_them_writes_is_refused(call, tmp_path):
    torch.save(dict(args=call), tmp_path / 'w.pth')
    with pytest.raises(CheckpointError, match=r'w\.pth'):
        read_checkpoint(tmp_path / 'w.pth')
