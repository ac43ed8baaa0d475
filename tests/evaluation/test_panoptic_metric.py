"""PQ in mmdet's place: from files, from data samples, written for COCO's server, by several processes."""
import json
import math
import pickle

import numpy as np
import pytest
import torch

pytest.importorskip('mmdet')

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from mmdet.registry import METRICS
from mmengine.structures import PixelData
from PIL import Image

from mmvision_mamba.datasets.panoptic_files import id_colours, segment_ids
from mmvision_mamba.errors import ConfigError, DataError

from ..helpers.panoptic_data import CATEGORIES, CLASSES, METAINFO, annotation_file, change_panoptic, make_panoptic
from ..helpers.panoptic_oracle import qualities, tally

LABELS = {category['id']: label for label, category in enumerate(CATEGORIES)}
VOID = len(CLASSES)


@pytest.fixture
def root(tmp_path):
    return make_panoptic(tmp_path / 'coco', train=0)


def build(root, metainfo=METAINFO, **settings):
    metric = METRICS.build(dict(dict(
        type='mmdet.CocoPanopticMetric', ann_file=str(annotation_file(root)),
        seg_prefix=str(root / 'annotations/panoptic_val2017')), **settings))
    metric.dataset_meta = metainfo
    return metric


def samples_of(root, change=lambda labels: labels):
    """The truth as a model would predict it: label + 1000 · instance. Crowds are predicted as one instance."""
    content = json.loads(annotation_file(root).read_text())
    for image, record in zip(content['images'], content['annotations'], strict=True):
        ids = segment_ids(np.array(Image.open(root / 'annotations/panoptic_val2017' / record['file_name'])))
        segments = np.full(ids.shape, VOID)
        for instance, info in enumerate(record['segments_info'], 1):
            label = LABELS[info['category_id']]
            segments[ids == info['id']] = label + 1000 * instance * (label < 2)
        yield dict(img_id=image['id'], img_path=str(root / 'val2017' / image['file_name']), ori_shape=ids.shape,
                   pred_panoptic_seg=PixelData(sem_seg=torch.from_numpy(change(segments))[None]).to_dict())


def test_a_perfect_prediction(root):
    metric = build(root)
    metric.process({}, list(samples_of(root)))
    names = [f'coco_panoptic/{quality}{part}' for part in ('', '_th', '_st') for quality in ('PQ', 'SQ', 'RQ')]
    assert metric.evaluate(3) == dict.fromkeys(names, 100.)


def test_classes_that_are_not_predicted(root):
    metric = build(root, classwise=True)
    metric.process({}, list(samples_of(root, lambda segments: np.where(segments % 1000 == 1, VOID, segments))))
    found = metric.evaluate(3)
    assert [found[f'coco_panoptic/PQ{part}'] for part in ('', '_th', '_st')] == [75, 50, 100]
    metric.process({}, list(samples_of(root, lambda segments: np.full_like(segments, VOID))))
    assert set(metric.evaluate(3).values()) == {0}


def test_a_wrong_boundary_by_hand(root):
    """A fifth of the sky's rows is given to the road in the first image alone."""
    (first, *others), metric = samples_of(root), build(root)
    segments = first['pred_panoptic_seg']['sem_seg'][0]
    rows, columns = np.nonzero((segments == 3).numpy())
    moved = rows > 26
    segments[rows[moved], columns[moved]] = 2
    metric.process({}, [first, *others])
    road = int((segments == 2).sum())
    ious = [1 - moved.mean(), 1 - moved.sum() / road]
    assert 0.7 < min(ious) < 0.95
    expected = np.mean([(iou + 2) / 3 for iou in ious])
    assert metric.evaluate(3)['coco_panoptic/PQ_st'] == pytest.approx(100 * expected)


def test_processes_add_up(root):
    """What each process found is sent to the first as a pickle, and all of it counts once."""
    samples = list(samples_of(root, lambda segments: np.where(segments == 2, 3, segments)))
    together, parts = build(root), [build(root), build(root)]
    together.process({}, samples)
    parts[0].process({}, samples[:1])
    parts[1].process({}, samples[1:])
    results = [pickle.loads(pickle.dumps(part.results)) for part in parts]
    assert max(len(pickle.dumps(result)) for part in results for result in part) < 1000  # numbers, no maps
    expected = together.evaluate(3)
    parts[0].results = results[0] + results[1]
    assert parts[0].evaluate(3) == expected and expected['coco_panoptic/PQ'] < 100


