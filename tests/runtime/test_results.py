"""Exported files whose outputs are malformed or hostile: an error that names the file, whatever computed them."""
import json

import numpy as np
import pytest

from mmvision_mamba.runtime import standalone as runtime

HEIGHT, WIDTH = 45, 64
GOOD = dict(boxes=np.array([[1, 1, 20, 20]], np.float32), scores=np.array([0.9], np.float32),
            labels=np.array([1]), masks=np.ones((1, HEIGHT, WIDTH), bool))


def give(tmp_path, task, outputs, classes=('a', 'b')):
    """What a model gives that prepares images itself, for a black one."""
    path = tmp_path / 'model.onnx'
    path.touch()
    model = runtime.Model(path, session=runtime.Session(
        lambda feed: list(outputs.values()), dict(image=('uint8', [None, None, 3])), list(outputs),
        dict(task=json.dumps(task), classes=json.dumps(classes))))
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    found = model(image)
    return model.draw(image, found), found


def test_the_good_ones_work(tmp_path):
    picture, found = give(tmp_path, 'detection', GOOD)
    assert picture.size == (WIDTH, HEIGHT) and found.to_json()[0]['name'] == 'b'
    assert give(tmp_path, 'detection', {name: array[:0] for name, array in GOOD.items()})[1].to_json() == []
    assert give(tmp_path, 'segmentation', dict(map=np.ones((HEIGHT, WIDTH), np.uint8)))[1].max() == 1


@pytest.mark.parametrize('name, array', [
    ('boxes', np.full((1, 4), np.nan, np.float32)), ('boxes', np.full((1, 4), np.inf, np.float32)),
    ('boxes', np.ones((1, 2), np.float32)), ('boxes', np.ones(4, np.float32)), ('boxes', np.ones((2, 4), np.float32)),
    ('boxes', np.ones((1, 4), int)), ('scores', np.array([np.nan], np.float32)), ('scores', np.ones(100, np.float32)),
    ('scores', np.ones((1, 1), np.float32)), ('labels', np.array([-5])), ('labels', np.array([0.5])),
    ('labels', np.array([2**62])), ('labels', np.array([[0]])), ('labels', np.array(0)), ('labels', np.zeros(9, int)),
    ('masks', np.ones((1, 5, 5), bool)), ('masks', np.ones((0, HEIGHT, WIDTH), bool)),
    ('masks', np.ones((HEIGHT, WIDTH), bool))], ids=lambda value: value if isinstance(value, str) else '')
@pytest.mark.parametrize('classes', [('a', 'b'), ()])
def test_instances(name, array, classes, tmp_path):
    words = rf'model\.onnx(: {name} are NaN| does not give .*({name}|must be))'
    with pytest.raises(runtime.RuntimeInputError, match=words) as error:
        give(tmp_path, 'detection', {**GOOD, name: array}, classes)
    assert len(str(error.value).splitlines()) == 1 and len(str(error.value)) < 500


@pytest.mark.parametrize('labels', [
    np.full((HEIGHT, WIDTH), -3), np.full((HEIGHT, WIDTH), 2**40), np.zeros((5, 5), int),
    np.zeros((1, HEIGHT, WIDTH), int), np.zeros((HEIGHT, WIDTH), bool)])
def test_maps(labels, tmp_path):
    with pytest.raises(runtime.RuntimeInputError, match=r'model\.onnx does not give what its metadata says'):
        give(tmp_path, 'segmentation', dict(map=labels))


@pytest.mark.parametrize('values', [
    [np.zeros((HEIGHT, WIDTH), int)] * 2, None, {0: np.zeros(3)}, np.full((HEIGHT, WIDTH), '1'),
    np.full((HEIGHT, WIDTH), None)], ids=['sequence', 'optional', 'map', 'texts', 'objects'])
