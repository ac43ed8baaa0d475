"""Batch inference: whatever stops it, each image is in the result once."""
import io
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from mmvision_mamba.errors import ConfigError, DataError, MissingExtraError
from mmvision_mamba.inference.batch import BatchJob, infer_shard, list_images
from mmvision_mamba.inference.results import rle, to_dict

from ..helpers import ROOT
from ..helpers.fresh_start import forget_earlier_runs
from ..helpers.small_configs import DETECTOR, SEGMENTOR


@pytest.fixture(scope='module')
def images(tmp_path_factory):
    """Five good images of different sizes, one that is none, and a list that names a missing one."""
    folder = tmp_path_factory.mktemp('images')
    random = np.random.default_rng(0)
    for i, (height, width) in enumerate([(64, 64), (64, 80), (40, 64), (33, 97), (64, 64)]):
        Image.fromarray(random.integers(0, 255, (height, width, 3), dtype=np.uint8)).save(folder / f'{i} ü.png')
    (folder / 'bad.jpg').write_bytes(b'<html>')
    (folder / 'list.txt').write_text('0 ü.png\n\nmissing.png\n0 ü.png\n', 'utf-8-sig')  # with a byte order mark
    return folder


@pytest.fixture(scope='module')
def models(tmp_path_factory):
    """(config, weights, Inferencer) of a small detector and a small segmentor."""
    import torch

    from mmvision_mamba import Inferencer
    folder = tmp_path_factory.mktemp('models')
    made = {}
    for name, text in dict(detector=DETECTOR, segmentor=SEGMENTOR).items():
        forget_earlier_runs()
        config, weights = folder / f'{name}.py', folder / f'{name}.pth'
        config.write_text(text)
        torch.manual_seed(0)
        model = Inferencer(config, device='cpu', show_progress=False).model
        torch.save(dict(state_dict=model.state_dict()), weights)
        made[name] = config, weights, Inferencer(config, weights, device='cpu', show_progress=False)
    return made


def parquet(out):
    import pyarrow.parquet
    return pyarrow.parquet.read_table(out / 'parts').to_pylist()


def run(job, model):
    return sum(infer_shard(model, job, index)[0] for index in job.start())


@pytest.mark.parametrize('kind', ['detector', 'segmentor'])
@pytest.mark.parametrize('format', ['parquet', 'coco'])
def test_each_image_once_and_as_the_inferencer_says(kind, format, images, models, tmp_path):
    pytest.importorskip('pyarrow')
    model = models[kind][2]
    inputs = [str(images), str(images / 'list.txt')]
    job = BatchJob(inputs, tmp_path / 'out', dict(classes=list(model.classes)), 2, format)
    assert len(job.names) == 7 and len(job) == 4  # the list names an image again: once is enough
    assert run(job, model) == 5
    failures = dict(job.finish())
    assert {os.path.basename(name): why for name, why in failures.items()} == {
        'bad.jpg': 'it is not an image', 'missing.png': 'the file is missing'}
    assert (job.out / 'images.txt').read_text().splitlines() == job.names
    if format == 'parquet':
        rows = parquet(job.out)
        assert [row['image_id'] for row in rows] == [1, 2, 3, 4, 5, 6, 7]
        assert [row['file_name'] for row in rows] == job.names
        for row in rows:
            assert (row['error'] is not None) == (row['file_name'] in failures)
            if row['error'] is None:
                expected = to_dict(model.predict(row['file_name'])[0])
                if kind == 'detector':
                    assert row['labels'] == expected['labels'] and np.allclose(row['bboxes'], expected['bboxes'])
                    assert row['masks'] == [mask['counts'] for mask in expected['masks']]
                else:
                    found = np.asarray(Image.open(io.BytesIO(row['sem_seg'])))
                    assert np.array_equal(found, expected['sem_seg'])
    else:
        from pycocotools.coco import COCO
        results = json.loads((job.out / 'results.json').read_text())
        content = json.loads((job.out / 'images.json').read_text())
        assert [i['id'] for i in content['images']] == [1, 2, 3, 4, 5, 6, 7]
        assert {r['image_id'] for r in results} <= {1, 2, 3, 4, 5}
        if kind == 'detector':
            assert len(results) == sum(len(model.predict(n)[0].pred_instances) for n in job.names if n not in failures)
            assert len(COCO(job.out / 'images.json').loadRes(str(job.out / 'results.json')).anns) == len(results)
        else:
            first = [r for r in results if r['image_id'] == 1]
            masks = rle(np.stack([to_dict(model.predict(job.names[0])[0])['sem_seg'] == r['category_id'] - 1
                                        for r in first]))
            assert [r['segmentation'] for r in first] == masks


