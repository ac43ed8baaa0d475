"""MambaVision's modules in the form that is exported: plain operators, and sizes that may be symbolic."""
import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.fx.experimental.symbolic_shapes import statically_known_true

from ..backbones.mambavision import Attention, WindowStage
from ..backbones.mixers import Mixer
from ..backbones.windows import Windows
from ..ops.operators import graph_size

# Queries per attention operator of an ONNX graph. A runtime holds the scores of all its queries with all keys: 5 GB for
# the 12,544 tokens that zero padding makes of 800 × 1344 pixels.
ONNX_QUERIES = 1024


def graph_copy(model: nn.Module) -> nn.Module:
    """A copy of `model` to export: in eval mode, its backbone fused, its modules replaced by those of this file."""
    model = copy.deepcopy(model).eval()
    backbone = getattr(model, 'backbone', model)
    if hasattr(backbone, 'fuse'):
        backbone.fuse()
    use_graph_modules(model)
    return model


def halve(module: nn.Module) -> nn.Module:
    """Convert `module` to float16, in place, but for the scan's parameters, which it reads in float32; returns it."""
    kept = [(p, p.data) for part in module.modules() if isinstance(part, Mixer) for p in (part.A_log, part.D)]
    module.half()
    for parameter, data in kept:
        parameter.data = data
    return module


def halve_features(model: nn.Module) -> None:
    """Convert a model's backbone and neck to float16, in place, as `halve` does; its heads stay as they are."""
    for part in (model.backbone, *([model.neck] if model.with_neck else [])):
        halve(part)


def use_graph_modules(model: nn.Module) -> None:
    """Replace each `Attention`, `WindowStage` and `GELU` of `model`, in place, by the form of this file."""
    replace_modules(model, {Attention: GraphAttention, WindowStage: GraphWindowStage, nn.GELU: GraphGELU})


def replace_modules(model: nn.Module, made: Mapping[type, Callable[[nn.Module], nn.Module]]) -> None:
    """Replace each module in `model` of just these types, in place, by what is made of it."""
    for module in list(model.modules()):
        for name, child in module.named_children():
            if type(child) in made:
                setattr(module, name, made[type(child)](child))


class GraphAttention(nn.Module):
    """`Attention` that adds its mask in the queries' type, and splits queries that a runtime could not hold at once."""

    def __init__(self, attention: Attention):
        super().__init__()
        self.num_heads, self.qkv, self.proj = attention.num_heads, attention.qkv, attention.proj

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        keys = None if mask is None else mask[:, None, None, :]
        if keys is not None:  # of bools, exporters would make a float32 mask, whatever the type of q
            keys = torch.zeros_like(keys, dtype=q.dtype).masked_fill(~keys, -torch.inf)
        queries = (q,)
        if torch.onnx.is_in_onnx_export() and isinstance(graph_size(q.shape[2]), int):
            queries = q.split(ONNX_QUERIES, 2)
        y = [F.scaled_dot_product_attention(part, k, v, attn_mask=keys) for part in queries]
        return self.proj((torch.cat(y, 2) if len(y) > 1 else y[0]).transpose(1, 2).flatten(2))


class GraphGELU(nn.Module):
    """`nn.GELU`; by tanh, in the form that onnxruntime and OpenVINO make one operator of."""

    def __init__(self, gelu: nn.GELU):
        super().__init__()
        self.approximate = gelu.approximate

    def forward(self, x: Tensor) -> Tensor:
        if self.approximate == 'none' or not torch.onnx.is_in_onnx_export():
            return F.gelu(x, approximate=self.approximate)
        return x * 0.5 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x.pow(3))))


class GraphWindowStage(nn.Module):
    """`WindowStage` that pads maps with zeros, without tables of indices, so that sizes may be symbolic."""

    def __init__(self, stage: WindowStage):
        super().__init__()
        self.blocks, self.downsample = stage.blocks, stage.downsample
        self.window_size, self.window_padding = stage.window_size, stage.window_padding
        use_graph_modules(self)

    def forward(self, x: Tensor) -> Tensor:
        windows = Windows.plan(*map(graph_size, x.shape[2:]), self.window_size, self.window_padding)
        padded, mask = _padded(windows), None
        if self.window_padding == 'fit' and not _surely_equal(padded, windows):
            mask = padded.partition(_pad(windows, torch.ones_like(x[:, :1])), None)[:, :, 0] > 0
        x = padded.partition(_pad(windows, x), None)
        for block in self.blocks:
            x = block(x, mask)
        return padded.merge(x, None)[:, :, :windows.height, :windows.width]


def _padded(windows: Windows) -> Windows:
    """The same windows, with the padding as a part of the map."""
    return replace(windows, height=windows.rows * windows.window_height, width=windows.columns * windows.window_width)


def _surely_equal(windows: Windows, other: Windows) -> bool:
    """Whether the maps of both are known to have the same size; False where symbolic sizes leave that open."""
    sizes = (windows.height, other.height), (windows.width, other.width)
    return all(a is b or (not isinstance(a, Tensor) and statically_known_true(a == b)) for a, b in sizes)


def _pad(windows: Windows, x: Tensor) -> Tensor:
    """(batch, channels, height, width) -> the same with zeros right and below."""
    padded = _padded(windows)
    return F.pad(x, (0, padded.width - windows.width, 0, padded.height - windows.height))
