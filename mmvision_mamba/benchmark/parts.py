"""Shares of a whole model's inference by part: backbone, neck, heads, and what the heads do besides computing."""
import functools
import time
from collections.abc import Callable
from contextlib import ExitStack
from importlib import import_module

import torch
from torch import nn

from ..evaluation.digits import replaced
from .setting import Setting
from .timing import synchronize

CALLS = 3
# The methods that are each part's; what they call of another part counts for that part.
_METHODS = (
    ('preprocessing', 'data_preprocessor', 'forward'),
    ('backbone', 'backbone', 'forward'),
    ('neck', 'neck', 'forward'),
    ('RPN', 'rpn_head', 'predict'),
    ('RoI features', 'roi_head.bbox_roi_extractor', 'forward'),
    ('RoI features', 'roi_head.mask_roi_extractor', 'forward'),
    ('box heads', 'roi_head.bbox_head', 'forward'),
    ('mask heads', 'roi_head.mask_head', 'forward'),
    ('mask pasting', 'roi_head.mask_head', 'predict_by_feat'),
    ('dense head', 'bbox_head', 'predict'),
    ('decode head', 'decode_head', 'forward'),
    ('resizing of logits', 'decode_head', 'predict_by_feat'),
    ('label map', '', 'postprocess_result'),
)
REST = 'rest'


class _Clock:
    """Seconds spent in each part, not counting the parts that it calls."""

    def __init__(self, device: torch.device):
        self.device, self.part, self.since, self.seconds = device, REST, time.perf_counter(), {}

    def enter(self, part: str) -> str:
        """Time runs for `part` from now on. Returns the part that it ran for."""
        synchronize(self.device)
        before, now = self.part, time.perf_counter()
        self.seconds[before] = self.seconds.get(before, 0.) + now - self.since
        self.part, self.since = part, now
        return before

    def timed(self, part: str, function: Callable) -> Callable:
        @functools.wraps(function)
        def run(*args, **kwargs):
            outer = self.enter(part)
            try:
                return function(*args, **kwargs)
            finally:
                self.enter(outer)
        return run


def shares(setting: Setting, device: torch.device) -> dict[str, float]:
    """The share of each part in the time of `CALLS` inferences, NMS among them and 'rest' last."""
    clock = _Clock(device)
    with setting.prepared('forward'), ExitStack() as stack:
        for part, path, method in _METHODS:
            for owner in _owners(setting.model, path):
                if hasattr(owner, method):
                    stack.enter_context(replaced(owner, method, clock.timed(part, getattr(owner, method))))
        if setting.model is not None and hasattr(setting.model, 'with_bbox'):  # a detector
            nms = import_module('mmcv.ops.nms')  # whose functions are called by name
            for name in ('nms', 'soft_nms'):
                stack.enter_context(replaced(nms, name, clock.timed('NMS', getattr(nms, name))))
        setting.call('forward')
        clock.enter(REST)
        clock.seconds.clear()
        for _ in range(CALLS):
            setting.call('forward')
        clock.enter(REST)
    total, rest = sum(clock.seconds.values()), clock.seconds.pop(REST)
    order = list(dict.fromkeys([*(part for part, *_ in _METHODS), 'NMS']))
    return {part: clock.seconds[part] / total for part in order if part in clock.seconds} | {REST: rest / total}


def _owners(model: nn.Module, path: str) -> list[nn.Module]:
    """The modules at a dotted path, each one of a list of heads; [] where the model has none."""
    for name in path.split('.') if path else ():
        model = getattr(model, name, None)
    return [] if model is None else list(model) if isinstance(model, nn.ModuleList) else [model]
