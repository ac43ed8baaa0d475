"""Confusion matrices and per-class results, against counts made by hand, pycocotools and mmseg's own metric."""
import pickle
import re

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip('mmdet')
pytest.importorskip('mmseg')

from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmvision_mamba.errors import ConfigError, DataError
from mmvision_mamba.evaluation import confusion

from ..hostile.test_checkpoints import array, dtype


class Data:
    """Annotations of a few images, as mmengine's data sets give them."""

    def __init__(self, *images, classes=('a', 'b')):
        self.images, self.metainfo = images, dict(classes=classes)

    def __len__(self):
        return len(self.images)

    def get_data_info(self, i):
        return dict(img_id=i, img_path=f'{i}.jpg', instances=[
            dict(bbox=list(box), bbox_label=label, ignore_flag=int(label < 0)) for box, label in self.images[i]])


def predicted(img_id, *detections):
    boxes, labels, scores = zip(*detections) if detections else ([], [], [])
    return dict(img_id=img_id, img_path=f'{img_id}.jpg', ori_shape=(100, 100), pred_instances=dict(
        bboxes=torch.tensor(boxes, dtype=torch.float).reshape(-1, 4), labels=torch.tensor(labels, dtype=torch.long),
        scores=torch.tensor(scores, dtype=torch.float)))


A, B, FAR = (0, 0, 10, 10), (50, 50, 70, 70), (80, 0, 95, 15)


def test_counts():
    data = Data([(A, 0), (B, 1)], [], [(A, 0)])
    items = [predicted(0, (A, 0, 0.9), (B, 0, 0.8), (FAR, 1, 0.7)),  # right; a for b; nothing there
             predicted(1, (A, 1, 0.9), (B, 1, 0.1)),                 # nothing there; too low a score
             predicted(2)]                                           # missed
    assert confusion.detection_confusion(data, items).tolist() == [[1, 0, 1], [1, 0, 0], [0, 2, 0]]
    assert confusion.detection_confusion(data, items[::-1]).tolist() == [[1, 0, 1], [1, 0, 0], [0, 2, 0]]


def test_one_detection_an_object_the_best_first():
    data = Data([(A, 0)])
    near = (0, 0, 10, 8)  # IoU 0.8
    assert confusion.detection_confusion(data, [predicted(0, (near, 0, 0.9), (A, 1, 0.4))]).tolist() == [
        [0, 1, 0], [0, 0, 0], [1, 0, 0]]
    data = Data([(A, 0), (near, 1)])
    assert confusion.detection_confusion(data, [predicted(0, (A, 0, 0.9))]).tolist() == [
        [1, 0, 0], [0, 0, 1], [0, 0, 0]]


def test_several_data_sets_whose_ids_are_alike():
    """As those of a ConcatDataset, and with each image twice, as RepeatDataset gives them."""
    class Both(Data):
        def get_data_info(self, i):
            return dict(super().get_data_info(i), img_id=i % 2, img_path=f'{i % 4}.jpg')

    images = [(A, 0)], [(B, 1)], [(A, 1)], []
    items = [dict(predicted(i % 2, *found), img_path=f'{i}.jpg')
             for i, found in enumerate([[(A, 0, 0.9)], [(B, 0, 0.9)], [(A, 1, 0.9)], []])]
    for times in (1, 2):
        data = Both(*images * times)
        assert confusion.detection_confusion(data, items * times).tolist() == [
            [times, 0, 0], [times, times, 0], [0, 0, 0]]
    assert confusion.average_precisions(Both(*images), items)['box AP'] == pytest.approx([1, 0.5], abs=0.01)


def test_thresholds():
    data, items = Data([(A, 0)]), [predicted(0, ((0, 0, 10, 8), 0, 0.5))]
    assert confusion.detection_confusion(data, items, score_thr=0.5)[0, 0] == 1
    assert confusion.detection_confusion(data, items, score_thr=0.51).tolist() == [[0, 0, 1], [0, 0, 0], [0, 0, 0]]
    assert confusion.detection_confusion(data, items, iou_thr=0.81).tolist() == [[0, 0, 1], [0, 0, 0], [1, 0, 0]]


def test_what_lies_on_a_crowd_is_not_counted():
    data = Data([((0, 0, 60, 60), -1), (FAR, 1)])
    items = [predicted(0, (A, 0, 0.9), (FAR, 1, 0.9), (B, 0, 0.9))]  # B lies beside the crowd, for the most part
    assert confusion.detection_confusion(data, items).tolist() == [[0, 0, 0], [0, 1, 0], [1, 0, 0]]


def test_average_precisions():
    """Worked out by hand: class a is found in one of two images, at full precision: AP 0.5 (COCO's 101 points: 51)."""
    data = Data([(A, 0)], [(A, 0), (B, 1)], classes=('a', 'b', 'c'))
    found = confusion.average_precisions(data, [predicted(0, (A, 0, 0.9)), predicted(1, (B, 1, 0.9))])
    assert list(found) == ['box AP']
    a, b, c = found['box AP']
    assert a == pytest.approx(51 / 101) and b == pytest.approx(1) and np.isnan(c)


