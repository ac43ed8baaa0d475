"""A small detector, segmentor and classifier as files, and a picture."""
import io

import numpy as np
import pytest
from PIL import Image

pytest.importorskip('mmdet')
pytest.importorskip('mmseg')

from ..helpers.small_configs import CLASSIFIER


@pytest.fixture(scope='package')
def saved(model_files, tmp_path_factory):
    """Config and checkpoint of each, by name."""
    import torch

    from mmvision_mamba.inference import Inferencer
    found = {name: dict(model=str(files.config), weights=str(files.checkpoint))
             for name, files in vars(model_files).items()}
    folder = tmp_path_factory.mktemp('served')
    config, checkpoint = folder / 'classifier.py', folder / 'classifier.pth'
    config.write_text(CLASSIFIER)
    torch.manual_seed(0)
    model = Inferencer(config, show_progress=False, device='cpu')
    torch.save(dict(state_dict=model.model.state_dict(), meta=dict(dataset_meta=model.model.dataset_meta)), checkpoint)
    return dict(found, classifier=dict(model=str(config), weights=str(checkpoint)))


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
