"""Safetensors: read lazily where they are sound, and refused by name where a header says what can't be."""
import io
import subprocess
import sys

import pytest
import torch
from safetensors.torch import save_file

from mmvision_mamba.checkpoints.formats import load
from mmvision_mamba.checkpoints.reading import read_checkpoint
from mmvision_mamba.checkpoints.safetensors_files import LARGEST_HEADER, check_header
from mmvision_mamba.errors import CheckpointError

from ..helpers.safetensors_bytes import entry, file_of

DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16,
          torch.int8, torch.uint8, torch.bool)


def test_all_dtypes_and_shapes_come_back(tmp_path):
    state = {str(dtype): (torch.rand(2, 3) * 9).to(dtype) for dtype in DTYPES}
    state |= dict(scalar=torch.tensor(2.5), empty=torch.zeros(0, 4), name_with_ü=torch.ones(1))
    save_file(state, tmp_path / 'w.safetensors', metadata=dict(format='pt'))
    found = read_checkpoint(tmp_path / 'w.safetensors')
    assert found.keys() == state.keys()
    for key, value in state.items():
        assert found[key].dtype == value.dtype and torch.equal(found[key], value)
    with (tmp_path / 'w.safetensors').open('rb') as stream:  # as from a store elsewhere, and at once
        assert torch.equal(load(io.BytesIO(stream.read()))['scalar'], torch.tensor(2.5))


def test_the_format_is_told_by_the_content(tmp_path):
    save_file(dict(a=torch.ones(2)), tmp_path / 'w.pth')
    torch.save(dict(a=torch.ones(2)), tmp_path / 'w.safetensors')
    torch.save(dict(a=torch.ones(2)), tmp_path / 'w.bin', _use_new_zipfile_serialization=False)
    for name in ('w.pth', 'w.safetensors', 'w.bin'):
        assert read_checkpoint(tmp_path / name)['a'].sum() == 2


HOSTILE = {
    '100 MB of JSON': (file_of(b'{"a":' + b' ' * 1000, b'', 100 * 2**20), 'a header of 104857600 bytes, more than'),
    'a length of 2^64 - 1': (file_of(b'{}', b'', 2**64 - 1), 'a header of 18446744073709551615 bytes'),
    'deep JSON': (file_of(b'{"a":' + b'[' * 10**6), 'a header that is no JSON object'),
    'no JSON': (file_of(b'{"a"'), 'a header that is no JSON object'),
    'no UTF-8': (file_of(b'{"\xff": 1}'), 'a header that is no JSON object'),
    'a number of a million digits': (file_of(b'{"a":' + b'9' * 10**6 + b'}'), 'no JSON object|without dtype, shape'),
    'a name twice': (file_of(b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},'
                             b'"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}', b'x'), 'holds a twice'),
    'a key twice': (file_of(b'{"a":{"dtype":"U8","dtype":"F32","shape":[1],"data_offsets":[0,1]}}', b'x'),
                    'dtype twice'),
    'metadata that is no text': (file_of({'__metadata__': dict(a=[1])}), 'a __metadata__ that is not text by name'),
    'no entry': (file_of(dict(a=3)), 'a without dtype, shape and data_offsets'),
    'too much in an entry': (file_of(dict(a=dict(entry(), code='x')), b'1234'), 'data_offsets, or with more'),
    'overlapping': (file_of(dict(a=entry(), b=entry(2, 6)), b'123456'), 'overlapping tensors, at b'),
    'the same bytes': (file_of(dict(a=entry(), b=entry()), b'1234'), 'overlapping tensors, at b'),
    'a gap': (file_of(dict(a=entry(), b=entry(8, 12)), b'1' * 12), 'bytes of no tensor, at b'),
    'a gap at the start': (file_of(dict(a=entry(4, 8)), b'1' * 8), 'bytes of no tensor, at a'),
    'bytes at the end': (file_of(dict(a=entry()), b'1' * 8), '4 bytes behind its tensors'),
    'negative offsets': (file_of(dict(a=entry(-4, 0)), b'1234'), r'a at \[-4, 0\]'),
    'offsets that go back': (file_of(dict(a=entry(4, 0)), b'1234'), r'a at \[4, 0\]'),
    'offsets that are huge': (file_of(dict(a=entry(2**63, 2**63 + 4)), b'1234'), r'a at \[9223372036854775808'),
    'offsets that are fractions': (file_of(dict(a=entry(0, 4.0)), b'1234'), r'a at \[0, 4.0\]'),
    'three offsets': (file_of(dict(a=dict(entry(), data_offsets=[0, 4, 4])), b'1234'), r'a at \[0, 4, 4\]'),
    'negative sides': (file_of(dict(a=entry(shape=(-1, -1))), b'1234'), r'a of the shape \[-1, -1\]'),
    'sides that are true': (file_of(dict(a=entry(shape=(True,))), b'1234'), r'a of the shape \[True\]'),
    'no sides': (file_of(dict(a=entry(shape='1')), b'1234'), 'a of the shape 1'),
    'many sides': (file_of(dict(a=entry(shape=(1,) * 1000)), b'1234'), r'a of the shape \[1, 1'),
    'empty and huge': (file_of(dict(a=entry(0, 0, (0, 2**60)))), 'a in 0 bytes'),
    'a shape that does not fit': (file_of(dict(a=entry(shape=(2,))), b'1234'), r'4 bytes, where F32 of \[2\] takes 8'),
    'a product that overflows': (file_of(dict(a=entry(shape=(2**32, 2**32, 4))), b'1234'), 'takes 2951479051793528258'),
    'an unknown dtype': (file_of(dict(a=entry(dtype='F8_E4M3')), b'1234'), 'a of the dtype F8_E4M3, in which no model'),
    'a dtype that is none': (file_of(dict(a=entry(dtype=['F32'])), b'1234'), 'a of the dtype'),
    'a name with escapes': (file_of({'\x1b[31mred\n': entry(dtype='?')}, b'1234'), r'\\x1b\[31mred\\n of the dtype \?'),
}


