"""Settings of whole detectors and segmentors: a config's model with random weights, images and ground truth."""
import copy
import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path

import torch
from mmengine.logging import MMLogger
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS
from mmengine.structures import InstanceData, PixelData
from torch import nn

from ..engine.hooks.small_batches import let_single_values_train
from ..errors import ConfigError, MissingExtraError
from ..inference.uper import speed_up_on_cpus
from ..installation import installed
from ..limits import PIXELS
from ..preflight.datasets import datasets_of
from ..preflight.pretrained import drop_pretrained
from ..preflight.read import read_config
from .peers import CHANNELS, build_peer
from .setting import Setting
from .variants import compiled, finish, fuse, precision, shared, variants

OBJECTS = 10  # in the random ground truth of an image
CANDIDATES = 1000  # boxes of a class that reach the detector's last NMS


def experiment_settings(args) -> Iterator[Setting]:
    """Yields a setting per image size, batch, config and peer in its place, precision and variant."""
    for size, batch in product(args.sizes, args.batch):
        for config in args.configs:
            for peer in (None, *(args.peers or ())):
                yield from _model_settings(args, config, peer, size, batch)


def _model_settings(args, config, peer, size, batch) -> Iterator[Setting]:
    def build(variant):
        return _prepare(build_model(config, args.cfg_options, args.what, size, peer).to(args.device), variant)
    model = shared(build, changes=('channels_last', 'fuse', 'compile'))
    name = Path(config).stem + (f', {peer}' if peer else '')
    data = [random_data(args.what, model(()), size, images, truth)
            for images, truth in ((batch, False), (args.train_batch, True))]
    for amp, variant in product(args.amp, variants(args, not peer or hasattr(model(()).backbone, 'fuse'))):
        yield _setting(model(variant), args, size, batch, variant, amp, *data, name=', '.join(
            [name, *([] if amp == 'none' else [amp]), *(part.replace('_', ' ') for part in variant)]), options=dict(
                config=Path(config).name, model=peer or Path(config).stem, peer=bool(peer), batch=batch,
                train_batch=args.train_batch, height=size[0], width=size[1], amp=amp, variant=variant,
                cfg_options={key: str(value) for key, value in (args.cfg_options or {}).items()}))


def build_model(config: str, cfg_options: dict | None, kind: str, size: tuple[int, int],
                peer: str | None = None) -> nn.Module:
    """Build the config's model with random weights, loading none.

    Args:
        config: config file of a detector or segmentor, or its name.
        cfg_options: settings to override.
        kind: 'detector' or 'segmentor'.
        size: height and width of the images.
        peer: one of `PEERS_WITH_HEADS`, to stand in the backbone's place under the same neck and heads. None: its own.

    Raises:
        ConfigError: the config is of another kind, or nothing in it takes a backbone's maps as a peer has them.
    """
    scope = dict(detector='mmdet', segmentor='mmseg')[kind]
    if not installed(scope):
        raise MissingExtraError(f'benchmark {kind}', 'openmmlab')
    cfg = read_config(config, cfg_options)
    if cfg.default_scope != scope:
        raise ConfigError(f'{config} is no config of a {kind}: its default_scope is {cfg.default_scope!r}, '
                          f'not {scope!r}')
    if peer:
        _replace_backbone(cfg.model, config, peer, size)
    return _build(cfg, size)


def _replace_backbone(model, config: str, peer: str, size: tuple[int, int]) -> None:
    model.backbone = dict(type=build_peer, name=peer, size=size)
    takers = [model[name] for name in (['neck'] if model.get('neck') else ['decode_head', 'auxiliary_head'])
              if model.get(name)]
    for part in (part for taker in takers for part in (taker if isinstance(taker, list) else [taker])):
        if isinstance(part.get('in_channels'), int):
            part.in_channels = CHANNELS[peer][part.get('in_index', -1)]
        else:
            part.in_channels = [CHANNELS[peer][i] for i in part.get('in_index') or range(4)]
    if not takers:
        raise ConfigError(f'{config}: --peers needs a model with a neck or a decode_head, which take the maps')


