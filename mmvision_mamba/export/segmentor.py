"""mmseg's segmentors as one function of tensors, which can be exported: images in; a map of labels or logits out."""
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import ConfigError
from ..inference.uper import speed_up
from .graph_modules import graph_copy, halve, halve_features
from .pools import replace_adaptive_pools

SEGMENTOR_HEADS = ('UPerHead', 'FCNHead', 'PSPHead', 'ASPPHead', 'DepthwiseSeparableASPPHead', 'SegformerHead',
                   'FPNHead', 'DepthwiseSeparableFCNHead', 'Mask2FormerHead')


class SegmentorGraph(nn.Module):
    """mmseg's EncoderDecoder on the whole image, or on a window of it.

    Its outputs are the map of labels ``(B, H, W)`` int64 and the head's own logits ``(B, C, h, w)``, of which the
    runtime makes the map in the photo's size as mmseg does; or logits ``(B, C, H, W)`` in the images' size alone.

    The graph is made of a copy of `model`: the backbone's BatchNorm is folded; adaptive pooling becomes matrix
    products, which every format has for every size; UPerHead's last convolution runs on smaller maps (see `uper`).

    Raises:
        ConfigError: another kind of segmentor or head; names those that can be exported.
    """

    def __init__(self, model: nn.Module, output: str = 'map'):
        super().__init__()
        self._check(model)
        self.output, self.model = output, graph_copy(model)
        if self.model.with_auxiliary_head:
            self.model.auxiliary_head = None
        replace_adaptive_pools(self.model)
        speed_up(self.model.decode_head)

    @staticmethod
    def _check(model: nn.Module) -> None:
        _check_head(model.decode_head)

    @property
    def output_names(self) -> tuple[str, ...]:
        return ('map', 'logits') if self.output == 'map' else ('logits',)

    def halve(self) -> nn.Module:
        """Convert it to float16, but for the scan's parameters; returns self."""
        return halve(self)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        small = self.small(images)
        result = self.result(self.resize(small, images.shape[2:]))
        return (result, small) if self.output == 'map' else (result,)

    def small(self, images: Tensor) -> Tensor:
        """The head's own logits ``(B, C, h, w)``."""
        return self.model.decode_head(self.model.extract_feat(images))

    def resize(self, logits: Tensor, size: Sequence[int]) -> Tensor:
        return F.interpolate(logits, size, mode='bilinear', align_corners=self.model.decode_head.align_corners)

    def result(self, logits: Tensor) -> Tensor:
        """The output that was asked for: the logits, or the map of labels."""
        return logits if self.output == 'logits' else label_map(logits, self.model.decode_head)


def label_map(logits: Tensor, head: nn.Module) -> Tensor:
    """Logits ``(B, C, H, W)`` -> labels ``(B, H, W)`` int64, by a threshold if C is 1: mmseg's `postprocess_result`."""
    if logits.shape[1] > 1:
        return logits.argmax(1)
    return (logits[:, 0].sigmoid() > head.threshold).to(torch.int64)


def window(model: nn.Module) -> dict[str, list[int]] | None:
    """The segmentor's sliding window, `crop` and `stride`, each height and width; None where it takes the whole image.

    Raises:
        ConfigError: a window without a size or stride.
    """
    test = model.test_cfg or {}
    if test.get('mode', 'whole') != 'slide':
        return None
    sizes = test.get('crop_size'), test.get('stride')
    if not all(isinstance(size, Sequence) and len(size) == 2 for size in sizes):
        raise ConfigError("model.test_cfg.mode='slide' needs crop_size and stride, each height and width.\nUse "
                          '--cfg-options model.test_cfg.crop_size=(512,512) model.test_cfg.stride=(341,341), or '
                          'model.test_cfg.mode=whole')
    return dict(crop=list(sizes[0]), stride=list(sizes[1]))


class QuerySegmentorGraph(SegmentorGraph):
    """`SegmentorGraph` of mmseg's Mask2FormerHead, whose map is of masks in the images' size, and so are the logits.

    Backbone and neck alone become float16: points that are sampled would be a pixel off.
    """
    int8 = False

    def __init__(self, model: nn.Module, output: str = 'map'):
        from .query_masks import use_graph_pixel_decoder
        super().__init__(model, output)
        use_graph_pixel_decoder(self.model.decode_head)

    @staticmethod
    def _check(model: nn.Module) -> None:
        from .query_masks import check_mask_head
        check_mask_head(model.decode_head, 'segmentor')
        if window(model):
            raise ConfigError("--part segmentor: Mask2FormerHead with model.test_cfg.mode='slide' can not be exported, "
                              'for mmseg makes the map of each window as large as the whole image: use --cfg-options '
                              'model.test_cfg.mode=whole')

    def halve(self) -> nn.Module:
        halve_features(self.model)
        return self

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        logits = self.small(images)
        return (self.result(logits), logits) if self.output == 'map' else (logits,)

    def small(self, images: Tensor) -> Tensor:
        """As mmseg's `Mask2FormerHead.predict`: sums over the queries of probabilities, of a class and of a pixel."""
        from .query_masks import predict_queries
        classes, masks = predict_queries(self.model.decode_head, [
            feature.float() for feature in self.model.extract_feat(images)])
        masks = F.interpolate(masks, images.shape[2:], mode='bilinear', align_corners=False).sigmoid()
        return torch.einsum('bqc,bqhw->bchw', classes.softmax(-1)[..., :-1], masks)


def segmentor_graph(model: nn.Module, output: str = 'map') -> SegmentorGraph:
    """The graph of a segmentor; see `SegmentorGraph`."""
    from mmseg.models.decode_heads import Mask2FormerHead
    from mmseg.models.segmentors import EncoderDecoder
    name, head = type(model).__name__, getattr(model, 'decode_head', None)
    if not isinstance(model, EncoderDecoder) or type(model).encode_decode is not EncoderDecoder.encode_decode:
        raise ConfigError(f"--part segmentor: {name} can not be exported; mmseg's EncoderDecoder can, with a head such "
                          f'as {", ".join(SEGMENTOR_HEADS)}')
    by_queries = isinstance(head, Mask2FormerHead) and type(head).predict is Mask2FormerHead.predict
    return (QuerySegmentorGraph if by_queries else SegmentorGraph)(model, output)


def _check_head(head: nn.Module) -> None:
    from mmseg.models.decode_heads.decode_head import BaseDecodeHead
    same = isinstance(head, BaseDecodeHead) and all(
        getattr(type(head), method) is getattr(BaseDecodeHead, method) for method in ('predict', 'predict_by_feat'))
    if not same:
        raise ConfigError(f'--part segmentor: head {type(head).__name__} can not be exported; heads that give a map '
                          f'of logits can: {", ".join(SEGMENTOR_HEADS)}')