@pytest.mark.parametrize('kind', HOSTILE)
def test_hostile_headers_are_refused_by_name(kind, tmp_path):
    content, message = HOSTILE[kind]
    (tmp_path / 'w.safetensors').write_bytes(content)
    with pytest.raises(CheckpointError, match=message) as error:
        read_checkpoint(tmp_path / 'w.safetensors')
    first, *rest = str(error.value).splitlines()
    assert first.startswith(f'{tmp_path}/w.safetensors holds ') and 'refused' in first and len(first) < 700
    assert len(rest) == 1


@pytest.mark.parametrize('keep', [0, 5, 9, 60, -1])
def test_truncated_files(keep, tmp_path):
    content = file_of(dict(a=entry(0, 4000, (1000,))), b'x' * 4000)
    (tmp_path / 'w.safetensors').write_bytes(content[:keep])
    with pytest.raises(CheckpointError, match=r'w\.safetensors is truncated or not a checkpoint \(\d+ bytes\)'):
        read_checkpoint(tmp_path / 'w.safetensors')


def test_a_page_of_a_web_server_is_no_checkpoint(tmp_path):
    (tmp_path / 'w.safetensors').write_text('<html>404</html>')
    with pytest.raises(CheckpointError, match='truncated or not a checkpoint'):
        read_checkpoint(tmp_path / 'w.safetensors')


def test_the_largest_header_takes_little_memory_and_tensors_none_before_they_are_used(tmp_path):
    """The file of a gigabyte has no blocks on the disk."""
    names = {f'{i}': entry(4 * i, 4 * i + 4) for i in range(40_000)}
    with pytest.raises(EOFError):
        check_header(io.BytesIO(file_of(names)))
    assert len(file_of(names)) < LARGEST_HEADER
    with (tmp_path / 'w.safetensors').open('wb') as file:
        file.write(file_of(dict(a=entry(0, 2**30, (2**28,)))))
        file.truncate(file.tell() + 2**30)
    program = f'''
import resource
from mmvision_mamba.checkpoints.formats import load
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
assert load({str(tmp_path / "w.safetensors")!r})['a'][-1] == 0
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10)
'''
    done = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 300  # megabytes, of the libraries; the file has 1024
