"""A folder of batch inference goes on with the same settings and images alone, and says what differs."""
import contextlib
import json
import multiprocessing
import os
import shutil
import sys
import time
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image

from mmvision_mamba.commands.batch_infer import add_options, run
from mmvision_mamba.errors import CheckpointError, ConfigError, DataError
from mmvision_mamba.inference.batch import BatchJob, infer_shard
from mmvision_mamba.inference.batch_settings import plain

from ..helpers.small_configs import SEGMENTOR

SETTINGS = dict(model=dict(a=1, b=[2]), classes=list('abcdefgh'))


@pytest.fixture(scope='module')
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp('images')
    for i, size in enumerate([(32, 48), (40, 33), (32, 32)]):
        Image.new('RGB', size, (60 * i, 90, 30)).save(folder / f'{i}.png')
    return folder


@pytest.fixture(scope='module')
def command(tmp_path_factory, images):
    """Runs `batch-infer` with some options, of a small segmentor; its config and weights lie in `command.folder`."""
    import argparse

    from mmvision_mamba import Inferencer
    folder = tmp_path_factory.mktemp('model')
    (folder / 'config.py').write_text(SEGMENTOR)
    model = Inferencer(folder / 'config.py', device='cpu', show_progress=False).model
    torch.save(dict(state_dict=model.state_dict()), folder / 'weights.pth')

    def command(out, *options, config='config.py', weights='weights.pth', inputs=None):
        parser = argparse.ArgumentParser()
        add_options(parser)
        return run(parser.parse_args([str(folder / config), str(folder / weights), str(inputs or images), '--device',
                                      'cpu', '--out', str(out), '--format', 'coco', '--shard-size', '2', *options]))
    command.folder = folder
    return command


def test_a_folder_goes_on_with_the_same_settings_alone(command, images, tmp_path, monkeypatch, capsys):
    out, folder = tmp_path / 'out', command.folder
    command(out)
    shutil.copy(folder / 'config.py', folder / 'moved.py')
    shutil.copy(folder / 'weights.pth', folder / 'moved.pth')
    command(out, config='moved.py', weights='moved.pth')  # what is in them is the same
    assert '2 of 2 parts are there already' in capsys.readouterr().out
    manifest = json.loads((out / 'manifest.json').read_text())
    assert manifest.pop('dtype') == 'float32' and manifest.pop('score_thr') is None
    (out / 'manifest.json').write_text(json.dumps(manifest))  # as earlier versions wrote it
    command(out, '--dtype', 'float32')
    assert '2 of 2 parts are there already' in capsys.readouterr().out
    state = torch.load(folder / 'weights.pth')['state_dict']
    next(iter(state.values())).add_(1)
    torch.save(dict(state_dict=state), folder / 'other.pth')
    for options, different in (
            (('--cfg-options', 'model.test_cfg.mode=slide', 'model.test_cfg.crop_size=[32,32]',
              'model.test_cfg.stride=[16,16]'), r'model\.test_cfg\.mode \(whole, now slide\)'),
            (('--cfg-options', 'test_dataloader.dataset.pipeline.1.scale=(64,64)'), r'pipeline\.1\.scale\.\d \('),
            (('--dtype', 'bf16'), r'dtype \(float32, now bf16\)'),
            (('--batch-size', '3'), r'batch_size \(1, now 3\)'), (('--shard-size', '3'), r'shard_size \(2, now 3\)'),
            (('--format', 'parquet'), r'format \(coco, now parquet\)'),
            (('--hash-images',), r'images_told_by \(size and time, now SHA-256\)')):
        with pytest.raises(DataError, match=f'results of another job; different: .*{different}'):
            command(out, *options)
    with pytest.raises(DataError, match=r'different: weights_sha256 \([0-9a-f…]+, now [0-9a-f…]+\)'):
        command(out, weights='other.pth')
    with monkeypatch.context() as patch:
        patch.setattr(torch, '__version__', '9.9')
        with pytest.raises(DataError, match=r'different: versions\.torch \(.*, now 9\.9\)'):
            command(out)


@pytest.mark.parametrize('score_thr', ['0.5', 'auto'])
def test_a_segmentor_has_no_scores_to_choose_by(command, tmp_path, score_thr):
    with pytest.raises(ConfigError, match=r'label maps have no scores\.\nLeave it out'):
        command(tmp_path / 'out', '--score-thr', score_thr)
    assert not (tmp_path / 'out').exists()


def test_workers_compute_in_the_dtype_that_was_asked_for(command, tmp_path, monkeypatch):
    from mmvision_mamba.inference import ray_batch
    workers = []

    def run_here(job, model, shards, batch_size, *_):
        workers.append(ray_batch.Worker(job, model, 'cpu', batch_size))
        yield from ((shard, *infer_shard(workers[0].inferencer, job, shard, batch_size)) for shard in shards)
    monkeypatch.setattr(ray_batch, 'run_on_ray', run_here)
    monkeypatch.setattr('mmvision_mamba.commands.batch_infer._check_options', lambda args: None)
    command(tmp_path / 'out', '--ray', '--dtype', 'bf16')
    assert workers[0].inferencer.dtype == json.loads((tmp_path / 'out/manifest.json').read_text())['dtype'] == 'bf16'