PIXELS = st.tuples(st.integers(1, 4), st.integers(1, 5)).flatmap(lambda shape: st.tuples(
    arrays.arrays(np.int32, shape, elements=st.integers(0, 4)),
    arrays.arrays(np.int32, shape, elements=st.sampled_from([0, 1000, 2000, 1001, 2001, 2, 3, VOID]))))
SEGMENTS = st.dictionaries(st.integers(1, 4), st.tuples(st.sampled_from(sorted(LABELS)), st.booleans()))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(images=st.lists(st.tuples(PIXELS, SEGMENTS), min_size=1, max_size=3))
def test_against_the_definition(images, tmp_path):
    """Random maps, as files and data samples: means over images and classes, of things and stuff too."""
    content, samples, tallies = dict(images=[], annotations=[], categories=CATEGORIES), [], []
    for i, ((ids, labels), segments) in enumerate(images):
        segments = {number: segment for number, segment in segments.items() if (ids == number).any()}
        height, width = ids.shape
        Image.fromarray(id_colours(ids)).save(tmp_path / f'{i}.png')
        content['images'].append(dict(id=i, file_name=f'{i}.jpg', height=height, width=width))
        content['annotations'].append(dict(image_id=i, file_name=f'{i}.png', segments_info=[dict(
            id=number, category_id=category, iscrowd=int(crowd), area=1, bbox=[0, 0, 1, 1])
            for number, (category, crowd) in segments.items()]))
        samples.append(dict(img_id=i, img_path=f'{i}.jpg', ori_shape=ids.shape, pred_panoptic_seg=PixelData(
            sem_seg=torch.from_numpy(labels)[None]).to_dict()))
        guesses = {value: CATEGORIES[value % 1000]['id'] for value in set(labels.ravel().tolist()) - {VOID}}
        tallies.append(tally(ids, segments, labels, guesses))
    (tmp_path / 'truth.json').write_text(json.dumps(content))
    metric = METRICS.build(dict(type='mmdet.CocoPanopticMetric', ann_file=str(tmp_path / 'truth.json'),
                                seg_prefix=str(tmp_path)))
    metric.dataset_meta = METAINFO
    metric.process({}, samples)
    found = {key.partition('/')[2]: value for key, value in metric.evaluate(len(images)).items()}
    assert found == pytest.approx(qualities(tallies, (17, 18), (149, 187)), nan_ok=True)


def test_written_predictions_are_a_panoptic_data_set(root, tmp_path):
    metric = build(root, format_only=True, outfile_prefix=str(tmp_path / 'new/mine'))
    metric.process({}, list(samples_of(root)))
    assert metric.evaluate(3) == {}
    written = json.loads((tmp_path / 'new/mine.panoptic.json').read_text())['annotations']
    truth = json.loads(annotation_file(root).read_text())['annotations']
    assert [(a['image_id'], a['file_name']) for a in written] == [(a['image_id'], a['file_name']) for a in truth]
    for found, expected in zip(written, truth, strict=True):
        key = ('category_id', 'area', 'bbox')
        assert sorted([s[k] for k in key] for s in found['segments_info']) == \
            sorted([s[k] for k in key] for s in expected['segments_info'])
        ids = segment_ids(np.array(Image.open(tmp_path / 'new/mine.panoptic' / found['file_name'])))
        assert {s['id'] for s in found['segments_info']} == set(ids.ravel().tolist()) - {0}
    # Scored as a data set of its own, against itself.
    change_panoptic(root, lambda content: content.update(annotations=written))
    metric = build(root, seg_prefix=str(tmp_path / 'new/mine.panoptic'))
    metric.process({}, list(samples_of_ids(root, written, tmp_path / 'new/mine.panoptic')))
    assert metric.evaluate(3)['coco_panoptic/PQ'] == 100


def samples_of_ids(root, records, folder):
    for sample, record in zip(samples_of_images(root), records, strict=True):
        ids = segment_ids(np.array(Image.open(folder / record['file_name'])))
        segments = np.full(ids.shape, VOID)
        for info in record['segments_info']:
            segments[ids == info['id']] = LABELS[info['category_id']] + 1000 * info['id'] * info['isthing']
        yield dict(sample, pred_panoptic_seg=PixelData(sem_seg=torch.from_numpy(segments)[None]).to_dict())


def samples_of_images(root):
    for image in json.loads(annotation_file(root).read_text())['images']:
        yield dict(img_id=image['id'], img_path=str(root / 'val2017' / image['file_name']))


