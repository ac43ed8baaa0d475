"""The folder of a run: refused where nothing can be written, held by one process, let go by a dead one."""
import errno
import multiprocessing
import os
import signal
import subprocess
import time

import pytest

from mmvision_mamba import work_dirs
from mmvision_mamba.errors import ConfigError
from mmvision_mamba.work_dirs import LOCK, hold, make_log_folder, make_work_dir, note, record_of, remove_log_folders

FORK = multiprocessing.get_context('fork')


def _hold(folder, ready):
    with hold(folder):
        note(folder, anew=True)
        worker = FORK.Process(target=time.sleep, args=(60,))  # as of a data loader: it inherits all open files
        worker.start()
        ready.send(worker.pid)
        time.sleep(60)


@pytest.fixture
def holder(tmp_path):
    """A process that holds `tmp_path`, and that it has a worker of its own."""
    ready, sender = FORK.Pipe(duplex=False)
    process = FORK.Process(target=_hold, args=(tmp_path, sender))
    process.start()
    worker = ready.recv()
    yield process
    for pid in (process.pid, worker):
        os.kill(pid, signal.SIGKILL)
    process.join()


def test_a_folder_is_held_by_one_process_until_it_dies(tmp_path, holder):
    for path in (tmp_path, f'{tmp_path}/../{tmp_path.name}'):
        with pytest.raises(ConfigError) as error, hold(path, wait=0):
            pass
        first, second = str(error.value).splitlines()
        assert str(tmp_path) in first and f'process {holder.pid} on {os.uname().nodename}, since 20' in first
        assert '--work-dir DIR' in second
    os.kill(holder.pid, signal.SIGKILL)
    with hold(tmp_path, wait=10):  # though the killed one's worker lives on
        record = record_of(tmp_path)
        assert record['pid'] == os.getpid() and record['anew'], 'what was noted outlasts the process'
        with hold(tmp_path):
            note(tmp_path, anew=False)
        assert record_of(tmp_path)['anew'] is False
    assert not list(tmp_path.iterdir())


def test_waiting_for_a_process_that_is_about_to_die(tmp_path, holder):
    killing = FORK.Process(target=lambda: (time.sleep(0.5), os.kill(holder.pid, signal.SIGKILL)))
    killing.start()
    with hold(tmp_path, wait=30):
        pass
    killing.join()


def test_after_an_error_the_record_stays_beside_other_files(tmp_path):
    for left in ([], ['iter_5.pth']):
        for name in left:
            (tmp_path / name).touch()
        with pytest.raises(KeyError), hold(tmp_path):
            raise KeyError
        assert [path.name for path in tmp_path.iterdir() if path.name != LOCK] == left
        assert (tmp_path / LOCK).exists() == bool(left)


@pytest.mark.parametrize('text', [b'', b'\xff\x00', b'[' * 500, b'5', b'{"pid": "\\u001b[2Jx\\n"}'])
def test_a_record_that_is_none(tmp_path, text, holder):
    (tmp_path / LOCK).write_bytes(text)
    assert isinstance(record_of(tmp_path), dict)
    with pytest.raises(ConfigError) as error, hold(tmp_path, wait=0):
        pass
    assert len(str(error.value).splitlines()) == 2 and '\x1b' not in str(error.value)


def test_a_file_system_without_locks_is_said(tmp_path, monkeypatch):
    said = []

    def none(handle):
        raise OSError(errno.ENOLCK, 'No locks available')
    monkeypatch.setattr(work_dirs, '_lock', none)
    monkeypatch.setattr(work_dirs, 'warn_once', said.append)
    with hold(tmp_path):
        assert record_of(tmp_path)['pid'] == os.getpid()
    assert len(said) == 1 and 'without locks (No locks available)' in said[0]


@pytest.fixture
def blocked(tmp_path):
    (tmp_path / 'file').write_text('mine')
    (tmp_path / 'link').symlink_to(tmp_path / 'gone/away')
    (tmp_path / 'loop').symlink_to(tmp_path / 'loop')
    return tmp_path


