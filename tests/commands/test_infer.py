import argparse

import cv2
import numpy as np
import pytest

from mmvision_mamba.commands import infer
from mmvision_mamba.commands.options import model_and_inputs


@pytest.fixture
def images(tmp_path):
    """A folder with two images, one of them broken."""
    folder = tmp_path / 'my images'
    folder.mkdir()
    noise = np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)
    cv2.imwrite(str(folder / 'good.png'), noise)
    (folder / 'bad.png').write_bytes((folder / 'good.png').read_bytes()[:500])
    return folder


def test_it_lists_what_failed_and_keeps_what_is_done(tool, model_files, images):
    files = model_files.detector
    run = tool('infer', files.config, files.checkpoint, images, '--out-dir', images / 'out', '--device', 'cpu',
               '--batch-size', 2, '--score-thr', 0)
    assert run.code == 2
    assert run.errors == ['error: 1 of 2 inputs failed:']
    assert f'{images / "bad.png"}: the image is truncated' in run.err
    assert '1 image done' in run.out
    done = sorted(str(p.relative_to(images / 'out')) for p in (images / 'out').rglob('*') if p.is_file())
    assert done == ['preds/boxes.json', 'preds/images.json', 'preds/results.json', 'vis/good.png']
    assert 'ids: images are numbered by this run, and label i is category i + 1' in run.out
    # The second run does not take the first one's pictures for inputs.
    (images / 'bad.png').unlink()
    run = tool('infer', files.config, files.checkpoint, images, '--out-dir', images / 'out', '--no-save-vis')
    assert run.code == 0
    assert '1 image done' in run.out


@pytest.mark.parametrize('arguments, message', [
    (['{images}/none*.png'], 'no file matches'),
    (['missing.png'], 'no such file or folder'),
    (['{images}', '--classes', 'ellipse', 'cat'], "unknown class 'cat'"),
    (['{images}', '--device', 'cuda:99'], "device 'cuda:99' can not be used"),
    (['{images}', '--batch-size', '0'], 'batch_size must be 1 or more'),
    (['{images}', '--out-dir', '{images}/good.png'], 'can not be written to'),
    (['{images}', '--show'], 'show needs a display'),
    (['{images}/bad.png'], 'the image is truncated')])
def test_it_tells_wrong_input_in_a_line(tool, model_files, images, tmp_path, monkeypatch, arguments, message):
    monkeypatch.delenv('DISPLAY', raising=False)
    monkeypatch.delenv('WAYLAND_DISPLAY', raising=False)
    files = model_files.segmentor
    run = tool('infer', files.config, files.checkpoint, *(a.format(images=images) for a in arguments))
    assert run.code == 2
    assert len(run.errors) == 1
    assert message in run.err
    assert 'Traceback' not in run.err
    assert not list(tmp_path.rglob('vis/*'))
    assert 'bad.png' in str(arguments) or not (tmp_path / 'outputs').exists()


@pytest.mark.parametrize('words', [
    ['CONFIG', 'CHECKPOINT', 'a.png'], ['CONFIG', 'CHECKPOINT', '--device', 'cpu', 'a.png', 'b.png'],
    ['CONFIG', '--device', 'cpu', 'CHECKPOINT', 'a.png'], ['CHECKPOINT', 'a.png'], ['CHECKPOINT', 'a.png', 'b.png'],
    ['CHECKPOINT', '--device', 'cpu', 'a.png', 'b.png', 'c.png'], ['CHECKPOINT', 'a.png', '--device', 'cpu', 'b.png']])
def test_the_config_beside_the_checkpoint_may_be_left_out(words, tmp_path):
    config, checkpoint = tmp_path / 'mine.py', tmp_path / 'epoch_1.pth'
    config.touch()
    checkpoint.touch()
    parser = argparse.ArgumentParser()
    infer.add_options(parser)
    args = parser.parse_args([dict(CONFIG=str(config), CHECKPOINT=str(checkpoint)).get(word, word) for word in words])
    assert model_and_inputs(args) == (str(config), str(checkpoint), [word for word in words if word.endswith('.png')])


@pytest.mark.parametrize('command', [['infer'], ['batch_infer', '--out', 'out']])
def test_a_config_or_inputs_that_are_missing_are_told(tool, command, tmp_path):
    (tmp_path / 'epoch_1.pth').touch()
    for words, message in ((['mine.py', 'epoch_1.pth'], 'at least one input'),
                           ([tmp_path / 'epoch_1.pth', 'a.png'], 'name its config before it; beside it there is none')):
        run = tool(*command, *words)
        assert (run.code, len(run.errors)) == (2, 1) and message in run.err


def test_a_checkpoint_that_does_not_belong_to_the_config(tool, model_files, images):
    run = tool('infer', model_files.segmentor.config, model_files.detector.checkpoint, images)
    assert run.code == 2
    assert 'does not fit the model of this config' in run.errors[0]
    assert 'decode_head' in run.errors[0]


def test_what_failed_is_tried_again_on_request(tool, model_files, tmp_path):
    pytest.importorskip('pyarrow')
    files = model_files.segmentor
    for name in 'ab':
        cv2.imwrite(str(tmp_path / f'{name}.png'), np.zeros((64, 64, 3), np.uint8))
    (tmp_path / 'list.txt').write_text('a.png\nb.png\nc.png\n')
    command = ('batch_infer', files.config, files.checkpoint, tmp_path / 'list.txt', '--out', tmp_path / 'out',
               '--shard-size', 2)
    assert '2 images done, 1 failed' in tool(*command).out
    first, second = (tmp_path / 'out/parts' / f'part-0000{i}.parquet' for i in range(2))
    again = tool(*command)
    assert '2 of 2 parts are there already' in again.out and '2 images done, 1 failed' in again.out
    before = first.stat().st_mtime_ns, second.stat().st_mtime_ns
    cv2.imwrite(str(tmp_path / 'c.png'), np.zeros((64, 64, 3), np.uint8))
    again = tool(*command, '--retry-failed')
    assert again.code == 0 and '1 of 2 parts are there already' in again.out and '3 images done, 0 failed' in again.out
    assert first.stat().st_mtime_ns == before[0] and second.stat().st_mtime_ns > before[1]
