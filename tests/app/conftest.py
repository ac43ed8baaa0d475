"""A small detector and a small segmentor, untrained."""
import pytest

pytest.importorskip('mmdet')
pytest.importorskip('mmseg')

from ..helpers.small_configs import DETECTOR, SEGMENTOR


@pytest.fixture(scope='package')
def models(tmp_path_factory):
    import torch

    from mmvision_mamba.inference import Inferencer
    folder, found = tmp_path_factory.mktemp('models'), {}
    torch.manual_seed(0)
    for name, text in (('Instances', DETECTOR), ('Semantic map', SEGMENTOR)):
        path = folder / f'{name}.py'
        path.write_text(text)
        found[name] = Inferencer(path, show_progress=False)
    return found
