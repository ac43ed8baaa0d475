"""Videos that ask for gigabytes, that break off, and that can't be written to the end."""
import os
import struct
import sys
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from mmvision_mamba.errors import DataError
from mmvision_mamba.inference.results import Results
from mmvision_mamba.inference.sources import Source, find_sources
from mmvision_mamba.inference.videos import container_of, try_videos


def clip(path, codec='MJPG', frames=20):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*codec), 10., (80, 64))
    for seed in range(frames):
        writer.write(np.random.default_rng(seed).integers(0, 256, (64, 80, 3), np.uint8))
    writer.release()
    return path.read_bytes()


def box(name, content):
    return struct.pack('>I4s', 8 + len(content), name) + content


def announcing(samples):
    """An MP4 file of one frame whose index says that there are so many."""
    def full(name, *words):
        return box(name, struct.pack(f'>{1 + len(words)}I', 0, *words))
    frame = cv2.imencode('.jpg', np.zeros((64, 64, 3), np.uint8))[1].tobytes()
    start = box(b'ftyp', b'isom\0\0\2\0isom') + box(b'mdat', frame)
    entry = box(b'jpeg', bytes(6) + b'\0\1' + bytes(16) + struct.pack('>HH', 64, 64) + bytes(50))
    table = box(b'stbl', box(b'stsd', struct.pack('>II', 0, 1) + entry) + full(b'stts', 1, samples, 1) + full(
        b'stsc', 1, 1, samples, 1) + full(b'stsz', len(frame), samples) + full(b'stco', 1, len(start) - len(frame)))
    media = box(b'mdia', full(b'mdhd', 0, 0, 25, samples, 0) + box(b'hdlr', bytes(8) + b'vide' + bytes(13)) + box(
        b'minf', table))
    return start + box(b'moov', full(b'mvhd', 0, 0, 25, samples, *[0] * 20) + box(b'trak', full(
        b'tkhd', 0, 0, 1, 0, samples, *[0] * 15) + media))


def test_what_a_video_asks_for_is_bounded_before_it_is_opened(tmp_path, monkeypatch):
    (tmp_path / 'a.mp4').write_bytes(announcing(4_000_000))
    clip(tmp_path / 'b.mp4', 'mp4v')
    monkeypatch.setenv('MMVISION_MAMBA_MAX_VIDEO_BYTES', '120000000')
    bomb, good = find_sources(str(tmp_path))
    with pytest.raises(DataError, match=r'takes more than 120000000 bytes of memory .*MAX_VIDEO_BYTES=NUMBER'):
        list(bomb.frames())
    assert good.length == 20 and good.fps == 10 and len(list(good.frames())) == 20
    monkeypatch.setenv('MMVISION_MAMBA_MAX_VIDEO_BYTES', '600000000')
    assert [facts.problem for facts in try_videos([bomb.name])] == ['']


def test_a_handle_that_is_no_number_is_no_video():
    for name in ('x', '9' * 30, '1_0', '\u0663'):
        facts, = try_videos([f'/dev/fd/{name}'])
        assert facts.problem


@pytest.mark.parametrize(('name', 'codec'), [('a.avi', 'MJPG'), ('a.mkv', 'mp4v'), ('a.webm', 'VP80')])
def test_a_video_that_is_cut_off_has_failed_after_its_frames(name, codec, tmp_path):
    whole = clip(path := tmp_path / name, codec)
    assert container_of(str(path)).missing == 0
    path.write_bytes(whole[:len(whole) // 2])
    source, = find_sources(str(path))
    frames = []
    with pytest.raises(DataError, match=rf'cut off, {len(whole) - len(whole) // 2} bytes of it are missing'):
        for frame in source.frames():
            frames.append(frame)
    assert 3 < len(frames) < 20


def test_a_video_with_its_index_in_front_is_cut_off(tmp_path):
    (path := tmp_path / 'a.mp4').write_bytes(box(b'ftyp', b'isom') + box(b'free', b'') + box(b'mdat', bytes(99))[:50])
    assert container_of(str(path)) == (True, 57)


def test_a_damaged_video_is_said(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr('mmvision_mamba.inference.sources.warn_once', said.append)
    whole = clip(path := tmp_path / 'a.mp4', 'mp4v', 40)
    assert len(list(find_sources(str(path))[0].frames())) == 40 and not said
    half = len(whole) // 2
    path.write_bytes(whole[:half] + bytes(len(whole) // 4) + whole[half + len(whole) // 4:])
    number = len(list(find_sources(str(path))[0].frames()))
    assert said == [f'{path}: {number} frames were read, and its header says 40: it is damaged, unless it was cut '
                    'by an editor or its sound is longer']


@pytest.mark.skipif(sys.platform == 'win32', reason='bounds on files')
def test_a_video_that_is_not_written_to_its_end_replaces_none(tmp_path):
    import resource
    (tmp_path / 'vis').mkdir()
    (old := tmp_path / 'vis/clip.mp4').write_bytes(b'old')
    prediction = SimpleNamespace(source=Source('clip.avi', 'clip', '.avi', lambda: iter(()), fps=10.))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
        with pytest.raises(OSError, match='of 12 frames could be written to this video'), \
                Results(tmp_path, ('a',), [(0, 0, 0)], predictions=False) as results:
            for seed in range(12):
                results.add(prediction, np.random.default_rng(seed).integers(0, 256, (240, 320, 3), np.uint8))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list((tmp_path / 'vis').iterdir()) == [old] and old.read_bytes() == b'old'


def test_a_full_disk_ends_a_video_at_once(tmp_path, monkeypatch):
    prediction = SimpleNamespace(source=Source('clip.avi', 'clip', '.avi', lambda: iter(()), fps=10.))
    with pytest.raises(DataError, match=r'clip.avi failed: No space left'), \
            Results(tmp_path, ('a',), [(0, 0, 0)], predictions=False) as results:
        results.add(prediction, np.zeros((64, 80, 3), np.uint8))
        monkeypatch.setattr('shutil.disk_usage', lambda path: SimpleNamespace(free=0))
        results.add(prediction, np.zeros((64, 80, 3), np.uint8))


@pytest.mark.skipif(sys.platform != 'linux', reason='names of files are text elsewhere')
def test_a_video_whose_name_is_no_utf_8_is_an_input_that_failed(tmp_path):
    clip(tmp_path / 'a.avi', frames=2)
    clip(tmp_path / 'b.avi', frames=2)
    os.rename(tmp_path / 'a.avi', os.fsencode(tmp_path) + b'/caf\xe9.avi')
    good, named = find_sources(str(tmp_path))
    assert len(list(good.frames())) == 2
    with pytest.raises(DataError, match='its name has bytes that are no UTF-8'):
        next(named.frames())
