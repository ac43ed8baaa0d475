import os
import socket
import sys

import numpy as np
import pytest

from mmvision_mamba.checkpoints.writing import save_checkpoint, write_text
from mmvision_mamba.errors import ConfigError
from mmvision_mamba.files import check_output, encoding_of, open_file, read_bytes, read_text, replace
from mmvision_mamba.inference import results
from mmvision_mamba.inference.sources import Source


def test_no_half_written_file(tmp_path):
    path = tmp_path / 'new' / 'results.json'

    def fail(temporary):
        temporary.write_text('half')
        raise OSError('disk full')
    with pytest.raises(OSError, match='disk full'):
        replace(path, fail)
    assert not list(path.parent.iterdir())


@pytest.mark.skipif(sys.platform == 'win32', reason='links need rights there')
def test_links_where_temporary_files_go_are_not_written_through(tmp_path):
    """A folder from elsewhere may have them, to any file of who writes there."""
    kept, folder = tmp_path / 'kept', tmp_path / 'from elsewhere'
    kept.write_text('precious')
    folder.mkdir()
    for name in (f'.a.{os.getpid()}.json', f'.b.{os.getpid()}.json', f'.c.{os.getpid()}.mp4', 'd.pth.part', 'e.part'):
        (folder / name).symlink_to(kept)
    replace(folder / 'a.json', lambda temporary: temporary.write_text('new'))
    results._JsonArray(folder / 'b.json').close()
    video = results._Video(folder / 'c.mp4', Source('c.mp4', 'c', '.mp4', iter, fps=5.), (64, 64))
    video.write(np.zeros((64, 64, 3), np.uint8))
    video.close()
    save_checkpoint(dict(state_dict={}), folder / 'd.pth')
    write_text(folder / 'e', 'new')
    assert kept.read_text() == 'precious'
    assert {path.name for path in folder.iterdir() if path.is_file()} == {'a.json', 'b.json', 'c.mp4', 'd.pth', 'e'}


@pytest.mark.parametrize('name', ['x' * 250 + '.json', '长' * 83 + '.json', 'a.' + 'x' * 250, 'x' * 255])
def test_files_of_the_longest_names_are_written(name, tmp_path):
    check_output(tmp_path / name, '--out')
    replace(tmp_path / name, lambda temporary: temporary.write_text('all'))
    assert [path.read_text() for path in tmp_path.iterdir()] == ['all']


def test_errors_of_writing_name_the_file(tmp_path):
    with pytest.raises(IsADirectoryError) as error:
        replace(tmp_path / 'a/results.json', lambda temporary: (temporary.with_name('results.json').mkdir(),
                                                                temporary.touch()))
    assert error.value.filename == str(tmp_path / 'a/results.json')
    assert [path.name for path in (tmp_path / 'a').iterdir()] == ['results.json']


@pytest.mark.skipif(sys.platform == 'win32', reason='FIFOs and /dev are of POSIX')
def test_a_file_takes_the_place_of_no_device(tmp_path):
    os.mkfifo(tmp_path / 'fifo')
    (tmp_path / 'link').symlink_to('/dev/null')
    for name, what in (('fifo', 'a FIFO'), ('link', 'a device')):
        with pytest.raises(OSError, match=f'it is {what}, not a regular file'):
            replace(tmp_path / name, lambda temporary: temporary.touch())
        with pytest.raises(ConfigError, match=f'it is {what}'):
            check_output(tmp_path / name, '--json')


def test_outputs_are_checked_before_the_work(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'file').touch()
    (tmp_path / 'link').symlink_to('nowhere/a')
    for path in ('new', 'new/a/b', 'file', 'link', tmp_path / 'new'):
        check_output(path, '--out')
    for path, problem in (('', 'it is a folder'), ('.', 'it is a folder'), (tmp_path, 'it is a folder'),
                          ('file/a/b', 'file is no folder'), ('x' * 256, 'File name too long')):
        with pytest.raises(ConfigError, match=f"^--json '.*': .*{problem}. Name a file"):
            check_output(path, '--json')


@pytest.mark.skipif(sys.platform == 'win32', reason='FIFOs and /dev are of POSIX')
def test_regular_files_alone_are_read(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / 'fifo')
    (tmp_path / 'link').symlink_to('/dev/zero')
    monkeypatch.chdir(tmp_path)  # paths of sockets are short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind('socket')
    (tmp_path / 'loop').symlink_to('loop')
    for name, reason in (('fifo', 'it is a FIFO, not a'), ('link', 'it is a device'), ('socket', 'it is a socket'),
                         ('.', 'Is a directory'), ('none', 'No such file'), ('loop', 'Too many levels'),
                         ('a\0b', 'no file can have'), ('a\ud800', 'no file can have')):
        for read in (open_file, read_bytes, read_text, encoding_of):
            with pytest.raises(OSError, match=reason) as error:
                read(str(tmp_path / name))
            assert error.value.strerror.startswith(reason)


def test_what_is_read_is_bounded(tmp_path):
    path = tmp_path / 'file'
    path.write_bytes(b'12345')
    assert read_bytes(path) == read_bytes(path, 5) == b'12345' and read_text(path, 5) == '12345'
    for read in (read_bytes, read_text):
        with pytest.raises(OSError, match='it has 5 bytes or more, and 4 are allowed'):
            read(path, 4)
    with path.open('wb') as file:
        file.truncate(2**40)  # sparse
    with pytest.raises(OSError, match='it has 1099511627776 bytes or more'):
        read_bytes(path, 10**9)
    path.write_bytes(b'')
    assert read_bytes(path) == read_bytes(path, 0) == b''


@pytest.mark.skipif(not os.path.exists('/proc/self/status'), reason='files without a size are of Linux')
def test_files_that_have_no_size():
    assert read_text('/proc/self/status').startswith('Name:')
    with pytest.raises(OSError, match='allowed'):
        read_bytes('/proc/self/status', 10)
    with pytest.raises(OSError, match="'/proc/self/mem'"):  # opens, and can't be read
        read_bytes('/proc/self/mem')


@pytest.mark.parametrize('encoding', ['utf-8', 'utf-8-sig', 'utf-16', 'utf-32'])
def test_text_of_any_encoding(encoding, tmp_path):
    path = tmp_path / 'text'
    path.write_bytes('ä\r\nb\rc\n'.encode(encoding))
    assert read_text(path) == 'ä\nb\nc\n' and encoding_of(path) == encoding