@pytest.mark.parametrize('by_worker', [False, True])
def test_weights_that_change_under_way(command, tmp_path, monkeypatch, by_worker):
    """A training replaces its checkpoint: no model may infer with others than the manifest says."""
    from mmvision_mamba import inference
    from mmvision_mamba.inference import ray_batch
    weights = tmp_path / 'weights.pth'
    shutil.copy(command.folder / 'weights.pth', weights)
    state = torch.load(weights)['state_dict']

    def changed(make, *args, **options):
        torch.save(dict(state_dict={key: value + 1 for key, value in state.items()}), weights)
        return make(*args, **options)
    if by_worker:
        monkeypatch.setattr(ray_batch, 'run_on_ray', lambda job, model, *_: changed(
            ray_batch.Worker, job, model, 'cpu', 1))
        monkeypatch.setattr('mmvision_mamba.commands.batch_infer._check_options', lambda args: None)
    else:
        monkeypatch.setattr(inference, 'Inferencer', partial(changed, inference.Inferencer))
    with pytest.raises(CheckpointError, match=r'weights\.pth has the SHA-256 .*, expected'):
        command(tmp_path / 'out', *['--ray'] * by_worker, weights=weights)


def job(images, out, **options):
    return BatchJob([str(images)], out, SETTINGS, 2, 'coco', **options)


def done(images, out, model, **options):
    begun = job(images, out, **options)
    for shard in begun.start():
        infer_shard(model, begun, shard)
    return begun.finish()


def test_manifests_that_are_none(images, tmp_path):
    out = tmp_path / 'out'
    assert job(images, out).start() == [0, 1] == job(images, out).start()
    (out / 'parts/part-00000.json').touch()
    manifest = json.loads((out / 'manifest.json').read_text())
    for changed, message in (
            (dict(manifest, manifest=99), 'has the version 99, and this is one that knows 2'),
            ({'inputs_sha256': 'a', 'config_sha256': 'b'}, 'was begun by an earlier version'),
            ({'tool': 'x', 'manifest': 2}, "another program's"), ([], "another program's"), (5, "another program's"),
            ('[' * 100_000, 'is damaged'), ('', 'is damaged'), ('{"tool":', 'is damaged'), (b'\xff\x00', 'is damaged'),
            (dict(manifest, classes=5), r'different: classes \(5, now 8 of them\)'),
            (dict(manifest, model=None), r'different: model \(None, now \{'),
            (dict(manifest, model=dict(a=1, b=[3], c=4)), r'model\.b\.0 \(3, now 2\), model\.c \(4, now not there\)')):
        text = changed if isinstance(changed, str | bytes) else json.dumps(changed)
        (out / 'manifest.json').write_bytes(text if isinstance(text, bytes) else text.encode())
        with pytest.raises(DataError, match=message) as error:
            job(images, out).start()
        assert len(str(error.value).splitlines()) == 2
    (out / 'manifest.json').unlink()
    with pytest.raises(DataError, match='is not empty and has no manifest'):
        job(images, out).start()
    (out / 'manifest.json').mkdir()
    with pytest.raises(DataError, match='can not be read'):
        job(images, out).start()


@pytest.mark.parametrize('hashed', [False, True])
def test_changed_images(hashed, images, segmentor, tmp_path):
    folder, out = shutil.copytree(images, tmp_path / 'in'), tmp_path / 'out'
    done(folder, out, segmentor, hash_images=hashed)
    (out / 'parts/part-00001.json').unlink()
    Image.new('RGB', (32, 32)).save(folder / '2.png')  # of the part that is still to do
    os.utime(folder / '0.png', (0, 0)) if hashed else None
    assert job(folder, out, hash_images=hashed).start() == [1]
    Image.new('RGB', (48, 48)).save(folder / '1.png')
    with pytest.raises(DataError, match=r'1 image changed since .*1\.png\.\nRemove .*parts/part-00000\.json') as error:
        job(folder, out, hash_images=hashed).start()
    assert '0.png' not in str(error.value)
    (out / 'parts/part-00000.json').unlink()
    done(folder, out, segmentor, hash_images=hashed)
    for text in ('', '1\n', b'\xff'):
        (out / 'states.txt').write_bytes(text if isinstance(text, bytes) else text.encode())
        with pytest.raises(DataError, match=r'states\.txt is missing or damaged'):
            job(folder, out, hash_images=hashed).start()