def test_segments_in_the_data_samples(root):
    """Without an annotation file, as mmdet's metric allows."""
    metric, samples = build(root, ann_file=None), list(samples_of(root))
    for sample, record in zip(samples, json.loads(annotation_file(root).read_text())['annotations'], strict=True):
        sample['segments_info'] = [dict(
            id=info['id'], category=LABELS[info['category_id']],
            is_thing=LABELS[info['category_id']] < 2 and not info['iscrowd']) for info in record['segments_info']]
    metric.process({}, samples)
    assert metric.evaluate(3)['coco_panoptic/PQ'] == 100


def test_pngs_in_folders_and_of_images_with_other_endings(root):
    def rename(content):
        for i, (image, record) in enumerate(zip(content['images'], content['annotations'], strict=True)):
            image['file_name'] = f'{i}/picture.JPEG'
            name = record['file_name']
            record['file_name'] = f'{i}/ids.png'
            (root / f'annotations/panoptic_val2017/{i}').mkdir()
            (root / 'annotations/panoptic_val2017' / name).rename(
                root / 'annotations/panoptic_val2017' / record['file_name'])
    samples = list(samples_of(root))
    change_panoptic(root, rename)
    metric = build(root, outfile_prefix=str(root / 'out/r'))
    metric.process({}, samples)
    assert metric.evaluate(3)['coco_panoptic/PQ'] == 100
    assert sorted(path.relative_to(root / 'out').as_posix() for path in (root / 'out').rglob('*.png')) == [
        f'r.panoptic/{i}/ids.png' for i in range(3)]


def test_classes_and_images_that_the_file_lacks(root):
    """Neither counts: a class has no PQ, an image without annotations is not measured."""
    samples = list(samples_of(root))

    def remove(content):
        content['categories'] = [c for c in content['categories'] if c['name'] not in ('dog', 'road', 'sky-other')]
        del content['annotations'][0]
        for record in content['annotations']:
            record['segments_info'] = [s for s in record['segments_info'] if s['category_id'] == 17]
    change_panoptic(root, remove)
    metric = build(root, classwise=True)
    metric.process({}, samples)
    found = metric.evaluate(3)
    assert found['coco_panoptic/PQ'] == found['coco_panoptic/PQ_th'] == 100
    assert math.isnan(found['coco_panoptic/PQ_st'])  # nothing of it to be measured


def test_the_order_of_categories_is_not_that_of_the_labels(root):
    samples = list(samples_of(root))
    change_panoptic(root, lambda content: content['categories'].reverse())
    metric = build(root)
    metric.process({}, samples)
    assert metric.evaluate(3)['coco_panoptic/PQ'] == 100


def test_errors(root):
    with pytest.raises(ConfigError, match='outfile_prefix'):
        build(root, format_only=True)
    sample = next(samples_of(root))
    with pytest.raises(ConfigError, match='panoptic_on'):
        build(root).process({}, [{key: value for key, value in sample.items() if key != 'pred_panoptic_seg'}])
    with pytest.raises(DataError, match='no image 5'):
        build(root, outfile_prefix=str(root / 'out')).process({}, [dict(sample, img_id=5)])
    png = root / 'annotations/panoptic_val2017' / '000000001000.png'
    Image.fromarray(np.zeros((91, 67, 3), np.uint8)).save(png)
    with pytest.raises(DataError, match=r'1000\.png: the panoptic PNG is 67 × 91 pixels, its image 91 × 67'):
        build(root).process({}, [sample])
    Image.fromarray(np.zeros((67, 91), np.uint8)).save(png)
    with pytest.raises(DataError, match=r'1000\.png: not an RGB image'):
        build(root).process({}, [sample])
    Image.fromarray(np.zeros((67, 91, 3), np.uint8)).save(png)  # a PQ of nothing would be NaN
    with pytest.raises(DataError, match=r'1000\.png: has none of the 4 segments'):
        build(root).process({}, [sample])
    png.unlink()
    with pytest.raises(DataError, match=r'1000\.png: the panoptic PNG is missing'):
        build(root).process({}, [sample])


@pytest.mark.parametrize('name', ['../../other/a.png', '/tmp/a.png', 'a/../../b.png'])
def test_predictions_stay_in_their_folder(name, root, tmp_path):
    change_panoptic(root, lambda content: content['annotations'][-1].update(file_name=name))
    assert build(root).maps  # who keeps PNGs elsewhere is measured on them
    with pytest.raises(DataError, match=r'the PNG .* lies elsewhere than below its folder'):
        build(root, outfile_prefix=str(tmp_path / 'new/mine'))
