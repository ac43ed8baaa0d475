"""Batch inference on pictures of any size: whoever does their pieces, and whenever, the results are the same."""
import io
import json
import os
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest
from PIL import Image

from mmvision_mamba.datasets.tile_grid import Tiling
from mmvision_mamba.inference.batch import run_here
from mmvision_mamba.inference.tiled_batch import Piece, TiledBatchJob, assembled

from ..helpers import ROOT

pytest.importorskip('pyarrow')
TILE, OVERLAP = 40, 0.3


@pytest.fixture(scope='module')
def pictures(tmp_path_factory):
    """Three pictures, one of a single window, and one that is none."""
    folder = tmp_path_factory.mktemp('pictures')
    for i, (height, width) in enumerate([(150, 130), (33, 31), (97, 41)]):
        noise = np.random.default_rng(i).integers(0, 255, (height // 9 + 2, width // 9 + 2, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / f'{i}.png'), cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC))
    (folder / 'bad.jpg').write_bytes(b'<html>')
    return folder


def done(model, pictures, out, workers=1, order=None, settings=(), **options):
    """The finished job, whose pieces are done in some order."""
    job = TiledBatchJob([str(pictures)], out, dict(settings, classes=model.classes), 3, tiling=Tiling(TILE, OVERLAP),
                        inferencer=model, **options)
    shards = job.start()
    tasks = job.tasks(shards, workers)
    results = list(assembled(job, run_here(job, model, (order or list)(tasks), 2), shards))
    assert sum(counts[1] for counts in results) == 3 and [name for name, _ in job.finish()] == [
        str(pictures / 'bad.jpg')]
    return job


def parts(job):
    return {path.name: path.read_bytes() for path in (job.out / 'parts').iterdir()}


@pytest.mark.parametrize('kind', ['segmentor', 'detector'])
def test_the_pieces_make_what_one_run_makes(kind, request, pictures, tmp_path):
    import pyarrow.parquet
    model = request.getfixturevalue(kind)
    one, many = done(model, pictures, tmp_path / 'one'), done(model, pictures, tmp_path / 'many', 4, reversed)
    assert len(many.pieces) > len(one.pieces) > 3 and parts(one) == parts(many)
    assert not (many.out / 'unfinished').exists()
    rows = pyarrow.parquet.read_table(many.out / 'parts').to_pylist()
    for row in rows:
        if row['error']:
            continue
        expected = model(row['file_name'], 2, tile=TILE, overlap=OVERLAP)['predictions'][0]
        if kind == 'segmentor':
            found = np.asarray(Image.open(io.BytesIO(row['sem_seg'])))
            assert np.array_equal(found, expected['sem_seg']) and (row['height'], row['width']) == found.shape
        else:
            assert row['labels'] == expected['labels'] and np.allclose(row['bboxes'], expected['bboxes'])
            assert row['masks'] == [mask['counts'] for mask in expected['masks']]


def test_a_threshold_chooses_among_the_merged_instances(detector, pictures, tmp_path):
    import pyarrow.parquet
    found = detector(str(pictures / '0.png'), 2, tile=TILE, overlap=OVERLAP)['predictions'][0]
    limit = sorted(found['scores'])[len(found['scores']) // 2]
    job = done(detector, pictures, tmp_path / 'out', settings=dict(score_thr=limit))
    row, = (row for row in pyarrow.parquet.read_table(job.out / 'parts').to_pylist() if row['file_name'].endswith(
        '0.png'))
    expected = [i for i, score in enumerate(found['scores']) if score > limit]
    assert 0 < len(expected) < len(found['scores'])
    assert row['bboxes'] == [pytest.approx(found['bboxes'][i], abs=1e-3) for i in expected]
    assert row['masks'] == [found['masks'][i]['counts'] for i in expected]


@pytest.mark.parametrize('kind', ['segmentor', 'detector'])
def test_coco_results(kind, request, pictures, tmp_path):
    model = request.getfixturevalue(kind)
    job = done(model, pictures, tmp_path / 'coco', format='coco')
    results = json.loads((job.out / 'results.json').read_text())
    expected = model(str(pictures / '0.png'), 2, tile=TILE, overlap=OVERLAP)['predictions'][0]
    first = [one for one in results if one['image_id'] == job.image_ids[job.names.index(str(pictures / '0.png'))]]
    if kind == 'detector':
        assert [one['segmentation'] for one in first] == expected['masks']
    else:
        from pycocotools import mask as coco_mask
        found = np.zeros((150, 130), int)
        for one in first:
            found += coco_mask.decode(one['segmentation']).astype(int) * one['category_id']
        assert np.array_equal(found - 1, expected['sem_seg'])


def test_a_run_that_was_stopped_goes_on_with_the_next_piece(segmentor, pictures, tmp_path, monkeypatch):
    job = TiledBatchJob([str(pictures)], tmp_path / 'out', {}, 3, tiling=Tiling(TILE, OVERLAP), inferencer=segmentor)
    shards = job.start()
    tasks = job.tasks(shards, 2)
    for task in tasks[:-2]:
        job.infer(segmentor, task, 2)
    again = TiledBatchJob([str(pictures)], tmp_path / 'out', {}, 3, tiling=Tiling(TILE, OVERLAP), inferencer=segmentor)
    left = again.tasks(again.start(), 2)
    failed = [task for task in tasks[:-2] if 'reason' in job._read(job.pieces[task])]
    assert left == sorted([*failed, *tasks[-2:]])  # what failed is tried again
    # A picture that has changed is begun anew.
    copied = tmp_path / 'changing'
    copied.mkdir()
    for name in ('0.png', '1.png'):
        (copied / name).write_bytes((pictures / name).read_bytes())
    job = TiledBatchJob([str(copied)], tmp_path / 'other', {}, 3, tiling=Tiling(TILE, OVERLAP), inferencer=segmentor)
    tasks = job.tasks(job.start(), 2)
    job.infer(segmentor, tasks[0], 2)
    os.utime(copied / '0.png', (1, 1))
    assert job.tasks(job.start(), 2) == tasks


@pytest.mark.parametrize('kind', ['segmentor', 'detector'])
def test_pieces_that_hold_something_else_are_done_again(kind, request, pictures, tmp_path):
    model = request.getfixturevalue(kind)
    job = TiledBatchJob([str(pictures)], tmp_path / 'out', {}, 3, tiling=Tiling(TILE, OVERLAP), inferencer=model)
    tasks = job.tasks(job.start(), 2)
    for task in tasks:
        job.infer(model, task, 2)
    piece = next(piece for piece in job.pieces if (job._read(piece) or {}).get('instances') or (
        'labels' in (job._read(piece) or {})))
    good, path = job._read(piece), job._path(piece)
    bad = [[1], 5, None, {}, dict(reason=5), {**good, 'size': 5}, {**good, 'size': [-1, 'x']}]
    if kind == 'segmentor':
        labels = good['labels']
        bad += [{**good, 'labels': other} for other in (
            labels[:5, :5], labels[0], labels.astype(float), np.full_like(labels, 77), np.zeros((9999, labels.shape[1]),
                                                                                                 np.uint8))]
        bad += [dict(size=good['size']), {**good, 'size': [10**9, 10**9]}]
    else:
        one = good['instances'][0]
        mask = one[4]
        changes = [(0, 99), (0, 'x'), (1, 'x'), (2, [1]), (3, None), (4, [5]), (4, [*mask[:4], 'zzzz']),
                   (4, [0, 0, 10**6, 10**6, mask[4]]), (4, [-1, *mask[1:]]), (6, 0)]
        bad += [{**good, 'instances': [[*one[:i], value, *one[i + 1:]]]} for i, value in changes]
        bad += [{**good, 'instances': 5}, {**good, 'instances': [5]}, dict(size=good['size'])]
    for content in bad:
        arrays = dict(labels=content['labels']) if isinstance(content, dict) and 'labels' in content else {}
        text = json.dumps({key: value for key, value in content.items() if key != 'labels'} if isinstance(
            content, dict) else content)
        np.savez_compressed(path, found=np.frombuffer(text.encode(), np.uint8), **arrays)
        assert job._read(piece) is None, content


def test_all_rows_are_in_a_piece():
    for parts in range(20):
        for total in range(1, 9):
            rows = [row for number in range(total) for row in Piece(0, number, total).rows(parts)]
            assert rows == list(range(parts))


def test_options(tool, model_files, pictures):
    files = model_files.segmentor.config, model_files.segmentor.checkpoint, pictures, '--out', 'out'
    run = tool('batch_infer', *files, '--tile', 20)
    assert run.code == 2 and '32 or more' in run.errors[0]
    run = tool('batch_infer', *files, '--overlap', 0.1)
    assert run.code == 2 and '--overlap needs --tile' in run.errors[0]
    run = tool('batch_infer', *files, '--tile', TILE, '--device', 'cpu')
    assert run.code == 0 and '3 images done, 1 failed' in run.out, run.err
    run = tool('batch_infer', *files, '--tile', TILE + 1, '--device', 'cpu')
    assert run.code == 2 and 'tile' in run.errors[0]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_ray_with_a_worker_killed(model_files, tmp_path):
    """A picture over two workers, of which one is killed: the same bits as in one process."""
    pytest.importorskip('ray')
    psutil = pytest.importorskip('psutil')
    noise = np.random.default_rng(0).integers(0, 255, (40, 30, 3), dtype=np.uint8)
    (tmp_path / 'images').mkdir()
    cv2.imwrite(str(tmp_path / 'images/a.png'), cv2.resize(noise, (400, 700)))
    command = [sys.executable, ROOT / 'tools/batch_infer.py', model_files.segmentor.config,
               model_files.segmentor.checkpoint, tmp_path / 'images', '--tile', '64', '--out']
    process = subprocess.Popen([*map(str, command), str(tmp_path / 'ray'), '--ray', '--workers', '2'], cwd=tmp_path,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    killed = False
    while process.poll() is None and not killed:
        if list((tmp_path / 'ray').glob('unfinished/*/*.npz')):
            workers = [one for one in psutil.Process(process.pid).children(recursive=True)
                       if 'MapWorker' in ''.join(one.cmdline())]
            if workers:
                workers[0].kill()
                killed = True
        time.sleep(0.02)
    output, _ = process.communicate()
    assert process.returncode == 0 and killed, output[-3000:]
    subprocess.run([*map(str, command), str(tmp_path / 'here'), '--device', 'cpu'], cwd=tmp_path, check=True,
                   capture_output=True)
    found = [{path.name: path.read_bytes() for path in (tmp_path / name / 'parts').iterdir()}
             for name in ('ray', 'here')]
    assert found[0] == found[1]
