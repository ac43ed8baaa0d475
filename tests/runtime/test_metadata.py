"""Metadata of exported files, malformed or hostile: two lines that name file and key, before the first result."""
import json
import shutil
import time

import numpy as np
import pytest

from mmvision_mamba.runtime import loaders
from mmvision_mamba.runtime import standalone as runtime

GOOD = dict(task='segmentation', classes=['a', 'b', 'c'], palette=[[0, 0, 0], [255, 0, 0], [0, 255, 0]],
            mean=[1., 2., 3.], std=[1., 1., 1.], channel_order='BGR', resize=dict(scale=[64, 48], keep_ratio=True),
            interpolation='bilinear', to_float32=False, pad=None, batch_pad=dict(size=[32, 32], divisor=1, value=0.),
            align_corners=False,
            mask_threshold=0.5, threshold=0.3, slide=None, smallest=32, largest=4096)


def load(tmp_path, changes=(), outputs=('logits',), inputs=None, **texts):
    """A segmentor of three classes, in which label 2 is everywhere, with this metadata, or these texts of it."""
    def run(feed):
        image = next(iter(feed.values()))
        return [np.stack([np.zeros_like(image[:, 0]), np.ones_like(image[:, 0]), np.full_like(image[:, 0], 2)], 1)]

    path = tmp_path / 'model.onnx'
    path.touch()
    metadata = {**{key: json.dumps(value) for key, value in {**GOOD, **dict(changes)}.items()}, **texts}
    return runtime.Model(path, session=runtime.Session(
        run, inputs or dict(images=('float32', [1, 3, None, None])), list(outputs), metadata))


def refusal(work, key):
    start = time.process_time()
    with pytest.raises(runtime.RuntimeInputError, match=key) as error:
        work()
    message = str(error.value)
    assert 'model.onnx' in message and len(message.splitlines()) <= 2 and len(message) < 500
    assert time.process_time() - start < 30
    return message


def test_the_good_one_works(tmp_path):
    assert load(tmp_path)(np.zeros((50, 70, 3), np.uint8)).tolist() == [[2] * 70] * 50
    assert load(tmp_path, dict(pad=dict(size=[64, 64], divisor=None, square=None, value=[0, 0, 0])))(
        np.zeros((50, 70, 3), np.uint8)).shape == (50, 70)


