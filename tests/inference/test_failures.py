"""An input that fails is one of the failures of a run, which goes on: URLs, files that are none, too little memory."""
import multiprocessing
import os
import sys
import tempfile
import time
import weakref
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from mmvision_mamba.errors import ConfigError, DataError
from mmvision_mamba.inference.failures import NO_MEMORY, is_memory_error, reason_of
from mmvision_mamba.inference.sources import find_sources

from ..helpers.servers import HEAD, answering, forever, redirect

ERRORS = [MemoryError(), MemoryError('Unable to allocate 3 GiB'), torch.cuda.OutOfMemoryError('CUDA out of memory.'),
          RuntimeError("[enforce fail at alloc_cpu.cpp:118] err == 0. DefaultCPUAllocator: can't allocate memory: you "
                       'tried to allocate 99 bytes.'), RuntimeError('cuDNN error: CUDNN_STATUS_ALLOC_FAILED')]


def test_errors_of_memory():
    assert all(is_memory_error(error) and reason_of(error, 'a') == NO_MEMORY for error in ERRORS)


def test_too_little_memory_for_one_image(segmentor, monkeypatch):
    images = [np.full((32, 48, 3), value, np.uint8) for value in (10, 250, 10, 250, 30)]
    works, taken = segmentor.model.test_step, []

    def test_step(data):
        assert not [tensor for tensor in taken if tensor() is not None], 'the failed attempt still holds its memory'
        if max(float(image.max()) for image in data['inputs']) > 200:
            memory = torch.zeros(9)
            taken.append(weakref.ref(memory))
            memory.a_cycle = [memory]
            error = ERRORS[len(taken) % len(ERRORS)]
            raise type(error)(*error.args)
        return works(data)

    monkeypatch.setattr(segmentor.model, 'test_step', test_step)
    assert [prediction.source.name for prediction in segmentor.stream(images, 3)] == ['array 0', 'array 2', 'array 4']
    assert segmentor.failures == [('array 1', NO_MEMORY), ('array 3', NO_MEMORY)]
    with pytest.raises(DataError, match=NO_MEMORY):
        segmentor.predict(images)


def test_too_little_memory_to_read_or_draw_one(segmentor, monkeypatch):
    def read(image):
        raise MemoryError
    with monkeypatch.context() as patch:
        patch.setattr(segmentor, 'read', read)
        assert list(segmentor.stream([__file__])) == [] and segmentor.failures == [(__file__, NO_MEMORY)]
    draws = segmentor.draw

    def draw(image, *args, **kwargs):
        if image.max() > 200:
            raise MemoryError
        return draws(image, *args, **kwargs)
    monkeypatch.setattr(segmentor, 'draw', draw)
    result = segmentor([np.full((64, 64, 3), value, np.uint8) for value in (250, 10)], return_vis=True)
    assert result['failures'] == [('array 0', NO_MEMORY)] and len(result['visualization']) == 1


def test_other_errors_are_no_images(segmentor, monkeypatch):
    for error in (RuntimeError('mat1 and mat2 shapes cannot be multiplied'), KeyError('x'), ConfigError('x')):
        assert not is_memory_error(error) and reason_of(error, 'a') is None
    monkeypatch.setattr(segmentor.model, 'test_step', lambda data: {}['bug'])
    with pytest.raises(KeyError, match='bug'):
        list(segmentor.stream([np.zeros((64, 64, 3), np.uint8)]))
    assert reason_of(DataError(''), 'a') == 'DataError'
    assert reason_of(cv2.error('\n'), 'a')


def test_an_image_that_is_resized_to_nothing_is_one_that_failed(segmentor):
    thin = np.zeros((1, 20_000, 3), np.uint8)
    for call in (segmentor.predict, segmentor.preprocess):
        with pytest.raises(DataError, match='an image of 20000 × 1 pixels does not go through the test pipeline'):
            call(thin)
    assert list(segmentor.stream([thin])) == [] and 'of 20000 × 1 pixels' in segmentor.failures[0][1]