def _build(cfg, size: tuple[int, int]) -> nn.Module:
    drop_pretrained(cfg.model)
    if 'size' in (cfg.model.get('data_preprocessor') or {}):
        cfg.model.data_preprocessor.size = size
    model = MODELS.build(cfg.model)
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel(logging.WARNING)  # init_weights logs every parameter
    try:
        model.init_weights()
    finally:
        logger.setLevel(level)
    return revert_sync_batchnorm(model)


def build_forward(config: str, cfg_options: dict | None, size: tuple[int, int] | None, device: torch.device):
    """Build a config's model in eval mode, with its forward on a random image: no post-processing.

    Args:
        config: config file of a detector or segmentor.
        cfg_options: settings to override.
        size: (height, width) of the image. None: what the config's test pipeline resizes images to.
        device: where to run.

    Returns:
        The model, a function that runs its forward, and the image's size.

    Raises:
        ConfigError: the config is of neither kind, or no size is given and its test pipeline resizes to none.
    """
    cfg = read_config(config, cfg_options)
    kind = dict(mmdet='detector', mmseg='segmentor').get(cfg.default_scope)
    if kind is None:
        raise ConfigError(f'{config}: a config of mmdet or mmseg is expected, its default_scope is '
                          f'{cfg.default_scope!r}')
    size = size or _test_size(cfg)
    if size is None:
        raise ConfigError(f"{config}: its test pipeline has no Resize to a 'scale' of two sides, of 32 pixels and more "
                          'each: give --size HEIGHT WIDTH')
    model = _build(cfg, size).to(device).eval()
    data = random_data(kind, model, size, 1, truth=False)

    def forward():
        return model(**model.data_preprocessor(copy.deepcopy(data), False), mode='tensor')
    return model, forward, size


def _test_size(cfg) -> tuple[int, int] | None:
    """(height, width) of the scale that the test pipeline resizes images to."""
    for _, dataset, _ in datasets_of(cfg, 'test'):
        for step in dataset.get('pipeline') or ():
            if step.get('scale') and 'Resize' in str(step['type']):
                scale = step['scale']
                fits = isinstance(scale, list | tuple) and len(scale) == 2 and all(
                    type(side) is int and side >= 32 for side in scale) and math.prod(scale) <= PIXELS.value
                return tuple(scale[::-1]) if fits else None
    return None


def _prepare(model: nn.Module, variant: tuple[str, ...]) -> nn.Module:
    if 'channels_last' in variant:
        model.to(memory_format=torch.channels_last)
    if 'fuse' in variant:
        model.backbone = fuse(model.backbone)
    speed_up_on_cpus(model)  # as all commands do
    for name, part in model.named_children():
        if name != 'backbone':  # which pools nothing to 1 × 1, and may be compiled
            let_single_values_train(part, lambda text: None)  # as in training
    if 'compile' in variant:  # the backbone alone: the rest depends on the boxes found in the image
        model.backbone.forward = compiled(model.backbone.forward)
    return model


def _setting(model, args, size, batch, variant, amp, test_data, training_data, **fields) -> Setting:
    with precision(args.device, amp):
        threshold = _score_threshold(model, test_data)

    def forward():
        with precision(args.device, amp):
            if threshold is not None:
                model.roi_head.test_cfg.score_thr = threshold  # other settings of this model have their own
            return model.test_step(test_data)

    def loss():
        # The preprocessor pads the truth in place.
        data = model.data_preprocessor(copy.deepcopy(training_data), True)
        with precision(args.device, amp):
            return model.parse_losses(model(**data, mode='loss'))[0]

    def plain(phase):
        with _eager(model.backbone):
            if phase == 'forward':
                forward()
            else:
                loss().backward()
    setting = Setting(f'{batch} × 3 × {size[0]} × {size[1]}', units=batch, training_units=args.train_batch,
                      unit='image', forward=forward, model=model, loss=None if 'fuse' in variant else loss, **fields)
    return finish(setting, plain, args.device, variant, amp)