BAD = dict(
    task=['', None, 5, [], {}, 'Detection', ['detection']],
    bands=[5, {}, [1, 2, 3], dict(numbers=[1, 2, 3]), dict(numbers=[1, 2, 3], fill=[0, 0]), dict(
        numbers=[0, 1, 2], fill=[0, 0, 0]), dict(numbers=[1, 2], fill=[0, 0]), dict(
        numbers=[1, 2, 3], fill=[0, 0, 0], shown=[3, 0, 0]), dict(numbers=[1, 2, 3], fill=[0, 0, 0], dtype='float64')],
    classes=[5, 'abc', [5], {'a': 1}, [['a']], [None], True],
    palette=[5, [[1, 2]], [[1, 2, 300]], [[-1, 0, 0]], [[0.5, 0, 0]], 'red', [None], [[1, 2, 3, 4]], [[True, 0, 0]]],
    mean=['0', None, [None], [1, 2], {}, float('nan'), float('inf'), [10**400] * 3, [[1, 2, 3]], True],
    std=[0, [0, 0, 0], [1, 1, -1], float('nan'), 'x', [1e-300] * 3, [1, 2], None, float('-inf')],
    channel_order=['rgb', 5, None, ['RGB'], {}],
    resize=[5, [], dict(scale=5), dict(scale=[0, 0]), dict(scale=[64]), dict(scale=[-1, 64]), dict(scale=[2**20] * 2),
            dict(scale=[1.5, 2.]), dict(keep_ratio=5), dict(other=1), dict(scale=[64, 64, 64]), dict(scale=['64'] * 2)],
    scale_factor=[5, [0, 0], [1], [float('nan'), 1], [-1, 1], ['1', '1'], [10**10, 1], {}],
    interpolation=['area', None, 5, []],
    to_float32=[None, 5, 'yes', []], align_corners=[None, 5, {}], reduce_zero_label=[5, None],
    pad=[5, [], dict(size=5), dict(size=[64, 64]), dict(divisor=0, value=0), dict(divisor=-1, value=0),
         dict(divisor=10**9, value=0), dict(square=5, value=0), dict(divisor=32, value='x'),
         dict(divisor=32, value=[1, 2]), dict(divisor=32, value=None), dict(other=5, value=0)],
    batch_pad=[5, {}, dict(size=[32, 32]), dict(divisor=0, value=0), dict(size=[0, 32], value=0), dict(value=[[1]])],
    pad_value=['x', {}, [None], float('nan'), [1, 2]],
    mask_threshold=[None, 5, -1, float('nan'), 'x', [0.5]], threshold=[None, 2, True, {}],
    mask_stride=[0, -1, 2.5, 'x', [4], True],
    queries=[5, {}, dict(instances=5), dict(things=3), dict(instances=0, things=3), dict(instances=5, things='x'),
             dict(instances=None, things=3, panoptic=None), dict(instances=5, things=3, other=1),
             dict(things=3, panoptic=dict(score=.5)), dict(things=3, panoptic=dict(score=2, overlap=.5, sure=True)),
             dict(things=3, panoptic=dict(score=.5, overlap=.5, sure=1)), dict(things=3, panoptic=[])],
    slide=[5, {}, dict(crop=[32, 32]), dict(crop=[32, 32], stride=[0, 0]), dict(crop=[32, 32], stride=[64, 64]),
           dict(crop=[32], stride=[32]), dict(crop=None, stride=None), dict(crop=[-1, 1], stride=[1, 1])],
    smallest=[None, 0, -5, 2.5, 'x', 10**9, True, 5000], largest=[0, -1, 'x', 10**30, [], 5])


@pytest.mark.parametrize('key', BAD)
def test_values(key, tmp_path):
    for value in BAD[key]:
        refusal(lambda value=value: load(tmp_path, {key: value}), key)
    for text in ('', 'x', '[', '{"a": }', '[' * 10**5, '"' + 'a' * 2**25 + '"', '1' * 5000, '\ud800', 'nul'):
        refusal(lambda text=text: load(tmp_path, **{key: text}), key)


def test_what_only_an_image_shows(tmp_path):
    image = np.zeros((50, 70, 3), np.uint8)
    assert 'got 2 names and the label 2' in refusal(lambda: load(tmp_path, dict(classes=['a', 'b']))(image), 'classes')
    large = dict(resize=None, largest=None)
    assert 'are allowed' in refusal(lambda: load(tmp_path, dict(large, scale_factor=[10**5, 10**5]))(image), 'pixels')
    assert 'are allowed' in refusal(lambda: load(
        tmp_path, dict(large, pad=dict(divisor=2**16, value=0)))(image), 'pixels')
    assert 'are allowed' in refusal(lambda: load(
        tmp_path, dict(large, batch_pad=dict(size=[2**16, 2**16], value=0)))(image), 'pixels')


@pytest.mark.parametrize('outputs', [
    [np.zeros((1, 7, 3), np.float32), np.zeros((1, 7, 8, 8), np.float32)],  # two classes of three names
    [np.zeros((1, 7, 9), np.float32), np.ones((1, 7, 8, 8), np.float32)],  # more classes than names
    [np.zeros((1, 7, 4), np.float32), np.zeros((1, 5, 8, 8), np.float32)],  # fewer masks than queries
    [np.zeros((1, 7), np.float32), np.zeros((1, 7, 8, 8), np.float32)], [np.zeros(7, np.float32)] * 2,
    [np.zeros((1, 0, 4), np.float32), np.zeros((1, 0, 8, 8), np.float32)],
    [np.ones((1, 7, 1), np.float32), np.zeros((1, 7, 8, 8), np.float32)],
    [np.zeros((1, 7, 4), np.float32), np.full((1, 7, 8, 8), np.inf, np.float32)]])