@pytest.mark.parametrize(('path', 'reason'), [
    ('', "expected a folder, got ''"), (5, 'expected a folder, got 5'), (None, 'expected a folder, got None'),
    (['a'], 'expected a folder'), ('file', 'a file or a broken link is in its place'),
    ('file/below', 'a file or a broken link is in its place'), ('link', 'a file or a broken link is in its place'),
    ('loop', 'a file or a broken link is in its place'), ('new/a\0b', 'embedded null byte'),
    ('new/' + 'x' * 300, 'File name too long'), ('new/' + 'x/' * 3000, 'File name too long'),
    ('/proc/self', ''), ('/proc/new/below', '')], ids=range(13))
def test_folders_that_can_not_be(blocked, path, reason):
    before = sorted(blocked.iterdir())
    given = str(blocked / path) if isinstance(path, str) and path and not path.startswith('/') else path
    with pytest.raises(ConfigError) as error:
        make_work_dir(given, '--out')
    lines = str(error.value).splitlines()
    assert lines[0].startswith('--out: ') and reason in lines[0] and len(lines) <= 2 and len(lines[0]) < 500
    assert sorted(blocked.iterdir()) == before


def test_a_full_disk_is_said_before_anything_is_written(tmp_path):
    disk = tmp_path / 'disk'
    disk.mkdir()
    if subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=512k', 'tmpfs', disk], capture_output=True).returncode:
        pytest.skip('needs the right to mount a tmpfs')
    try:
        with pytest.raises(ConfigError, match=r'No space left on device.\nFree some space'):
            make_work_dir(disk / 'run')
        assert not list(disk.iterdir())
    finally:
        subprocess.run(['umount', disk], check=True)


def test_what_was_made_is_told(tmp_path):
    made = make_work_dir(tmp_path / 'a/b')
    assert made == [tmp_path / 'a/b', tmp_path / 'a'] and not make_work_dir(tmp_path / 'a/b')
    (tmp_path / 'a/other').touch()
    work_dirs.remove_empty(made)
    assert [path.name for path in (tmp_path / 'a').iterdir()] == ['other']


def test_log_folders_are_of_one_run_each(tmp_path):
    names = [make_log_folder(tmp_path, '20250131_235959') for _ in range(2)]
    assert names == ['20250131_235959', '20250201_000000']
    (tmp_path / '20250201_000001').mkdir()  # another process's
    (tmp_path / names[0] / 'log').write_text('x')
    remove_log_folders(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ['20250201_000001']


def test_log_folders_follow_each_other_whatever_the_clock(tmp_path):
    """Set back, or of another time zone: readers go by the names."""
    for name in ('20260102_000000', 'notes', '99991231_235959', '20269999_000000'):
        (tmp_path / name).mkdir()
    assert make_log_folder(tmp_path, '20260101_000000') == '20260102_000001'
    assert make_log_folder(tmp_path, '20260103_000000') == '20260103_000000'


@pytest.mark.skipif(os.name != 'posix', reason='it closes a file behind the back of its holder')
def test_a_lock_whose_file_fails_to_close(tmp_path, monkeypatch):
    def close(handle):
        real(handle)
        raise OSError(errno.EIO, 'Input/output error')
    real = os.close
    with hold(tmp_path):
        monkeypatch.setattr(os, 'close', close)
    monkeypatch.undo()
    with hold(tmp_path, wait=0):
        pass


@pytest.mark.parametrize('kind', ['link', 'dangling', 'fifo', 'folder'])
def test_nothing_is_written_through_what_lies_in_the_place_of_the_lock(tmp_path, kind):
    """In a folder from elsewhere it may be a link to any file of the user's."""
    (tmp_path / 'wd').mkdir()
    (tmp_path / 'mine').write_text('mine')
    make = dict(link=lambda path: path.symlink_to(tmp_path / 'mine'), dangling=lambda path: path.symlink_to('gone'),
                fifo=os.mkfifo, folder=os.mkdir)[kind]
    make(tmp_path / 'wd' / LOCK)
    with pytest.raises(ConfigError, match=r'\.lock can not be written to'), hold(tmp_path / 'wd', wait=0):
        pass
    assert record_of(tmp_path / 'wd') == {}
    assert (tmp_path / 'mine').read_text() == 'mine' and os.listdir(tmp_path / 'wd') == [LOCK]
