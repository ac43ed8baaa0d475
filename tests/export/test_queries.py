"""Models that predict by queries or by masks of whole images: in graphs, in files, and in the place of a checkpoint."""
import json

import numpy as np
import onnx
import pytest
import torch

from mmvision_mamba import Inferencer
from mmvision_mamba.commands import call
from mmvision_mamba.errors import ConfigError
from mmvision_mamba.export.agreement import Agreement
from mmvision_mamba.export.deformable import GraphDeformableAttention
from mmvision_mamba.export.query_graph import mask_boxes
from mmvision_mamba.export.verify import verification_images
from mmvision_mamba.runtime.loaders import load_model
from mmvision_mamba.runtime.standalone import Detections, mask_box, results_of_queries

from ..helpers.queries import STUFF, THINGS, query_files

KINDS = 'semantic', 'instances', 'panoptic', 'dino', 'deformable', 'solo'
# Of the exported shape once they are resized, so that the config and the file prepare them alike.
PICTURES, ODD = ([verification_images(size, 1, seed)[0][..., ::-1].copy() for seed, size in enumerate(sizes)]
                 for sizes in ([(75, 100), (144, 192)], [(77, 128), (131, 90)]))


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    """files(kind): config and checkpoint of a small model."""
    made = {}

    def get(kind):
        if kind not in made:
            made[kind] = query_files(kind, tmp_path_factory.mktemp(kind))
        return made[kind]
    return get


def exported(files, kind, path, **options):
    given = files(kind)
    call('export', config=str(given.config), checkpoint=str(given.checkpoint), out=path, **dict(
        dict(shape=(96, 128)), **options))
    return path


def found(sample):
    """A sample as `Detections`, best first."""
    instances = sample.pred_instances[sample.pred_instances.scores.argsort(descending=True, stable=True)]
    return Detections(*(instances[key].numpy() for key in ('bboxes', 'scores', 'labels')),
                      instances.masks.numpy() if 'masks' in instances else None)


def check_same(kind, files, path, pictures=PICTURES):
    """A file gives what its checkpoint does, from pictures to results."""
    given = files(kind)
    checkpoint = Inferencer(given.config, given.checkpoint, device='cpu', show_progress=False)
    inferencer = Inferencer(path, show_progress=False)
    detections, segments = 0, set()
    assert inferencer.classes == checkpoint.classes
    for wanted, sample in zip(checkpoint.predict(pictures), inferencer.predict(pictures)):
        if kind == 'semantic':
            assert len(wanted.pred_sem_seg.data.unique()) > 1
            assert (wanted.pred_sem_seg.data == sample.pred_sem_seg.data).float().mean() > 0.999
            assert torch.allclose(wanted.seg_logits.data, sample.seg_logits.data, atol=1e-3)
            continue
        agreement = Agreement(by_masks=kind in ('instances', 'panoptic', 'solo'))
        agreement.add(found(wanted), found(sample), 0.05 if kind == 'solo' else 0., 20)
        detections += agreement.detections
        assert agreement.unmatched == 0 and agreement.score < 1e-3 and agreement.box_iou > 0.99
        assert agreement.mask_iou > 0.99
        if kind == 'panoptic':
            ids, others = wanted.pred_panoptic_seg.sem_seg, sample.pred_panoptic_seg.sem_seg
            assert ids.shape == others.shape and others.dtype == ids.dtype
            assert (ids == others).float().mean() > 0.999
            segments |= {*ids.unique().tolist()}
    assert kind == 'semantic' or detections > 5, 'a test of nothing'
    assert kind != 'panoptic' or len(segments) > 2, 'a test of nothing'


@pytest.mark.parametrize('kind', KINDS)
def test_a_file_gives_what_its_checkpoint_does(kind, files, tmp_path):
    path = exported(files, kind, tmp_path / 'm.onnx')
    model = onnx.load(path)
    onnx.checker.check_model(model)
    assert {entry.domain for entry in model.opset_import} == {''}
    operators = {node.op_type for node in model.graph.node}
    assert ('GridSample' in operators) == (kind != 'solo')
    check_same(kind, files, path)


@pytest.mark.parametrize('kind', [kind if kind in ('semantic', 'panoptic') else pytest.param(
    kind, marks=pytest.mark.slow) for kind in KINDS])
def test_openvino_runs_it_too(kind, files, tmp_path):
    """Checked as it is exported, on images of odd sizes."""
    pytest.importorskip('openvino')
    path = exported(files, kind, tmp_path / 'm.xml', format='openvino')
    if kind in ('semantic', 'panoptic'):
        check_same(kind, files, path)