def test_queries_that_are_none(outputs, tmp_path):
    """Any arrays as classes and masks: a result within the names, or two lines."""
    path = tmp_path / 'model.onnx'
    path.touch()
    rule = dict(instances=5, things=3, panoptic=dict(score=0., overlap=0., sure=False))
    metadata = {key: json.dumps(value) for key, value in dict(GOOD, task='detection', queries=rule).items()}
    model = runtime.Model(path, session=runtime.Session(
        lambda feed: outputs, dict(image=('float32', [1, 3, None, None])), ['class_scores', 'masks'], metadata))
    try:
        found = model(np.zeros((50, 70, 3), np.uint8))
    except runtime.RuntimeInputError as error:
        assert 'model.onnx' in str(error) and len(str(error).splitlines()) <= 2
    else:
        assert found.panoptic.shape == (50, 70) and (found.panoptic % 1000).max() <= 3
        assert (found.labels < 3).all() and found.masks.shape == (len(found.scores), 50, 70)


def test_inputs_and_outputs(tmp_path):
    for images in (('float32', [1, 3]), ('float32', [1, None, 32, 32]), ('int64', [1, 3, 32, 32]),
                   ('float32', [1, 0, 32, 32]), ('uint8', [1, 3, None, None])):
        refusal(lambda images=images: load(tmp_path, inputs=dict(images=images)), 'first input')
    refusal(lambda: load(tmp_path, outputs=()), 'outputs')
    refusal(lambda: load(tmp_path, dict(task='detection'), outputs=('boxes', 'scores')), 'boxes, scores, labels')
    queries = dict(instances=5, things=3)
    refusal(lambda: load(tmp_path, dict(task='detection', queries=queries), outputs=('boxes', 'scores', 'labels')),
            'class_scores, masks')
    refusal(lambda: load(tmp_path, dict(task='detection', mask_stride=4), outputs=('boxes', 'scores', 'labels')),
            'masks')
    refusal(lambda: load(tmp_path, dict(slide=dict(crop=[32, 32], stride=[16, 16])), outputs=('map',)), 'logits')


@pytest.mark.parametrize('text', ['', 'x', '[]', '5', '{}', '\udcff' * 3, '[' * 10**5,
                                  '{"inputs": 5, "outputs": ["a"]}',
                                  '{"inputs": {"a": 5}, "outputs": ["a"]}', '{"inputs": {"a": {}}, "outputs": [1]}',
                                  '{"inputs": {"a": {"type": "float32", "shape": 5}}, "outputs": ["a"]}',
                                  '{"inputs": {"a": {"type": "float32", "shape": [1]}}, "outputs": ["a"], "task": 5}'])
def test_metadata_of_torchs_formats(text, tmp_path, monkeypatch):
    path = tmp_path / 'model.pt'
    path.touch()

    class Loaded:
        def __call__(self, *inputs):
            return inputs

    def jit_load(path, _extra_files):
        _extra_files['metadata.json'] = text
        return Loaded()

    monkeypatch.setattr('torch.jit.load', jit_load)
    with pytest.raises(runtime.RuntimeInputError, match=r'model\.pt') as error:
        loaders.load_model(path)
    assert len(str(error.value).splitlines()) <= 2 and len(str(error.value)) < 500


def test_the_command(exported, tmp_path, capsys):
    """A real file, its metadata changed, by the command line."""
    import onnx
    path = shutil.copy(exported['cascade'][1], tmp_path / 'model.onnx')
    model = onnx.load(path)
    entry = next(entry for entry in model.metadata_props if entry.key == 'std')
    entry.value = '[0, 0, 0]'
    onnx.save(model, path)
    assert runtime.main([str(path), str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith(f'error: {path}: std in its metadata must be a number above 0')
