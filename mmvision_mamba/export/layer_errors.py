"""Which layers of a graph lose most in int8: to tell which to leave in float."""
from collections.abc import Collection, Iterable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..runtime.loaders import onnx_session
from .onnx_file import weighted
from .quantize import QUANTIZED, Feed

_AT_ONCE = 16  # layers whose inputs are in memory together


def worst_first(path: Path, names: Collection[str], feeds: Iterable[Feed]) -> list[str]:
    """Names of the layers that may be quantised, sorted by the error that int8 makes of their outputs.

    The error is that of one layer by itself, its input and its weights rounded to 8 bits: its mean square over the
    mean square of the output, added up over the images.

    Args:
        path: an ONNX file in float32.
        names: of the layers in question.
        feeds: inputs; a few do.
    """
    import onnx
    model = onnx.load(str(path))
    found = [node for node in weighted(model.graph, QUANTIZED) if node.name in names]
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    arrays = [torch.from_numpy(onnx.numpy_helper.to_array(weights[node.input[1]]).copy()) for node in found]
    rounded = [_rounded_weights(node, array) for node, array in zip(found, arrays)]
    known = {entry.name for entry in (*model.graph.output, *model.graph.input)}
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in dict.fromkeys(
        node.input[0] for node in found) if name not in known)
    whole = path.with_name('layers.onnx')
    onnx.save(model, str(whole))
    del model
    session = onnx_session(whole)
    whole.unlink()
    errors = np.zeros(len(found))
    for feed in feeds:
        for first in range(0, len(found), _AT_ONCE):
            chosen = range(first, min(first + _AT_ONCE, len(found)))
            wanted = list(dict.fromkeys(found[i].input[0] for i in chosen if found[i].input[0] not in feed))
            inputs = {**feed, **dict(zip(wanted, session.run(wanted, dict(feed)) if wanted else ()))}
            for i in chosen:
                errors[i] += _error(found[i], torch.from_numpy(inputs[found[i].input[0]]), arrays[i], rounded[i])
    return [found[i].name for i in np.argsort(-errors, kind='stable')]


def _error(node, x: Tensor, weights: Tensor, rounded: Tensor) -> float:
    if not x.numel():
        return 0.
    exact = _apply(node, x, weights)
    least, most = x.min().clamp(max=0), x.max().clamp(min=0)
    step = ((most - least) / 255).clamp(min=1e-30)
    error = _apply(node, (x / step).round() * step, rounded) - exact
    return float(error.square().sum() / exact.square().sum().clamp(min=1e-30))


def _rounded_weights(node, weights: Tensor) -> Tensor:
    """Weights in int8, with a scale per output channel."""
    axis = 0 if node.op_type == 'Conv' or _attributes(node).get('transB') else weights.ndim - 1
    others = [i for i in range(weights.ndim) if i != axis]
    step = (weights.abs().amax(others, keepdim=True) / 127).clamp(min=1e-30)
    return (weights / step).round() * step


def _apply(node, x: Tensor, weights: Tensor) -> Tensor:
    """The product of a layer, without its bias."""
    about = _attributes(node)
    if node.op_type != 'Conv':
        return x @ (weights.t() if about.get('transB') else weights)
    sides = weights.ndim - 2
    pads = about.get('pads') or [0] * 2 * sides
    x = F.pad(x, [n for i in reversed(range(sides)) for n in (pads[i], pads[i + sides])])
    convolve = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}[sides]
    return convolve(x, weights, None, about.get('strides') or 1, 0, about.get('dilations') or 1, about.get('group', 1))


def _attributes(node) -> dict:
    import onnx
    return {entry.name: onnx.helper.get_attribute_value(entry) for entry in node.attribute}
