"""Checkpoints whose content breaks what torch and Python take for granted: refused before it is made, and at once."""
import io
import pickle
import time
import zipfile
from collections import OrderedDict

import pytest
import torch

from mmvision_mamba.checkpoints import mmengine_loader, unpickling
from mmvision_mamba.checkpoints.reading import read_checkpoint
from mmvision_mamba.errors import CheckpointError

from ..helpers.calls import Calls

# Pickles, in torch's protocol.
HEAD, FLOATS, SHAPE = b'\x80\x02', b'ctorch\nFloatStorage\n', b'ctorch\nSize\n'


def number(n):
    return pickle.dumps(n, 2)[2:-1]


def text(string):
    return b'X' + len(string.encode()).to_bytes(4, 'little') + string.encode()


def stored(length=4, key='0', type_=FLOATS):
    return b'(' + text('storage') + type_ + text(key) + text('cpu') + number(length) + b'tQ'


def rebuilt(size=(4,), stride=(1,), offset=0, storage=None, function='_rebuild_tensor_v2', more=b''):
    return b'ctorch._utils\n' + function.encode() + b'\n(' + (storage or stored()) + number(offset) + number(
        size) + number(stride) + b'\x89ccollections\nOrderedDict\n)R' + more + b'tR'


def archive(path, content, records=(), compression=zipfile.ZIP_STORED):
    """An archive as torch writes it, with this pickle, and one storage of 4 numbers."""
    with zipfile.ZipFile(path, 'w', compression) as file:
        file.writestr('w/data.pkl', HEAD + content + b'.')
        file.writestr('w/data/0', torch.arange(4.).numpy().tobytes())
        for name, data in records:
            file.writestr(name, data)


def nested(depth, start=b')'):
    """A tuple of two of the same, of tuples of two of the same, and so on, as often as `depth` says."""
    return start + b''.join(b'q\x00h\x00\x86' for _ in range(depth))


def colliding(count):
    """Pairs of numbers whose hashes are all the same: Python's hash of a tuple is no secret, unlike that of text."""
    start, factor, other, whole = 2870177450012600261, 14029467366897019727, 11400714785074694791, 2**64

    def after(first):
        state = (start + first * factor) % whole
        return (state << 31 | state >> 33) * other % whole

    seconds = ((x, (after(1) - after(x)) * pow(factor, -1, whole) % whole) for x in range(1, 100 * count))
    return [(x, y) for x, y in seconds if y < 2**61 - 1][:count]


PAIRS = b''.join(number(a) + number(b) + b'\x86' for a, b in colliding(1500))