def test_parts_that_are_broken_are_made_again_and_others_refused(images, segmentor, tmp_path):
    out = tmp_path / 'out'
    done(images, out, segmentor)
    part = out / 'parts/part-00000.json'
    good = json.loads(part.read_text())
    for bad in ('', '[]', '5', '{}', '[' * 99_999, json.dumps(good)[:-9], json.dumps(dict(good, images=5)),
                *(json.dumps(dict(good, annotations=[annotation])) for annotation in (
                    5, {}, dict(category_id=1), dict(category_id=1, bbox=5, segmentation=7, image_id=1, score=1),
                    dict(category_id=1, bbox=[1, 2, 3, 4], image_id=1), dict(category_id=1, image_id=[]),
                    dict(category_id=1, image_id=9, segmentation={}))),
                json.dumps(dict(good, failures=None)),
                json.dumps(dict(good, images=good['images'][::-1])), b'\xff\xfe\x00'):
        part.write_bytes(bad if isinstance(bad, bytes) else bad.encode())
        assert job(images, out).start() == [0], bad
        with pytest.raises(DataError, match='1 of 2 parts are missing'):
            job(images, out).finish()
    part.write_text(json.dumps(dict(good, annotations=[dict(category_id=1, bbox=[1, 2, 3, 4], image_id=1, score=1)])))
    with pytest.raises(DataError, match='parts of different kinds'):
        done(images, out, segmentor)
    part.unlink()
    done(images, out, segmentor)
    assert json.loads(part.read_text()) == good
    (out / 'parts/.part-00001.4242.json').write_text('half')
    (out / '.results.4242.json').write_text('half')
    assert job(images, out).start() == [] and not list(out.rglob('.*'))
    (out / 'parts/part-00007.json').write_text(json.dumps(good))
    with pytest.raises(DataError, match=r'part-00007\.json is no part of this job'):
        job(images, out).start()


def test_a_start_that_was_killed_at_any_point_goes_on(images, tmp_path):
    out = tmp_path / 'out'
    job(images, out).start()
    (out / 'manifest.json').unlink()
    (out / '.manifest.4242.json').write_text('half')
    (out / '.lock').write_text('')
    assert job(images, out).start() == [0, 1]
    (out / 'images.txt').unlink()
    (out / 'parts').rmdir()
    assert job(images, out).start() == [0, 1] and (out / 'images.txt').exists()
    (out / 'manifest.json').unlink()
    (out / 'parts/part-00000.json').write_text('of unknown settings')
    with pytest.raises(DataError, match='is not empty and has no manifest'):
        job(images, out).start()


@pytest.mark.skipif(sys.platform == 'win32', reason='it forks')
def test_two_processes_do_not_share_a_folder(images, tmp_path):
    out, other = tmp_path / 'out', tmp_path / 'other'
    other.mkdir()
    (other / 'notes.txt').touch()
    with pytest.raises(DataError, match='is not empty'), job(images, other).hold():
        pass
    assert os.listdir(other) == ['notes.txt']

    def keep():
        with job(images, out).hold():
            (tmp_path / 'held').touch()
            time.sleep(60)
    process = multiprocessing.get_context('fork').Process(target=keep)
    process.start()
    while not (tmp_path / 'held').exists():
        time.sleep(0.05)
    with pytest.raises(ConfigError, match=rf'process {process.pid} on .*\n.*--out DIR'), job(images, out).hold():
        pass
    process.kill()
    process.join()
    with job(images, out).hold():
        assert job(images, out).start() == [0, 1]


def test_odd_names_and_folders(segmentor, tmp_path):
    folder = tmp_path / 'in'
    folder.mkdir()
    names = ['a\nb.png', 'c\x1b[31m.png'] if sys.platform != 'win32' else ['a.png']
    with contextlib.suppress(OSError, UnicodeError):
        (folder / os.fsdecode(b'\xff.png')).write_bytes(b'')
        names.append(os.fsdecode(b'\xff.png'))
    for name in names[:2]:
        Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(folder / name)
    (tmp_path / 'folder.png').mkdir()
    (tmp_path / 'list.txt').write_text('folder.png\nnone.png\nhttp://user:secret@h/x.png\nhttp://[::1/y.png\n')
    begun = BatchJob([str(folder), str(tmp_path / 'list.txt')], tmp_path / 'out', SETTINGS, 2, 'coco')
    for shard in begun.start():
        infer_shard(segmentor, begun, shard)
    failures = dict(begun.finish())
    assert len((begun.out / 'images.txt').read_text('utf-8').splitlines()) == len(names) + 4
    assert len(failures) == 4 + (len(names) == 3)
    assert 'secret' not in str(failures) + (begun.out / 'images.txt').read_text()
    assert [reason for name, reason in failures.items() if name.endswith('folder.png')] == [
        'can not be read (Is a directory)']
    assert BatchJob([str(folder), str(tmp_path / 'list.txt')], tmp_path / 'out', SETTINGS, 2, 'coco').start() == []
    for out in (tmp_path / 'list.txt', tmp_path / 'list.txt/out', tmp_path / ('x' * 300), '/proc/none/out'):
        with pytest.raises(DataError, match=r'can not be used|is not empty'), \
                BatchJob([str(folder)], out, {}, 2, 'coco').hold():
            pass


def test_settings_as_json():
    value = dict(a=(1, 2.5), b={3: None}, c=np.float32(2), d=torch.nn.ReLU, e=object(), f={'y', 'x'})
    assert json.loads(json.dumps(plain(value))) == dict(
        a=[1, 2.5], b={'3': None}, c=2.0, d='torch.nn.modules.activation.ReLU', e='builtins.object', f=['x', 'y'])