@pytest.mark.parametrize('format', ['parquet', 'coco'])
@pytest.mark.parametrize('of_classes', [False, True])
def test_instances_above_the_threshold_alone_are_kept(format, of_classes, images, models, tmp_path):
    pytest.importorskip('pyarrow')
    model = models['detector'][2]
    whole = {name: to_dict(model.predict(name)[0]) for name in map(str, sorted(images.glob('*.png')))}
    scores = sorted(score for one in whole.values() for score in one['scores'])
    middle = scores[len(scores) // 2]
    limits = {name: 1. if i == 0 else middle for i, name in enumerate(model.classes)} if of_classes else middle
    job = BatchJob(list(whole), tmp_path / 'out', dict(classes=list(model.classes), score_thr=limits), 2, format)
    assert run(job, model) == len(whole) and job.finish() == []
    least = [limits[name] if of_classes else limits for name in model.classes]
    expected = [[(label, score) for label, score in zip(one['labels'], one['scores']) if score > least[label]]
                for one in whole.values()]
    assert 0 < sum(map(len, expected)) < len(scores)
    if format == 'parquet':
        rows = parquet(job.out)
        assert [list(zip(row['labels'], row['scores'])) for row in rows] == [
            [(label, pytest.approx(score)) for label, score in one] for one in expected]
        assert [len(row['masks']) for row in rows] == [len(row['bboxes']) for row in rows] == list(map(len, expected))
    else:
        for name in ('results', 'boxes'):
            found = json.loads((job.out / f'{name}.json').read_text())
            assert [(one['image_id'], one['category_id'], one['score']) for one in found] == [
                (i, label + 1, pytest.approx(score)) for i, one in enumerate(expected, 1) for label, score in one]


def test_goes_on_where_it_stopped(images, models, tmp_path):
    pytest.importorskip('pyarrow')
    model = models['segmentor'][2]

    def job(**changes):
        return BatchJob(**{**dict(inputs=[str(images)], out=tmp_path / 'out', settings=dict(weights='a'), shard_size=2),
                           **changes})
    first = job()
    assert first.start() == [0, 1, 2]
    infer_shard(model, first, 1)
    content = first.part(1).read_bytes()
    assert job().start() == [0, 2]
    with pytest.raises(DataError, match='2 of 3 parts are missing'):
        first.finish()
    assert run(job(), model) == 3
    assert first.part(1).read_bytes() == content and len(first.finish()) == 1 and job().start() == []
    infer_shard(model, first, 1)  # done again, by a worker that was thought dead: the same
    assert first.part(1).read_bytes() == content
    first.part(2).write_bytes(content[:50])  # a broken disk
    assert job().start() == [2]
    for changes in (dict(settings=dict(weights='b')), dict(inputs=[str(images / '0 ü.png')]), dict(shard_size=3),
                    dict(format='coco')):
        with pytest.raises(DataError, match='results of another job; different: '):
            job(**changes).start()
    with pytest.raises(DataError, match='not empty and has no manifest'):
        job(out=images).start()


def test_trying_again_leaves_no_result_of_an_image_that_has_changed(images, models, tmp_path):
    """Killed before the part is done again, whose states are of now, the old one would pass for the new image's."""
    model = models['segmentor'][2]
    (tmp_path / 'a.png').write_bytes((images / '0 ü.png').read_bytes())
    (tmp_path / 'list.txt').write_text('a.png\nmissing.png\n')

    def job():
        return BatchJob([str(tmp_path / 'list.txt')], tmp_path / 'out', dict(classes=list(model.classes)),
                        format='coco')
    run(job(), model)
    assert job().start(retry_failed=True) == [0] and job().part(0).is_file()
    (tmp_path / 'a.png').write_bytes((images / '1 ü.png').read_bytes())
    with pytest.raises(DataError, match='1 image changed since'):
        job().start()
    assert job().start(retry_failed=True) == [0]
    assert job().start() == [0] and not job().part(0).exists()


@pytest.mark.parametrize(('changes', 'message'), [
    (dict(format='csv'), 'format must be one of'), (dict(shard_size=0), 'shard_size must be 1 or more'),
    (dict(inputs=['/nowhere']), 'no such file or folder'), (dict(inputs=[]), 'no inputs'),
    (dict(inputs=['0']), 'batch inference takes images')])
def test_wrong_input(changes, message, images, tmp_path):
    with pytest.raises((ConfigError, DataError), match=message):
        BatchJob(**{**dict(inputs=[str(images)], out=tmp_path, settings={}, format='coco'), **changes})


def test_without_pyarrow_and_ray(images, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'pyarrow', None)
    with pytest.raises(MissingExtraError, match=r'pip install .*\bray\b'):
        BatchJob([str(images)], tmp_path / 'out', {})
    job = BatchJob([str(images)], tmp_path / 'out', {}, format='coco')
    monkeypatch.setitem(sys.modules, 'ray', None)
    from mmvision_mamba.inference.ray_batch import run_on_ray
    with pytest.raises(MissingExtraError, match=r"inference on Ray needs packages .*: pip install .*\bray\b"):
        next(run_on_ray(job, {}, [0], 1, 2))


def test_names(images):
    names = list_images([str(images / 'list.txt'), 'https://example.org/a.jpg'])
    assert [n.rsplit('/', 1)[1] for n in names] == ['0 ü.png', 'missing.png', 'a.jpg']
    assert names[0] == f'{images}/0 ü.png'


def test_a_video_in_a_list_is_refused_too(tmp_path):
    """It would have been one image, with the prediction of its last frame."""
    (tmp_path / 'list.txt').write_text('a.jpg\nb.MP4\n')
    with pytest.raises(DataError, match=r'b\.MP4 is a video or camera; batch inference takes images'):
        list_images([str(tmp_path / 'list.txt')])


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_ray_with_an_image_that_kills_each_worker(models, images, tmp_path, monkeypatch):
    """As a decoder that crashes does, or one that takes all memory."""
    pytest.importorskip('ray')
    (tmp_path / 'deadly.py').write_text('''
import os
from mmengine.registry import TRANSFORMS

@TRANSFORMS.register_module()
class Deadly:
    def __call__(self, results):
        if results['img'].shape[:2] == (33, 35):
            open(os.environ['DEATHS'], 'a').write('x')
            os.abort()
        return results
''')
    config, weights, _ = models['segmentor']
    (tmp_path / 'c.py').write_text(f"""
_base_ = '{config}'
custom_imports = dict(imports=['mmvision_mamba', 'deadly'], allow_failed_imports=False)
test_dataloader = _base_.test_dataloader
test_dataloader['dataset']['pipeline'].insert(1, dict(type='mmengine.Deadly'))
""")
    folder = tmp_path / 'few'
    folder.mkdir()
    for i, (height, width) in enumerate([(64, 64), (33, 35), (48, 64)]):
        Image.new('RGB', (width, height)).save(folder / f'{i}.png')
    monkeypatch.setenv('DEATHS', str(tmp_path / 'deaths'))
    monkeypatch.setenv('PYTHONPATH', f'{tmp_path}{os.pathsep}{os.environ.get("PYTHONPATH", ROOT)}')
    result = subprocess.run([str(part) for part in (
        sys.executable, ROOT / 'tools/batch_infer.py', 'c.py', weights, folder, '--out', tmp_path / 'out',
        '--shard-size', 1, '--ray', '--workers', 1)], cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 2 and 'a worker died 4 times at one shard' in result.stderr, result.stderr[-3000:]
    assert 'Traceback' not in result.stderr and (tmp_path / 'deaths').read_text() == 'xxxx'


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_ray_with_a_worker_killed(models, tmp_path):
    """Two workers; one is killed as soon as there is a part. Every image is there once, as without Ray."""
    pytest.importorskip('ray')
    psutil = pytest.importorskip('psutil')
    config, weights, model = models['detector']
    folder = tmp_path / 'images'
    folder.mkdir()
    random = np.random.default_rng(1)
    for i in range(60):
        Image.fromarray(random.integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(folder / f'{i:03}.png')
    (folder / 'bad.png').write_bytes(b'')
    command = [sys.executable, ROOT / 'tools/batch_infer.py', config, weights, folder, '--out', tmp_path / 'ray',
               '--shard-size', 3, '--ray', '--workers', 2]
    process = subprocess.Popen([str(c) for c in command], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               text=True)
    parts = tmp_path / 'ray/parts'
    killed = []
    deadline = time.monotonic() + 1400
    while process.poll() is None:
        if time.monotonic() > deadline:
            process.kill()  # and Ray's processes with it
        if len(list(parts.glob('part-*'))) >= 1 and not killed:
            workers = [p for p in psutil.Process(process.pid).children(recursive=True)
                       if p.is_running() and 'MapWorker' in ''.join(p.cmdline())]
            if workers:
                os.kill(workers[0].pid, signal.SIGKILL)
                killed.append((workers[0].pid, len(list(parts.glob('part-*')))))
        time.sleep(0.02)
    out, err = process.communicate()
    assert process.returncode == 0, err[-3000:]
    assert killed and killed[0][1] < 21, 'killed too late to matter'
    assert '60 images done, 1 failed' in out
    print(f'killed worker and parts there by then: {killed}')

    rows = parquet(tmp_path / 'ray')
    job = BatchJob([str(folder)], tmp_path / 'here', {}, 3)
    run(job, model)
    assert [row['image_id'] for row in rows] == list(range(1, 62))
    assert rows == parquet(tmp_path / 'here')


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_nothing_of_ray_outlives_a_killed_driver(models, images, tmp_path):
    pytest.importorskip('ray')
    psutil = pytest.importorskip('psutil')
    config, weights, _ = models['detector']
    command = [str(part) for part in (sys.executable, ROOT / 'tools/batch_infer.py', config, weights, images, '--out',
                                      tmp_path / 'out', '--shard-size', 1)]
    log = tmp_path / 'log'
    with log.open('w') as file:
        process = subprocess.Popen([*command, '--ray'], cwd=tmp_path, stdout=file, stderr=file)
    while not list((tmp_path / 'out/parts').glob('part-*')):
        assert process.poll() is None, log.read_text()[-3000:]
        time.sleep(0.1)
    started = psutil.Process(process.pid).children(recursive=True)
    assert any('DashboardAgent' in ''.join(child.cmdline()) for child in started)
    process.kill()
    process.wait()
    deadline = time.monotonic() + 25
    while left := [child for child in started if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]:
        assert time.monotonic() < deadline, left
        time.sleep(0.2)
    assert subprocess.run(command, cwd=tmp_path).returncode == 0
    assert [row['image_id'] for row in parquet(tmp_path / 'out')] == list(range(1, len(list_images([str(images)])) + 1))