@pytest.mark.parametrize(('kind', 'options'), [
    ('semantic', dict(dynamic='all')), ('panoptic', dict(with_preprocess=True)), ('panoptic', dict(dynamic='all')),
    ('deformable', dict(dynamic='all')),
    *(pytest.param(*case, marks=pytest.mark.slow) for case in [
        ('semantic', dict(fp16=True, with_preprocess=True)), ('instances', dict(dynamic='batch')),
        ('solo', dict(with_preprocess=True, shape=(128, 128))), ('deformable', dict(dynamic='batch')),
        ('dino', dict(with_preprocess=True)), ('dino', dict(dynamic='all')),
        ('deformable', dict(dynamic='all', format='openvino')), ('semantic', dict(dynamic='all', format='openvino')),
        ('instances', dict(fp16=True)), ('dino', dict(fp16=True, format='openvino'))])])
def test_options(kind, options, files, tmp_path):
    if 'format' in options:
        pytest.importorskip(options['format'])
    path = exported(files, kind, tmp_path / ('m.xml' if 'format' in options else 'm.onnx'), **options)
    if options.get('dynamic') == 'all':
        check_same(kind, files, path, ODD)
    if 'with_preprocess' in options and kind in ('panoptic', 'dino'):
        check_same(kind, files, path)


@pytest.mark.parametrize(('kind', 'change', 'options', 'message'), [
    ('dino', 'model.num_queries=900', {}, 'chooses its 900 queries among the pixels of its maps'),
    ('solo', '', dict(dynamic='batch'), 'one image at a time'),
    ('solo', '', dict(dynamic='all'), 'one image at a time'),
    ('solo', 'model.mask_head.dynamic_conv_size=3', {}, 'dynamic_conv_size=1'),
    ('instances', '', dict(int8='static'), '--int8: Mask2Former'),
    ('semantic', '', dict(int8='static'), '--int8: EncoderDecoder'),
    ('instances', 'model.panoptic_head.pixel_decoder.type=OddDecoder', {}, 'OddDecoder can not be exported'),
    ('semantic', "model.test_cfg.mode=slide", {}, 'mode=whole')])
def test_what_can_not_be_exported_is_told(kind, change, options, message, files, tmp_path):
    from mmdet.models.layers import MSDeformAttnPixelDecoder
    from mmdet.registry import MODELS

    @MODELS.register_module(force=True)
    class OddDecoder(MSDeformAttnPixelDecoder):
        def forward(self, feats):
            return super().forward(feats)
    name, _, value = change.partition('=')
    value = int(value) if value.isdigit() else value
    changes = {name: value, **(dict.fromkeys(['model.test_cfg.crop_size', 'model.test_cfg.stride'], (64, 64))
                               if value == 'slide' else {})} if change else {}

    def apply(cfg):
        cfg.merge_from_dict(changes)
    given = query_files(kind, tmp_path, apply)
    with pytest.raises(ConfigError, match=message):
        call('export', config=str(given.config), checkpoint=str(given.checkpoint), out=tmp_path / 'm.onnx',
             **dict(dict(shape=(96, 128)), **options))
    assert not [*tmp_path.glob('m.onnx*')]


@torch.no_grad()
@pytest.mark.parametrize('coordinates', [2, 4])
def test_deformable_attention_is_mmcvs(coordinates):
    """In float64, with points beyond the maps, maps of one pixel, and queries that are padding."""
    from mmcv.ops import MultiScaleDeformableAttention
    sizes = [(5, 7), (1, 1), (3, 2)]
    attention = MultiScaleDeformableAttention(16, 4, 3, 2, dropout=0., batch_first=True).double().eval()
    for parameter in attention.parameters():
        torch.nn.init.normal_(parameter)
    tokens = sum(height * width for height, width in sizes)
    query, value = torch.randn(2, 9, 16).double(), torch.randn(2, tokens, 16).double()
    given = dict(query=query, value=value, query_pos=torch.randn(2, 9, 16).double(),
                 key_padding_mask=torch.rand(2, tokens) < 0.3,
                 reference_points=torch.rand(2, 9, 3, coordinates).double())
    wanted = attention(**given, spatial_shapes=torch.tensor(sizes), level_start_index=torch.tensor([0, 35, 36]))
    torch.testing.assert_close(GraphDeformableAttention(attention)(**given, spatial_shapes=sizes), wanted)


