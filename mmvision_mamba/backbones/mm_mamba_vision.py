"""The published code's name for the backbone, with its arguments, so that its configs run unedited."""
import warnings
from collections.abc import Sequence
from typing import Any

from ..errors import ConfigError
from .mambavision import MambaVision
from .weights import load_pretrained


class MM_mamba_vision(MambaVision):
    """`MambaVision` under the published name, arguments and behaviour: zero-padded windows, drop path 0.2.

    Args:
        dim, in_dim, depths, num_heads, mlp_ratio: the architecture, see `MambaVision`.
        window_size: four values, one per stage; the first two are unused.
        out_indices: stages to return. Default: (0, 1, 2, 3).
        pretrained: checkpoint (path or URL) to load at construction. Default: None.
        norm_layer: 'ln2d' or 'ln' (one and the same) or 'bn'. Default: 'ln2d'.
        layer_scale: initial value of the layer scale of stages 3 and 4. Default: None, no layer scale.
        ignored: the published code accepts any other keyword and ignores it, drop_path_rate too; so does this class,
            and names them in one warning.
    """

    def __init__(self, dim: int, in_dim: int, depths: Sequence[int], window_size: Sequence[int], mlp_ratio: float,
                 num_heads: Sequence[int], out_indices: Sequence[int] = (0, 1, 2, 3), pretrained: str | None = None,
                 norm_layer: str = 'ln2d', layer_scale: float | None = None, **ignored: Any):
        if len(window_size) != 4:
            raise ConfigError(f'window_size must have four values, one per stage, got {window_size!r}')
        init_cfg = ignored.pop('init_cfg', None)  # mmengine's key, which is not ignored
        if ignored:
            warnings.warn('MM_mamba_vision ignores, as the published code does: '
                          f'{", ".join(sorted(ignored))}. Use MambaVision to set them.', stacklevel=2)
        super().__init__(
            arch=dict(dim=dim, in_dim=in_dim, depths=depths, num_heads=num_heads, mlp_ratio=mlp_ratio,
                      layer_scale=layer_scale, drop_path_rate=0.2),
            out_indices=out_indices, window_size=tuple(window_size[2:]), window_padding='zeros',
            norm_layer='ln' if norm_layer == 'ln2d' else norm_layer, init_cfg=init_cfg)
        if pretrained is not None:
            load_pretrained(self, pretrained)