def test_inputs_that_are_no_images_stop_nothing(segmentor, monkeypatch, tmp_path):
    monkeypatch.setenv('no_proxy', '127.0.0.1')
    monkeypatch.setenv('MMVISION_MAMBA_IMAGE_SECONDS', '1')
    cv2.imwrite(str(good := tmp_path / 'good.png'), np.zeros((64, 64, 3), np.uint8))
    (tmp_path / 'zero.png').symlink_to('/dev/zero')
    if sys.platform != 'win32':
        os.mkfifo(tmp_path / 'fifo.png')
        os.mkfifo(tmp_path / 'fifo.mp4')
    with answering(forever(HEAD, b'A: b\r\n', 0.05)) as slow, answering(b'junk\r\n\r\n') as junk, \
            answering(redirect('file:///etc/passwd')) as away:
        urls = [f'{slow}/a.png', f'{junk}/b.png', f'{away}/c.png', 'http://[::1/d.png', 'http://127.0.0.1:99999/e.png',
                'http://user:secret@127.0.0.1/f.png', 'http://%00/g.png', 'http://ü ü/h.png', 'ftp://h/i.png', 'http://']
        result = segmentor([*urls, str(tmp_path)], 2, tmp_path / 'out', no_save_vis=True)
    others = len(list(tmp_path.glob('*.*'))) - 1
    assert len(result['failures']) == len(urls) + others and len(result['predictions']) == 1
    assert 'secret' not in str(result['failures'])
    assert all('\n' not in reason and name not in reason for name, reason in result['failures'])
    assert [path.name for path in tmp_path.rglob('out/preds/**/*.png')] == [good.name]


@pytest.mark.timeout(60)
def test_videos_that_are_lists_of_other_files(tmp_path, monkeypatch):
    """FFmpeg takes a list for a video whatever its suffix, and OpenCV a name with % for a series of images."""
    monkeypatch.setenv('OPENCV_FFMPEG_CAPTURE_OPTIONS', 'threads;1')
    writer = cv2.VideoWriter(str(tmp_path / 'clip.mp4'), cv2.VideoWriter_fourcc(*'mp4v'), 5., (80, 64))
    for value in (0, 99, 200):
        writer.write(np.full((64, 80, 3), value, np.uint8))
    writer.release()
    os.mkfifo(tmp_path / 'fifo')
    (tmp_path / 'waits.mp4').write_text('ffconcat version 1.0\nfile fifo\n')
    (tmp_path / 'joins.avi').write_text('ffconcat version 1.0\nfile clip.mp4\n')
    cv2.imwrite(str(tmp_path / 'a.png'), np.zeros((64, 80, 3), np.uint8))
    (tmp_path / 'a.png').rename(tmp_path / 'a0.mkv')
    (tmp_path / 'a%d.mkv').write_text('junk')
    frames = {source.output: source.frames for source in find_sources(str(tmp_path))}
    for name in ('waits', 'joins', 'a%d'):
        with pytest.raises(DataError, match='can not be opened as a video'):
            list(frames[name]())
    assert len(list(frames['clip']())) == 3
    assert os.environ['OPENCV_FFMPEG_CAPTURE_OPTIONS'].startswith('threads;1|format_whitelist;')


@pytest.mark.skipif(sys.platform != 'linux', reason='reads /proc')
def test_a_killed_download_of_a_video_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv('no_proxy', '127.0.0.1')
    monkeypatch.setattr(tempfile, 'tempdir', str(tmp_path))
    with answering(forever(HEAD + b'\r\n', b'x' * 2**16, 0.01)) as url:
        process = multiprocessing.get_context('fork').Process(
            target=lambda: list(find_sources(f'{url}/a.mp4')[0].frames()))
        process.start()
        while not (written := [os.stat(path).st_size for path in Path(f'/proc/{process.pid}/fd').glob('*')
                               if str(tmp_path) in os.readlink(path)]) or not written[0]:
            assert process.is_alive()
            time.sleep(0.01)
        process.kill()
        process.join()
    assert not list(tmp_path.iterdir())