@pytest.mark.parametrize('items', [[], [predicted(0), predicted(0)], [predicted(0), predicted(7)]])
def test_predictions_of_other_images(items):
    with pytest.raises(DataError, match='belong to another config'):
        confusion.detection_confusion(Data([], []), items)


class Malicious:
    def __reduce__(self):
        import os
        return os.mkdir, ('pwned',)


@pytest.mark.parametrize(('key', 'value', 'problem'), [
    ('ori_shape', None, 'has the ori_shape None'), ('ori_shape', (100,), 'has the ori_shape'),
    ('img_id', [1], 'has an img_id'), ('ori_shape', (100, -1), 'has the ori_shape'),
    ('labels', None, 'lacks labels'), ('scores', [0.9], 'lacks labels'),
    ('labels', torch.tensor([0, 1]), 'has [2] labels, [1] scores'), ('bboxes', torch.zeros(1, 5), 'and [1, 5] bboxes'),
    ('labels', torch.tensor([0.5]), 'no numbers of their kind'), ('scores', torch.tensor([torch.nan]), 'no numbers of'),
    ('masks', [dict(size=[9, 9], counts=[81])], 'has masks that'), ('masks', [], 'has masks that'),
    ('masks', [dict(size=[100, 100], counts='\n')], 'has masks that')])
def test_predictions_that_are_none_are_named(key, value, problem, tmp_path):
    item = predicted(0, (A, 0, 0.9))
    (item if key in ('ori_shape', 'img_id') else item['pred_instances'])[key] = value
    (tmp_path / 'p.pkl').write_bytes(pickle.dumps([predicted(1), item], 2))
    with pytest.raises(DataError, match=f'p.pkl: the prediction 1 .*{re.escape(problem)}'):
        confusion.load_predictions(tmp_path / 'p.pkl')


def test_predictions_of_other_classes_are_named():
    with pytest.raises(DataError, match='predictions of classes that the test data set lacks'):
        confusion.detection_confusion(Data([(A, 0)]), [predicted(0, (A, 2, 0.9))])


