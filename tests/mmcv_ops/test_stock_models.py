"""Stock models of mmdet and mmseg, one or more for each kind of operator: loss, gradients, prediction.

Each is its own config's, but for layers that are left out, queries that are few, and weights that are not loaded.
"""
import math
import re
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

pytest.importorskip('mmdet')
pytest.importorskip('mmseg')

from mmengine.config import Config
from mmengine.logging import MessageHub
from mmengine.registry import MODELS, DefaultScope

from mmvision_mamba.mmcv_ops import extension

from ..helpers.mmcv_operators import operators_from
from ..helpers.neighbours import detection_batch, segmentation_batch

pytestmark = pytest.mark.filterwarnings('ignore')

DEFORM = {'deform_conv_forward', 'deform_conv_backward_input', 'deform_conv_backward_parameters'}
MODULATED = {'modulated_deform_conv_forward', 'modulated_deform_conv_backward'}
DEFORM_POOL = {'deform_roi_pool_forward', 'deform_roi_pool_backward'}
SYNC_BN = {'sync_bn_forward_mean', 'sync_bn_forward_var', 'sync_bn_forward_output', 'sync_bn_backward_param',
           'sync_bn_backward_data'}
MASKED = {'masked_im2col_forward', 'masked_col2im_forward'}  # in prediction alone
FAST = {  # stock config -> operators that it calls on a CPU, among others
    'mmdet/guided_anchoring/ga-retinanet_r50-caffe_fpn_1x_coco': DEFORM | MASKED,
    'mmdet/carafe/mask-rcnn_r50_fpn-carafe_1x_coco': {'carafe_forward', 'carafe_backward'},
    'mmdet/dyhead/atss_r50_fpn_dyhead_1x_coco': MODULATED,
    'mmseg/psanet/psanet_r50-d8_4xb2-40k_cityscapes-512x1024': {'psamask_forward', 'psamask_backward'},
}
SLOW = {
    'mmdet/detectors/cascade-rcnn_r50-sac_1x_coco': DEFORM,
    'mmdet/reppoints/reppoints-moment_r50_fpn_1x_coco': DEFORM,
    'mmdet/guided_anchoring/ga-faster-rcnn_r50-caffe_fpn_1x_coco': DEFORM | MASKED,
    'mmdet/cascade_rpn/cascade-rpn_faster-rcnn_r50-caffe_fpn_1x_coco': DEFORM,
    'mmdet/dcn/faster-rcnn_r50-dconv-c3-c5_fpn_1x_coco': DEFORM,
    'mmdet/dcn/faster-rcnn_r50_fpn_dpool_1x_coco': DEFORM_POOL,
    'mmdet/dcnv2/faster-rcnn_r50-mdconv-group4-c3-c5_fpn_1x_coco': MODULATED,
    'mmdet/dcnv2/faster-rcnn_r50_fpn_mdpool_1x_coco': DEFORM_POOL,
    'mmdet/foveabox/fovea_r50_fpn_gn-head-align_4xb4-2x_coco': DEFORM,
    'mmdet/vfnet/vfnet_r50-mdconv-c3-c5_fpn_ms-2x_coco': DEFORM | MODULATED,
    'mmdet/tood/tood_r50_fpn_1x_coco': DEFORM - {'deform_conv_backward_parameters'},  # its weights are ones
    'mmdet/simple_copy_paste/mask-rcnn_r50_fpn_rpn-2conv_4conv1fc_syncbn-all_32xb2-ssj-90k_coco': SYNC_BN,
    'mmdet/point_rend/point-rend_r50-caffe_fpn_ms-1x_coco': {'nms'},
    'mmdet/deformable_detr/deformable-detr_r50_16xb2-50e_coco': set(),  # mmcv's Python on CPUs
    'mmdet/dino/dino-4scale_r50_8xb2-12e_coco': set(),
    'mmdet/mask2former/mask2former_r50_8xb2-lsj-50e_coco': set(),
    'mmseg/ccnet/ccnet_r50-d8_4xb2-40k_cityscapes-512x1024': set(),
    'mmseg/point_rend/pointrend_r50_4xb2-80k_cityscapes-512x1024': set(),
}
FEW = dict(num_queries=12, nms_pre=50, max_per_img=20, max_num=50, num_dn_queries=4, stacked_convs=1, num_stages=4)


def stock(name):
    """The stock config, smaller."""
    library, _, path = name.partition('/')
    cfg = Config.fromfile(Path(find_spec(library).origin).parent / f'.mim/configs/{path}.py')

    def visit(node):
        if isinstance(node, list | tuple):
            for item in node:
                visit(item)
        elif isinstance(node, dict):
            for key, value in node.items():
                if key in FEW and isinstance(value, int):
                    node[key] = min(value, FEW[key])
                elif key in ('encoder', 'decoder') and 'num_layers' in value:
                    value['num_layers'] = 2
                visit(value)
            if node.get('init_cfg') and 'Pretrained' in str(node['init_cfg']):
                node['init_cfg'] = None
            if isinstance(node.get('mask_size'), tuple):  # PSANet's, twice the map
                node['mask_size'] = (15, 15)
            if node.get('type') == 'SyncBN':  # torch's, for GPUs alone
                node['type'] = 'BN'
    visit(cfg.model)
    cfg.model.pop('pretrained', None)
    cfg.model.data_preprocessor.pop('batch_augments', None)
    if 'sac' in name:  # pads its maps by reflection
        cfg.model.data_preprocessor.pad_size_divisor = 128
    if 'size' in cfg.model.data_preprocessor:
        cfg.model.data_preprocessor.size = (64, 64)
    return cfg


@pytest.fixture
def called():
    """Names of the operators that mmcv's Python calls in this test."""
    names = set()

    def note(name, function):
        def wrapper(*args, **kwargs):
            names.add(name)
            return function(*args, **kwargs)
        return wrapper
    with operators_from(SimpleNamespace(**{
            name: note(name, value) for name, value in vars(extension).items() if callable(value)})):
        yield names


@pytest.fixture(scope='module', autouse=True)
def one_process(tmp_path_factory):
    """MMSyncBN asks for the group of processes."""
    import torch.distributed as dist
    file = tmp_path_factory.mktemp('group') / 'store'
    dist.init_process_group('gloo', init_method=f'file://{file}', rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def check_model(name, called):
    torch.manual_seed(0)
    cfg = stock(name)
    classes = next(int(n) for n in re.findall(r"'num_(?:things_)?classes': (\d+)", str(cfg.model.to_dict())))
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        model = MODELS.build(cfg.model)
        model.init_weights()
    MessageHub.get_current_instance().update_info('epoch', 0)  # which TOOD asks for
    batch = detection_batch(cfg, classes) if name.startswith('mmdet') else segmentation_batch(classes)
    batch = model.data_preprocessor(batch, training=True)
    losses, _ = model.parse_losses(model(**batch, mode='loss'))
    losses.backward()
    assert math.isfinite(losses.detach())
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert gradients and all(gradient.isfinite().all() for gradient in gradients)
    model.eval()
    with torch.no_grad():  # of one image: masked convolution takes no more
        assert len(model(batch['inputs'][:1], batch['data_samples'][:1], mode='predict')) == 1
    return called


@pytest.mark.parametrize('name', FAST)
def test_a_stock_model_learns_and_predicts(name, called):
    assert check_model(name, called) >= FAST[name]


@pytest.mark.slow
@pytest.mark.parametrize('name', SLOW)
def test_more_stock_models_learn_and_predict(name, called):
    assert check_model(name, called) >= SLOW[name]
