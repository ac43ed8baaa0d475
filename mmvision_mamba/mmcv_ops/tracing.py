"""What keeps compilers from tracing mmcv's Python around these operators."""
import contextlib
from importlib import import_module
from typing import Any


def name_nms_without_eval() -> None:
    """Let `batched_nms` look up the function that a config names, `type='nms'`, in its own module."""
    # mmcv 2.1 and onedl-mmcv 2.3.6 have no seam here: they call `eval`, at which torch.compile ends its graph.
    with contextlib.suppress(ImportError):
        module = import_module('mmcv.ops.nms')

        def named(name: str) -> Any:
            return getattr(module, name)
        module.eval = named  # type: ignore[attr-defined]