TREES = {
    'a tensor beyond its storage': rebuilt((5,)),
    'an offset beyond it': rebuilt(offset=1),
    'a stride beyond it': rebuilt((2,), (4,)),
    'a negative offset': rebuilt(offset=-1),
    'a negative side': rebuilt((-4,)),
    'a negative stride': rebuilt(stride=(-1,)),
    'sides that overflow': rebuilt((2**40, 2**40), (0, 0)),
    'strides that overflow': rebuilt((2, 2), (2**61, 2**61)),
    'strides that overlap': rebuilt((2, 2), (1, 1)),
    'strides of nothing': rebuilt((1000, 4), (0, 1)),
    'a huge tensor of nothing': rebuilt((0, 2**40), (1, 1)),
    'more strides than sides': rebuilt((4,), (1, 1)),
    'a thousand sides': rebuilt((1,) * 1000, (1,) * 1000),
    'sides that are no numbers': b'ctorch._utils\n_rebuild_tensor\n(' + stored() + number(0) + number(('4',)) + number(
        (1,)) + b'tR',
    'a storage that claims more': rebuilt((8,), storage=stored(8)),
    'a storage that claims less': rebuilt((1,), storage=stored(1)),
    'a storage that is not there': rebuilt(storage=stored(key='1')),
    'a storage of complex numbers': rebuilt((2,), storage=stored(2, type_=b'ctorch\nComplexFloatStorage\n')),
    'a storage without a tensor': stored(),
    'a type of storages': FLOATS,
    'a negated tensor': rebuilt(more=b'}' + text('neg') + b'\x88s'),
    'a tensor by its class': b'ctorch\nFloatTensor\n' + number(2**40) + b'\x85R',
    'a parameter of none': b'ctorch._utils\n_rebuild_parameter\n(N\x88NtR',
    'a bytearray of a size': b'c__builtin__\nbytearray\n' + number(2**40) + b'\x85R',
    'a size of other things': SHAPE + nested(60) + b'\x85R',
    'nested tuples': nested(150),
    'nested tuples, said to be a date': b'cdatetime\ndate\n' + nested(80) + b'\x85R',
    'nested tuples, said to be a dtype': b'cnumpy\ndtype\n' + nested(80) + b'\x85R',
    'nested tuples, said to be an encoding': b'c_codecs\nencode\n' + text('a') + nested(80) + b'\x86R',
    'nested tuples, said to be pairs': b'ccollections\nOrderedDict\n' + nested(80) + b'\x85R',
    'nested tuples as a key': b'}' + nested(80) + number(1) + b's',
    'nested tuples as an item of a set': b'c__builtin__\nset\n]' + nested(80) + b'a\x85R',
    'nested tuples as weights': b'}' + text('state_dict') + b'}' + text('w') + nested(80) + b'ss',
    'nested lists': b']q\x00' + b''.join(b']h\x00ah\x00aq\x00' for _ in range(80)),
    'nested dictionaries': b'}q\x00' + b''.join(
        b'}(' + text('a') + b'h\x00' + text('b') + b'h\x00uq\x00' for _ in range(80)),
    'a deep list': b']' * 5000 + b'a' * 4999,
    'a list that contains itself': b']q\x00h\x00a',
    'a dictionary that contains itself': b'}q\x00' + text('a') + b'h\x00s',
    'one content many times': b'c_codecs\nencode\n' + text('x' * 1000) + text('latin1') + b'\x86q\x00R0' + (
        b'c_codecs\nencode\nh\x00R0' * 1000) + b'N',
    'keys that collide': b'}(' + b''.join(number(i * (2**61 - 1)) + b'N' for i in range(1, 1000)) + b'u',
    'tuples that collide, as keys': b'}(' + b''.join(
        number(a) + number(b) + b'\x86N' for a, b in colliding(1500)) + b'u',
    'tuples that collide, in a set': b'c__builtin__\nset\n](' + PAIRS + b'e\x85R',
    'one set many times': b'](c__builtin__\nset\nq\x00](' + b'K\1K\2' * 5000 + b'e\x85q\x01R' + (
        b'h\x00h\x01R' * 500) + b'e',
    'one path many times': b'](cpathlib\nPurePosixPath\nq\x00(' + text('a') * 5000 + b'tq\x01R' + (
        b'h\x00h\x01R' * 500) + b'e',
    'one state many times': b'](cargparse\nNamespace\n)\x81q\x00}(' + b''.join(
        text(f'a{i}') + b'N' for i in range(5000)) + b'uq\x01b' + b'h\x00h\x01b' * 500 + b'e',
    'sets of a later protocol': b'\x8f',
    'an attribute over a method': b'ccollections\nOrderedDict\n)R}' + text('_metadata') + number(5) + b'sb',
    'versions that are no numbers': b'ccollections\nOrderedDict\n)R}' + text('_metadata') + b'}' + text(
        'a') + b'}' + text('version') + text('2') + b'sssb',
    'an appended key': b'}' + number(1) + b'a',
    'a call of a number': number(1) + b')R',
    'a mark that is missing': b't',
    'an empty stack': b'0',
}


@pytest.fixture(autouse=True)
def enforced():
    mmengine_loader.enforce()


def refusal(path):
    start = time.process_time()
    with pytest.raises(CheckpointError, match=r'w\.pth') as error:
        read_checkpoint(path)
    message = str(error.value)
    assert len(message.splitlines()) <= 2 and len(message) < 1000 and time.process_time() - start < 20
    return message


@pytest.mark.parametrize('name', TREES)
def test_trees(name, tmp_path):
    archive(tmp_path / 'w.pth', TREES[name])
    refusal(tmp_path / 'w.pth')


def test_what_the_hostile_ones_are_made_of_is_read(tmp_path):
    archive(tmp_path / 'w.pth', rebuilt())
    assert read_checkpoint(tmp_path / 'w.pth').tolist() == [0, 1, 2, 3]
    archive(tmp_path / 'w.pth', rebuilt((2, 2), (1, 2)))
    assert read_checkpoint(tmp_path / 'w.pth').tolist() == [[0, 2], [1, 3]]
    archive(tmp_path / 'w.pth', nested(5))
    assert str(read_checkpoint(tmp_path / 'w.pth')).count('()') == 32


KINDS = {
    'sparse': (lambda: torch.eye(3).to_sparse(), 'a sparse tensor'),
    'sparse rows': (lambda: torch.eye(3).to_sparse_csr(), 'a sparse tensor'),
    'quantised': (lambda: torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8), 'a quantised tensor'),
    'meta': (lambda: torch.ones(3, device='meta'), 'a tensor without content'),
    'nested': (lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]), 'a nested tensor'),
    'complex': (lambda: torch.ones(3, dtype=torch.complex64), 'a tensor of complex numbers'),
    'expanded': (lambda: torch.ones(1).expand(3), 'a tensor whose strides overlap'),
    'eight bits of a float': (lambda: torch.ones(3).to(torch.float8_e4m3fn), 'a dtype that models are not trained in'),
    'a function': (lambda: Calls(print, 'x'), 'an object of builtins.print'),
}


