"""Pretrained weights that a config names for its backbone."""
from collections.abc import MutableMapping


def drop_pretrained(model: MutableMapping) -> None:
    """Remove pretrained weights from the backbone of a model's config: `init_cfg`, and mmdet's older `pretrained`.

    Args:
        model: `cfg.model`, changed in place.
    """
    backbone = model.get('backbone')
    if isinstance(backbone, MutableMapping):
        if 'init_cfg' in backbone:  # a backbone of one's own may have no such argument
            backbone['init_cfg'] = None
        backbone.pop('pretrained', None)
