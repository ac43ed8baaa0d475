"""Small models that predict by queries, or masks of whole images, as files; with weights that find something."""
import copy
from pathlib import Path
from types import SimpleNamespace

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

from mmvision_mamba.export.verify import verification_images
from mmvision_mamba.preflight.check_model import class_counts, weights_of_classes

from .neighbours import load, shrink

NAMES = dict(semantic='mask2former_mambavision_t_ade20k', instances='mask2former_mambavision_t_coco',
             panoptic='mask2former_mambavision_t_coco-panoptic', dino='dino_mambavision_t_coco',
             deformable='deformable_detr_mambavision_t_coco', solo='solov2_mambavision_t_coco')
THINGS, STUFF = ('ellipse', 'rectangle', 'triangle'), ('sky', 'grass')
NARROW = {256: 32, 1024: 64, 2048: 64, 128: 16}
SCALE = (128, 96)


def query_files(kind: str, folder: Path, change=lambda cfg: None) -> SimpleNamespace:
    """The `config` and `checkpoint` of a small model of a kind of `NAMES`, whose config `change` may change before."""
    cfg = shrink(load(NAMES[kind]))
    model, segmentor = cfg.model, cfg.default_scope == 'mmseg'
    names = ('background', *THINGS) if segmentor else THINGS + STUFF * (kind == 'panoptic')
    for _, head, key in class_counts(model, 'model'):
        head[key] = len(STUFF) * (kind == 'panoptic') if key == 'num_stuff_classes' else 4 if segmentor else 3
        if weights_of_classes(head) is not None:
            head.loss_cls.class_weight = [1.] * len(names) + [.1]
    if kind in ('semantic', 'instances', 'panoptic'):
        _narrow(model.decode_head if segmentor else model.panoptic_head)
    if kind in ('instances', 'panoptic'):
        model.test_cfg.update(max_per_image=15, object_mask_thr=.4, iou_thr=.3)
    if kind in ('dino', 'deformable'):
        model.test_cfg.max_per_img = 20
    if kind == 'solo':
        model.test_cfg.update(score_thr=.3, filter_thr=.05, max_per_img=20, nms_pre=40)
    for step in cfg.test_dataloader.dataset.pipeline:
        if step.type == 'Resize':
            step.scale = SCALE
    cfg.test_dataloader.dataset.metainfo = dict(classes=names, palette=[(40 * i, 90, 200) for i in range(len(names))])
    change(cfg)
    cfg = Config(cfg.to_dict())  # before the model's own changes of it
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        built = MODELS.build(copy.deepcopy(cfg.model)).eval()
        built.init_weights()
    _choose(built)
    files = SimpleNamespace(config=folder / f'{kind}.py', checkpoint=folder / f'{kind}.pth')
    cfg.dump(files.config)
    torch.save(dict(state_dict=built.state_dict(), meta=dict(dataset_meta=dict(classes=names))), files.checkpoint)
    return files


def _narrow(node, key: str = ''):
    """Fewer channels, in place."""
    if isinstance(node, dict):
        for name, value in node.items():
            if name not in ('in_channels', 'strides'):
                node[name] = _narrow(value, name)
    elif isinstance(node, list | tuple):
        return type(node)(_narrow(value, key) for value in node)
    elif isinstance(node, int):
        return 4 if key in ('num_heads', 'num_groups') else NARROW.get(node, node)
    return node


def _choose(model) -> None:
    """Have the heads find something: classes that differ clearly, and masks and boxes that do."""
    normal = torch.nn.init.normal_
    for name, module in model.named_modules():
        last = name.rpartition('.')[2]
        if name.endswith('mask_embed.4'):
            normal(module.weight, std=.6)
        elif 'cls_branches' in name and hasattr(module, 'weight'):
            normal(module.weight, std=.15)
            normal(module.bias, std=.1)
        elif 'reg_branches' in name and hasattr(module, 'weight') and module.weight.ndim == 2:
            normal(module.weight, std=.06)
        elif last == 'sampling_offsets':
            normal(module.weight, std=.05)
        elif last == 'conv_cls':
            normal(module.weight, std=.12)
        elif last == 'conv_kernel':
            normal(module.weight, std=.05)
    head = getattr(model, 'panoptic_head', getattr(model, 'decode_head', None))
    if hasattr(head, 'mask_embed'):
        _spread(head.pixel_decoder.mask_feature, 3., head, model)
        _spread(head.cls_embed, 6., head, model)


@torch.no_grad()
def _spread(layer, deviation: float, head, model) -> None:
    """Give a layer's outputs, when it is used last, a mean of 0 for each channel and this deviation."""
    outputs = []
    hook = layer.register_forward_hook(lambda *call: outputs.append(call[2]))
    picture, = verification_images((96, 128), 1)
    head(model.extract_feat(torch.from_numpy(picture).permute(2, 0, 1)[None] / 57. - 2), [])
    hook.remove()
    axis = 1 if layer.weight.ndim == 4 else -1
    values = outputs[-1].movedim(axis, 0).flatten(1)
    factor = deviation / values.std()
    layer.weight.mul_(factor)
    layer.bias.mul_(factor).sub_(factor * values.mean(1))