def test_instances_that_differ_are_counted_where_queries_are_chosen():
    """Unmatched, moved or of another score: each counts once, and 5% of them may."""
    count = 100
    boxes = np.arange(count)[:, None] * 20 + np.array([0., 0, 10, 10])
    one = Detections(boxes, np.linspace(1, .5, count), np.zeros(count, int))
    for changed, passes in ((3, True), (6, False)):
        moved = boxes.copy()
        moved[:changed, 2] += 1  # IoU 0.91
        scores = one.scores.copy()
        scores[50] += .002
        agreement = Agreement(chosen=True)
        agreement.add(one, Detections(moved, scores, one.labels), 0, count)
        row, = agreement.rows('a', False, 'float32')
        assert agreement.differing == changed + 1 and row.passed == passes and row.what == 'instances'
    agreement.add(one, Detections(boxes[:90], one.scores[:90], one.labels[:90]), 0, 200)
    assert agreement.differing == 7 + 10


def test_boxes_around_masks():
    masks = torch.zeros(4, 9, 11, dtype=torch.bool)
    masks[1, 3, 5] = masks[2, 0, 10] = masks[2, 8, 0] = True
    masks[3] = True
    wanted = [[0, 0, 0, 0], [5, 3, 6, 4], [0, 0, 11, 9], [0, 0, 11, 9]]
    assert mask_boxes(masks).tolist() == wanted and [mask_box(mask) for mask in masks.numpy()] == wanted


@pytest.mark.parametrize('sure', [False, True])
@pytest.mark.parametrize('seed', range(4))
def test_results_of_queries_are_mmdets(seed, sure):
    """Of random classes and masks, with and without stuff, none at all among them."""
    from mmdet.models.seg_heads.panoptic_fusion_heads import MaskFormerFusionHead
    from mmdet.structures import DetDataSample
    from mmengine.config import ConfigDict
    torch.manual_seed(seed)
    settings = ConfigDict(panoptic_on=True, instance_on=True, max_per_image=12, object_mask_thr=.5, iou_thr=.4,
                          filter_low_score=sure)
    head = MaskFormerFusionHead(3, 2, test_cfg=settings)
    logits, masks = torch.randn(10, 6) * 4, torch.nn.functional.interpolate(torch.randn(1, 10, 3, 4) * 6, (12, 16))
    if seed == 3:
        logits[:, -1] = 50.
    sample = DetDataSample(metainfo=dict(img_shape=(41, 64), ori_shape=(83, 131), batch_input_shape=(48, 64)))
    enlarged = torch.nn.functional.interpolate(masks, (48, 64), mode='bilinear', align_corners=False)
    wanted, = head.predict(logits[None], enlarged, [sample], rescale=True)
    rule = dict(instances=12, things=3, panoptic=dict(score=.5, overlap=.4, sure=sure))
    result = results_of_queries(logits.softmax(-1).numpy(), masks[0].numpy(), rule, (48, 64), (41, 64), (83, 131))
    ids = wanted['pan_results'].sem_seg[0].numpy()
    assert (result.panoptic == ids).mean() > 0.999 and set(np.unique(ids)) == set(np.unique(result.panoptic))
    sample.pred_instances = wanted['ins_results']
    agreement = Agreement(by_masks=True)
    agreement.add(found(sample), result, 0, 12)
    assert agreement.unmatched == 0 and agreement.score < 1e-4 and agreement.mask_iou > 0.999
    assert np.abs(result.boxes - found(sample).boxes).max() <= 1 and (result.labels < 3).all()


def test_the_standalone_runtime_writes_panoptic_results(files, tmp_path):
    from PIL import Image

    from mmvision_mamba.runtime.standalone import main
    path = exported(files, 'panoptic', tmp_path / 'm.onnx')
    Image.fromarray(PICTURES[0]).save(tmp_path / 'photo.png')
    assert main([str(path), str(tmp_path / 'photo.png'), '--out-dir', str(tmp_path / 'out')]) == 0
    assert sorted(file.name for file in (tmp_path / 'out').iterdir()) == [
        'photo.png', 'photo_panoptic.json', 'photo_panoptic.png']
    segments = json.loads((tmp_path / 'out/photo_panoptic.json').read_text())
    ids = np.asarray(Image.open(tmp_path / 'out/photo_panoptic.png')) @ np.array([1, 256, 65536])
    result = load_model(path)(tmp_path / 'photo.png')
    assert segments and {segment['name'] for segment in segments} <= {*THINGS, *STUFF}
    for segment in segments:
        labels = np.unique(result.panoptic[ids == segment['id']] % 1000)
        assert labels.tolist() == [segment['label']] and (ids == segment['id']).sum() == segment['area']
    assert len(np.unique(result.panoptic[ids == 0])) <= 1
