"""Files of a small detector, segmentor and classifier, and a picture."""
import io

import numpy as np
import pytest
from PIL import Image

pytest.importorskip('mmdet')
pytest.importorskip('mmseg')

from ..helpers.small_configs import CLASSIFIER, DETECTOR, SEGMENTOR


@pytest.fixture(scope='package')
def saved(tmp_path_factory):
    """Config and checkpoint of each, by name."""
    import torch

    from mmvision_mamba.inference import Inferencer
    folder, found = tmp_path_factory.mktemp('served'), {}
    torch.manual_seed(0)
    for name, text in (('detector', DETECTOR), ('segmentor', SEGMENTOR), ('classifier', CLASSIFIER)):
        config, checkpoint = folder / f'{name}.py', folder / f'{name}.pth'
        config.write_text(text)
        model = Inferencer(config, show_progress=False, device='cpu')
        torch.save(dict(state_dict=model.model.state_dict(), meta=dict(dataset_meta=model.model.dataset_meta)),
                   checkpoint)
        found[name] = dict(model=str(config), weights=str(checkpoint))
    return found


@pytest.fixture(scope='session')
def picture() -> np.ndarray:
    """RGB, of odd sides."""
    return np.random.default_rng(0).integers(0, 256, (75, 101, 3), np.uint8)


@pytest.fixture(scope='session')
def content(picture) -> bytes:
    """A PNG of it."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, 'PNG')
    return file.getvalue()