@pytest.mark.parametrize('name', KINDS)
@pytest.mark.parametrize('zipped', [True, False], ids=['zip', 'legacy'])
@pytest.mark.filterwarnings('ignore')
def test_kinds_of_tensors(name, zipped, tmp_path):
    make, said = KINDS[name]
    torch.save(dict(state_dict={'a.weight': make()}), tmp_path / 'w.pth', _use_new_zipfile_serialization=zipped)
    assert said in refusal(tmp_path / 'w.pth')


def test_a_million_objects(tmp_path, monkeypatch):
    monkeypatch.setattr(unpickling, 'MOST_MADE', 1000)
    archive(tmp_path / 'w.pth', b'](cargparse\nNamespace\n)\x81q\x00' + b'h\x00}b' * 1001 + b'e')
    assert 'more than 1000 objects' in refusal(tmp_path / 'w.pth')


def with_attributes(tensor):
    tensor.note = 'mine'
    return tensor


@pytest.mark.parametrize('tensor', [
    torch.arange(10)[10:], torch.ones(4, 5)[:, 2:2], torch.empty(0, 3), with_attributes(torch.ones(3)),
    with_attributes(torch.nn.Parameter(torch.ones(3))), torch.arange(6.).reshape(2, 3).t(),
    torch.arange(3).expand(1, 3), torch.ones(2, 3, 4, 5).to(memory_format=torch.channels_last),
    torch.ones(2, 3, dtype=torch.bfloat16)[:, 1]])
@pytest.mark.parametrize('zipped', [True, False], ids=['zip', 'legacy'])
def test_dense_tensors_of_all_kinds_are_read(tensor, zipped, tmp_path):
    torch.save(tensor, tmp_path / 'w.pth', _use_new_zipfile_serialization=zipped)
    found = read_checkpoint(tmp_path / 'w.pth')
    assert torch.equal(found, tensor) and found.dtype == tensor.dtype
    assert found.is_contiguous() == tensor.is_contiguous()


def test_archives(tmp_path):
    path = tmp_path / 'w.pth'
    archive(path, b'N', [('w/data/1', bytes(10**6))], zipfile.ZIP_DEFLATED)
    assert 'compressed records' in refusal(path)
    archive(path, b'N', [('v/data/1', b'')])
    assert 'several folders' in refusal(path)
    archive(path, b'N', [('w/DATA/0', b'')])
    assert 'one name' in refusal(path)
    archive(path, b'N', [('w/constants.pkl', b'')])
    assert 'a program' in refusal(path)
    archive(path, rebuilt(), [('w/byteorder', b'middle')])
    assert 'ValueError' in refusal(path)
    archive(path, b'N')  # all records of the directory at the place of the first, which claims the whole file
    whole = path.read_bytes()
    start = whole.index(b'PK\1\2')
    entry = bytearray(whole[start:start + 46 + len('w/data.pkl')])
    entry[20:28] = len(whole).to_bytes(4, 'little') * 2
    path.write_bytes(whole[:start] + bytes(entry) + whole[start + len(entry):])
    assert 'more bytes than the file has' in refusal(path)


def test_pickles_in_a_row(tmp_path):
    """torch's older format, where sizes and keys are said in three places."""
    path = tmp_path / 'w.pth'
    torch.save(dict(a=torch.arange(4.)), path, _use_new_zipfile_serialization=False)
    whole = path.read_bytes()
    assert read_checkpoint(path)['a'].tolist() == [0, 1, 2, 3]
    keys = whole.rindex(b'\x80\x02]')
    for broken in (whole[:keys] + b'\x80\x02].', whole[:-24] + (2**60).to_bytes(8, 'little') + whole[-16:], whole[:-1],
                   whole.replace(b'K\x04Ntq', b'J\xff\xff\xff\x7fNtq'), whole.replace(b'K\x04Ntq', b'K\x03Ntq'),
                   whole.replace(b'K\x04Ntq', b'J\xff\xff\xff\xffNtq'), whole[:keys] + whole[keys:].replace(
                       b']q', b'(Nq')):
        assert broken != whole
        path.write_bytes(broken)
        refusal(path)


def test_memory_is_not_taken_before_the_file_is_known_to_hold_it(tmp_path):
    """A file of 300 bytes that asks for 8 GB."""
    torch.save(dict(a=torch.arange(4.)), out := io.BytesIO(), _use_new_zipfile_serialization=False)
    (tmp_path / 'w.pth').write_bytes(out.getvalue().replace(b'K\x04Ntq', b'J\xff\xff\xff\x7fNtq'))
    assert 'larger than the file' in refusal(tmp_path / 'w.pth')


def test_versions_of_modules_come_back(tmp_path):
    module = torch.nn.Sequential(torch.nn.BatchNorm2d(2))
    torch.save(module.state_dict(), tmp_path / 'w.pth')
    found = read_checkpoint(tmp_path / 'w.pth')
    assert type(found) is OrderedDict and found._metadata == module.state_dict()._metadata