@pytest.mark.parametrize('protocol', [2, 5])  # mmengine writes 2
def test_loading_predictions(protocol, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / 'p.pkl'
    items = [dict(predicted(0, (A, 0, 0.9)), scale_factor=(1., np.float32(2)), array=np.arange(3))]
    items[0]['pred_instances']['masks'] = [dict(size=[100, 100], counts=[10_000])]
    path.write_bytes(pickle.dumps(items, protocol))
    loaded, = confusion.load_predictions(path)
    assert torch.equal(loaded['pred_instances']['bboxes'], items[0]['pred_instances']['bboxes'])
    assert loaded['array'].tolist() == [0, 1, 2] and loaded['scale_factor'] == (1, 2)
    for content, message in ((Malicious(), 'it holds an object of posix.mkdir'), ([3], 'no predictions of a detector')):
        path.write_bytes(pickle.dumps(content))
        with pytest.raises(DataError, match=message):
            confusion.load_predictions(path)
    assert not (tmp_path / 'pwned').exists()
    # NumPy itself would take these bytes for addresses
    path.write_bytes(pickle.dumps([dict(pred_instances=array(dtype(state=(3, '<', None, None, None, -1, -1, 63)), (4,),
                                                             b'A' * 32))], protocol))
    with pytest.raises(DataError, match='a dtype with fields, references or alignment is not allowed'):
        confusion.load_predictions(path)
    path.write_bytes(pickle.dumps(items)[:-9])
    with pytest.raises(DataError, match=r'p.pkl: no predictions that .mmvision-mamba test --out. kept'):
        confusion.load_predictions(path)
    with pytest.raises(DataError, match='No such file'):
        confusion.load_predictions(tmp_path / 'nowhere.pkl')


@pytest.mark.parametrize('content', [
    b'\x80\x02]r\xff\xff\xff\x7f\x8f.',  # pickle itself makes room for all numbers below
    b'\x80\x02}' + b')' + b''.join(b'q\x00h\x00\x86' for _ in range(80)) + b'K\1s.',  # it would hash 2^80 tuples
    b'\x80\x02ctorch.storage\n_load_from_bytes\nq\x00c_codecs\nencode\n' + b'X\xe8\3\0\0' + b'a' * 1000
    + b'X\6\0\0\0latin1\x86R\x85q\x01R.', b'\x80\4(' + b'\x8f' * 100 + b'l.'])
def test_predictions_that_ask_for_all_memory_or_time(content, tmp_path):
    (tmp_path / 'p.pkl').write_bytes(content)
    with pytest.raises(DataError, match=r'p\.pkl: no predictions') as error:
        confusion.load_predictions(tmp_path / 'p.pkl')
    assert len(str(error.value)) < 500


def test_one_tensor_many_times(tmp_path):
    import io
    stored = io.BytesIO()
    torch.save(torch.ones(1000)._typed_storage(), stored, _use_new_zipfile_serialization=False)
    text = stored.getvalue().decode('latin1').encode()
    (tmp_path / 'p.pkl').write_bytes(
        b'\x80\x02](ctorch.storage\n_load_from_bytes\nq\x00c_codecs\nencode\nX' + len(text).to_bytes(4, 'little')
        + text + b'X\6\0\0\0latin1\x86R\x85q\x01R' + b'h\x00h\x01R' * 1000 + b'e.')
    with pytest.raises(DataError, match='one content many times over'):
        confusion.load_predictions(tmp_path / 'p.pkl')


# Segmentation -------------------------------------------------------------------------------------------------------

@pytest.fixture(params=[False, True], ids=['', 'reduce_zero_label'])
def maps(request, tmp_path):
    """Config, truth and prediction (as labels of the model) of three images, written as mmseg does."""
    init_default_scope('mmseg')
    reduced, rng = request.param, np.random.default_rng(0)
    truth, predicted = (rng.integers(0, 3, (3, 20, 30), dtype=np.uint8) for _ in range(2))
    truth[:, :4] = 255
    for folder in ('img', 'map', 'out'):
        (tmp_path / folder).mkdir()
    for i in range(3):
        Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(tmp_path / f'img/{i}.png')
        on_disk = np.where(truth[i] == 255, 0, truth[i] + 1).astype(np.uint8) if reduced else truth[i]
        Image.fromarray(on_disk).save(tmp_path / f'map/{i}.png')
        Image.fromarray(predicted[i] + reduced).save(tmp_path / f'out/{i}.png')
    cfg = Config(dict(test_dataloader=dict(dataset=dict(
        type='BaseSegDataset', data_root=str(tmp_path), img_suffix='.png', reduce_zero_label=reduced,
        data_prefix=dict(img_path='img', seg_map_path='map'), metainfo=dict(classes=('a', 'b', 'c')),
        pipeline=[dict(type='LoadImageFromFile'), dict(type='LoadAnnotations'), dict(type='PackSegInputs')]))))
    return cfg, truth, predicted, tmp_path / 'out'


def test_pixels(maps):
    from mmseg.evaluation import IoUMetric
    cfg, truth, predicted, out = maps
    counts = confusion.segmentation_confusion(cfg, confusion.test_dataset(cfg), out)
    assert counts.sum() == (truth != 255).sum()
    assert counts[1, 2] == ((truth == 1) & (predicted == 2)).sum()
    # mmseg's metric, from the same maps
    areas = [sum(areas) for areas in zip(*(IoUMetric.intersect_and_union(
        torch.tensor(p), torch.tensor(t), 3, 255) for p, t in zip(predicted, truth)))]
    reference = IoUMetric.total_area_to_metrics(*areas)
    found = confusion.intersections_over_unions(counts)
    assert np.allclose(found['IoU'], reference['IoU']) and np.allclose(found['accuracy'], reference['Acc'])


def test_wrong_maps(maps):
    cfg, _, _, out = maps
    dataset = confusion.test_dataset(cfg)
    for content, message in ((np.full((20, 30), 9, np.uint8), 'beyond the 3 classes'),
                             (np.ones((20, 31), np.uint8), '31, 20'), (None, 'missing or unreadable')):
        (out / '1.png').unlink()
        if content is not None:
            Image.fromarray(content).save(out / '1.png')
        with pytest.raises(DataError, match=message):
            confusion.segmentation_confusion(cfg, dataset, out)
    cfg.test_dataloader.dataset.pipeline.pop(1)
    with pytest.raises(ConfigError, match='no LoadAnnotations'):
        confusion.segmentation_confusion(cfg, dataset, out)


@pytest.mark.parametrize(('spoil', 'message'), [
    (lambda file: Image.fromarray(np.full((20, 30), 57, np.uint8)).save(file), r'has the labels 5[67], '),
    (lambda file: file.write_bytes(file.read_bytes()[:-30]), r'map.1\.png: the image is truncated')])
def test_wrong_truth(spoil, message, maps):
    cfg, _, _, out = maps
    cfg.model = dict(type='EncoderDecoder', decode_head=dict(num_classes=3))
    spoil(out.parent / 'map/1.png')
    with pytest.raises(DataError, match=message):
        confusion.segmentation_confusion(cfg, confusion.test_dataset(cfg), out)


def test_a_class_that_is_nowhere():
    found = confusion.intersections_over_unions(np.array([[4, 0, 0], [4, 8, 0], [0, 0, 0]]))
    assert found['IoU'][:2] == [0.5, 8 / 12] and np.isnan(found['IoU'][2])
    assert found['accuracy'][0] == 1 and np.isnan(found['accuracy'][2])