@contextmanager
def _eager(module: nn.Module) -> Iterator[None]:
    """Context in which a module that `_prepare` compiled runs as it is, for torch's counter of FLOPs."""
    forward = module.__dict__.pop('forward', None)
    try:
        yield
    finally:
        if forward is not None:
            module.forward = forward


def random_data(kind: str, model: nn.Module, size: tuple[int, int], batch: int, truth: bool) -> dict:
    """A batch as a data set yields it: random images, and with `truth` random ground truth."""
    make = _detection_sample if kind == 'detector' else _segmentation_sample
    samples = [make(model, size, truth) for _ in range(batch)]
    for sample in samples:
        sample.set_metainfo(dict(img_shape=size, ori_shape=size, pad_shape=size, scale_factor=(1., 1.), flip=False))
    channels = next((m.in_channels for m in getattr(model, 'backbone', model).modules() if isinstance(m, nn.Conv2d)), 3)
    inputs = [torch.randint(0, 256, (channels, *size), dtype=torch.uint8) for _ in samples]
    return dict(inputs=inputs, data_samples=samples)


def _detection_sample(model, size, truth):
    from mmdet.structures import DetDataSample
    from mmdet.structures.mask import BitmapMasks
    sample = DetDataSample()
    if truth:
        height, width = size
        sides = torch.rand(OBJECTS, 2) * 0.4 + 0.1
        corners = torch.rand(OBJECTS, 2) * (1 - sides)
        boxes = torch.cat((corners, corners + sides), 1) * torch.tensor([width, height, width, height])
        masks = torch.zeros(OBJECTS, height, width, dtype=torch.uint8)
        for mask, (left, top, right, bottom) in zip(masks, boxes.int().tolist()):
            mask[top:bottom, left:right] = 1
        sample.gt_instances = InstanceData(
            bboxes=boxes, labels=torch.zeros(OBJECTS, dtype=torch.long),
            masks=BitmapMasks(masks.numpy(), height, width))
    return sample


def _segmentation_sample(model, size, truth):
    from mmseg.structures import SegDataSample
    sample = SegDataSample()
    if truth:
        sample.gt_sem_seg = PixelData(data=torch.randint(0, model.decode_head.num_classes, (1, *size)))
    return sample


@torch.no_grad()
def _score_threshold(model: nn.Module, data: dict) -> float | None:
    """The score threshold of a two-stage detector that `CANDIDATES` boxes pass, or all if there are fewer.

    Random weights give every class about the same low score: no box would pass, and NMS and mask head would be idle.
    The classifiers' weights are scaled until logits differ by about 1; in bfloat16 thousands would be equal.
    None: the model has no such head.
    """
    heads = getattr(getattr(model, 'roi_head', None), 'bbox_head', None)
    if heads is None:
        return None
    heads = list(heads) if isinstance(heads, nn.ModuleList) else [heads]
    logits = _class_logits(model, heads[-1], data)
    if not logits.numel():
        return None
    if logits.std() < 0.5 and all(hasattr(head, 'fc_cls') for head in heads):
        for head in heads:
            head.fc_cls.weight /= logits.float().std()
        logits = _class_logits(model, heads[-1], data)
    scores = logits.softmax(-1)[:, :-1].flatten()
    return scores.topk(min(CANDIDATES, len(scores))).values[-1].item()


def _class_logits(model: nn.Module, head: nn.Module, data: dict) -> torch.Tensor:
    """``(boxes, classes + 1)``: what `head` makes its predictions from in a test step."""
    predict, logits = head.predict_by_feat, []

    def record(*args, **kwargs):
        logits.extend(kwargs['cls_scores'] if 'cls_scores' in kwargs else args[1])
        return predict(*args, **kwargs)
    head.predict_by_feat = record
    try:
        model.eval()
        model.test_step(data)
    finally:
        del head.predict_by_feat
    return torch.cat(logits)