def test_outputs_that_are_no_arrays_of_numbers(values, tmp_path):
    for task, outputs in (('segmentation', dict(map=values)), ('detection', {**GOOD, 'boxes': values})):
        with pytest.raises(runtime.RuntimeInputError, match=r'model\.onnx does not give what its metadata says'):
            give(tmp_path, task, outputs)


@pytest.mark.parametrize('labels, task', [
    ([0, 255], 'detection'), ([0, 255, 200], 'detection'), ([255, 200], 'segmentation'), ([0, 2], 'segmentation')])
def test_labels_without_a_name_are_refused_whatever_others_there_are(labels, task, tmp_path):
    """255 stands for pixels of no class alone, and excuses no other label."""
    count = len(labels)
    outputs = dict(map=np.resize(labels, (HEIGHT, WIDTH))) if task == 'segmentation' else dict(
        boxes=np.ones((count, 4), np.float32), scores=np.ones(count, np.float32), labels=np.array(labels))
    with pytest.raises(runtime.RuntimeInputError, match=r'the names of all labels, got 2 names and the label 2'):
        give(tmp_path, task, outputs)


def test_pixels_of_no_class_have_no_name(tmp_path):
    assert give(tmp_path, 'segmentation', dict(map=np.resize([0, 1, 255], (HEIGHT, WIDTH))))[1].max() == 255


@pytest.mark.parametrize('stride', [3000, 2**16])
def test_masks_are_not_enlarged_beyond_what_an_input_may_have(stride, tmp_path):
    path = tmp_path / 'model.onnx'
    path.touch()
    outputs = dict(boxes=GOOD['boxes'][None], scores=GOOD['scores'][None], labels=GOOD['labels'][None],
                   masks=np.ones((1, 1, 16, 24), np.float32))
    model = runtime.Model(path, session=runtime.Session(
        lambda feed: list(outputs.values()), dict(images=('float32', [1, 3, 64, 96])), list(outputs),
        dict(task='"detection"', mask_stride=str(stride))))
    with pytest.raises(runtime.RuntimeInputError, match=rf'{16 * stride} × {24 * stride} pixels, and 268435456'):
        model(np.zeros((HEIGHT, WIDTH, 3), np.uint8))


@pytest.mark.parametrize('segments', [4096, 4097])
def test_a_panoptic_map_has_no_segments_without_end(segments, tmp_path):
    """Each takes the time of the whole map: of one for each pixel of a photo, results would take hours."""
    path = tmp_path / 'model.onnx'
    path.touch()
    rule = dict(things=1, panoptic=dict(score=0.5, overlap=0.5, sure=False))
    ids = np.minimum(np.arange(64 * 65), segments - 1).reshape(64, 65) * 1000
    model = runtime.Model(path, session=runtime.Session(
        lambda feed: [ids], dict(image=('uint8', [None, None, 3])), ['panoptic'],
        {key: json.dumps(value) for key, value in dict(task='detection', queries=rule, classes=['a']).items()}))
    if segments > 4096:
        with pytest.raises(runtime.RuntimeInputError, match='a panoptic map of 4097 segments, and 4096 are allowed'):
            model(np.zeros((*ids.shape, 3), np.uint8))
    else:
        assert np.array_equal(model(np.zeros((*ids.shape, 3), np.uint8)).panoptic, ids)


@pytest.mark.parametrize('classes', [[], None])
def test_a_panoptic_model_names_its_classes(classes, tmp_path):
    """A map says by their number which pixels are of none."""
    path = tmp_path / 'model.onnx'
    path.touch()
    rule = dict(things=1, panoptic=dict(score=0.5, overlap=0.5, sure=False))
    metadata = dict(task='detection', queries=rule, classes=classes)
    with pytest.raises(runtime.RuntimeInputError, match='classes in its metadata must be names, of a panoptic model'):
        runtime.Model(path, session=runtime.Session(
            lambda feed: [np.zeros((HEIGHT, WIDTH), int)], dict(image=('uint8', [None, None, 3])), ['panoptic'],
            {key: json.dumps(value) for key, value in metadata.items()}))
